"""Which ResourceClaims a Pod uses, and whether it may: what those who place Pods and those who run them agree on."""

from collections.abc import Iterator

import attrs

from kubelib.api.core.pod import Pod
from kubelib.api.meta import controller_of
from kubelib.api.resource import ResourceClaim


@attrs.frozen
class UsedClaim:
    """A claim that a Pod uses."""

    entry: str
    """The name by which the Pod's containers refer to it; empty for the one behind its extended resources."""
    name: str
    """The claim's own; empty for one that is still to be made."""
    own: bool
    """Whether it was made for the Pod alone."""


def used_claims(pod: Pod) -> Iterator[UsedClaim]:
    """Yield the claims in a Pod's `spec.resourceClaims`, but those that turned out not to be needed."""
    made = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses}
    for claim in pod.spec.resource_claims:
        if claim.resource_claim_name:
            yield UsedClaim(claim.name, claim.resource_claim_name, own=False)
        elif made.get(claim.name) != "":  # one of which the status says no name is not needed
            yield UsedClaim(claim.name, made.get(claim.name, ""), own=True)


def why_not_made_for(claim: ResourceClaim, pod_key: str, uid: str) -> str:
    """Return, in Kubernetes' words, why a claim is not one that was made for a Pod; empty if it is."""
    owner = controller_of(claim)
    if owner is not None and owner.uid == uid:
        return ""
    return f"ResourceClaim {claim.key} was not created for Pod {pod_key} (Pod is not owner)"


def is_reserved_for(claim: ResourceClaim, uid: str) -> bool:
    """Return whether a Pod may use a claim."""
    return any(
        user.uid == uid and not user.api_group and user.resource == "pods"
        for user in claim.status.reserved_for
    )
