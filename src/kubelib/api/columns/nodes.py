"""The columns of nodes and namespaces."""

from datetime import datetime

from kubelib.api.columns.cells import AGE, NAME, NONE, Cell, at, condition, field
from kubelib.api.scheme import Column, Tree


def _node_status(tree: Tree, now: datetime) -> str:
    ready = condition(tree, "Ready")
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
