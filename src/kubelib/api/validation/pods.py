"""Rules of Pods and Pod templates."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.quantity import QuantityError, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation.meta import annotation_problems, label_problems
from kubelib.api.validation.problems import (
    duplicate,
    forbidden,
    invalid,
    non_negative,
    not_found,
    not_supported,
    port_number,
    required,
)
from kubelib.labels.validation import is_dns1123_label, is_dns1123_subdomain, is_qualified_name

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def pod_spec_problems(spec: Any, path: str) -> list[Problem]:
    """Check a Pod's spec."""
    if not isinstance(spec, dict):
        return [required(f"{path}.containers")]
    problems: list[Problem] = []
    volumes = _volume_problems(spec.get("volumes") or (), f"{path}.volumes", problems)
    containers = spec.get("containers")
    if not containers:
        problems.append(required(f"{path}.containers"))
    names: set[str] = set()
    host_ports: set[tuple[Any, ...]] = set()
    for part in ("initContainers", "containers"):
        for at, container in enumerate(spec.get(part) or ()):
            _container_problems(
                container, f"{path}.{part}[{at}]", volumes, names, problems, init=part[0] == "i"
            )
            if part == "containers":
                for port_at, port in enumerate(container.get("ports") or ()):
                    if number := port.get("hostPort"):
                        claim = (number, port.get("protocol"), port.get("hostIP") or "")
                        if claim in host_ports:
                            problems.append(
                                duplicate(
                                    f"{path}.{part}[{at}].ports[{port_at}].hostPort",
                                    f"{claim[1]}/{claim[2]}/{number}",
                                )
                            )
                        host_ports.add(claim)
    policy = spec.get("restartPolicy")
    if policy not in _RESTART_POLICIES:
        problems.append(not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES))
    if spec.get("dnsPolicy") not in _DNS_POLICIES:
        problems.append(not_supported(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS_POLICIES))
    problems += non_negative(
        f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds")
    )
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2147483647:
        problems.append(
            invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
        )
    problems += label_problems(spec.get("nodeSelector"), f"{path}.nodeSelector")
    for field in ("serviceAccountName", "nodeName"):
        if value := spec.get(field):
            problems += [invalid(f"{path}.{field}", value, m) for m in is_dns1123_subdomain(value)]
    for field in ("hostname", "subdomain"):
        if value := spec.get(field):
            problems += [invalid(f"{path}.{field}", value, m) for m in is_dns1123_label(value)]
    for at, toleration in enumerate(spec.get("tolerations") or ()):
        _toleration_problems(toleration, f"{path}.tolerations[{at}]", problems)
    seen_gates: set[str] = set()
    for at, gate in enumerate(spec.get("schedulingGates") or ()):
        name = gate.get("name") or ""
        problems += [invalid(f"{path}.schedulingGates[{at}]", name, m) for m in is_qualified_name(name)]
        if name in seen_gates:
            problems.append(duplicate(f"{path}.schedulingGates[{at}]", name))
        seen_gates.add(name)
    return problems


def _volume_problems(volumes: Any, path: str, problems: list[Problem]) -> set[str]:
    names: set[str] = set()
    for at, volume in enumerate(volumes):
        name = volume.get("name") or ""
        here = f"{path}[{at}]"
        if not name:
            problems.append(required(f"{here}.name"))
        else:
            problems += [invalid(f"{here}.name", name, m) for m in is_dns1123_label(name)]
            if name in names:
                problems.append(duplicate(f"{here}.name", name))
        names.add(name)
        sources = [source for source in volume if source != "name"]
        for source in sources[1:]:
            problems.append(forbidden(f"{here}.{source}", "may not specify more than 1 volume type"))
        first = volume.get(sources[0]) if sources else None
        if isinstance(first, dict):
            if sources[0] == "hostPath" and not first.get("path"):
                problems.append(required(f"{here}.hostPath.path"))
            if sources[0] == "secret" and not first.get("secretName"):
                problems.append(required(f"{here}.secret.secretName"))
            if sources[0] == "configMap" and not first.get("name"):
                problems.append(required(f"{here}.configMap.name"))
            if sources[0] == "persistentVolumeClaim" and not first.get("claimName"):
                problems.append(required(f"{here}.persistentVolumeClaim.claimName"))
    return names


def _container_problems(
    container: Tree, path: str, volumes: set[str], names: set[str], problems: list[Problem], *, init: bool
) -> None:
    name = container.get("name") or ""
    if not name:
        problems.append(required(f"{path}.name"))
    else:
        problems += [invalid(f"{path}.name", name, m) for m in is_dns1123_label(name)]
        if name in names:
            problems.append(duplicate(f"{path}.name", name))
    names.add(name)
    image = container.get("image") or ""
    if not image:
        problems.append(required(f"{path}.image"))
    elif image != image.strip():
        problems.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    if container.get("imagePullPolicy") not in _PULL_POLICIES:
        problems.append(
            not_supported(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), _PULL_POLICIES)
        )
    port_names: set[str] = set()
    for at, port in enumerate(container.get("ports") or ()):
        here = f"{path}.ports[{at}]"
        if not port.get("containerPort"):
            problems.append(required(f"{here}.containerPort"))
        else:
            problems += port_number(f"{here}.containerPort", port["containerPort"])
        if port.get("hostPort"):
            problems += port_number(f"{here}.hostPort", port["hostPort"])
        if port.get("protocol") not in _PROTOCOLS:
            problems.append(not_supported(f"{here}.protocol", port.get("protocol"), _PROTOCOLS))
        if port_name := port.get("name"):
            problems += [invalid(f"{here}.name", port_name, m) for m in is_port_name(port_name)]
            if port_name in port_names:
                problems.append(duplicate(f"{here}.name", port_name))
            port_names.add(port_name)
    for at, variable in enumerate(container.get("env") or ()):
        here = f"{path}.env[{at}]"
        if not variable.get("name"):
            problems.append(required(f"{here}.name"))
        elif "=" in variable["name"]:
            problems.append(
                invalid(
                    f"{here}.name", variable["name"], "a valid environment variable name must not contain '='"
                )
            )
        source = variable.get("valueFrom")
        if isinstance(source, dict):
            if variable.get("value"):
                problems.append(
                    invalid(f"{here}.valueFrom", "", "may not be specified when `value` is not empty")
                )
            if not source:
                problems.append(
                    invalid(
                        f"{here}.valueFrom",
                        "",
                        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
                    )
                )
    mounted: set[str] = set()
    for at, mount in enumerate(container.get("volumeMounts") or ()):
        here = f"{path}.volumeMounts[{at}]"
        if not mount.get("name"):
            problems.append(required(f"{here}.name"))
        elif mount["name"] not in volumes:
            problems.append(not_found(f"{here}.name", mount["name"]))
        target = mount.get("mountPath")
        if not target:
            problems.append(required(f"{here}.mountPath"))
        elif target in mounted:
            problems.append(invalid(f"{here}.mountPath", target, "must be unique"))
        mounted.add(target)
    for probe_name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(probe_name)
        if probe is None:
            continue
        here = f"{path}.{probe_name}"
        if init and container.get("restartPolicy") != "Always":
            problems.append(
                forbidden(here, "may not be set for init containers without restartPolicy=Always")
            )
        _handler_problems(probe, here, problems)
        for field in (
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ):
            problems += non_negative(f"{here}.{field}", probe.get(field))
        if probe_name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            problems.append(invalid(f"{here}.successThreshold", probe.get("successThreshold"), "must be 1"))
    for hook in ("postStart", "preStop"):
        if (
            isinstance(handler := (container.get("lifecycle") or {}).get(hook), dict)
            and "sleep" not in handler
        ):
            _handler_problems(handler, f"{path}.lifecycle.{hook}", problems)
    if resources := container.get("resources"):
        resource_problems(resources, f"{path}.resources", problems)


def is_port_name(name: str) -> list[str]:
    """Check the name of a port (an IANA service name)."""
    problems = [] if len(name) <= 15 else ["must be no more than 15 characters"]
    if not all(c.islower() or c.isdigit() or c == "-" for c in name) or not name.isascii():
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any(c.isalpha() for c in name):
        problems.append("must contain at least one letter (a-z)")
    if "--" in name:
        problems.append("must not contain consecutive hyphens")
    if name[:1] == "-" or name[-1:] == "-":
        problems.append("must not begin or end with a hyphen")
    return problems


def _handler_problems(handler: Tree, path: str, problems: list[Problem]) -> None:
    given = [name for name in _HANDLERS if isinstance(handler.get(name), dict)]
    if not given:
        problems.append(required(path, "must specify a handler type"))
    problems += [
        forbidden(f"{path}.{extra}", "may not specify more than 1 handler type") for extra in given[1:]
    ]
    if given and given[0] == "exec" and not handler["exec"].get("command"):
        problems.append(required(f"{path}.exec.command"))
    if given and given[0] in ("httpGet", "tcpSocket", "grpc"):
        port = handler[given[0]].get("port")
        if isinstance(port, str):
            problems += [invalid(f"{path}.{given[0]}.port", port, m) for m in is_port_name(port)]
        else:
            problems += port_number(f"{path}.{given[0]}.port", port)


def resource_problems(resources: Tree, path: str, problems: list[Problem]) -> None:
    """Check what a container asks for."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            problems += [invalid(f"{path}.{kind}", name, m) for m in is_qualified_name(name)]
            try:
                amount = parse_quantity(text)
            except QuantityError as error:
                problems.append(invalid(f"{path}.{kind}[{name}]", text, str(error)))
                continue
            if amount.amount < 0:
                problems.append(invalid(f"{path}.{kind}[{name}]", text, "must be greater than or equal to 0"))
            if kind == "requests" and name in limits:
                try:
                    limit = parse_quantity(limits[name])
                except QuantityError:
                    continue
                if limit < amount:
                    problems.append(
                        invalid(
                            f"{path}.requests",
                            text,
                            f"must be less than or equal to {name} limit of {limits[name]}",
                        )
                    )


def _toleration_problems(toleration: Tree, path: str, problems: list[Problem]) -> None:
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    if key:
        problems += [invalid(f"{path}.key", key, m) for m in is_qualified_name(key)]
    elif operator != "Exists":
        problems.append(
            invalid(
                f"{path}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        )
    if operator not in ("Exists", "Equal", "Gt", "Lt"):
        problems.append(not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    if operator == "Exists" and toleration.get("value"):
        problems.append(
            invalid(f"{path}.operator", toleration, "value must be empty when `operator` is 'Exists'")
        )
    effect = toleration.get("effect")
    if effect and effect not in _EFFECTS:
        problems.append(not_supported(f"{path}.effect", effect, _EFFECTS))
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        problems.append(
            invalid(
                f"{path}.effect", effect or "", "effect must be 'NoExecute' when `tolerationSeconds` is set"
            )
        )


def pod_problems(tree: Tree) -> list[Problem]:
    """Check a new Pod."""
    return pod_spec_problems(tree.get("spec"), "spec")


def template_problems(template: Any, path: str, *, always: bool = True) -> list[Problem]:
    """Check the Pod template of a workload; `always` requires the restart policy Always."""
    if not isinstance(template, dict):
        return [required(path)]
    meta = template.get("metadata") or {}
    problems = label_problems(meta.get("labels"), f"{path}.labels")
    problems += annotation_problems(meta.get("annotations"), f"{path}.annotations")
    problems += pod_spec_problems(template.get("spec"), f"{path}.spec")
    spec = template.get("spec")
    if always and isinstance(spec, dict) and spec.get("restartPolicy") in ("OnFailure", "Never"):
        problems.append(not_supported(f"{path}.spec.restartPolicy", spec["restartPolicy"], ("Always",)))
    return problems


_POD_UPDATE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a Pod's spec: very little of it may change."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec == before:
        return []
    problems: list[Problem] = []
    tolerations, had = spec.get("tolerations") or [], before.get("tolerations") or []
    if any(t not in tolerations for t in had):
        problems.append(
            forbidden(
                "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
            )
        )
    allowed = dict(spec)
    for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        allowed.pop(field, None)
        if field in before:
            allowed[field] = before[field]
    gates = [g.get("name") for g in spec.get("schedulingGates") or ()]
    if any(g not in [x.get("name") for x in before.get("schedulingGates") or ()] for g in gates):
        problems.append(
            forbidden("spec.schedulingGates", "only deletion is allowed, but found new scheduling gate")
        )
    if before.get("schedulingGates"):
        for field in ("nodeSelector", "affinity"):
            allowed.pop(field, None)
            if field in before:
                allowed[field] = before[field]
    for part in ("containers", "initContainers"):
        now, then = spec.get(part) or [], before.get(part) or []
        if len(now) != len(then):
            problems.append(forbidden("spec." + part, "pod updates may not add or remove containers"))
            return problems
        if part in spec:
            allowed[part] = [{**c, "image": o.get("image")} for c, o in zip(now, then, strict=True)]
    if allowed != before:
        changed = sorted(k for k in {*allowed, *before} if allowed.get(k) != before.get(k))
        problems.append(forbidden("spec", f"{_POD_UPDATE}\nchanged: {', '.join(changed)}"))
    return problems + pod_spec_problems(spec, "spec")
