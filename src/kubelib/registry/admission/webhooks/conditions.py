"""Match conditions: expressions in CEL that say of which requests a webhook is asked."""

from collections.abc import Sequence

from kubelib.api.admissionregistration import MatchCondition
from kubelib.registry.admission.webhooks.base import Conditions


def conditions_of(conditions: Sequence[MatchCondition]) -> Conditions | None:
    """Return the conditions of a webhook, ready to be evaluated; None if there are none."""
    if not conditions:
        return None
    # CEL is loaded by those who use it.
    from kubelib.registry.admission.conditions import compile_conditions, webhook_scope

    return compile_conditions([one.expression for one in conditions], webhook_scope())
