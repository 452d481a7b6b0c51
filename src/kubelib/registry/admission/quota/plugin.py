"""The plug-in that holds writes to the quotas of their namespace.

What a write uses is added to the status of each quota in the commit that stores the object, on condition that the quota is
still as it was when it was found to have room. So no interleaving of writers, API servers and the quota controller gets more
stored than there is room for, and nothing is charged that is not stored.
"""

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio

from kubelib.api import codec
from kubelib.api.core.quota import ResourceQuota
from kubelib.api.document import Document
from kubelib.api.podresources import Amounts, amounts
from kubelib.api.quantity import ZERO
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.base import Attributes, Operations, Verb
from kubelib.registry.admission.quota.usage import counts, in_scopes, selectors_of, unsaid, usage_of
from kubelib.registry.keys import store_key
from kubelib.store import Put, Revision

_CHANGING = {("Pod", "resize"), ("Service", ""), ("PersistentVolumeClaim", "")}
"""What may use more after a change, and by which subresource it is changed."""


class ResourceQuotaAdmission:
    """Refuses what its namespace has no room for."""

    name = "ResourceQuota"

    def __init__(self) -> None:
        # One write of a namespace with quotas is charged and committed at a time. All others would find the quota changed.
        self._locks: dict[str, anyio.Lock] = {}

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at what is created in namespaces, and at changes that may use more."""
        if verb == "create":
            return resource.namespaced and not subresource
        return verb == "update" and not resource.group and (resource.kind, subresource) in _CHANGING

    def reserve(self, attributes: Attributes) -> AbstractAsyncContextManager[Operations] | None:
        """Charge the quotas of the namespace, if there are any."""
        if not attributes.cache(ResourceQuota).within(attributes.key.namespace):
            return None
        return self._charged(attributes)

    @asynccontextmanager
    async def _charged(self, attributes: Attributes) -> AsyncIterator[Operations]:
        namespace = attributes.key.namespace
        quotas = attributes.cache(ResourceQuota)
        # The lock spans the commit.
        lock = self._locks.setdefault(namespace, anyio.Lock())
        async with lock:
            try:
                yield charge(attributes, quotas.within(namespace))
            finally:
                if not lock.statistics().tasks_waiting:
                    self._locks.pop(namespace, None)


def charge(attributes: Attributes, quotas: Collection[Document]) -> Operations:
    """Return the writes that charge an object to the quotas it counts for. Raises Forbidden where there is no room."""
    resource, tree = attributes.resource, attributes.tree
    now = attributes.registries.clock.now()
    interested: list[tuple[Document, Tree, Amounts, Amounts]] = []
    behind: list[tuple[Document, Tree]] = []
    for document in sorted(quotas, key=lambda document: document.meta.name):
        quota = document.tree()
        spec, status = quota.get("spec") or {}, quota.get("status") or {}
        if not in_scopes(resource, tree, selectors_of(spec)):
            continue
        wanted, hard, used = (
            _relevant(resource, part) for part in (spec.get("hard"), status.get("hard"), status.get("used"))
        )
        if wanted != hard:
            behind.append((document, quota))
        if not hard:
            continue
        name = document.meta.name
        if resource.plural == "pods" and not resource.group and (missing := unsaid(tree, hard)):
            raise attributes.forbidden(f"failed quota: {name}: {missing}")
        if not hard.keys() <= used.keys():
            raise attributes.forbidden(
                f"status unknown for quota: {name}, resources: {','.join(sorted(hard))}"
            )
        interested.append((document, quota, hard, used))
    if not interested and not behind:
        return []
    delta = usage_of(resource, tree, now)
    if negative := sorted(name for name, amount in delta.items() if amount < ZERO):
        raise attributes.forbidden(f"quota usage is negative for resource(s): {','.join(negative)}")
    if attributes.verb == "update" and attributes.old is not None:
        before = usage_of(resource, attributes.old, now)
        delta = {name: amount - before.get(name, ZERO) for name, amount in delta.items()}
    delta = {name: amount for name, amount in delta.items() if amount > ZERO}
    if not delta:
        return []
    operations: Operations = []
    charged = set()
    for document, quota, hard, used in interested:
        requested = {name: amount for name, amount in delta.items() if name in hard}
        total = {name: used[name] + amount for name, amount in requested.items()}
        exceeded = [name for name, amount in total.items() if amount > hard[name]]
        if exceeded:
            raise attributes.forbidden(
                f"exceeded quota: {document.meta.name}, requested: {_listed(requested, exceeded)},"
                f" used: {_listed(used, exceeded)}, limited: {_listed(hard, exceeded)}"
            )
        if requested:
            quota["status"]["used"].update({name: str(amount) for name, amount in total.items()})
            operations.append(_put(attributes, document, quota))
            charged.add(document.meta.name)
    # A quota whose new limits nobody has counted for yet is written as it is: who counts now must count again.
    operations += [
        _put(attributes, document, quota) for document, quota in behind if document.meta.name not in charged
    ]
    return operations


def _relevant(resource: Resource, texts: Tree | None) -> Amounts:
    return amounts({name: text for name, text in (texts or {}).items() if counts(resource, name)})


def _listed(values: Amounts, names: Iterable[str]) -> str:
    return ",".join(f"{name}={values[name]}" for name in sorted(names))


def _put(attributes: Attributes, document: Document, quota: Tree) -> Put:
    quotas = attributes.registries.of(attributes.registries.scheme.of(ResourceQuota))
    return Put(
        store_key(quotas.prefix, document.key),
        codec.encode_tree(quota, quotas.resource),
        Revision(int(document.meta.resource_version)),
    )
