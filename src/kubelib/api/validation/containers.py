"""Rules of containers: images, ports, environment, probes, hooks."""

from collections.abc import Iterator
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.mounts import mount_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    invalid,
    not_found,
    not_supported,
    one_of,
    port_number,
    required,
    too_many,
)
from kubelib.api.validation.references import (
    field_reference_problems,
    file_reference_problems,
    key_reference_problems,
    resource_reference_problems,
)
from kubelib.api.validation.resources import requirement_problems
from kubelib.api.validation.security import container_security_problems

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MESSAGES = ("File", "FallbackToLogsOnError")
_HTTP_PROTOCOLS = ("HTTP1", "HTTP2")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_EPHEMERAL = (
    "ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe", "readinessProbe",
    "startupProbe", "lifecycle",
)  # fmt: skip


def containers_problems(
    spec: Tree, path: str, volumes: dict[str, Tree], problems: list[Problem], *, strict: bool
) -> None:
    """Check all containers of a Pod; `strict` for Pods, not for templates of them."""
    containers = spec.get("containers")
    claims = [claim.get("name") or "" for claim in spec.get("resourceClaims") or ()]
    if not containers:
        problems.append(required(f"{path}.containers"))
        containers = ()
    names: set[str] = set()
    for at, container in enumerate(containers):
        here = f"{path}.containers[{at}]"
        _container_problems(container, here, spec, volumes, claims, problems)
        _unique(container, here, names, problems)
        _life_problems(container, here, spec, problems)
        if container.get("restartPolicy") is not None or container.get("restartPolicyRules"):
            _restart_problems(container, here, problems)
    _host_port_problems(containers, f"{path}.containers", problems)
    for at, container in enumerate(spec.get("initContainers") or ()):
        here = f"{path}.initContainers[{at}]"
        _container_problems(container, here, spec, volumes, claims, problems)
        _unique(container, here, names, problems)
        _host_port_problems((container,), f"{path}.initContainers", problems)
        policy = container.get("restartPolicy")
        if policy is not None or container.get("restartPolicyRules"):
            _restart_problems(container, here, problems)
        if policy == "Always":
            _life_problems(container, here, spec, problems)
        else:
            problems += [
                forbidden(
                    f"{here}.{field}", "may not be set for init containers without restartPolicy=Always"
                )
                for field in ("lifecycle", *_PROBES)
                if container.get(field) is not None
            ]
    if spec.get("ephemeralContainers"):
        _ephemeral_problems(spec, path, volumes, claims, names, problems)
    if strict:
        for part in ("containers", "initContainers", "ephemeralContainers"):
            for at, container in enumerate(spec.get(part) or ()):
                image = container.get("image") or ""
                if image != image.strip():
                    problems.append(
                        invalid(
                            f"{path}.{part}[{at}].image",
                            image,
                            "must not have leading or trailing whitespace",
                        )
                    )


_RESTARTS = ("Always", "Never", "OnFailure")
_ACTIONS = ("Restart", "RestartAllContainers")
_MOST_RULES, _MOST_CODES = 20, 255


def _restart_problems(container: Tree, path: str, problems: list[Problem]) -> None:
    """Check when a container is started again: its own policy, and the rules that go before it."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is None:
        why = "must specify restartPolicy when restart rules are used"
        problems.append(required(f"{path}.restartPolicy", why))
    elif policy not in _RESTARTS:
        problems.append(not_supported(f"{path}.restartPolicy", policy, _RESTARTS))
    if len(rules) > _MOST_RULES:
        problems.append(too_many(f"{path}.restartPolicyRules", len(rules), _MOST_RULES))
    for at, rule in enumerate(rules):
        here, codes, action = (
            f"{path}.restartPolicyRules[{at}]",
            rule.get("exitCodes"),
            rule.get("action") or "",
        )
        if action not in _ACTIONS:
            problems.append(not_supported(f"{here}.action", action, _ACTIONS))
        if codes is None:
            problems.append(required(f"{here}.exitCodes", "must be specified"))
            continue
        operator, values = codes.get("operator") or "", codes.get("values") or ()
        if operator not in ("In", "NotIn"):
            problems.append(not_supported(f"{here}.exitCodes.operator", operator, ("In", "NotIn")))
        if len(values) > _MOST_CODES:
            problems.append(too_many(f"{here}.exitCodes.values", len(values), _MOST_CODES))


def _unique(container: Tree, path: str, names: set[str], problems: list[Problem]) -> None:
    name = container.get("name") or ""
    if name in names:
        problems.append(duplicate(f"{path}.name", name))
    elif name:
        names.add(name)


def _container_problems(
    container: Tree,
    path: str,
    spec: Tree,
    volumes: dict[str, Tree],
    claims: list[str],
    problems: list[Problem],
) -> None:
    name = container.get("name") or ""
    if not name:
        problems.append(required(f"{path}.name"))
    elif messages := texts.label(name):
        problems += each(f"{path}.name", name, messages)
    if not container.get("image"):
        problems.append(required(f"{path}.image"))
    if container.get("terminationMessagePolicy") not in _MESSAGES:
        problems += one_of(
            f"{path}.terminationMessagePolicy", container.get("terminationMessagePolicy"), _MESSAGES
        )
    if container.get("ports"):
        _port_problems(container["ports"], path, problems)
    if container.get("env"):
        _env_problems(container["env"], path, problems)
    if container.get("envFrom"):
        _env_from_problems(container["envFrom"], f"{path}.envFrom", problems)
    if container.get("volumeMounts") or container.get("volumeDevices"):
        mount_problems(container, path, volumes, problems)
    if container.get("imagePullPolicy") not in _PULL_POLICIES:
        problems += one_of(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), _PULL_POLICIES)
    if container.get("resources"):
        requirement_problems(container["resources"], f"{path}.resources", claims, problems)
    if container.get("resizePolicy"):
        _resize_problems(container["resizePolicy"], f"{path}.resizePolicy", spec, problems)
    if container.get("securityContext"):
        container_security_problems(
            container["securityContext"],
            f"{path}.securityContext",
            problems,
            host_users=spec.get("hostUsers") is not False,
        )


def _port_problems(ports: list[Tree], path: str, problems: list[Problem]) -> None:
    names: set[str] = set()
    for at, port in enumerate(ports):
        name, number = port.get("name"), port.get("containerPort")
        if name:
            if messages := texts.port_name(name):
                problems += each(f"{path}.ports[{at}].name", name, messages)
            elif name in names:
                problems.append(duplicate(f"{path}.ports[{at}].name", name))
            names.add(name)
        if not number:
            problems.append(required(f"{path}.ports[{at}].containerPort"))
        elif not 1 <= number <= 65535:
            problems += port_number(f"{path}.ports[{at}].containerPort", number)
        if port.get("hostPort"):
            problems += port_number(f"{path}.ports[{at}].hostPort", port["hostPort"])
        if port.get("hostIP"):
            problems += each(f"{path}.ports[{at}].hostIP", port["hostIP"], texts.ip_address(port["hostIP"]))
        if port.get("protocol") not in _PROTOCOLS:
            problems += one_of(f"{path}.ports[{at}].protocol", port.get("protocol"), _PROTOCOLS)


def _host_port_problems(containers: Any, path: str, problems: list[Problem]) -> None:
    taken: set[str] = set()
    for at, container in enumerate(containers):
        for number, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            claim = f"{port.get('protocol')}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if claim in taken:
                problems.append(duplicate(f"{path}[{at}].ports[{number}].hostPort", claim))
            taken.add(claim)


def _env_problems(variables: list[Tree], path: str, problems: list[Problem]) -> None:
    for at, variable in enumerate(variables):
        name = variable.get("name") or ""
        if not name:
            problems.append(required(f"{path}.env[{at}].name"))
        elif messages := texts.env_name(name):
            problems += each(f"{path}.env[{at}].name", name, messages)
        source = variable.get("valueFrom")
        if source is not None:
            _env_source_problems(variable, source, f"{path}.env[{at}].valueFrom", problems)


def _env_source_problems(variable: Tree, source: Tree, path: str, problems: list[Problem]) -> None:
    count = 0
    if source.get("fieldRef") is not None:
        count += 1
        field_reference_problems(source["fieldRef"], f"{path}.fieldRef", _ENV_FIELDS, problems)
    if source.get("resourceFieldRef") is not None:
        count += 1
        resource_reference_problems(source["resourceFieldRef"], f"{path}.resourceFieldRef", problems)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if source.get(kind) is not None:
            count += 1
            key_reference_problems(source[kind], f"{path}.{kind}", problems)
    if source.get("fileKeyRef") is not None:
        count += 1
        file_reference_problems(source["fileKeyRef"], f"{path}.fileKeyRef", problems)
    if not count:
        problems.append(
            invalid(
                path,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            )
        )
    elif variable.get("value"):
        problems.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        problems.append(invalid(path, "", "may not have more than one field specified at a time"))


def _env_from_problems(sources: list[Tree], path: str, problems: list[Problem]) -> None:
    for at, source in enumerate(sources):
        prefix = source.get("prefix")
        if prefix and (messages := texts.env_name(prefix)):
            problems += each(f"{path}[{at}].prefix", prefix, messages)
        given = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        for kind in given:
            name = source[kind].get("name") or ""
            if not name:
                problems.append(required(f"{path}[{at}].{kind}.name"))
            elif messages := texts.subdomain(name):
                problems += each(f"{path}[{at}].{kind}.name", name, messages)
        if not given:
            problems.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            problems.append(invalid(path, "", "may not have more than one field specified at a time"))


def _resize_problems(policies: list[Tree], path: str, spec: Tree, problems: list[Problem]) -> None:
    seen: set[str] = set()
    for at, policy in enumerate(policies):
        name, restart = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if name in seen:
            problems.append(duplicate(f"{path}[{at}]", name))
        seen.add(name)
        problems += one_of(path, name, ("cpu", "memory"))
        problems += one_of(path, restart, ("NotRequired", "RestartContainer"))
        if spec.get("restartPolicy") == "Never" and restart != "NotRequired":
            problems.append(invalid(path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'"))


def _life_problems(container: Tree, path: str, spec: Tree, problems: list[Problem]) -> None:
    lifecycle = container.get("lifecycle")
    if lifecycle:
        for hook in ("postStart", "preStop"):
            if lifecycle.get(hook) is not None:
                handler_problems(lifecycle[hook], f"{path}.lifecycle.{hook}", spec, problems)
    for name in _PROBES:
        probe = container.get(name)
        if probe is not None:
            _probe_problems(name, probe, f"{path}.{name}", spec, problems)


def _probe_problems(name: str, probe: Tree, path: str, spec: Tree, problems: list[Problem]) -> None:
    handler_problems(probe, path, spec, problems)
    for field in _COUNTS:
        count = probe.get(field)
        if count is not None and count < 0:
            problems.append(invalid(f"{path}.{field}", count, "must be greater than or equal to 0"))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        problems.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    if name == "readinessProbe":
        if grace is not None:
            problems.append(
                invalid(f"{path}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes")
            )
    elif probe.get("successThreshold") != 1:
        problems.append(invalid(f"{path}.successThreshold", probe.get("successThreshold") or 0, "must be 1"))


def handler_problems(handler: Tree, path: str, spec: Tree, problems: list[Problem]) -> None:
    """Check what a probe or a hook does."""
    given = [name for name in _HANDLERS if handler.get(name) is not None]
    if not given:
        problems.append(required(path, "must specify a handler type"))
        return
    problems += [
        forbidden(f"{path}.{name}", "may not specify more than 1 handler type") for name in given[1:]
    ]
    kind = given[0]
    action = handler[kind]
    if kind == "exec":
        if not action.get("command"):
            problems.append(required(f"{path}.exec.command"))
    elif kind == "sleep":
        grace, seconds = spec.get("terminationGracePeriodSeconds"), action.get("seconds") or 0
        if grace is not None and not 0 <= seconds <= grace:
            problems.append(
                invalid(
                    f"{path}.sleep",
                    seconds,
                    f"must be non-negative and less than terminationGracePeriodSeconds ({grace})",
                )
            )
    else:
        if kind == "httpGet" and not action.get("path"):
            problems.append(required(f"{path}.httpGet.path"))
        port_problems(action.get("port"), f"{path}.{kind}.port", problems)
        if kind == "httpGet":
            if action.get("scheme") not in ("HTTP", "HTTPS"):
                problems.append(
                    not_supported(f"{path}.httpGet.scheme", action.get("scheme") or "", ("HTTP", "HTTPS"))
                )
            problems += _protocol_problems(action, f"{path}.httpGet")
            for header in action.get("httpHeaders") or ():
                name = header.get("name") or ""
                problems += each(f"{path}.httpGet.httpHeaders", name, texts.http_header(name))


def _protocol_problems(action: Tree, path: str) -> Iterator[Problem]:
    """Check over what a probe asks: HTTP/2 is spoken in the clear, with the Pod itself."""
    protocol = action.get("protocol")
    if protocol and protocol not in _HTTP_PROTOCOLS:
        yield not_supported(f"{path}.protocol", protocol, _HTTP_PROTOCOLS)
    if protocol != "HTTP2":
        return
    if action.get("scheme") == "HTTPS":
        yield invalid(f"{path}.scheme", "HTTPS", "must be HTTP when protocol is HTTP2")
    if action.get("host"):
        yield invalid(f"{path}.host", action["host"], "must be empty when protocol is HTTP2")


def port_problems(port: Any, path: str, problems: list[Problem]) -> None:
    """Check a port that is a number or a name."""
    if isinstance(port, str):
        problems += each(path, port, texts.port_name(port))
    elif type(port) is not int or not 1 <= port <= 65535:
        problems += port_number(path, port)


def _ephemeral_problems(
    spec: Tree,
    path: str,
    volumes: dict[str, Tree],
    claims: list[str],
    names: set[str],
    problems: list[Problem],
) -> None:
    lasting = set(names)
    for at, container in enumerate(spec["ephemeralContainers"]):
        here = f"{path}.ephemeralContainers[{at}]"
        _container_problems(container, here, spec, volumes, claims, problems)
        _unique(container, here, names, problems)
        target = container.get("targetContainerName")
        if target and target not in lasting:
            problems.append(not_found(f"{here}.targetContainerName", target))
        problems += [
            forbidden(f"{here}.{field}", "cannot be set for an Ephemeral Container")
            for field in _EPHEMERAL
            if container.get(field)
        ]
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            problems += [
                forbidden(
                    f"{here}.volumeMounts[{number}].{field}", "cannot be set for an Ephemeral Container"
                )
                for field in ("subPath", "subPathExpr")
                if mount.get(field)
            ]
