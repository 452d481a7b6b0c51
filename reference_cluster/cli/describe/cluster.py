"""Descriptions of nodes, namespaces, quotas and limits."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from kubelib.api.quantity import Quantity, parse_quantity
from reference_cluster.cli.describe.page import Page, Tree, age, date

_ZERO = Quantity(0)


def describe_node(
    tree: Tree, lease: Tree | None, pods: Sequence[Tree], events: Sequence[Tree] | None, now: datetime
) -> str:
    """Return the description of a Node, given its Lease and its Pods."""
    meta, spec, status = tree["metadata"], tree.get("spec") or {}, tree.get("status") or {}
    page = Page()
    page.line(0, "Name:", meta["name"])
    prefix = "node-role.kubernetes.io/"
    roles = sorted(key.removeprefix(prefix) for key in meta.get("labels") or () if key.startswith(prefix))
    page.line(0, "Roles:", ",".join(roles) or "<none>")
    page.labels(meta.get("labels"))
    page.annotations(meta.get("annotations"))
    page.line(0, "CreationTimestamp:", date(meta.get("creationTimestamp")))
    page.pairs(0, "Taints:", sorted(_taint(taint) for taint in spec.get("taints") or ()))
    page.line(0, "Unschedulable:", str(bool(spec.get("unschedulable"))).lower())
    if lease is not None:
        held = lease.get("spec") or {}
        page.line(0, "Lease:")
        page.line(2, "HolderIdentity:", held.get("holderIdentity") or "<unset>")
        page.line(2, "AcquireTime:", date(held.get("acquireTime")))
        page.line(2, "RenewTime:", date(held.get("renewTime")))
    else:
        page.line(0, "Lease:", "Failed to get lease: not found")
    if conditions := status.get("conditions"):
        page.line(0, "Conditions:")
        rows = [
            (
                f"{c['type']} ", f"{c['status']} ", f"{date(c.get('lastHeartbeatTime'))} ",
                f"{date(c.get('lastTransitionTime'))} ", f"{c.get('reason', '')} ", c.get("message", ""),
            )
            for c in conditions
        ]  # fmt: skip
        page.table(
            2, ("Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message"), rows
        )
    if addresses := status.get("addresses"):
        page.line(0, "Addresses:")
        for address in addresses:
            page.line(2, f"{address['type']}:", address["address"])
    for title, name in (("Capacity:", "capacity"), ("Allocatable:", "allocatable")):
        if amounts := status.get(name):
            page.line(0, title)
            for resource in sorted(amounts):
                page.line(2, f"{resource}:", amounts[resource])
    info = status.get("nodeInfo") or {}
    page.line(0, "System Info:")
    for title, name in (
        ("Machine ID", "machineID"), ("System UUID", "systemUUID"), ("Boot ID", "bootID"), ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"), ("Operating System", "operatingSystem"), ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"), ("Kubelet Version", "kubeletVersion"),
    ):  # fmt: skip
        page.line(2, f"{title}:", info.get(name, ""))
    if spec.get("podCIDR"):
        page.line(0, "PodCIDR:", spec["podCIDR"])
    if spec.get("podCIDRs"):
        page.line(0, "PodCIDRs:", ",".join(spec["podCIDRs"]))
    if spec.get("providerID"):
        page.line(0, "ProviderID:", spec["providerID"])
    _node_pods(
        page,
        [p for p in pods if (p.get("status") or {}).get("phase") not in ("Succeeded", "Failed")],
        status,
        now,
    )
    page.events(events, now)
    return page.text()


def _taint(taint: Tree) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def _node_pods(page: Page, pods: Sequence[Tree], status: Tree, now: datetime) -> None:
    allocatable = {
        name: parse_quantity(str(amount))
        for name, amount in (status.get("allocatable") or status.get("capacity") or {}).items()
    }
    page.line(0, "Non-terminated Pods:", f"({len(pods)} in total)")
    rows = []
    totals: dict[str, dict[str, Quantity]] = {"requests": {}, "limits": {}}
    for pod in pods:
        used = {which: _pod_resources(pod, which) for which in totals}
        for which, amounts in used.items():
            for name, amount in amounts.items():
                totals[which][name] = totals[which].get(name, _ZERO) + amount
        meta = pod["metadata"]
        cells = [
            _part(used[which].get(name, _ZERO), allocatable.get(name))
            for name in ("cpu", "memory")
            for which in ("requests", "limits")
        ]
        rows.append((meta["namespace"], meta["name"], "", *cells, age(meta.get("creationTimestamp"), now)))
    header = (
        "Namespace",
        "Name",
        "",
        "CPU Requests",
        "CPU Limits",
        "Memory Requests",
        "Memory Limits",
        "Age",
    )
    page.table(2, header, rows)
    page.line(0, "Allocated resources:")
    page.line(2, "(Total limits may be over 100 percent, i.e., overcommitted.)")
    known = ["cpu", "memory", "ephemeral-storage"]
    huge = sorted(name for name in allocatable if name.startswith("hugepages-"))
    others = sorted(name for name in allocatable if "/" in name)
    table = []
    for name in (*known, *huge, *others):
        asked = [totals[which].get(name, _ZERO) for which in ("requests", "limits")]
        shown = [str(a) if name in others else _part(a, allocatable.get(name)) for a in asked]
        table.append((name, *shown))
    page.table(2, ("Resource", "Requests", "Limits"), table)


def _part(amount: Quantity, of: Quantity | None) -> str:
    percent = amount.nano * 100 // of.nano if of is not None and of.nano else 0
    return f"{amount} ({percent}%)"


def _pod_resources(pod: Tree, which: str) -> Mapping[str, Quantity]:
    """Return what a Pod asks for, or is limited to: its containers together, or its biggest init container if that is more."""
    spec = pod["spec"]
    total: dict[str, Quantity] = {}
    always: dict[str, Quantity] = {}

    def amounts(container: Tree) -> dict[str, Quantity]:
        given = (container.get("resources") or {}).get(which) or {}
        return {name: parse_quantity(str(amount)) for name, amount in given.items()}

    for container in spec.get("containers") or ():
        for name, amount in amounts(container).items():
            total[name] = total.get(name, _ZERO) + amount
    peak: dict[str, Quantity] = {}
    for container in spec.get("initContainers") or ():
        own = amounts(container)
        if container.get("restartPolicy") == "Always":
            for name, amount in own.items():
                always[name] = always.get(name, _ZERO) + amount
            own = {}
        for name in {**own, **always}:
            needed = own.get(name, _ZERO) + always.get(name, _ZERO)
            peak[name] = max(peak.get(name, _ZERO), needed)
    for name, amount in always.items():
        total[name] = total.get(name, _ZERO) + amount
    for name, amount in peak.items():
        total[name] = max(total.get(name, _ZERO), amount)
    for name, text in (spec.get("overhead") or {}).items():
        if which == "requests" or name in total:
            total[name] = total.get(name, _ZERO) + parse_quantity(str(text))
    return total


def describe_namespace(
    tree: Tree, quotas: Sequence[Tree], limits: Sequence[Tree], events: Sequence[Tree] | None, now: datetime
) -> str:
    """Return the description of a Namespace, given its quotas and limits."""
    page = Page()
    page.heading(tree)
    status = tree.get("status") or {}
    page.line(0, "Status:", status.get("phase", ""))
    if conditions := status.get("conditions"):
        page.line(0, "Conditions:")
        rows = [
            (
                c["type"],
                c["status"],
                date(c.get("lastTransitionTime")),
                c.get("reason", ""),
                c.get("message", ""),
            )
            for c in conditions
        ]
        page.table(2, ("Type", "Status", "LastTransitionTime", "Reason", "Message"), rows)
    page.line(0, "")
    if quotas:
        page.line(0, "Resource Quotas")
        for quota in sorted(quotas, key=lambda q: str(q["metadata"]["name"])):
            page.line(2, "Name:", quota["metadata"]["name"])
            _quota_table(page, quota, indent=2, ruler=("--------", "---", "---"))
    else:
        page.line(0, "No resource quota.")
    page.line(0, "")
    if limits:
        page.line(0, "Resource Limits")
        page.line(1, *_LIMIT_COLUMNS)
        page.line(1, *("-" * len(name) for name in _LIMIT_COLUMNS))
        for limit in limits:
            for row in _limit_rows(limit):
                page.line(1, *row)
    else:
        page.line(0, "No LimitRange resource.")
    return page.text()


def _quota_table(page: Page, quota: Tree, *, indent: int, ruler: Sequence[str]) -> None:
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    page.line(indent, "Resource", "Used", "Hard")
    page.line(indent, *ruler)
    for name in sorted(hard):
        page.line(indent, name, used.get(name, "0"), hard[name])


def describe_quota(tree: Tree) -> str:
    """Return the description of a ResourceQuota."""
    page = Page()
    page.line(0, "Name:", tree["metadata"]["name"])
    page.line(0, "Namespace:", tree["metadata"]["namespace"])
    if scopes := (tree.get("spec") or {}).get("scopes"):
        page.line(0, "Scopes:", ", ".join(sorted(scopes)))
    _quota_table(page, tree, indent=0, ruler=("--------", "----", "----"))
    return page.text()


_LIMIT_COLUMNS = (
    "Type", "Resource", "Min", "Max", "Default Request", "Default Limit", "Max Limit/Request Ratio",
)  # fmt: skip


def _limit_rows(tree: Tree) -> list[tuple[str, ...]]:
    rows = []
    parts = ("min", "max", "defaultRequest", "default", "maxLimitRequestRatio")
    for item in (tree.get("spec") or {}).get("limits") or ():
        names = {name for part in parts for name in item.get(part) or ()}
        for name in sorted(names):
            amounts = [str((item.get(part) or {}).get(name, "-")) for part in parts]
            rows.append((item.get("type", ""), name, *amounts))
    return rows


def describe_limits(tree: Tree) -> str:
    """Return the description of a LimitRange."""
    page = Page()
    page.line(0, "Name:", tree["metadata"]["name"])
    page.line(0, "Namespace:", tree["metadata"]["namespace"])
    page.table(0, _LIMIT_COLUMNS, _limit_rows(tree))
    return page.text()
