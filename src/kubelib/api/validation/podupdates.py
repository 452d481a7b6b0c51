"""What may change about a Pod that exists."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.placement import toleration_problems
from kubelib.api.validation.pods import existing_pod_problems
from kubelib.api.validation.problems import duplicate, each, forbidden, immutable, invalid, required, show
from kubelib.api.validation.resizes import resize_problems

_UPDATABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def difference(old: Any, new: Any) -> str:
    """Return what differs between two objects, one line for each field that was and one for each that would be."""
    lines = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            lines.append(f"  {name}:")
            lines += [f"  {line}" for line in difference(before, after).splitlines()]
            continue
        if before is not None:
            lines.append(f"- {name}: {show(before)}")
        if after is not None:
            lines.append(f"+ {name}: {show(after)}")
    return "\n".join(lines) + "\n"


def pod_update_problems(new: Tree, old: Tree, subresource: str = "") -> list[Problem]:
    """Check a change to a Pod: very little of its spec may change."""
    if subresource == "status":
        return _status_problems(new, old)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if subresource == "ephemeralcontainers":
        return [*existing_pod_problems(new), *_ephemeral_problems(spec, before)]
    if subresource == "resize":
        return [*existing_pod_problems(new), *resize_problems(new, old)]
    if spec == before:
        return existing_pod_problems(new) if new["metadata"] != old["metadata"] else []
    problems = existing_pod_problems(new)
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
        _as_before(affinity, before.get("affinity") or {}, "nodeAffinity")
        allowed.pop("affinity", None)
        if affinity or "affinity" in before:
            allowed["affinity"] = affinity
    return allowed


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


def _status_problems(new: Tree, old: Tree) -> list[Problem]:
    problems: list[Problem] = []
    status, before = new.get("status") or {}, old.get("status") or {}
    spec = old.get("spec") or {}
    for at, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type") or ""
        problems += each(f"metadata.conditions[{at}].Type", kind, texts.qualified(kind))
    if (new.get("spec") or {}).get("nodeName") != spec.get("nodeName"):
        problems.append(forbidden("status.nodeName", "may not be changed directly"))
    nominated = status.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        problems += each("status.nominatedNodeName", nominated, texts.subdomain(nominated))
    if before.get("qosClass"):
        problems += immutable("status.qosClass", status.get("qosClass") or "", before["qosClass"])
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    for part, policy in (
        ("containerStatuses", spec.get("restartPolicy")),
        ("initContainerStatuses", spec.get("restartPolicy")),
        ("ephemeralContainerStatuses", "Never"),
    ):
        if policy != "Always" and before.get(part):
            _transition_problems(status, before, part, policy, sidecars, problems)
    for part in ("podIPs", "hostIPs"):
        _address_problems(status.get(part) or (), f"status.{part}", problems)
    hosts = status.get("hostIPs")
    if hosts and status.get("hostIP") != hosts[0].get("ip"):
        problems.append(invalid("status.hostIPs[0].ip", hosts[0].get("ip"), "must be equal to `hostIP`"))
    return problems


def _transition_problems(
    status: Tree, before: Tree, part: str, policy: Any, sidecars: set[Any], problems: list[Problem]
) -> None:
    now = {container.get("name"): container for container in status.get(part) or ()}
    for at, earlier in enumerate(before[part]):
        ended = (earlier.get("state") or {}).get("terminated")
        if ended is None or (ended.get("exitCode") and policy == "OnFailure"):
            continue
        if part == "initContainerStatuses" and earlier.get("name") in sidecars:
            continue
        later = now.get(earlier.get("name"))
        if later is not None and (later.get("state") or {}).get("terminated") is None:
            problems.append(
                forbidden(f"status.{part}[{at}].state", "may not be transitioned to non-terminated state")
            )


def _address_problems(addresses: Any, path: str, problems: list[Problem]) -> None:
    seen: set[str] = set()
    families = []
    for at, entry in enumerate(addresses):
        address = entry.get("ip") or ""
        if not address:
            problems.append(required(f"{path}[{at}].ip"))
            continue
        problems += each(f"{path}[{at}]", address, texts.ip_address(address))
        if address in seen:
            problems.append(duplicate(f"{path}[{at}]", entry))
        seen.add(address)
        families.append(":" in address)
    if len(families) > 1 and (len(families) > 2 or families[0] == families[1]):
        problems.append(invalid(path, list(addresses), "may specify no more than one IP for each IP family"))
