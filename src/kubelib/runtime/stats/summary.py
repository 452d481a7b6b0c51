"""The document ``/stats/summary`` (``stats/v1alpha1``): a node and its Pods as a tree. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime

from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.runtime.abilities import ContainerStats
from kubelib.runtime.stats.machine import FileSystem, Interface
from kubelib.runtime.stats.node import ContainerFigures, Disk, Figures, PodFigures


def summary(name: str, figures: Figures, *, only_cpu_and_memory: bool = False) -> Tree:
    """Return the summary of a node."""
    when = format_time(figures.when)
    machine, disk = figures.machine, figures.file_system
    node: Tree = {
        "nodeName": name,
        "startTime": format_time(datetime.fromtimestamp(machine.boot, UTC)),
        "systemContainers": [
            {
                "name": "kubelet",
                "startTime": format_time(datetime.fromtimestamp(machine.boot, UTC)),
                "cpu": _cpu(when, figures.own.cpu_seconds, None),
                "memory": _memory(when, figures.own),
            }
        ],
        "cpu": _cpu(when, machine.cpu_seconds, figures.cores),
        "memory": {
            "time": when,
            "availableBytes": machine.memory_available,
            "usageBytes": machine.memory_usage,
            "workingSetBytes": machine.working_set,
            "rssBytes": machine.rss,
            "pageFaults": machine.page_faults,
            "majorPageFaults": machine.major_page_faults,
        },
    }
    if not only_cpu_and_memory:
        node["network"] = _network(when, machine.interfaces, machine.default_interface)
        node["fs"] = _file_system(when, disk, disk.used, disk.inodes_used)
        node["runtime"] = {"imageFs": dict(node["fs"]), "containerFs": dict(node["fs"])}
        node["rlimit"] = {"time": when, "maxpid": machine.max_processes, "curproc": machine.processes}
        node["swap"] = {
            "time": when,
            "swapAvailableBytes": machine.swap_free,
            "swapUsageBytes": machine.swap_total - machine.swap_free,
        }
    pods = [
        _pod(when, pod, disk, only_cpu_and_memory=only_cpu_and_memory)
        for pod in figures.pods
        if pod.containers or pod.pod.status.phase == "Running"
    ]
    return {"node": node, "pods": pods}


def _cpu(when: str, seconds: float, cores: float | None) -> Tree:
    known = {} if cores is None else {"usageNanoCores": round(cores * 1e9)}
    return {"time": when, **known, "usageCoreNanoSeconds": round(seconds * 1e9)}


def _memory(when: str, stats: ContainerStats) -> Tree:
    return {
        "time": when,
        "usageBytes": stats.memory_usage or stats.memory,
        "workingSetBytes": stats.memory,
        "rssBytes": stats.rss,
        "pageFaults": stats.page_faults,
        "majorPageFaults": stats.major_page_faults,
    }


def _network(when: str, found: Iterable[Interface], default: str) -> Tree:
    interfaces = [
        {
            "name": one.name,
            "rxBytes": one.received,
            "rxErrors": one.receive_errors,
            "txBytes": one.sent,
            "txErrors": one.send_errors,
        }
        for one in found
    ]
    usual = next((i for i in interfaces if i["name"] == default), {})
    return {"time": when, **usual, "interfaces": interfaces}


def _file_system(when: str, disk: FileSystem, used: int, inodes: int) -> Tree:
    return {
        "time": when,
        "availableBytes": disk.available,
        "capacityBytes": disk.capacity,
        "usedBytes": used,
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
        "inodesUsed": inodes,
    }


def _container(when: str, one: ContainerFigures, disk: FileSystem, *, only_cpu_and_memory: bool) -> Tree:
    tree: Tree = {
        "name": one.container.name,
        "startTime": format_time(one.container.started) if one.container.started else None,
        "cpu": _cpu(when, one.stats.cpu_seconds, one.cores),
        "memory": _memory(when, one.stats),
    }
    if not only_cpu_and_memory:
        tree["rootfs"] = _file_system(when, disk, one.root.used, one.root.inodes)
        tree["logs"] = _file_system(when, disk, one.logs.used, one.logs.inodes)
    return tree


def _pod(when: str, one: PodFigures, disk: FileSystem, *, only_cpu_and_memory: bool) -> Tree:
    meta = one.pod.metadata
    all_stats = [c.stats for c in one.containers]
    tree: Tree = {
        "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "startTime": format_time(one.pod.status.start_time) if one.pod.status.start_time else None,
        "containers": [
            _container(when, c, disk, only_cpu_and_memory=only_cpu_and_memory) for c in one.containers
        ],
        "cpu": _cpu(when, one.cpu_seconds, one.cores),
        "memory": {
            "time": when,
            "usageBytes": sum(s.memory_usage or s.memory for s in all_stats),
            "workingSetBytes": one.memory,
            "rssBytes": sum(s.rss for s in all_stats),
            "pageFaults": sum(s.page_faults for s in all_stats),
            "majorPageFaults": sum(s.major_page_faults for s in all_stats),
        },
    }
    if not only_cpu_and_memory:
        if one.interfaces:
            tree["network"] = _network(when, one.interfaces, one.default_interface)
        tree["volume"] = [
            {"name": name, **_file_system(when, disk, held.used, held.inodes)}
            for name, held in one.volumes.items()
        ]
        total: Disk = one.disk
        tree["ephemeral-storage"] = _file_system(when, disk, total.used, total.inodes)
        tree["process_stats"] = {"process_count": sum(s.processes for s in all_stats)}
    return tree
