"""Pods: quality of service, grace periods, binding."""

from typing import TYPE_CHECKING, Any

from kubelib.api import codec
from kubelib.api.document import Document, Written
from kubelib.api.errors import BadRequest, Problem, invalid
from kubelib.api.meta import Key
from kubelib.api.podresources import qos_class
from kubelib.api.scheme import Tree
from kubelib.registry.base import WriteOptions
from kubelib.registry.binding import land
from kubelib.registry.strategies.base import Strategy
from kubelib.registry.strategies.eviction import evict
from kubelib.transactions.base import Claim, Transaction

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry


_PARTS = {
    "resize": ("containers", "initContainers", "resources"),
    "ephemeralcontainers": ("ephemeralContainers",),
}
"""What of a Pod's spec is changed by which subresource."""


class PodStrategy(Strategy):
    """What is special about Pods."""

    graceful = True

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Begin as Pending."""
        tree["metadata"]["generation"] = 1
        spec = tree.get("spec")
        status: dict[str, Any] = {"phase": "Pending"}
        if isinstance(spec, dict):
            status["qosClass"] = qos_class(spec)
            _narrow(spec, tree["metadata"].get("labels") or {})
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

    def complete(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Encode the spec, once for all who look at it from here on: those who judge it, and the store."""
        spec = tree.get("spec")
        if isinstance(spec, dict):
            tree["spec"] = Written(spec, codec.encode_json(spec))

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Keep the node that was chosen, and the quality of service."""
        tree = super().prepare_for_update(registry, tree, old, subresource)
        if subresource in ("resize", "ephemeralcontainers"):
            spec = dict(old["spec"])
            if subresource == "ephemeralcontainers":
                spec.pop("ephemeralContainers", None)  # who names none takes them away, which is then refused
            spec |= {part: tree["spec"][part] for part in _PARTS[subresource] if part in tree["spec"]}
            if subresource == "resize":
                spec |= {part: _resized(spec, old["spec"], part) for part in _CONTAINERS if spec.get(part)}
            return {**old, "spec": spec}
        if subresource == "status":
            quality = (old.get("status") or {}).get("qosClass")
            if isinstance(tree.get("status"), dict):
                if quality:
                    tree["status"].setdefault("qosClass", quality)
                _keep_generations(tree["status"], old.get("status") or {})
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
            await evict(registry, key, tree, options)
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
        await registry.admit("create", key, tree, None, options, "binding")
        meta = tree.get("metadata") or {}
        transaction = Transaction(claims=(Claim(key, meta.get("uid") or "", node),))
        brought = {key: meta} if meta.get("labels") or meta.get("annotations") else {}
        result = await land(
            registry, transaction, resource="pods/binding", dry_run=options.dry_run, brought=brought
        )
        (outcome,) = result.outcomes
        if outcome.error is not None:
            raise outcome.error
        return _success()


_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


def _narrow(spec: Tree, labels: Tree) -> None:
    """Let the terms of a new Pod's affinities select those that are like it, or unlike it, in the labels that they name."""
    for kind in ("podAffinity", "podAntiAffinity"):
        affinity = (spec.get("affinity") or {}).get(kind) or {}
        terms = [*(affinity.get(_REQUIRED) or ())]
        terms += [weighted.get("podAffinityTerm") or {} for weighted in affinity.get(_PREFERRED) or ()]
        for term in terms:
            added = [
                {"key": key, "operator": operator, "values": [labels[key]]}
                for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
                for key in term.get(field) or ()
                if key in labels
            ]
            selector = term.get("labelSelector")
            if added and selector is not None:
                selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), *added]


def _resized(spec: Tree, before: Tree, part: str) -> list[Tree]:
    """Return the old containers with what they are to have now.

    Where containers came, went or changed places, the new ones are returned: validation says that they must not.
    """
    now, then = spec.get(part) or [], before.get(part) or []
    if [container.get("name") for container in now] != [container.get("name") for container in then]:
        return list(now)
    kept = [{k: v for k, v in container.items() if k not in _RESIZED} for container in then]
    return [
        {**container, **{field: new[field] for field in _RESIZED if field in new}}
        for container, new in zip(kept, now, strict=True)
    ]


_CONTAINERS, _RESIZED = ("containers", "initContainers"), ("resources", "resizePolicy")


def _success() -> Document:
    return Document(b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}')


def _keep_generations(status: Tree, old: Tree) -> None:
    """Keep the generations that a status and its conditions are of where their writer does not say: kubelets of old do not."""
    known: dict[Any, list[int]] = {}
    for condition in old.get("conditions") or ():
        known.setdefault(condition.get("type"), []).append(condition.get("observedGeneration") or 0)
    parts = [(status, old.get("observedGeneration") or 0)]
    for condition in status.get("conditions") or ():
        before = known.get(condition.get("type"))
        parts.append((condition, before.pop(0) if before else 0))
    for part, generation in parts:
        if generation and not part.get("observedGeneration"):
            part["observedGeneration"] = generation
