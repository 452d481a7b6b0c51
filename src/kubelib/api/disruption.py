"""Whether a disruption budget says that it allows disruptions: its condition, which follows from its numbers."""

from datetime import datetime

from kubelib.api.machinery import Condition
from kubelib.api.model import replace
from kubelib.api.policy import PodDisruptionBudgetStatus

ALLOWED = "DisruptionAllowed"
SYNC_FAILED = "SyncFailed"


def with_condition(
    status: PodDisruptionBudgetStatus, now: datetime, *, failure: str = ""
) -> PodDisruptionBudgetStatus:
    """Return a status whose condition says what its numbers say, or that they could not be found out.

    A condition that stays true or false keeps its date.
    """
    holds = status.disruptions_allowed > 0 and not failure
    reason = SYNC_FAILED if failure else "SufficientPods" if holds else "InsufficientPods"
    told = "True" if holds else "False"
    before = next((c for c in status.conditions if c.type == ALLOWED), None)
    same = before is not None and before.status == told
    condition = Condition(
        type=ALLOWED,
        status=told,
        reason=reason,
        message=failure,
        observed_generation=status.observed_generation,
        last_transition_time=before.last_transition_time
        if same and before is not None
        else now.replace(microsecond=0),
    )
    others = tuple(c for c in status.conditions if c.type != ALLOWED)
    return replace(status, conditions=(*others, condition))
