"""Who the Pods of a StatefulSet are: their names, labels and claims. Pure."""

import re
from collections.abc import Iterator, Sequence

from kubelib.api.apps_sets import StatefulSet
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.pod import Pod, PodTemplateSpec
from kubelib.api.core.volumes import PersistentVolumeClaimVolumeSource, Volume
from kubelib.api.meta import ObjectMeta, OwnerReference
from kubelib.api.model import replace
from kubelib.controllers.ownership import controller_reference
from kubelib.controllers.pods import pod_from_template
from kubelib.controllers.revisions import POD_LABEL

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
LARGEST = 2**31 - 1
_parts = re.compile(r"(.*)-([0-9]+)").fullmatch


def ordinal_of(name: str, owner: str) -> int:
    """Return the number of a Pod of the set `owner`, -1 if it is not one of its Pods.

    >>> ordinal_of("web-12", "web"), ordinal_of("web-a-1", "web"), ordinal_of("web", "web")
    (12, -1, -1)
    """
    parts = _parts(name)
    if parts is None or parts[1] != owner or int(parts[2]) > LARGEST:
        return -1
    return int(parts[2])


def first_ordinal(owner: StatefulSet) -> int:
    """Return the number of the first Pod."""
    return owner.spec.ordinals.start if owner.spec.ordinals is not None else 0


def wanted_replicas(owner: StatefulSet) -> int:
    """Return how many Pods are wanted."""
    return 1 if owner.spec.replicas is None else owner.spec.replicas


def is_wanted(owner: StatefulSet, ordinal: int) -> bool:
    """Return whether the set is to have a Pod of this number."""
    return 0 <= ordinal - first_ordinal(owner) < wanted_replicas(owner)


def claim_name(owner: StatefulSet, template: PersistentVolumeClaim, ordinal: int) -> str:
    """Return the name of a Pod's claim."""
    return f"{template.metadata.name}-{owner.metadata.name}-{ordinal}"


def claims_of(owner: StatefulSet, ordinal: int) -> Iterator[PersistentVolumeClaim]:
    """Yield the claims that the Pod of a number needs."""
    for template in owner.spec.volume_claim_templates:
        meta = template.metadata
        yield PersistentVolumeClaim(
            metadata=ObjectMeta(
                name=claim_name(owner, template, ordinal),
                namespace=owner.metadata.namespace,
                labels={**meta.labels, **owner.spec.selector.match_labels},
                annotations=meta.annotations,
            ),
            spec=template.spec,
        )


def _volumes(owner: StatefulSet, ordinal: int, present: Sequence[Volume]) -> tuple[Volume, ...]:
    claimed = {
        template.metadata.name: claim_name(owner, template, ordinal)
        for template in owner.spec.volume_claim_templates
    }
    ours = tuple(
        Volume(name=name, persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name=claim))
        for name, claim in claimed.items()
    )
    return (*ours, *(volume for volume in present if volume.name not in claimed))


def new_pod(owner: StatefulSet, template: PodTemplateSpec, revision: str, ordinal: int) -> Pod:
    """Return the Pod of a number as a revision wants it."""
    name = f"{owner.metadata.name}-{ordinal}"
    labels = {NAME_LABEL: name, INDEX_LABEL: str(ordinal), POD_LABEL: revision}
    pod = pod_from_template(template, owner, name=name, labels=labels)
    spec = replace(
        pod.spec,
        hostname=name,
        subdomain=owner.spec.service_name,
        volumes=_volumes(owner, ordinal, pod.spec.volumes),
    )
    return replace(pod, spec=spec)


def with_identity(owner: StatefulSet, pod: Pod, ordinal: int) -> Pod:
    """Return a Pod with the labels and claims that its number gives it."""
    name = pod.metadata.name
    labels = dict(pod.metadata.labels)
    labels[NAME_LABEL] = name
    labels.setdefault(INDEX_LABEL, str(ordinal))
    pod = replace(pod, metadata=replace(pod.metadata, labels=labels))
    claims = {v.name: v.persistent_volume_claim for v in pod.spec.volumes}
    for template in owner.spec.volume_claim_templates:
        held = claims.get(template.metadata.name)
        if held is None or held.claim_name != claim_name(owner, template, ordinal):
            volumes = _volumes(owner, ordinal, pod.spec.volumes)
            return replace(pod, spec=replace(pod.spec, volumes=volumes))
    return pod


# Whether claims outlive the set, and Pods that it scales away


def with_owners(
    owner: StatefulSet, claim: PersistentVolumeClaim, pod: Pod, ordinal: int
) -> PersistentVolumeClaim:
    """Return a claim with the owners that the retention policy gives it.

    With the set's Pod as its owner it goes when that Pod is gone, with the set when the set is deleted. Claims of an
    earlier set or Pod of the same name are left to the garbage collector, those that something else controls to that.
    """
    references = claim.metadata.owner_references
    named = [reference for reference in references if _names(reference, owner) or _names(reference, pod)]
    if any(reference.uid not in (owner.metadata.uid, pod.metadata.uid) for reference in named):
        return claim
    others = tuple(reference for reference in references if reference not in named)
    wanted = _wanted_reference(owner, pod, ordinal)
    if wanted is not None and any(reference.controller for reference in others):
        wanted = None
    if named == ([wanted] if wanted is not None else []):
        return claim
    owners = (*others, wanted) if wanted is not None else others
    return replace(claim, metadata=replace(claim.metadata, owner_references=owners))


def _wanted_reference(owner: StatefulSet, pod: Pod, ordinal: int) -> OwnerReference | None:
    policy = owner.spec.persistent_volume_claim_retention_policy
    if policy is None:
        return None
    if policy.when_scaled == "Delete" and not is_wanted(owner, ordinal):
        return controller_reference(pod)
    return controller_reference(owner) if policy.when_deleted == "Delete" else None


def _names(reference: OwnerReference, obj: StatefulSet | Pod) -> bool:
    """Return whether a reference is to an object of this name, be it this one or an earlier one."""
    of = (reference.api_version, reference.kind, reference.name)
    return of == (obj.api_version, obj.kind, obj.metadata.name)


def is_stale(owner: StatefulSet, claim: PersistentVolumeClaim, pod_name: str) -> bool:
    """Return whether a claim goes with an earlier Pod of this name, which the next one has to wait for."""
    policy = owner.spec.persistent_volume_claim_retention_policy
    return (
        policy is not None
        and policy.when_scaled == "Delete"
        and any(r.kind == "Pod" and r.name == pod_name for r in claim.metadata.owner_references)
    )
