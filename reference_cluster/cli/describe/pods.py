"""Descriptions of Pods and of the templates that workloads make them from."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kubelib.api.quantity import parse_quantity
from reference_cluster.cli.describe.page import Page, Tree, controller_of, date, selector_text


def describe_pod(pod: Tree, events: Sequence[Tree] | None, now: datetime) -> str:
    """Return the description of a Pod."""
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    page = Page()
    page.line(0, "Name:", meta["name"])
    page.line(0, "Namespace:", meta["namespace"])
    if spec.get("priority") is not None:
        page.line(0, "Priority:", spec["priority"])
        if spec.get("priorityClassName"):
            page.line(0, "Priority Class Name:", spec["priorityClassName"])
    if spec.get("runtimeClassName"):
        page.line(0, "Runtime Class Name:", spec["runtimeClassName"])
    if spec.get("serviceAccountName"):
        page.line(0, "Service Account:", spec["serviceAccountName"])
    node = spec.get("nodeName")
    page.line(0, "Node:", f"{node}/{status.get('hostIP', '')}" if node else "<none>")
    if status.get("startTime"):
        page.line(0, "Start Time:", date(status["startTime"]))
    page.labels(meta.get("labels"))
    page.annotations(meta.get("annotations"))
    if meta.get("deletionTimestamp"):
        from kubelib.api.times import human_duration, parse_time

        lasts = human_duration(now - parse_time(meta["deletionTimestamp"]))
        page.line(0, "Status:", f"Terminating (lasts {lasts})")
        page.line(0, "Termination Grace Period:", f"{meta.get('deletionGracePeriodSeconds', 0)}s")
    else:
        page.line(0, "Status:", status.get("phase", ""))
    for title, name in (("Reason:", "reason"), ("Message:", "message")):
        if status.get(name):
            page.line(0, title, status[name])
    if profile := ((spec.get("securityContext") or {}).get("seccompProfile") or {}).get("type"):
        page.line(0, "SeccompProfile:", profile)
    page.line(0, "IP:", status.get("podIP", ""))
    if addresses := status.get("podIPs"):
        page.line(0, "IPs:")
        for address in addresses:
            page.line(2, "IP:", address.get("ip", ""))
    else:
        page.line(0, "IPs:", "<none>")
    if owner := controller_of(pod):
        page.line(0, "Controlled By:", owner)
    if status.get("nominatedNodeName"):
        page.line(0, "NominatedNodeName:", status["nominatedNodeName"])
    if spec.get("initContainers"):
        _containers(page, "Init Containers", spec["initContainers"], status.get("initContainerStatuses"), pod)
    _containers(page, "Containers", spec.get("containers") or (), status.get("containerStatuses"), pod)
    if spec.get("ephemeralContainers"):
        _containers(
            page,
            "Ephemeral Containers",
            spec["ephemeralContainers"],
            status.get("ephemeralContainerStatuses"),
            pod,
        )
    if gates := spec.get("readinessGates"):
        page.line(0, "Readiness Gates:")
        page.line(2, "Type", "Status")
        known = {c["type"]: c["status"] for c in status.get("conditions") or ()}
        for gate in gates:
            page.line(2, f"{gate['conditionType']} ", f"{known.get(gate['conditionType'], '<none>')} ")
    if conditions := status.get("conditions"):
        page.line(0, "Conditions:")
        page.line(2, "Type", "Status")
        for condition in conditions:
            page.line(2, f"{condition['type']} ", f"{condition['status']} ")
    _volumes(page, spec.get("volumes"), template=False)
    page.line(0, "QoS Class:", status.get("qosClass") or "")
    _placement(page, spec, indent=0)
    page.events(events, now)
    return page.text()


def template(page: Page, tree: Tree) -> None:
    """Add the template of a workload's Pods."""
    meta, spec = tree.get("metadata") or {}, tree.get("spec") or {}
    page.line(0, "Pod Template:")
    page.labels(meta.get("labels"), title="Labels:", indent=2)
    if meta.get("annotations"):
        page.annotations(meta["annotations"], indent=2)
    if spec.get("serviceAccountName"):
        page.line(2, "Service Account:", spec["serviceAccountName"])
    if spec.get("initContainers"):
        _containers(page, "Init Containers", spec["initContainers"], None, None)
    _containers(page, "Containers", spec.get("containers") or (), None, None)
    _volumes(page, spec.get("volumes"), template=True)
    for title, constraints in (
        ("Topology Spread Constraints:", spec.get("topologySpreadConstraints") or ()),
    ):
        if constraints:
            _spread(page, title, constraints, indent=2)
    if spec.get("priorityClassName"):
        page.line(2, "Priority Class Name:", spec["priorityClassName"])
    _selection(page, spec, indent=2)


def _spread(page: Page, title: str, constraints: Sequence[Tree], *, indent: int) -> None:
    page.pairs(
        indent,
        title,
        [
            f"{c.get('topologyKey')}:{c.get('whenUnsatisfiable')} when max skew {c.get('maxSkew')} is exceeded"
            f" for selector {selector_text((c.get('labelSelector') or {}).get('matchLabels'))}"
            for c in sorted(constraints, key=lambda c: str(c.get("topologyKey")))
        ],
    )


def _placement(page: Page, spec: Tree, *, indent: int) -> None:
    _selection(page, spec, indent=indent)
    if constraints := spec.get("topologySpreadConstraints"):
        _spread(page, "Topology Spread Constraints:", constraints, indent=indent)


def _selection(page: Page, spec: Tree, *, indent: int) -> None:
    page.labels(spec.get("nodeSelector"), title="Node-Selectors:", indent=indent)
    page.pairs(
        indent,
        "Tolerations:",
        [_toleration(t) for t in sorted(spec.get("tolerations") or (), key=lambda t: str(t.get("key", "")))],
    )


def _toleration(toleration: Tree) -> str:
    text = str(toleration.get("key", ""))
    if toleration.get("value"):
        text += f"={toleration['value']}"
    if toleration.get("effect"):
        text += f":{toleration['effect']}"
    # An equality without a value cannot be told from the mere presence otherwise.
    if toleration.get("operator") == "Exists" and not toleration.get("value"):
        text += " op=Exists" if toleration.get("key") or toleration.get("effect") else "op=Exists"
    if toleration.get("tolerationSeconds") is not None:
        text += f" for {toleration['tolerationSeconds']}s"
    return text


def _containers(
    page: Page, title: str, containers: Sequence[Tree], statuses: Sequence[Tree] | None, pod: Tree | None
) -> None:
    shown = 0 if pod is not None else 2
    name_at = 2 if pod is not None else 3
    known = {status["name"]: status for status in statuses or ()}
    page.line(shown, f"{title}:")
    for container in containers:
        page.line(name_at, f"{container['name']}:")
        _container(page, container, known.get(container["name"]), pod)


def _container(page: Page, container: Tree, status: Tree | None, pod: Tree | None) -> None:
    if status is not None:
        page.line(4, "Container ID:", status.get("containerID", ""))
    page.line(4, "Image:", container.get("image", ""))
    if status is not None:
        page.line(4, "Image ID:", status.get("imageID", ""))
    ports = container.get("ports") or ()
    several = "s" if len(ports) > 1 else ""
    page.line(4, f"Port{several}:", _ports(ports, "containerPort"))
    page.line(4, f"Host Port{several}:", _ports(ports, "hostPort"))
    if profile := ((container.get("securityContext") or {}).get("seccompProfile") or {}).get("type"):
        page.line(4, "SeccompProfile:", profile)
    for title, words in (("Command:", container.get("command")), ("Args:", container.get("args"))):
        if words:
            page.line(4, title)
            for word in words:
                for part in str(word).split("\n"):
                    page.line(6, part)
    if status is not None:
        _state(page, "State", status.get("state") or {})
        if status.get("lastState"):
            _state(page, "Last State", status["lastState"])
        page.line(4, "Ready:", "True" if status.get("ready") else "False")
        page.line(4, "Restart Count:", status.get("restartCount", 0))
    resources = container.get("resources") or {}
    for title, amounts in (("Limits:", resources.get("limits")), ("Requests:", resources.get("requests"))):
        if amounts:
            page.line(4, title)
            for name in sorted(amounts):
                page.line(6, f"{name}:", amounts[name])
    for title, name in (
        ("Liveness:", "livenessProbe"),
        ("Readiness:", "readinessProbe"),
        ("Startup:", "startupProbe"),
    ):
        if container.get(name):
            page.line(4, title, _probe(container[name]))
    _environment(page, container, pod)
    page.pairs(4, "Mounts:", ()) if not container.get("volumeMounts") else page.line(4, "Mounts:")
    for mount in sorted(container.get("volumeMounts") or (), key=lambda m: str(m["mountPath"])):
        flags = ["ro" if mount.get("readOnly") else "rw"]
        if mount.get("subPath"):
            flags.append(f'path="{mount["subPath"]}"')
        page.line(6, f"{mount['mountPath']} from {mount['name']} ({','.join(flags)})")


def _ports(ports: Sequence[Tree], which: str) -> str:
    texts = []
    for port in ports:
        name = f" ({port['name']})" if port.get("name") else ""
        texts.append(f"{port.get(which, 0)}/{port.get('protocol', 'TCP')}{name}")
    return ", ".join(texts) or "<none>"


def _state(page: Page, title: str, state: Tree) -> None:
    if running := state.get("running"):
        page.line(4, f"{title}:", "Running")
        page.line(6, "Started:", date(running.get("startedAt"), absent=""))
    elif (ended := state.get("terminated")) is not None:
        page.line(4, f"{title}:", "Terminated")
        for name in ("Reason", "Message"):
            if ended.get(name.lower()):
                page.line(6, f"{name}:", ended[name.lower()])
        page.line(6, "Exit Code:", ended.get("exitCode", 0))
        if ended.get("signal"):
            page.line(6, "Signal:", ended["signal"])
        page.line(6, "Started:", date(ended.get("startedAt"), absent="Mon, 01 Jan 0001 00:00:00 +0000"))
        page.line(6, "Finished:", date(ended.get("finishedAt"), absent="Mon, 01 Jan 0001 00:00:00 +0000"))
    else:
        page.line(4, f"{title}:", "Waiting")
        if reason := (state.get("waiting") or {}).get("reason"):
            page.line(6, "Reason:", reason)


def _probe(probe: Tree) -> str:
    times = (
        f"delay={probe.get('initialDelaySeconds', 0)}s timeout={probe.get('timeoutSeconds', 0)}s"
        f" period={probe.get('periodSeconds', 0)}s successThreshold={probe.get('successThreshold', 0)}"
        f" failureThreshold={probe.get('failureThreshold', 0)}"
    )
    if (action := probe.get("exec")) is not None:
        return f"exec [{' '.join(action.get('command') or ())}] {times}"
    if (action := probe.get("httpGet")) is not None:
        url = f"{str(action.get('scheme', 'HTTP')).lower()}://{action.get('host', '')}:{action.get('port')}{action.get('path', '')}"
        return f"http-get {url} {times}"
    if (action := probe.get("tcpSocket")) is not None:
        return f"tcp-socket {action.get('host', '')}:{action.get('port')} {times}"
    if (action := probe.get("grpc")) is not None:
        return f"grpc <pod>:{action.get('port')} {action.get('service', '')} {times}"
    return f"unknown {times}"


def _environment(page: Page, container: Tree, pod: Tree | None) -> None:
    sources = container.get("envFrom") or ()
    if sources:
        page.line(4, "Environment Variables from:")
    for source in sources:
        kind, reference = (
            ("ConfigMap", source["configMapRef"])
            if source.get("configMapRef")
            else ("Secret", source.get("secretRef") or {})
        )
        prefix = f" with prefix '{source['prefix']}'" if source.get("prefix") else ""
        optional = "true" if reference.get("optional") else "false"
        page.line(6, reference.get("name", ""), f"{kind}{prefix}", f"Optional: {optional}")
    variables = container.get("env") or ()
    if not variables:
        page.line(4, "Environment:", "<none>")
        return
    page.line(4, "Environment:")
    for variable in variables:
        origin = variable.get("valueFrom")
        if origin is None:
            first, *others = str(variable.get("value", "")).split("\n")
            page.line(6, f"{variable['name']}:", first)
            for other in others:
                page.line(6, "", other)
        elif (field := origin.get("fieldRef")) is not None:
            value = _field(pod, field.get("fieldPath", ""))
            page.line(
                6,
                f"{variable['name']}:",
                f"{value} ({field.get('apiVersion', 'v1')}:{field.get('fieldPath')})",
            )
        elif (resource := origin.get("resourceFieldRef")) is not None:
            page.line(
                6, f"{variable['name']}:", f"{_resource(container, resource)} ({resource.get('resource')})"
            )
        else:
            kind, where = (
                ("secret", origin["secretKeyRef"])
                if origin.get("secretKeyRef")
                else ("config map", origin.get("configMapKeyRef") or {})
            )
            optional = "true" if where.get("optional") else "false"
            text = f"<set to the key '{where.get('key')}' {'in' if kind == 'secret' else 'of'} {kind} '{where.get('name')}'>"
            page.line(6, f"{variable['name']}:", text, f"Optional: {optional}")


def _field(pod: Tree | None, path: str) -> str:
    if pod is None:
        return ""
    from kubelib.api.codec import decode, encode_json
    from kubelib.api.core.pod import Pod
    from kubelib.runtime.environment import field_value

    try:
        return field_value(decode(Pod, encode_json(pod)), path)
    except (LookupError, ValueError):
        return ""


def _resource(container: Tree, reference: Tree) -> str:
    group, _, name = str(reference.get("resource", "")).partition(".")
    amount = ((container.get("resources") or {}).get(group) or {}).get(name)
    if amount is None:
        return "0" if name == "cpu" else "node allocatable"
    divisor = parse_quantity(str(reference.get("divisor") or "0"))
    each = divisor if divisor.nano else parse_quantity("1")
    return str(-(-parse_quantity(amount).nano // each.nano))


_ORIGINS = {
    "configMap": ("ConfigMap", "a volume populated by a ConfigMap"),
    "secret": ("Secret", "a volume populated by a Secret"),
    "emptyDir": ("EmptyDir", "a temporary directory that shares a pod's lifetime"),
    "hostPath": ("HostPath", "bare host directory volume"),
    "projected": ("Projected", "a volume that contains injected data from multiple sources"),
    "downwardAPI": ("DownwardAPI", "a volume populated by information about the pod"),
    "persistentVolumeClaim": (
        "PersistentVolumeClaim",
        "a reference to a PersistentVolumeClaim in the same namespace",
    ),
    "nfs": ("NFS", "an NFS mount that lasts the lifetime of a pod"),
}


def _volumes(page: Page, volumes: Sequence[Tree] | None, *, template: bool) -> None:
    at = 2 if template else 0
    if not volumes:
        page.line(at, "Volumes:", "<none>")
        return
    page.line(at, "Volumes:")
    for volume in volumes:
        page.line(3 if template else 2, f"{volume['name']}:")
        kind = next((name for name in volume if name != "name"), "")
        source: Mapping[str, Any] = volume.get(kind) or {}
        if kind not in _ORIGINS:
            page.line(4, "Type:", kind or "<unknown>")
            continue
        page.line(4, "Type:", "{} ({})".format(*_ORIGINS[kind]))
        for row in _volume_rows(kind, source):
            page.line(4, *row)


def _volume_rows(kind: str, source: Tree) -> list[tuple[Any, ...]]:
    optional = "true" if source.get("optional") else "false"
    match kind:
        case "configMap":
            return [("Name:", source.get("name")), ("Optional:", optional)]
        case "secret":
            return [("SecretName:", source.get("secretName")), ("Optional:", optional)]
        case "emptyDir":
            limit = source.get("sizeLimit")
            return [
                ("Medium:", source.get("medium", "")),
                ("SizeLimit:", limit if limit and limit != "0" else "<unset>"),
            ]
        case "hostPath":
            return [("Path:", source.get("path")), ("HostPathType:", source.get("type", ""))]
        case "persistentVolumeClaim":
            return [
                ("ClaimName:", source.get("claimName")),
                ("ReadOnly:", "true" if source.get("readOnly") else "false"),
            ]
        case "nfs":
            return [
                ("Server:", source.get("server")), ("Path:", source.get("path")),
                ("ReadOnly:", "true" if source.get("readOnly") else "false"),
            ]  # fmt: skip
        case "downwardAPI":
            rows: list[tuple[Any, ...]] = [("Items:",)]
            for item in source.get("items") or ():
                if reference := item.get("fieldRef"):
                    rows.append((f"  {reference['fieldPath']} -> {item['path']}",))
                elif reference := item.get("resourceFieldRef"):
                    rows.append((f"  {reference['resource']} -> {item['path']}",))
            return rows
    return _projections(source)


def _projections(source: Tree) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for part in source.get("sources") or ():
        if (secret := part.get("secret")) is not None:
            rows += [
                ("SecretName:", secret.get("name")),
                ("Optional:", "true" if secret.get("optional") else "false"),
            ]
        elif part.get("downwardAPI") is not None:
            rows.append(("DownwardAPI:", "true"))
        elif (config := part.get("configMap")) is not None:
            rows += [
                ("ConfigMapName:", config.get("name")),
                ("Optional:", "true" if config.get("optional") else "false"),
            ]
        elif (token := part.get("serviceAccountToken")) is not None:
            rows.append(("TokenExpirationSeconds:", token.get("expirationSeconds", 3600)))
    return rows
