"""For whom the tokens are that a Pod's volumes ask for: no others are given to its node.

The rules are those of ``ServiceAccountNodeAudienceRestriction`` in Kubernetes.
"""

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.core.volumes import Volume
from kubelib.api.meta import Key
from kubelib.api.storage import CSIDriver
from kubelib.registry.admission.base import Attributes


def is_asked_for(audience: str, pod: Pod, attributes: Attributes) -> bool:
    """Return whether a volume of a Pod, or the driver of one, wants tokens for an audience (empty: the API server).

    Raises Forbidden where none does, and what one leads to is not there.
    """
    missing: list[str] = []
    for volume in pod.spec.volumes:
        if volume.projected is not None:
            tokens = (source.service_account_token for source in volume.projected.sources)
            if any(token is not None and token.audience == audience for token in tokens):
                return True
        try:
            driver = _driver(volume, pod, attributes)
            if driver is not None and any(one.audience == audience for one in driver.spec.token_requests):
                return True
        except _Missing as error:
            missing.append(str(error))
    if missing:
        shown = missing[0] if len(missing) == 1 else f"[{', '.join(missing)}]"
        raise attributes.forbidden(f'error validating audience "{audience}": {shown}')
    return False


class _Missing(LookupError):
    """What a volume leads to is not there; the message is Kubernetes'."""


def _driver(volume: Volume, pod: Pod, attributes: Attributes) -> CSIDriver | None:
    """Return the driver of a volume. Raises `_Missing`."""
    name, claim = "", ""
    if volume.csi is not None:
        name = volume.csi.driver
    elif volume.persistent_volume_claim is not None:
        claim = volume.persistent_volume_claim.claim_name
    elif volume.ephemeral is not None:
        claim = f"{pod.metadata.name}-{volume.name}"
    if claim:
        found = attributes.cache(PersistentVolumeClaim).get(Key(pod.metadata.namespace, claim))
        if found is None:
            raise _Missing(f'persistentvolumeclaim "{claim}" not found')
        name = _driver_of_bound(found.view(PersistentVolumeClaim).spec.volume_name, attributes)
    if not name:
        return None
    driver = attributes.cache(CSIDriver).get(Key("", name))
    if driver is None:
        raise _Missing(f'csidriver.storage.k8s.io "{name}" not found')
    return driver.view(CSIDriver)


def _driver_of_bound(name: str, attributes: Attributes) -> str:
    """Return the name of the driver of a volume that is bound; empty if it has none, or nothing is bound yet."""
    if not name:
        return ""
    found = attributes.cache(PersistentVolume).get(Key("", name))
    if found is None:
        raise _Missing(f'persistentvolume "{name}" not found')
    source = found.view(PersistentVolume).spec.csi
    return source.driver if source is not None else ""
