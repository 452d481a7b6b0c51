"""How a Pod may be resized while it runs, by its subresource ``resize``: processors and memory change, and nothing else."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.podresources import qos_class
from kubelib.api.scheme import Tree
from kubelib.api.validation.problems import forbidden, invalid

_MIRROR = "kubernetes.io/config.mirror"
_MUTABLE = ("cpu", "memory")
_ONLY = "only cpu and memory resources are mutable"


def resize_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a resize of a Pod."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if _MIRROR in (old["metadata"].get("annotations") or {}):
        return [forbidden("", "static pods cannot be resized")]
    if (before.get("os") or {}).get("name") == "windows":
        return [forbidden("", "windows pods cannot be resized")]
    problems: list[Problem] = []
    quality = qos_class(spec)
    if quality != ((old.get("status") or {}).get("qosClass") or qos_class(before)):
        problems.append(invalid("spec", quality, "Pod QOS Class may not change as a result of resizing"))
    if not _node_resizes(old):
        problems.append(forbidden("spec", "Pod running on node without support for resize"))
    problems += _whole_problems(spec.get("resources"), before.get("resources"))
    if moved := [*_moved(spec, before, "containers"), *_moved(spec, before, "initContainers")]:
        return [*problems, *moved]
    for part in ("initContainers", "containers"):
        for at, (now, then) in enumerate(_pairs(spec, before, part)):
            path, resources, had = f"spec.{part}[{at}].resources", now.get("resources"), then.get("resources")
            for kind in ("requests", "limits"):
                if _removed(resources, had, kind):
                    problems.append(forbidden(f"{path}.{kind}", f"resource {kind} cannot be removed"))
    for now, then in _pairs(spec, before, "containers"):
        if _with_old_amounts(now, then) != _full(then):
            problems.append(forbidden("spec", _ONLY))
    for at, (now, then) in enumerate(_pairs(spec, before, "initContainers")):
        _init_problems(now, then, f"spec.initContainers[{at}]", problems)
    return problems


def _init_problems(now: Tree, then: Tree, path: str, problems: list[Problem]) -> None:
    if _with_old_amounts(now, then) != _full(then):
        detail = "only cpu and memory resources for init or sidecar containers are mutable"
        problems.append(forbidden(path, detail))
    policies = [policy.get("restartPolicy") for policy in then.get("resizePolicy") or ()]
    if _full(now) != _full(then) and then.get("restartPolicy") != "Always" and "RestartContainer" in policies:
        problems.append(
            forbidden(
                path,
                "non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
            )
        )


def _node_resizes(pod: Tree) -> bool:
    """Return whether a Pod's node tells what containers have: one that cannot resize does not."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    first = next((status for status in statuses if "running" in (status.get("state") or ())), None)
    return first is None or first.get("resources") is not None


def _whole_problems(now: Tree | None, then: Tree | None) -> list[Problem]:
    """Check what is asked for the Pod as a whole."""
    if then and now is None:
        return [forbidden("spec.resources", "pod-level resources cannot be removed")]
    problems = [
        forbidden(f"spec.resources.{kind}", f"pod-level resource {kind} cannot be removed")
        for kind in ("requests", "limits")
        if _removed(now, then, kind)
    ]
    if _full(_old_amounts(now, then)) != _full(then or {}):
        problems.append(forbidden("spec", "only cpu and memory resources are mutable at pod-level"))
    return problems


def _moved(spec: Tree, before: Tree, part: str) -> list[Problem]:
    now, then = spec.get(part) or [], before.get(part) or []
    if len(now) != len(then):
        return [forbidden(f"spec.{part}", f"{part} may not be added or removed on resize")]
    return [
        forbidden(f"spec.{part}[{at}].name", f"{part} may not be renamed or reordered on resize")
        for at, (a, b) in enumerate(zip(now, then, strict=True))
        if a.get("name") != b.get("name")
    ]


def _pairs(spec: Tree, before: Tree, part: str) -> "zip[tuple[Tree, Tree]]":
    return zip(spec.get(part) or (), before.get(part) or (), strict=True)


def _removed(now: Tree | None, then: Tree | None, kind: str) -> bool:
    return bool(((then or {}).get(kind) or {}).keys() - ((now or {}).get(kind) or {}).keys())


def _old_amounts(now: Tree | None, then: Tree | None) -> Tree:
    """Return resources with the amounts that may change as they were."""
    found = dict(now or {})
    for kind in ("requests", "limits"):
        had = (then or {}).get(kind) or {}
        kept = {name: amount for name, amount in (found.get(kind) or {}).items() if name not in _MUTABLE}
        found[kind] = kept | {name: had[name] for name in _MUTABLE if name in had}
    return found


def _with_old_amounts(now: Tree, then: Tree) -> Tree:
    return _full({**now, "resources": _old_amounts(now.get("resources"), then.get("resources"))})


def _full(tree: Tree) -> Tree:
    """Return a tree without what is empty: that is the same as what is not there."""
    found: dict[str, Any] = {
        name: _full(value) if isinstance(value, dict) else value for name, value in tree.items()
    }
    return {name: value for name, value in found.items() if value not in (None, {}, [], "")}
