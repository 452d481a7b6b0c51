"""What ``kubectl get`` shows: the printed columns of the built-in kinds, cell by cell as kube-apiserver computes them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from kubelib.api.scheme import Column, Tree
from kubelib.api.times import human_duration, parse_time

Cell = Callable[[Tree, datetime], Any]

NONE = "<none>"


def at(tree: Any, *path: str | int) -> Any:
    """Return what is at a path in a tree, or None."""
    for step in path:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def field(*path: str | int, default: Any = "") -> Cell:
    """Return a cell that shows what is at a path."""

    def cell(tree: Tree, now: datetime) -> Any:
        found = at(tree, *path)
        return default if found is None else found

    return cell


def age_of(text: Any, now: datetime) -> str:
    """Return how long ago a time stamp was."""
    if not text:
        return "<unknown>"
    try:
        return human_duration(now - parse_time(text))
    except ValueError:
        return "<unknown>"


def _age(tree: Tree, now: datetime) -> str:
    return age_of(at(tree, "metadata", "creationTimestamp"), now)


NAME = Column("Name", field("metadata", "name"), format="name")
AGE = Column("Age", _age)


def labels_text(labels: Mapping[str, str] | None) -> str:
    """Return labels, or a selector of equalities, as ``a=b,c=d``."""
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def _containers(path: Sequence[str], part: str) -> Cell:
    def cell(tree: Tree, now: datetime) -> str:
        return ",".join(str(c.get(part, "")) for c in at(tree, *path, "containers") or ())

    return cell


def _selector(tree: Tree, now: datetime) -> str:
    return labels_text(at(tree, "spec", "selector"))


def label_selector_text(selector: Any) -> str:
    """Return a ``metav1.LabelSelector`` as text."""
    if selector is None:
        return NONE
    parts = [f"{k}={v}" for k, v in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression.get("key", ""), expression.get("operator")
        values = ",".join(sorted(expression.get("values") or ()))
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }.get(operator, key)
        )
    return ",".join(sorted(parts)) or NONE


def _label_selector(tree: Tree, now: datetime) -> str:
    return label_selector_text(at(tree, "spec", "selector"))


# Pods


def _condition(tree: Tree, kind: str) -> Mapping[str, Any]:
    return next((c for c in at(tree, "status", "conditions") or () if c.get("type") == kind), {})


def _restartable(spec: Mapping[str, Any]) -> bool:
    return spec.get("restartPolicy") == "Always"


def pod_summary(tree: Tree, now: datetime) -> tuple[str, str, str]:
    """Return the ready count, the status and the restarts of a Pod as ``kubectl get`` shows them."""
    spec, status = tree.get("spec") or {}, tree.get("status") or {}
    init_specs = spec.get("initContainers") or ()
    sidecars = {c.get("name") for c in init_specs if _restartable(c)}
    total = len(spec.get("containers") or ()) + len(sidecars)
    ready = restarts = sidecar_restarts = 0
    last_restart = ""
    last_sidecar_restart = ""
    phase = status.get("phase") or ""
    reason = status.get("reason") or phase
    gated = _condition(tree, "PodScheduled").get("reason") == "SchedulingGated"
    if gated:
        reason = "SchedulingGated"
    initializing = False
    for number, container in enumerate(status.get("initContainerStatuses") or ()):
        restarts += container.get("restartCount") or 0
        finished = at(container, "lastState", "terminated", "finishedAt") or ""
        last_restart = max(last_restart, finished)
        is_sidecar = container.get("name") in sidecars
        if is_sidecar:
            sidecar_restarts += container.get("restartCount") or 0
            last_sidecar_restart = max(last_sidecar_restart, finished)
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if is_sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            if terminated.get("reason"):
                reason = f"Init:{terminated['reason']}"
            elif terminated.get("signal"):
                reason = f"Init:Signal:{terminated['signal']}"
            else:
                reason = f"Init:ExitCode:{terminated.get('exitCode')}"
        elif waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            reason = f"Init:{waiting['reason']}"
        else:
            reason = f"Init:{number}/{len(init_specs)}"
        initializing = True
        break
    if not initializing or _condition(tree, "Initialized").get("status") == "True":
        restarts, last_restart = sidecar_restarts, last_sidecar_restart
        has_running = False
        for container in reversed(status.get("containerStatuses") or ()):
            restarts += container.get("restartCount") or 0
            last_restart = max(last_restart, at(container, "lastState", "terminated", "finishedAt") or "")
            state = container.get("state") or {}
            waiting, terminated = state.get("waiting"), state.get("terminated")
            if waiting and waiting.get("reason"):
                reason = waiting["reason"]
            elif terminated and terminated.get("reason"):
                reason = terminated["reason"]
            elif terminated is not None:
                signal = terminated.get("signal")
                reason = f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode') or 0}"
            elif container.get("ready") and state.get("running") is not None:
                has_running = True
                ready += 1
        if reason == "Completed" and has_running:
            reason = "Running" if _condition(tree, "Ready").get("status") == "True" else "NotReady"
    if at(tree, "metadata", "deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif phase not in ("Failed", "Succeeded"):
            reason = "Terminating"
    shown = str(restarts)
    if restarts and last_restart:
        shown = f"{restarts} ({age_of(last_restart, now)} ago)"
    return f"{ready}/{total}", reason, shown


def _pod_part(part: int) -> Cell:
    return lambda tree, now: pod_summary(tree, now)[part]


def _readiness_gates(tree: Tree, now: datetime) -> str:
    gates = at(tree, "spec", "readinessGates") or ()
    if not gates:
        return NONE
    met = sum(_condition(tree, gate.get("conditionType", "")).get("status") == "True" for gate in gates)
    return f"{met}/{len(gates)}"


def _pod_ip(tree: Tree, now: datetime) -> str:
    return at(tree, "status", "podIPs", 0, "ip") or at(tree, "status", "podIP") or NONE


POD = (
    NAME,
    Column("Ready", _pod_part(0)),
    Column("Status", _pod_part(1)),
    Column("Restarts", _pod_part(2)),
    AGE,
    Column("IP", _pod_ip, wide=True),
    Column("Node", lambda t, n: at(t, "spec", "nodeName") or NONE, wide=True),
    Column("Nominated Node", lambda t, n: at(t, "status", "nominatedNodeName") or NONE, wide=True),
    Column("Readiness Gates", _readiness_gates, wide=True),
)

# Workloads


def _count(*path: str) -> Cell:
    return lambda tree, now: at(tree, *path) or 0


REPLICATION_CONTROLLER = (
    NAME,
    Column("Desired", _count("spec", "replicas"), "integer"),
    Column("Current", _count("status", "replicas"), "integer"),
    Column("Ready", _count("status", "readyReplicas"), "integer"),
    AGE,
    Column("Containers", _containers(("spec", "template", "spec"), "name"), wide=True),
    Column("Images", _containers(("spec", "template", "spec"), "image"), wide=True),
    Column("Selector", _selector, wide=True),
)
REPLICA_SET = (*REPLICATION_CONTROLLER[:-1], Column("Selector", _label_selector, wide=True))
DEPLOYMENT = (
    NAME,
    Column("Ready", lambda t, n: f"{at(t, 'status', 'readyReplicas') or 0}/{at(t, 'spec', 'replicas') or 0}"),
    Column("Up-to-date", _count("status", "updatedReplicas")),
    Column("Available", _count("status", "availableReplicas")),
    AGE,
    *REPLICA_SET[-3:],
)
DAEMON_SET = (
    NAME,
    Column("Desired", _count("status", "desiredNumberScheduled"), "integer"),
    Column("Current", _count("status", "currentNumberScheduled"), "integer"),
    Column("Ready", _count("status", "numberReady"), "integer"),
    Column("Up-to-date", _count("status", "updatedNumberScheduled"), "integer"),
    Column("Available", _count("status", "numberAvailable"), "integer"),
    Column("Node Selector", lambda t, n: labels_text(at(t, "spec", "template", "spec", "nodeSelector"))),
    AGE,
    *REPLICA_SET[-3:],
)
STATEFUL_SET = (NAME, DEPLOYMENT[1], AGE, *REPLICA_SET[-3:-1])


def _job_status(tree: Tree, now: datetime) -> str:
    for kind, shown in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
    ):
        if _condition(tree, kind).get("status") == "True":
            return shown
    return "Terminating" if at(tree, "metadata", "deletionTimestamp") else "Running"


def _job_completions(tree: Tree, now: datetime) -> str:
    done, completions = at(tree, "status", "succeeded") or 0, at(tree, "spec", "completions")
    if completions is not None:
        return f"{done}/{completions}"
    parallelism = at(tree, "spec", "parallelism") or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _job_duration(tree: Tree, now: datetime) -> str:
    start = at(tree, "status", "startTime")
    if not start:
        return ""
    end = at(tree, "status", "completionTime")
    return age_of(start, parse_time(end) if end else now)


JOB = (
    NAME,
    Column("Status", _job_status),
    Column("Completions", _job_completions),
    Column("Duration", _job_duration),
    AGE,
    *REPLICA_SET[-3:],
)
CRON_JOB = (
    NAME,
    Column("Schedule", field("spec", "schedule")),
    Column("Timezone", field("spec", "timeZone", default=NONE)),
    Column("Suspend", lambda t, n: str(bool(at(t, "spec", "suspend")))),
    Column("Active", lambda t, n: len(at(t, "status", "active") or ()), "integer"),
    Column(
        "Last Schedule", lambda t, n: age_of(s, n) if (s := at(t, "status", "lastScheduleTime")) else NONE
    ),
    AGE,
)

# Nodes and namespaces


def _node_status(tree: Tree, now: datetime) -> str:
    ready = _condition(tree, "Ready")
    if not ready:
        status = "Unknown"
    else:
        status = "Ready" if ready.get("status") == "True" else "NotReady"
    return status + (",SchedulingDisabled" if at(tree, "spec", "unschedulable") else "")


def _node_roles(tree: Tree, now: datetime) -> str:
    roles = set()
    for key, value in (at(tree, "metadata", "labels") or {}).items():
        if key.startswith("node-role.kubernetes.io/"):
            roles.add(key.removeprefix("node-role.kubernetes.io/"))
        elif key == "kubernetes.io/role":
            roles.add(value)
    return ",".join(sorted(r for r in roles if r)) or NONE


def _node_address(kind: str) -> Cell:
    def cell(tree: Tree, now: datetime) -> str:
        for address in at(tree, "status", "addresses") or ():
            if address.get("type") == kind:
                return str(address.get("address"))
        return NONE

    return cell


def _node_info(name: str) -> Cell:
    return lambda tree, now: at(tree, "status", "nodeInfo", name) or "<unknown>"


NODE = (
    NAME,
    Column("Status", _node_status),
    Column("Roles", _node_roles),
    AGE,
    Column("Version", lambda t, n: at(t, "status", "nodeInfo", "kubeletVersion") or ""),
    Column("Internal-IP", _node_address("InternalIP"), wide=True),
    Column("External-IP", _node_address("ExternalIP"), wide=True),
    Column("OS-Image", _node_info("osImage"), wide=True),
    Column("Kernel-Version", _node_info("kernelVersion"), wide=True),
    Column("Container-Runtime", _node_info("containerRuntimeVersion"), wide=True),
)
NAMESPACE = (NAME, Column("Status", field("status", "phase")), AGE)

# Services


def _external_ip(tree: Tree, now: datetime) -> str:
    spec = tree.get("spec") or {}
    external = ",".join(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return spec.get("externalName") or NONE
        case "LoadBalancer":
            ingress = [
                i.get("ip") or i.get("hostname") or ""
                for i in at(tree, "status", "loadBalancer", "ingress") or ()
            ]
            return ",".join([*filter(None, ingress), *filter(None, [external])]) or "<pending>"
    return external or NONE


def _service_ports(tree: Tree, now: datetime) -> str:
    ports = []
    for port in at(tree, "spec", "ports") or ():
        number = f"{port.get('port')}:{port['nodePort']}" if port.get("nodePort") else port.get("port")
        ports.append(f"{number}/{port.get('protocol') or 'TCP'}")
    return ",".join(ports) or NONE


SERVICE = (
    NAME,
    Column("Type", field("spec", "type")),
    Column("Cluster-IP", lambda t, n: at(t, "spec", "clusterIP") or NONE),
    Column("External-IP", _external_ip),
    Column("Port(s)", _service_ports),
    AGE,
    Column("Selector", _selector, wide=True),
)


def _endpoints(tree: Tree, now: datetime) -> str:
    shown: list[str] = []
    more = 0
    for subset in tree.get("subsets") or ():
        no_port: tuple[Tree, ...] = ({},)
        for port in subset.get("ports") or no_port:
            for address in subset.get("addresses") or ():
                if len(shown) == 3:
                    more += 1
                elif port:
                    shown.append(f"{address.get('ip')}:{port.get('port')}")
                else:
                    shown.append(str(address.get("ip")))
    return (",".join(shown) or NONE) + (f" + {more} more..." if more else "")


ENDPOINTS = (NAME, Column("Endpoints", _endpoints), AGE)


def _slice_ports(tree: Tree, now: datetime) -> str:
    ports = tree.get("ports")
    if not ports:
        return "<unset>" if ports is None else NONE
    shown = [str(port.get("port", "*")) for port in ports]
    return ",".join(shown[:3]) + (f" + {len(shown) - 3} more..." if len(shown) > 3 else "")


def _slice_endpoints(tree: Tree, now: datetime) -> str:
    addresses = [a for e in tree.get("endpoints") or () for a in e.get("addresses") or ()]
    if not addresses:
        return "<unset>"
    return ",".join(addresses[:3]) + (f" + {len(addresses) - 3} more..." if len(addresses) > 3 else "")


ENDPOINT_SLICE = (
    NAME,
    Column("AddressType", field("addressType")),
    Column("Ports", _slice_ports),
    Column("Endpoints", _slice_endpoints),
    AGE,
)

# Configuration, events, the rest

CONFIG_MAP = (
    NAME,
    Column("Data", lambda t, n: len(t.get("data") or ()) + len(t.get("binaryData") or ())),
    AGE,
)
SECRET = (NAME, Column("Type", field("type")), Column("Data", lambda t, n: len(t.get("data") or ())), AGE)
SERVICE_ACCOUNT = (NAME, Column("Secrets", lambda t, n: len(t.get("secrets") or ())), AGE)


def _event_seen(tree: Tree, now: datetime) -> str:
    series = tree.get("series") or {}
    last = series.get("lastObservedTime") or tree.get("lastTimestamp") or tree.get("eventTime")
    return age_of(last or at(tree, "metadata", "creationTimestamp"), now)


def _event_first_seen(tree: Tree, now: datetime) -> str:
    return age_of(tree.get("firstTimestamp") or tree.get("eventTime"), now)


def _event_object(tree: Tree, now: datetime) -> str:
    involved = tree.get("involvedObject") or tree.get("regarding") or {}
    return f"{str(involved.get('kind') or '').lower()}/{involved.get('name') or ''}"


def _event_source(tree: Tree, now: datetime) -> str:
    source = tree.get("source") or {}
    component = source.get("component") or tree.get("reportingComponent") or ""
    host = source.get("host")
    return f"{component}, {host}" if host else component


EVENT = (
    Column("Last Seen", _event_seen),
    Column("Type", field("type")),
    Column("Reason", field("reason")),
    Column("Object", _event_object),
    Column("Subobject", lambda t, n: at(t, "involvedObject", "fieldPath") or "", wide=True),
    Column("Source", _event_source, wide=True),
    Column("Message", lambda t, n: str(t.get("message") or t.get("note") or "").strip()),
    Column("First Seen", _event_first_seen, wide=True),
    Column("Count", lambda t, n: str(t.get("count") or at(t, "series", "count") or 1), wide=True),
    Column("Name", field("metadata", "name"), format="name", wide=True),
)
LEASE = (NAME, Column("Holder", field("spec", "holderIdentity")), AGE)
PRIORITY_CLASS = (
    NAME,
    Column("Value", field("value", default=0)),
    Column("Global-Default", lambda t, n: bool(t.get("globalDefault")), "boolean"),
    AGE,
    Column("PreemptionPolicy", field("preemptionPolicy")),
)


def _role(tree: Tree, now: datetime) -> str:
    return f"{at(tree, 'roleRef', 'kind')}/{at(tree, 'roleRef', 'name')}"


def _subjects(kind: str) -> Cell:
    def cell(tree: Tree, now: datetime) -> str:
        found = []
        for subject in tree.get("subjects") or ():
            if subject.get("kind") == kind:
                name = str(subject.get("name"))
                found.append(f"{subject.get('namespace')}/{name}" if kind == "ServiceAccount" else name)
        return ", ".join(found)

    return cell


ROLE = (NAME, Column("Created At", field("metadata", "creationTimestamp")))
ROLE_BINDING = (
    NAME,
    Column("Role", _role),
    AGE,
    Column("Users", _subjects("User"), wide=True),
    Column("Groups", _subjects("Group"), wide=True),
    Column("ServiceAccounts", _subjects("ServiceAccount"), wide=True),
)
PERSISTENT_VOLUME_CLAIM = (
    NAME,
    Column("Status", field("status", "phase")),
    Column("Volume", field("spec", "volumeName")),
    Column("Capacity", lambda t, n: at(t, "status", "capacity", "storage") or ""),
    Column("Access Modes", lambda t, n: ",".join(at(t, "status", "accessModes") or ())),
    Column("StorageClass", field("spec", "storageClassName")),
    AGE,
)
PERSISTENT_VOLUME = (
    NAME,
    Column("Capacity", lambda t, n: at(t, "spec", "capacity", "storage") or ""),
    Column("Access Modes", lambda t, n: ",".join(at(t, "spec", "accessModes") or ())),
    Column("Reclaim Policy", field("spec", "persistentVolumeReclaimPolicy")),
    Column("Status", field("status", "phase")),
    AGE,
)
PDB = (
    NAME,
    Column(
        "Min Available",
        lambda t, n: str(
            at(t, "spec", "minAvailable") if at(t, "spec", "minAvailable") is not None else "N/A"
        ),
    ),
    Column(
        "Max Unavailable",
        lambda t, n: str(
            at(t, "spec", "maxUnavailable") if at(t, "spec", "maxUnavailable") is not None else "N/A"
        ),
    ),
    Column("Allowed Disruptions", _count("status", "disruptionsAllowed"), "integer"),
    AGE,
)
DEFAULT = (NAME, AGE)
