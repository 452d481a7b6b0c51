"""Admission policies whose expressions do not fit the kinds that they are about say so in their status."""

from kubelib.api.admissionregistration import TypeChecking, ValidatingAdmissionPolicy
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.api.scheme import Scheme
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.statuses import write_status
from kubelib.informers import SharedInformers

NAME = "validatingadmissionpolicy-status-controller"


class TypeCheckReconciler:
    """Checks one policy, once for each generation."""

    def __init__(self, informers: SharedInformers, scheme: Scheme) -> None:
        self._policies = informers.of(ValidatingAdmissionPolicy)
        self._registry = informers.client.resource(ValidatingAdmissionPolicy)
        self._scheme = scheme

    async def reconcile(self, key: Key) -> After | None:
        """Check the policy at `key` if it has changed."""
        policy = self._policies.cache.view(key)
        if policy is None or policy.metadata.generation <= policy.status.observed_generation:
            return None
        # CEL is loaded by the first policy.
        from kubelib.registry.admission.policies.typechecking import warnings_of

        checked = TypeChecking(expression_warnings=warnings_of(policy, self._scheme))
        status = replace(policy.status, observed_generation=policy.metadata.generation, type_checking=checked)
        await write_status(self._registry, policy, status)
        return None


def admission_policy_status_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, scheme: Scheme
) -> Controller:
    """Return the controller."""
    return Controller(
        NAME,
        TypeCheckReconciler(informers, scheme),
        [(informers.of(ValidatingAdmissionPolicy), itself)],
        workers=1,
        recorder=recorder.source(NAME),
    )
