"""From a definition to the resources that it makes: pure."""

from typing import Any

from kubelib.api.meta import Object
from kubelib.api.scheme import Resource, Tree
from kubelib.api.structural import Structure
from kubelib.api.structural.fieldpaths import columns_of, plain_steps
from kubelib.api.structural.scales import ScalePaths, steps_of
from kubelib.api.versions import priority


def class_for(api_version: str, kind: str, documentation: str = "") -> type[Object]:
    """Return a class for objects of a kind that has none of its own: it knows their metadata."""
    body: dict[str, Any] = {
        "__module__": "kubelib.custom",
        "__doc__": documentation or f"{kind} is a custom kind.",
        "kind": kind,
        "api_version": api_version,
        "__annotations__": {},
    }
    metaclass: Any = type(Object)
    cls: type[Object] = metaclass(kind, (Object,), body)
    return cls


def storage_version(spec: Tree) -> str:
    """Return the version in which objects are stored."""
    return next((str(v["name"]) for v in spec["versions"] if v.get("storage")), "")


def resources_of(definition: Tree, classes: dict[str, type[Object]]) -> list[Resource]:
    """Return the resources that a definition makes, the preferred version first; `classes` are those of the versions."""
    spec, names = definition["spec"], (definition.get("status") or {}).get("acceptedNames") or {}
    stored, served = storage_version(spec), [v for v in spec["versions"] if v.get("served")]
    return [
        _resource(spec, names, version, stored, classes[version["name"]])
        for version in sorted(served, key=lambda v: priority(v["name"]))
    ]


def _resource(spec: Tree, names: Tree, version: Tree, stored: str, cls: type[Object]) -> Resource:
    sub = version.get("subresources") or {}
    subresources = tuple(name for name in ("status", "scale") if sub.get(name) is not None)
    selectable = {
        ".".join(plain_steps(field["jsonPath"])): "" for field in version.get("selectableFields") or ()
    }
    return Resource(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        list_kind=names.get("listKind") or f"{names['kind']}List",
        plural=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=spec["scope"] == "Namespaced",
        cls=cls,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=subresources,
        columns=columns_of(version.get("additionalPrinterColumns") or []),
        selectable=selectable,
        warning=_warning(spec, version),
        storage_version=stored,
        structure=structure_of(spec, version),
    )


def structure_of(spec: Tree, version: Tree) -> Structure:
    """Return how documents of a version are made whole and checked."""
    scale = (version.get("subresources") or {}).get("scale")
    paths = None
    if scale is not None:
        paths = ScalePaths(
            steps_of(scale["specReplicasPath"]),
            steps_of(scale["statusReplicasPath"]),
            steps_of(scale.get("labelSelectorPath") or ""),
        )
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    preserve = bool(spec.get("preserveUnknownFields")) or schema is None
    return Structure(schema or {"type": "object"}, preserve=preserve, scale=paths)


def _warning(spec: Tree, version: Tree) -> str:
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning") is not None:
        return str(version["deprecationWarning"])
    group, kind = spec["group"], spec["names"]["kind"]
    message = f"{group}/{version['name']} {kind} is deprecated"
    better = [v["name"] for v in spec["versions"] if v.get("served") and not v.get("deprecated")]
    if better:
        message += f"; use {group}/{min(better, key=priority)} {kind}"
    return message
