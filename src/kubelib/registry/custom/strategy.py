"""What objects of custom kinds do: the status is written apart, and the scale is where the definition says."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from kubelib.api import codec
from kubelib.api.document import Document
from kubelib.api.errors import BadRequest, Conflict, InternalError, conflict
from kubelib.api.meta import Key
from kubelib.api.patch.fieldset import Fields
from kubelib.api.patch.scaled import replicas_at
from kubelib.api.scheme import Resource, Tree
from kubelib.api.structural.scales import ScalePaths
from kubelib.api.warnings import finalizer_warnings
from kubelib.registry.base import WriteOptions
from kubelib.registry.strategies.base import Strategy
from kubelib.registry.strategies.scales import admit_scale

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

TRIES = 8
_UNSET = -(2**31)
"""What a number of replicas that is not there is for those who change it, as in Kubernetes."""


class CustomStrategy(Strategy):
    """The strategy of every custom kind that a definition makes."""

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Take the status out, where it is written apart."""
        if "status" in registry.resource.subresources:
            tree.pop("status", None)
        tree["metadata"]["generation"] = 1

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Take what the endpoint writes from the new document, and the rest from the old one."""
        if subresource == "status":
            merged = {name: value for name, value in old.items() if name != "status"}
            # The version that is meant stays as the client says it.
            version = tree["metadata"].get("resourceVersion")
            merged["metadata"] = {**old["metadata"], **({"resourceVersion": version} if version else {})}
            if tree.get("status") is not None:
                merged["status"] = tree["status"]
            return merged
        return super().prepare_for_update(registry, tree, old, subresource)

    def warnings(self, resource: Resource, tree: Tree, old: Tree | None) -> Sequence[str]:
        """Return what the client is told of the finalizers that it sets."""
        return finalizer_warnings(tree, old)

    def view(self, registry: "GenericRegistry", document: Document, subresource: str) -> Document:
        """Return the scale of an object."""
        return _scale(document.tree(), _paths(registry))

    def scale_to_change(self, registry: "GenericRegistry", document: Document) -> Document:
        """Return the scale of an object. Where it has no number yet, a change has to give it one."""
        return _scale(document.tree(), _paths(registry), unset=_UNSET)

    def replicas(self, registry: "GenericRegistry") -> Fields:
        """Return where the definition says that the number is."""
        return replicas_at(_paths(registry).replicas)

    async def update_subresource(
        self, registry: "GenericRegistry", key: Key, subresource: str, tree: Tree, options: WriteOptions
    ) -> Document:
        """Set the number of replicas."""
        paths = _paths(registry)
        if (tree.get("spec") or {}).get("replicas") == _UNSET:
            raise BadRequest(f'the spec replicas field "{_shown(paths.replicas)}" cannot be empty')
        wanted = (tree.get("metadata") or {}).get("resourceVersion")
        for _ in range(TRIES):
            current = (await registry.get(key)).tree()
            if wanted and wanted != current["metadata"]["resourceVersion"]:
                raise conflict(registry.resource.group_resource, key.name)
            before = _scale(current, paths, unset=_UNSET).tree()
            await admit_scale(registry, key, tree, before, options)
            _put(current, paths.replicas, (tree.get("spec") or {}).get("replicas", 0))
            if options.applied:
                current["metadata"]["managedFields"] = (tree.get("metadata") or {}).get("managedFields")
            try:
                tracked = attrs.evolve(options, tracked_as="scale", admitted=True)
                document, _ = await registry.update(key, current, options=tracked)
            except Conflict:
                if wanted:
                    raise
                continue
            return _scale(document.tree(), paths)
        raise conflict(registry.resource.group_resource, key.name)


def _paths(registry: "GenericRegistry") -> ScalePaths:
    structure = registry.resource.structure
    assert structure is not None
    assert structure.scale is not None
    return structure.scale


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree


def _put(tree: Tree, path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        inner = tree.get(step)
        if not isinstance(inner, dict):
            inner = tree[step] = {}
        tree = inner
    tree[path[-1]] = value


def _number(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value)


def _shown(path: tuple[str, ...]) -> str:
    return "." + ".".join(path)


def _scale(tree: Tree, paths: ScalePaths, *, unset: int | None = None) -> Document:
    """Return a scale. Raises InternalError if there is no number, unless it says what stands for one that is `unset`."""
    replicas = _number(_at(tree, paths.replicas))
    if replicas is None:
        replicas = unset
    if replicas is None:
        path = _shown(paths.replicas)
        raise InternalError(f'Internal error occurred: the spec replicas field "{path}" does not exist')
    meta, selector = tree["metadata"], _at(tree, paths.selector) if paths.selector else ""
    status: Tree = {"replicas": _number(_at(tree, paths.observed)) or 0}
    if isinstance(selector, str) and selector:
        status["selector"] = selector
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    scale = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in kept if name in meta},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }
    return Document(codec.encode_json(scale))
