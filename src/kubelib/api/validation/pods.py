"""Rules of Pods and Pod templates."""

from typing import Any

from kubelib.api.alike import Known, comparable
from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.annotations import annotation_value_problems, profile_problems
from kubelib.api.validation.containers import containers_problems
from kubelib.api.validation.meta import annotation_problems, label_problems
from kubelib.api.validation.operatingsystems import host_process_problems, operating_system_problems
from kubelib.api.validation.placement import affinity_problems, spread_problems, toleration_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    invalid,
    not_supported,
    one_of,
    required,
)
from kubelib.api.validation.resources import pod_requirement_problems, requirement_problems
from kubelib.api.validation.security import pod_security_problems
from kubelib.api.validation.volumes import claimed_volume_problems, volume_problems

_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")


def pod_problems(tree: Tree) -> list[Problem]:
    """Check a new Pod."""
    problems = existing_pod_problems(tree)
    spec = tree.get("spec") or {}
    if spec.get("ephemeralContainers"):
        problems.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("schedulingGates") and spec.get("nodeName"):
        problems.append(
            forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")
        )
    annotations = tree["metadata"].get("annotations")
    if annotations:
        profile_problems(annotations, spec, "spec", problems)
    return problems


def existing_pod_problems(tree: Tree) -> list[Problem]:
    """Check what is true of Pods at any time."""
    problems: list[Problem] = []
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        spec = {}
    annotations = tree["metadata"].get("annotations")
    if annotations:
        annotation_value_problems(annotations, spec, "metadata.annotations", problems)
    pod_spec_problems(spec, "spec", problems, strict=True)
    volumes = spec.get("volumes") or ()
    for volume in volumes:
        if "ephemeral" in volume and (name := tree["metadata"].get("name")):
            problems += claimed_volume_problems(volumes, name, "spec.volumes")
            break
    if not spec.get("serviceAccountName"):
        for at, volume in enumerate(volumes):
            for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
                if source.get("serviceAccountToken") is not None:
                    problems.append(
                        forbidden(
                            f"spec.volumes[{at}].projected.sources[{number}].serviceAccountToken",
                            "must not be specified when serviceAccountName is not set",
                        )
                    )
    return problems


def template_problems(template: Any, path: str, problems: list[Problem], *, always_in: str = "") -> None:
    """Check the Pod template of a workload; `always_in` names a kind whose Pods run for ever."""
    if not isinstance(template, dict):
        problems.append(required(path))
        return
    meta = template.get("metadata") or {}
    if meta.get("labels"):
        problems += label_problems(meta["labels"], f"{path}.labels")
    if meta.get("annotations"):
        problems += annotation_problems(meta["annotations"], f"{path}.annotations")
    spec = template.get("spec")
    if not isinstance(spec, dict):
        spec = {}
    if meta.get("annotations"):
        annotation_value_problems(meta["annotations"], spec, f"{path}.annotations", problems)
    pod_spec_problems(spec, f"{path}.spec", problems)
    if meta.get("annotations"):
        profile_problems(meta["annotations"], spec, f"{path}.spec", problems)
    if spec.get("ephemeralContainers"):
        problems.append(
            forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")
        )
    if always_in:
        if spec.get("restartPolicy") != "Always":
            problems.append(
                not_supported(f"{path}.spec.restartPolicy", spec.get("restartPolicy") or "", ("Always",))
            )
        if spec.get("activeDeadlineSeconds") is not None:
            problems.append(
                forbidden(
                    f"{path}.spec.activeDeadlineSeconds",
                    f"activeDeadlineSeconds in {always_in} is not Supported",
                )
            )


_sound: Known[bool] = Known()


def pod_spec_problems(spec: Tree, path: str, problems: list[Problem], *, strict: bool = False) -> None:
    """Check a Pod's spec; `strict` for Pods, not for templates of them. One that was found sound is not looked at again."""
    key = comparable(spec)
    if _sound.get(key, strict):
        return
    before = len(problems)
    _pod_spec_problems(spec, path, problems, strict=strict)
    if len(problems) == before:
        _sound.note(key, True, strict)


def _pod_spec_problems(spec: Tree, path: str, problems: list[Problem], *, strict: bool) -> None:
    if spec.get("terminationGracePeriodSeconds") is None:
        problems.append(required(f"{path}.terminationGracePeriodSeconds"))
    volumes = volume_problems(spec["volumes"], f"{path}.volumes", problems) if spec.get("volumes") else {}
    if spec.get("resourceClaims"):
        _claim_problems(spec["resourceClaims"], f"{path}.resourceClaims", problems)
    containers_problems(spec, path, volumes, problems, strict=strict)
    if spec.get("resources"):
        pod_requirement_problems(spec, f"{path}.resources", problems)
    if spec.get("hostNetwork"):
        _host_network_problems(spec, path, problems, strict=strict)
    if spec.get("restartPolicy") not in _RESTART_POLICIES:
        problems += one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), _RESTART_POLICIES)
    if spec.get("dnsPolicy") not in _DNS_POLICIES:
        problems += one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS_POLICIES)
    if spec.get("nodeSelector"):
        problems += label_problems(spec["nodeSelector"], f"{path}.nodeSelector")
    pod_security_problems(spec.get("securityContext"), spec, path, problems)
    if spec.get("affinity"):
        affinity_problems(spec["affinity"], f"{path}.affinity", problems)
    if spec.get("dnsConfig") is not None or spec.get("dnsPolicy") == "None":
        _dns_problems(spec, f"{path}.dnsConfig", problems)
    for at, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType") or ""
        problems += each(f"{path}.readinessGates[{at}].conditionType", kind, texts.qualified(kind))
    if spec.get("schedulingGates"):
        _gate_problems(spec["schedulingGates"], f"{path}.schedulingGates", problems)
    if spec.get("schedulingGroup") is not None:
        group = spec["schedulingGroup"].get("podGroupName")
        where = f"{path}.schedulingGroup.podGroupName"
        problems += each(where, group, texts.subdomain(group)) if group else [required(where)]
    if spec.get("topologySpreadConstraints"):
        spread_problems(spec["topologySpreadConstraints"], f"{path}.topologySpreadConstraints", problems)
    host_process_problems(spec, path, problems)
    if spec.get("hostUsers") is False:
        for field, named in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
            if spec.get(field):
                problems.append(forbidden(f"{path}.{named}", "when `pod.Spec.HostUsers` is false"))
    for field in ("serviceAccountName", "nodeName"):
        value = spec.get(field)
        if value and (messages := texts.subdomain(value)):
            problems += each(f"{path}.{field}", value, messages)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2147483647:
        problems.append(
            invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
        )
    for field in ("hostname", "subdomain"):
        value = spec.get(field)
        if value and (messages := texts.label(value)):
            problems += each(f"{path}.{field}", value, messages)
    if spec.get("hostnameOverride"):
        _override_problems(spec, spec["hostnameOverride"], path, problems)
    if spec.get("tolerations"):
        toleration_problems(spec["tolerations"], f"{path}.tolerations", problems)
    for at, alias in enumerate(spec.get("hostAliases") or ()):
        address = alias.get("ip") or ""
        problems += each(f"{path}.hostAliases[{at}].ip", address, texts.ip_address(address))
        for number, name in enumerate(alias.get("hostnames") or ()):
            problems += each(f"{path}.hostAliases[{at}].hostnames[{number}]", name, texts.subdomain(name))
    for field in ("priorityClassName", "runtimeClassName"):
        value = spec.get(field)
        if value and (messages := texts.subdomain(value)):
            problems += each(f"{path}.{field}", value, messages)
    if spec.get("preemptionPolicy") is not None:
        problems += one_of(
            f"{path}.preemptionPolicy", spec["preemptionPolicy"], ("PreemptLowerPriority", "Never")
        )
    if spec.get("overhead"):
        requirement_problems({"limits": spec["overhead"]}, f"{path}.overhead", [], problems)
    if spec.get("os") is not None:
        operating_system_problems(spec, path, problems)


_LONGEST_NAME = 64


def _override_problems(spec: Tree, name: str, path: str, problems: list[Problem]) -> None:
    """Check a name that goes before all others."""
    here = f"{path}.hostnameOverride"
    problems += each(here, name, texts.subdomain(name))
    if len(name) > _LONGEST_NAME:
        problems.append(invalid(here, name, f"must be no more than {_LONGEST_NAME} characters"))
    for field in ("hostNetwork", "setHostnameAsFQDN"):
        if spec.get(field):
            problems.append(forbidden(here, f"may not be set when {field} is true"))


def _claim_problems(claims: list[Tree], path: str, problems: list[Problem]) -> None:
    names: set[str] = set()
    for at, claim in enumerate(claims):
        here, name = f"{path}[{at}]", claim.get("name") or ""
        if not name:
            problems.append(required(f"{here}.name"))
        elif name in names:
            problems.append(duplicate(f"{here}.name", name))
        else:
            problems += each(f"{here}.name", name, texts.label(name))
        names.add(name)
        given = [
            field
            for field in ("resourceClaimName", "resourceClaimTemplateName")
            if claim.get(field) is not None
        ]
        if len(given) > 1:
            problems.append(
                invalid(
                    here,
                    claim,
                    "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
                )
            )
        elif not given:
            problems.append(
                invalid(here, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
            )
        for field in given:
            problems += each(f"{here}.{field}", claim[field], texts.subdomain(claim[field]))


def _host_network_problems(spec: Tree, path: str, problems: list[Problem], *, strict: bool) -> None:
    for at, container in enumerate(spec.get("containers") or ()):
        for number, port in enumerate(container.get("ports") or ()):
            host = port.get("hostPort") or 0
            if (strict or host) and host != port.get("containerPort"):
                problems.append(
                    invalid(
                        f"{path}.containers[{at}].ports[{number}].hostPort",
                        host,
                        "must match `containerPort` when `hostNetwork` is true",
                    )
                )


def _dns_problems(spec: Tree, path: str, problems: list[Problem]) -> None:
    config = spec.get("dnsConfig") or {}
    if spec.get("dnsPolicy") == "None":
        if spec.get("dnsConfig") is None:
            problems.append(required(path, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not config.get("nameservers"):
            problems.append(
                required(
                    f"{path}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
                )
            )
            return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > 3:
        problems.append(invalid(f"{path}.nameservers", servers, "must not have more than 3 nameservers"))
    for at, server in enumerate(servers):
        problems += each(f"{path}.nameservers[{at}]", server, texts.ip_address(server))
    if len(searches) > 32:
        problems.append(invalid(f"{path}.searches", searches, "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        problems.append(
            invalid(
                f"{path}.searches",
                searches,
                "must not have more than 2048 characters (including spaces) in the search list",
            )
        )
    for at, search in enumerate(searches):
        problems += each(f"{path}.searches[{at}]", search, texts.search_domain(search))
    for at, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            problems.append(required(f"{path}.options[{at}]", "must not be empty"))


def _gate_problems(gates: list[Tree], path: str, problems: list[Problem]) -> None:
    seen: set[str] = set()
    for at, gate in enumerate(gates):
        name = gate.get("name") or ""
        problems += each(f"{path}[{at}]", name, texts.qualified(name))
        if name in seen:
            problems.append(duplicate(f"{path}[{at}]", name))
        seen.add(name)
