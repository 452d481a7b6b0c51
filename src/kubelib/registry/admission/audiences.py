"""For whom the tokens are that a Pod's volumes ask for: no others are given to its node.

The rules are those of ``ServiceAccountNodeAudienceRestriction`` in Kubernetes.
"""

from collections.abc import Iterator

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.api.storage import CSIDriver
from kubelib.registry.admission.base import Attributes


def is_asked_for(audience: str, pod: Pod, attributes: Attributes) -> bool:
    """Return whether a volume of a Pod, or the driver of one, wants tokens for an audience (empty: the API server)."""
    for volume in pod.spec.volumes:
        if volume.projected is not None:
            tokens = (source.service_account_token for source in volume.projected.sources)
            if any(token is not None and token.audience == audience for token in tokens):
                return True
    return any(audience in _audiences(driver, attributes) for driver in _drivers(pod, attributes))


def _drivers(pod: Pod, attributes: Attributes) -> Iterator[str]:
    for volume in pod.spec.volumes:
        claim = ""
        if volume.csi is not None:
            yield volume.csi.driver
        elif volume.persistent_volume_claim is not None:
            claim = volume.persistent_volume_claim.claim_name
        elif volume.ephemeral is not None:
            claim = f"{pod.metadata.name}-{volume.name}"
        found = (
            attributes.cache(PersistentVolumeClaim).get(Key(pod.metadata.namespace, claim)) if claim else None
        )
        name = found.view(PersistentVolumeClaim).spec.volume_name if found is not None else ""
        bound = attributes.cache(PersistentVolume).get(Key("", name)) if name else None
        if bound is not None and (source := bound.view(PersistentVolume).spec.csi) is not None:
            yield source.driver


def _audiences(driver: str, attributes: Attributes) -> tuple[str, ...]:
    found = attributes.cache(CSIDriver).get(Key("", driver))
    return (
        tuple(one.audience for one in found.view(CSIDriver).spec.token_requests) if found is not None else ()
    )
