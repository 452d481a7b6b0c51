"""Pods: quality of service, grace periods, binding and eviction."""

from typing import TYPE_CHECKING, Any

from kubelib.api import codec
from kubelib.api.document import Document
from kubelib.api.errors import BadRequest, Problem, conflict, invalid
from kubelib.api.meta import Key
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.registry.base import Preconditions, WriteOptions
from kubelib.registry.keys import store_key
from kubelib.registry.strategies.base import Strategy
from kubelib.store import Put, Revision, RevisionMismatch

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

_COMPUTE = ("cpu", "memory")


def qos_class(spec: Tree) -> str:
    """Return the quality of service of a Pod: Guaranteed, Burstable or BestEffort, by what it asks for."""
    guaranteed, any_resources = True, False
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in _COMPUTE:
            request, limit = requests.get(name, limits.get(name)), limits.get(name)
            any_resources |= request not in (None, "0") or limit not in (None, "0")
            if limit in (None, "0") or request != limit:
                guaranteed = False
    if not any_resources:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def bind(tree: Tree, node: str, now: str, group_resource: str = "pods") -> None:
    """Put a Pod on a node, in place. Raises Conflict if it is on one, or is being deleted."""
    meta, spec = tree["metadata"], tree["spec"]
    if meta.get("deletionTimestamp"):
        raise conflict(
            group_resource, meta["name"], f"pod {meta['name']} is being deleted, cannot be assigned to a host"
        )
    if spec.get("nodeName"):
        raise conflict(
            group_resource,
            meta["name"],
            f'pod {meta["name"]} is already assigned to node "{spec["nodeName"]}"',
        )
    if spec.get("schedulingGates"):
        raise conflict(
            group_resource, meta["name"], f"pod {meta['name']} has non-empty .spec.schedulingGates"
        )
    spec["nodeName"] = node
    conditions = tree.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [c for c in conditions if c.get("type") != "PodScheduled"]
    conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": now})


class PodStrategy(Strategy):
    """What is special about Pods."""

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Begin as Pending."""
        tree["metadata"]["generation"] = 1
        spec = tree.get("spec")
        status: dict[str, Any] = {"phase": "Pending"}
        if isinstance(spec, dict):
            status["qosClass"] = qos_class(spec)
            if spec.get("schedulingGates"):
                status["conditions"] = [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "SchedulingGated",
                        "message": "Scheduling is blocked due to non-empty scheduling gates",
                    }
                ]
        tree["status"] = status

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Keep the node that was chosen, and the quality of service."""
        tree = super().prepare_for_update(registry, tree, old, subresource)
        if subresource in ("resize", "ephemeralcontainers"):
            part = "ephemeralContainers" if subresource == "ephemeralcontainers" else "containers"
            spec = dict(old["spec"])
            if part in tree["spec"]:
                spec[part] = tree["spec"][part]
            return {**old, "spec": spec}
        if subresource == "status":
            quality = (old.get("status") or {}).get("qosClass")
            if quality and isinstance(tree.get("status"), dict):
                tree["status"].setdefault("qosClass", quality)
        return tree

    def grace_period(self, tree: Tree, asked: float | None) -> float:
        """Return the Pod's own grace period unless the request says; none for what does not run."""
        spec = tree.get("spec") or {}
        if not spec.get("nodeName") or (tree.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        if asked is not None:
            return max(0.0, asked)
        return float(spec.get("terminationGracePeriodSeconds") or 0)

    async def create_subresource(
        self, registry: "GenericRegistry", key: Key, subresource: str, tree: Tree, options: WriteOptions
    ) -> Document:
        """Bind or evict."""
        if subresource == "binding":
            return await self._bind(registry, key, tree, options)
        if subresource == "eviction":
            delete = tree.get("deleteOptions") or {}
            wanted = delete.get("preconditions") or {}
            await registry.delete(
                key,
                grace=delete.get("gracePeriodSeconds"),
                preconditions=Preconditions(wanted.get("uid") or "", wanted.get("resourceVersion") or ""),
                options=options,
            )
            return _success()
        return await super().create_subresource(registry, key, subresource, tree, options)

    async def _bind(
        self, registry: "GenericRegistry", key: Key, tree: Tree, options: WriteOptions
    ) -> Document:
        target = tree.get("target") or {}
        node = target.get("name")
        if target.get("kind") not in (None, "", "Node"):
            raise BadRequest(f"cannot bind to a {target.get('kind')}")
        if not node:
            raise invalid(
                "Binding", "", key.name, [Problem("FieldValueRequired", "target.name", "Required value")]
            )
        uid = (tree.get("metadata") or {}).get("uid")
        for _ in range(8):
            document = registry.cache.get(key)
            if document is None:
                raise registry.not_found(key)
            if uid and uid != document.meta.uid:
                raise conflict(
                    "pods/binding",
                    key.name,
                    f"Precondition failed: UID in precondition: {uid}, UID in object meta: {document.meta.uid}",
                )
            pod = document.tree()
            bind(pod, node, format_time(registry.owner.clock.now()), "pods/binding")
            if options.dry_run:
                return _success()
            try:
                await registry._commit(
                    Put(
                        store_key(registry.prefix, key),
                        codec.encode_tree(pod, registry.resource),
                        Revision(int(document.meta.resource_version)),
                    )
                )
            except RevisionMismatch:
                continue
            return _success()
        raise conflict("pods/binding", key.name)


def _success() -> Document:
    return Document(b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}')
