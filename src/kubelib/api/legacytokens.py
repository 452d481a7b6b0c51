"""What is written down of tokens that Secrets hold: since when it is, when each was last used, and since when it is not good.

Days are dates as text in UTC, such as ``2026-01-31``: they compare as they follow one another.
"""

import re
from datetime import UTC, datetime

from kubelib.api.meta import Key

TYPE = "kubernetes.io/service-account-token"
ACCOUNT, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
"""Annotations: whose token a Secret holds."""
TRACKING = Key("kube-system", "kube-apiserver-legacy-service-account-token-tracking")
"""The ConfigMap whose `SINCE` says from which day on uses are written down."""
SINCE = "since"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII).fullmatch


def day_of(moment: datetime) -> str:
    """Return the day of a moment.

    >>> day_of(datetime(2026, 1, 31, 23, tzinfo=UTC))
    '2026-01-31'
    """
    return moment.astimezone(UTC).date().isoformat()


def beginning_of(day: str) -> datetime | None:
    """Return when a day begins; None for what is no day.

    >>> beginning_of("2026-02-30"), beginning_of("2026-2-3"), beginning_of("")
    (None, None, None)
    """
    if _DAY(day) is None:
        return None
    try:
        return datetime.fromisoformat(day).replace(tzinfo=UTC)
    except ValueError:
        return None
