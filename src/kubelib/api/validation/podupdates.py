"""What may change about a Pod that exists."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation.annotations import MIRROR, annotation_update_problems
from kubelib.api.validation.placement import toleration_problems
from kubelib.api.validation.pods import existing_pod_problems
from kubelib.api.validation.podstatuses import pod_status_problems
from kubelib.api.validation.problems import difference, forbidden, invalid
from kubelib.api.validation.resizes import resize_problems

_UPDATABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod_update_problems(new: Tree, old: Tree, subresource: str = "") -> list[Problem]:
    """Check a change to a Pod: very little of its spec may change."""
    if subresource == "status":
        return pod_status_problems(new, old)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if subresource == "ephemeralcontainers":
        if _is_mirror(old):
            return [forbidden("", "static pods do not support ephemeral containers")]
        return [*existing_pod_problems(new), *_ephemeral_problems(spec, before)]
    if subresource == "resize":
        return [*existing_pod_problems(new), *resize_problems(new, old)]
    if spec == before and new["metadata"] == old["metadata"]:
        return []
    problems = existing_pod_problems(new)
    annotation_update_problems(new, old, problems)
    if spec == before:
        return problems
    for part in ("containers", "initContainers"):
        now, then = spec.get(part) or [], before.get(part) or []
        if len(now) != len(then):
            problems.append(forbidden(f"spec.{part}", "pod updates may not add or remove containers"))
            return problems
    deadline, earlier = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if deadline is not None:
        if not 0 <= deadline <= 2147483647:
            problems.append(
                invalid("spec.activeDeadlineSeconds", deadline, "must be between 0 and 2147483647, inclusive")
            )
            return problems
        if earlier is not None and earlier < deadline:
            problems.append(
                invalid(
                    "spec.activeDeadlineSeconds", deadline, "must be less than or equal to previous value"
                )
            )
            return problems
    elif earlier is not None:
        problems.append(
            invalid(
                "spec.activeDeadlineSeconds", None, "must not update from a positive integer to nil value"
            )
        )
    _toleration_update(spec, before, problems)
    known = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for at, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate.get("name") not in known:
            problems.append(
                forbidden(
                    f"spec.schedulingGates[{at}].name",
                    f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
                )
            )
    allowed = _munged(spec, before, problems)
    if allowed != before:
        problems.append(forbidden("spec", f"{_UPDATABLE}\n{difference(before, allowed)}"))
    return problems


def _is_mirror(pod: Tree) -> bool:
    return MIRROR in (pod["metadata"].get("annotations") or ())


def _as_before(spec: Tree, before: Tree, field: str) -> None:
    spec.pop(field, None)
    if field in before:
        spec[field] = before[field]


def _munged(spec: Tree, before: Tree, problems: list[Problem]) -> Tree:
    """Return the new spec with what may change set back, to be compared with the old one."""
    allowed = dict(spec)
    for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        _as_before(allowed, before, field)
    for part in ("containers", "initContainers"):
        if part in spec:
            allowed[part] = [
                {**now, "image": then.get("image")}
                for now, then in zip(spec[part] or (), before.get(part) or (), strict=True)
            ]
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get(
        "terminationGracePeriodSeconds"
    ) == 1:
        _as_before(allowed, before, "terminationGracePeriodSeconds")
    if before.get("schedulingGates"):
        had = before.get("nodeSelector") or {}
        wants = spec.get("nodeSelector") or {}
        if any(wants.get(key) != value for key, value in had.items()):
            problems.append(
                invalid(
                    "spec.nodeSelector",
                    wants,
                    "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
                )
            )
        _as_before(allowed, before, "nodeSelector")
        affinity = dict(allowed.get("affinity") or {})
        problems += _affinity_change(
            affinity.get("nodeAffinity"), (before.get("affinity") or {}).get("nodeAffinity")
        )
        _as_before(affinity, before.get("affinity") or {}, "nodeAffinity")
        allowed.pop("affinity", None)
        if affinity or "affinity" in before:
            allowed["affinity"] = affinity
    return allowed


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _affinity_change(affinity: Any, before: Any) -> list[Problem]:
    """Check that a Pod that waits for its gates becomes no less choosy about nodes."""
    terms, had = ((one or {}).get(_REQUIRED) or {} for one in (affinity, before))
    now, then = terms.get("nodeSelectorTerms") or [], had.get("nodeSelectorTerms") or []
    path = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
    if then and len(now) != len(then):
        why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [invalid(path, now, why)]
    return [
        invalid(f"{path}[{at}]", term, "only additions are allowed (no mutations or deletions)")
        for at, (term, earlier) in enumerate(zip(now, then, strict=False))
        if not _only_adds(term, earlier)
    ]


def _only_adds(term: Tree, earlier: Tree) -> bool:
    lists = [(term.get(part) or [], earlier.get(part) or []) for part in ("matchExpressions", "matchFields")]
    if not any(then for _, then in lists):
        return not any(now for now, _ in lists)
    return all(now[: len(then)] == then for now, then in lists)


def _toleration_update(spec: Tree, before: Tree, problems: list[Problem]) -> None:
    now, then = spec.get("tolerations") or [], before.get("tolerations") or []
    if now == then:
        return
    bare = [{k: v for k, v in toleration.items() if k != "tolerationSeconds"} for toleration in now]
    for toleration in then:
        if {k: v for k, v in toleration.items() if k != "tolerationSeconds"} not in bare:
            problems.append(
                forbidden(
                    "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
                )
            )
            return
    toleration_problems(now, "spec.tolerations", problems)


def _ephemeral_problems(spec: Tree, before: Tree) -> list[Problem]:
    problems = []
    now = {container.get("name"): container for container in spec.get("ephemeralContainers") or ()}
    for container in before.get("ephemeralContainers") or ():
        name = container.get("name")
        if name not in now:
            problems.append(
                forbidden(
                    "spec.ephemeralContainers", f'existing ephemeral containers "{name}" may not be removed\n'
                )
            )
        elif now[name] != container:
            problems.append(
                forbidden(
                    "spec.ephemeralContainers",
                    f'existing ephemeral containers "{name}" may not be changed\n{difference(container, now[name])}',
                )
            )
    return problems
