"""How many replicas something has and is to have, whatever kind it is of."""

from kubelib.api.apps import Deployment, ReplicaSet
from kubelib.api.apps_sets import StatefulSet
from kubelib.api.autoscaling import Scale, ScaleSpec, ScaleStatus
from kubelib.api.core.replication import ReplicationController
from kubelib.api.errors import NotFound, not_found
from kubelib.api.meta import Key, Object
from kubelib.api.scheme import Resource, Scheme
from kubelib.client.base import SupportsScales
from kubelib.informers import SharedInformers
from kubelib.labels import selector_from_label_selector, selector_from_match_labels

SCALABLE: tuple[type[Object], ...] = (Deployment, ReplicaSet, StatefulSet, ReplicationController)
"""The kinds whose objects are watched: their scales need not be asked for."""
_MISSING: dict[type[Object], str] = {
    Deployment: "deployments/scale.apps",
    ReplicaSet: "replicasets/scale.apps",
    ReplicationController: "replicationcontrollers/scale.autoscaling",
}
"""What their scales are called when they are not there."""


def scale_of(obj: Object) -> Scale:
    """Return the scale of an object of one of the `SCALABLE` kinds."""
    spec = obj.spec  # type: ignore[attr-defined]
    selector = (
        selector_from_match_labels(spec.selector)
        if isinstance(obj, ReplicationController)
        else selector_from_label_selector(spec.selector)
    )
    return Scale(
        metadata=obj.metadata,
        spec=ScaleSpec(replicas=1 if spec.replicas is None else spec.replicas),
        status=ScaleStatus(replicas=obj.status.replicas, selector=str(selector)),  # type: ignore[attr-defined]
    )


class Scales:
    """The scales of all kinds that have them."""

    def __init__(self, informers: SharedInformers, scheme: Scheme) -> None:
        self._client = informers.client
        self._scheme = scheme
        self._watched = {kind: informers.of(kind) for kind in SCALABLE}

    def resource(self, api_version: str, kind: str) -> Resource | None:
        """Return what holds objects of a kind, in this version of its group if there is one; None if nothing does."""
        group = api_version.rpartition("/")[0]
        found = [resource for resource in self._scheme if (resource.group, resource.kind) == (group, kind)]
        return next((one for one in found if one.api_version == api_version), found[0] if found else None)

    def known(self, resource: Resource, key: Key) -> Scale | None:
        """Return the scale of an object that is watched; None if it is not there, or of another kind."""
        informer = self._watched.get(resource.cls)
        obj = informer.cache.view(key) if informer is not None else None
        return scale_of(obj) if obj is not None else None

    async def get(self, resource: Resource, key: Key) -> Scale:
        """Return the scale of an object. Raises NotFound, also if objects of the kind have none."""
        if resource.cls in self._watched:
            scale = self.known(resource, key)
            if scale is None:
                raise not_found(_MISSING.get(resource.cls, resource.group_resource), key.name)
            return scale
        if "scale" not in resource.subresources or not isinstance(self._client, SupportsScales):
            raise NotFound("the server could not find the requested resource")
        return await self._client.scale(resource.cls, key)
