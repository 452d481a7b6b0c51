"""What may change about the status of a Pod."""

from collections.abc import Sequence
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.annotations import annotation_update_problems
from kubelib.api.validation.problems import duplicate, each, forbidden, immutable, invalid, not_supported

_PARTS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_HEALTH = ("Healthy", "Unhealthy", "Unknown")
_LARGEST_ID = 2**31 - 1


def pod_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to the status of a Pod."""
    problems: list[Problem] = []
    annotation_update_problems(new, old, problems)
    status, before = new.get("status") or {}, old.get("status") or {}
    spec = old.get("spec") or {}
    for at, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type") or ""
        if kind not in _SYSTEM_CONDITIONS and (messages := texts.qualified(kind)):
            problems += each(f"metadata.conditions[{at}].Type", kind, messages)
    if (new.get("spec") or {}).get("nodeName") != spec.get("nodeName"):
        problems.append(forbidden("status.nodeName", "may not be changed directly"))
    nominated = status.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        problems += each("status.nominatedNodeName", nominated, texts.subdomain(nominated))
    if before.get("qosClass"):
        problems += immutable("status.qosClass", status.get("qosClass") or "", before["qosClass"])
    anew = _may_begin_anew(spec)
    for part in _PARTS:
        policy = "Never" if part == "ephemeralContainerStatuses" else spec.get("restartPolicy")
        if policy != "Always" and before.get(part) and not (anew and part != "ephemeralContainerStatuses"):
            _transition_problems(status, before, part, policy, spec, problems)
    if status.get("resourceClaimStatuses"):
        _claim_problems(status["resourceClaimStatuses"], spec.get("resourceClaims") or (), problems)
    for part in ("podIPs", "hostIPs"):
        if status.get(part):
            _address_problems(status, part, problems)
    windows = (spec.get("os") or {}).get("name") == "windows"
    reported = [part for part in _PARTS if status.get(part)]
    for part in reported:
        for at, container in enumerate(status[part]):
            user = (container.get("user") or {}).get("linux")
            if user is not None:
                _user_problems(user, f"status.{part}[{at}].linux", problems, windows=windows)
    for part in reported:
        for at, container in enumerate(status[part]):
            if container.get("allocatedResourcesStatus"):
                named = spec.get(part.removesuffix("Statuses") + "s") or ()
                _health_problems(
                    container, part, f"status.{part}[{at}].allocatedResourcesStatus", named, problems
                )
    return problems


def _may_begin_anew(spec: Tree) -> bool:
    """Return whether one of a Pod's containers may start all of them anew."""
    return any(
        rule.get("action") == "RestartAllContainers"
        for part in ("initContainers", "containers")
        for container in spec.get(part) or ()
        for rule in container.get("restartPolicyRules") or ()
    )


def _restarts(container: Tree, exit_code: int) -> bool:
    """Return whether a container's own rules or policy let it be started again."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (exit_code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return True
    policy = container.get("restartPolicy")
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _transition_problems(
    status: Tree, before: Tree, part: str, policy: Any, spec: Tree, problems: list[Problem]
) -> None:
    named = {c.get("name"): c for c in spec.get(part.removesuffix("Statuses") + "s") or ()}
    now = {container.get("name"): container for container in status.get(part) or ()}
    for at, earlier in enumerate(before[part]):
        ended = (earlier.get("state") or {}).get("terminated")
        if ended is None or (ended.get("exitCode") and policy == "OnFailure"):
            continue
        if _restarts(named.get(earlier.get("name"), {}), ended.get("exitCode") or 0):
            continue
        later = now.get(earlier.get("name"))
        if later is not None and (later.get("state") or {}).get("terminated") is None:
            problems.append(
                forbidden(f"status.{part}[{at}].state", "may not be transitioned to non-terminated state")
            )


def _claim_problems(statuses: Sequence[Tree], claims: Sequence[Tree], problems: list[Problem]) -> None:
    known, seen = {claim.get("name") for claim in claims}, set()
    for at, status in enumerate(statuses):
        path, name = f"status.resourceClaimStatuses[{at}].name", status.get("name") or ""
        if name not in known:
            problems.append(invalid(path, name, "must match the name of an entry in `spec.resourceClaims`"))
        if name in seen:
            problems.append(duplicate(path, name))
        seen.add(name)
        claim = status.get("resourceClaimName")
        if claim is not None:
            problems += each(path, claim, texts.subdomain(claim))


def _address_problems(status: Tree, part: str, problems: list[Problem]) -> None:
    path, entries = f"status.{part}", status[part]
    addresses = [entry.get("ip") or "" for entry in entries]
    if part == "hostIPs" and status.get("hostIP") != addresses[0]:
        problems.append(invalid(f"{path}[0].ip", addresses[0], "must be equal to `hostIP`"))
    for at, address in enumerate(addresses):
        problems += each(f"{path}[{at}]", address, texts.ip_address(address))
    repeated = [
        duplicate(f"{path}[{at}]", entries[at])
        for at in range(len(addresses))
        if addresses[at] in addresses[:at]
    ]
    families = [":" in address for address in addresses]
    mixed = len(families) > 2 or (len(families) == 2 and families[0] == families[1])
    why = "may specify no more than one IP for each IP family"
    too_many = [invalid(path, list(entries), why)] if mixed else []
    problems += repeated + too_many if part == "hostIPs" else too_many + repeated


def _user_problems(user: Tree, path: str, problems: list[Problem], *, windows: bool) -> None:
    if windows:
        problems.append(forbidden(path, "cannot be set for a windows pod"))
        return
    numbers = [(field, user.get(field) or 0) for field in ("uid", "gid")]
    numbers += [
        (f"supplementalGroups[{at}]", group) for at, group in enumerate(user.get("supplementalGroups") or ())
    ]
    problems += [
        invalid(f"{path}.{field}", number, f"must be between 0 and {_LARGEST_ID}, inclusive")
        for field, number in numbers
        if not 0 <= number <= _LARGEST_ID
    ]


def _health_problems(
    status: Tree, part: str, path: str, containers: Sequence[Tree], problems: list[Problem]
) -> None:
    if part == "ephemeralContainerStatuses":
        problems.append(forbidden(path, "must not be specified in container status"))
        return
    container = next((one for one in containers if one.get("name") == status.get("name")), None)
    for at, allocated in enumerate(status["allocatedResourcesStatus"]):
        here, name = f"{path}[{at}]", allocated.get("name") or ""
        if container is not None and (why := _why_not_asked(name, container.get("resources") or {})):
            problems.append(invalid(f"{here}.name", name, why))
        seen: set[str] = set()
        for number, resource in enumerate(allocated.get("resources") or ()):
            health, uid = resource.get("health") or "", resource.get("resourceID") or ""
            if health not in _HEALTH:
                problems.append(not_supported(f"{here}.resources[{number}].health", health, _HEALTH))
            if uid in seen:
                problems.append(duplicate(f"{here}.resources[{number}].resourceID", uid))
            seen.add(uid)


def _why_not_asked(name: str, resources: Tree) -> str:
    if not name.startswith("claim:"):
        asked = name in (resources.get("requests") or ())
        return "" if asked else "must match one of the container's resource requests"
    claims = [
        f"claim:{claim.get('name')}" + (f"/{claim['request']}" if claim.get("request") else "")
        for claim in resources.get("claims") or ()
    ]
    if name in claims:
        return ""
    return (
        "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>'"
        " if request is empty"
    )
