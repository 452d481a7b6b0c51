"""Component statuses, which are stored nowhere: they are looked at when somebody asks."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from kubelib.api import codec
from kubelib.api.coordination import Lease
from kubelib.api.core.components import ComponentCondition, ComponentStatus
from kubelib.api.document import Document
from kubelib.api.errors import BadRequest
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.times import parse_time
from kubelib.registry.base import WHOLE_CLUSTER, DocumentList, Query
from kubelib.registry.generic import GenericRegistry

Check = Callable[[], Awaitable[str]]
"""Returns why a component is not well, empty if it is."""

_LEASES = {"controller-manager": "kube-controller-manager", "scheduler": "kube-scheduler"}
"""Components that show by renewing a lease that they work."""


class ComponentStatuses(GenericRegistry):
    """The registry of ComponentStatus."""

    async def get(self, key: Key, *, subresource: str = "", resource_version: str = "") -> Document:
        """Return the health of one component."""
        check = self._checks().get(key.name)
        if check is None:
            raise self.not_found(key)
        return await _status(key.name, check)

    async def list(
        self,
        query: Query = WHOLE_CLUSTER,
        *,
        limit: int = 0,
        page: str = "",
        resource_version: str = "",
        match: str = "",
    ) -> DocumentList:
        """Return the health of every component."""
        if page:
            raise BadRequest(
                "invalid continue token: continue key is not valid: component statuses come in one piece"
            )
        self.cache.fields.require_known(query.fields)
        found = [await _status(name, check) for name, check in sorted(self._checks().items())]
        return DocumentList([document for document in found if self.cache.matches(document, query)], "")

    def _checks(self) -> dict[str, Check]:
        leases = self.owner.of(self.owner.scheme.of(Lease)).cache
        checks: dict[str, Check] = {"etcd-0": self._store}
        for name, lease in _LEASES.items():
            if (document := leases.get(Key("kube-system", lease))) is not None:
                checks[name] = lambda document=document: self._renewed(document)  # type: ignore[misc]
        return checks

    async def _store(self) -> str:
        try:
            await self.store.revision()
        except Exception as error:
            return str(error) or "the store does not answer"
        return ""

    async def _renewed(self, document: Document) -> str:
        spec = document.view(Lease).spec
        if not spec.renew_time or not spec.holder_identity:
            return "nobody leads"
        lasts = timedelta(seconds=spec.lease_duration_seconds or 0)
        late = self.owner.clock.now() - parse_time(spec.renew_time) > lasts
        return f"{spec.holder_identity} has not renewed its lease since {spec.renew_time}" if late else ""


async def _status(name: str, check: Check) -> Document:
    error = await check()
    condition = ComponentCondition(
        type="Healthy", status="False" if error else "True", message="" if error else "ok", error=error
    )
    return Document(codec.encode(ComponentStatus(metadata=ObjectMeta(name=name), conditions=(condition,))))
