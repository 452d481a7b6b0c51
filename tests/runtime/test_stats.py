"""What a node measures: the kernel's files as they were recorded, and the documents made of them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.container import ResourceRequirements
from kubelib.api.model import replace
from kubelib.exposition import Sample, family
from kubelib.runtime.abilities import ContainerStats
from kubelib.runtime.base import Container, ContainerId
from kubelib.runtime.figures import AgentFigures
from kubelib.runtime.stats import cgroups
from kubelib.runtime.stats.exposition import cadvisor_metrics, resource_metrics
from kubelib.runtime.stats.machine import (
    Interface,
    file_system,
    interfaces_of,
    network_of,
    read_machine,
    tree_usage,
)
from kubelib.runtime.stats.node import ContainerFigures, Figures, PodFigures
from kubelib.runtime.stats.summary import summary
from kubelib.server.resourcemetrics import point_of, samples, usage
from kubelib.testing.objects import make_pod
from tests.runtime.conftest import SimNode

V2 = {
    "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
    "kubepods/one/cpu.stat": (
        "usage_usec 12345678\nuser_usec 10000000\nsystem_usec 2345678\ncore_sched.force_idle_usec 0\n"
        "nr_periods 340\nnr_throttled 12\nthrottled_usec 1500000\nnr_bursts 0\nburst_usec 0\n"
    ),
    "kubepods/one/memory.current": "73400320\n",
    "kubepods/one/memory.max": "134217728\n",
    "kubepods/one/memory.swap.current": "4096\n",
    "kubepods/one/memory.stat": (
        "anon 41943040\nfile 29360128\nkernel 1048576\ninactive_anon 0\ninactive_file 20971520\nactive_file 8388608\n"
        "pgfault 51234\npgmajfault 17\n"
    ),
    "kubepods/one/memory.events": "low 0\nhigh 0\nmax 5\noom 2\noom_kill 1\noom_group_kill 0\n",
    "kubepods/one/pids.current": "7\n",
    "kubepods/free/memory.current": "1\n",
    "kubepods/free/memory.max": "max\n",
}
V1 = {
    "cpuacct/kubepods/one/cpuacct.usage": "12345678000\n",
    "cpuacct/kubepods/one/cpuacct.stat": "user 1000\nsystem 234\n",
    "cpu/kubepods/one/cpu.stat": "nr_periods 340\nnr_throttled 12\nthrottled_time 1500000000\n",
    "memory/kubepods/one/memory.usage_in_bytes": "73400320\n",
    "memory/kubepods/one/memory.limit_in_bytes": "134217728\n",
    "memory/kubepods/one/memory.memsw.usage_in_bytes": "73404416\n",
    "memory/kubepods/one/memory.stat": (
        "cache 1\nrss 2\ntotal_cache 29360128\ntotal_rss 41943040\ntotal_inactive_file 20971520\n"
        "total_pgfault 51234\ntotal_pgmajfault 17\n"
    ),
    "memory/kubepods/one/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "pids/kubepods/one/pids.current": "7\n",
    "memory/kubepods/free/memory.limit_in_bytes": "9223372036854771712\n",
}
PROC = {
    "stat": "cpu  1000 50 500 90000 10 0 40 10 0 0\ncpu0 1000 50 500 90000 10 0 40 10 0 0\nbtime 1795655433\n",
    "meminfo": (
        "MemTotal:       16384000 kB\nMemFree:         4096000 kB\nMemAvailable:   9000000 kB\nInactive(file):  2048000 kB\n"
        "AnonPages:       3072000 kB\nSwapTotal:       1024000 kB\nSwapFree:        1000000 kB\n"
    ),
    "vmstat": "nr_free_pages 1\npgfault 987654\npgmajfault 321\n",
    "loadavg": "0.50 0.40 0.30 3/456 7890\n",
    "sys/kernel/pid_max": "32768\n",
    "sys/kernel/threads-max": "127000\n",
    "net/dev": (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
        "    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n"
        "  eth0: 12345 10 2 0 0 0 0 0 6789 20 3 0 0 0 0 0\n"
        "  veth: 1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n"
    ),
    "net/route": "Iface\tDestination\tGateway\nveth\t0000A8C0\t0\neth0\t00000000\t0102A8C0\n",
}


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("files", [V1, V2], ids=["v1", "v2"])
def test_both_versions_of_control_groups_tell_the_same(tmp_path: Path, files: dict[str, str]) -> None:
    root = written(tmp_path, files)
    assert cgroups.is_unified(root) == (files is V2)
    found = cgroups.read("/kubepods/one", root)
    assert found.cpu_seconds == pytest.approx(12.345678)
    assert (found.user_seconds, found.system_seconds) == pytest.approx((10.0, 2.34), abs=0.01)
    assert (found.periods, found.throttled_periods, found.throttled_seconds) == (340, 12, 1.5)
    assert (found.memory, found.working_set) == (73400320, 73400320 - 20971520)
    assert (found.rss, found.cache, found.swap, found.memory_limit) == (41943040, 29360128, 4096, 134217728)
    assert (found.page_faults, found.major_page_faults, found.oom_kills, found.processes) == (51234, 17, 1, 7)
    assert cgroups.read("/kubepods/free", root).memory_limit is None
    assert cgroups.read("/kubepods/gone", root) == cgroups.CgroupFigures()


def test_a_machine_is_read_from_proc_where_control_groups_say_nothing(tmp_path: Path) -> None:
    found = read_machine(written(tmp_path, PROC), tmp_path / "none", ticks=100)
    assert found.cpu_seconds == 16.0, "without what was idle or waited for disks"
    assert found.memory_capacity == 16384000 * 1024
    assert found.working_set == (16384000 - 4096000 - 2048000) * 1024
    assert found.memory_available == (4096000 + 2048000) * 1024
    assert (found.rss, found.page_faults, found.major_page_faults) == (3072000 * 1024, 987654, 321)
    assert (found.processes, found.max_processes, found.boot) == (456, 32768, 1795655433.0)
    assert [i.name for i in found.interfaces] == ["eth0", "veth"]
    assert found.default_interface == "eth0"
    assert interfaces_of(tmp_path / "net/dev")[0].receive_errors == 2
    assert interfaces_of(tmp_path / "nothing") == ()


def test_the_network_of_a_process_is_told_unless_it_is_our_own(tmp_path: Path) -> None:
    proc = written(tmp_path, {f"7/{name}": text for name, text in PROC.items() if name.startswith("net/")})
    for pid, network in (("7", "net:[1]"), ("self", "net:[2]"), ("8", "net:[2]")):
        (proc / pid / "ns").mkdir(parents=True)
        (proc / pid / "ns" / "net").symlink_to(network)
    found, default = network_of(7, proc)
    assert ([one.name for one in found], default) == (["eth0", "veth"], "eth0")
    assert network_of(8, proc) == network_of(9, proc) == ((), "")


def test_a_machine_is_what_its_control_group_says_where_there_is_one(tmp_path: Path) -> None:
    root = written(
        tmp_path / "cgroup", {"cgroup.controllers": "cpu memory\n", "cpu.stat": "usage_usec 5000000\n"}
    )
    assert read_machine(written(tmp_path / "proc", PROC), root).cpu_seconds == 5.0


def test_a_directory_is_counted_without_what_links_lead_to_and_each_file_once(tmp_path: Path) -> None:
    place = tmp_path / "volume"
    place.mkdir()
    (tmp_path / "other").write_bytes(b"x" * 1_000_000)
    (place / "link").symlink_to(tmp_path / "other")
    (place / "file").write_bytes(b"x" * 100_000)
    (place / "again").hardlink_to(place / "file")
    size, inodes = tree_usage(place)
    assert 100_000 <= size < 200_000
    assert inodes == 3, "the directory, the link, the file"
    assert tree_usage(tmp_path / "gone") == (0, 0)


def _figures(tmp_path: Path) -> Figures:
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    pod = make_pod("web", containers=[ContainerDefinition(name="main", image='say "a"\n')])
    main = replace(
        pod.spec.containers[0], resources=ResourceRequirements(limits={"cpu": "250m", "memory": "64Mi"})
    )
    pod = replace(pod, spec=replace(pod.spec, containers=(main,)))
    container = Container(
        id=ContainerId("c"), name="main", image='say "a"\n', state="running", started=when, attempt=3
    )
    stats = ContainerStats(
        cpu_seconds=2.5, user_seconds=2, system_seconds=0.5, memory=1 << 20, memory_usage=1 << 21, rss=1 << 19,
        page_faults=9, major_page_faults=1, processes=4, threads=5, descriptors=6,
    )  # fmt: skip
    return Figures(
        when=when,
        machine=read_machine(written(tmp_path, PROC), tmp_path / "none", ticks=100),
        cores=0.75,
        pods=(
            PodFigures(
                pod=pod,
                containers=(ContainerFigures(container=container, stats=stats, cores=0.25),),
                interfaces=(Interface("eth0", 10, 1, 20, 2),),
                default_interface="eth0",
            ),
        ),
        file_system=file_system(tmp_path),
        own=ContainerStats(cpu_seconds=1, memory=1 << 22),
    )


def test_metrics_have_the_names_labels_and_values_that_readers_of_cadvisor_look_for(tmp_path: Path) -> None:
    text = cadvisor_metrics(_figures(tmp_path), {"cadvisorVersion": "v1"}).decode()
    found: dict[tuple[str, str], float] = {}
    for name, labels, value in samples(text):
        found[name, labels.get("container", "")] = value
        if labels.get("container") == "main":
            assert labels["image"] == r"say \"a\"\n", "escaped as the form wants it"
            assert (labels["namespace"], labels["pod"]) == ("default", "web")
    assert found["container_cpu_usage_seconds_total", "main"] == 2.5
    assert found["container_cpu_usage_seconds_total", ""] == 16
    assert found["container_memory_working_set_bytes", "main"] == 1 << 20
    assert found["container_memory_usage_bytes", "main"] == 1 << 21
    assert found["container_spec_cpu_quota", "main"] == 25_000
    assert found["container_spec_cpu_period", "main"] == 100_000
    assert found["container_spec_memory_limit_bytes", "main"] == 64 << 20
    assert found["container_processes", "main"] == 4 and found["container_processes", ""] == 456
    assert found["machine_memory_bytes", ""] == 16384000 * 1024
    [told] = [
        {**labels, "value": str(value)}
        for name, labels, value in samples(text)
        if name == "container_network_transmit_bytes_total" and labels["pod"]
    ]
    uid = _figures(tmp_path).pods[0].pod.metadata.uid
    assert told == {
        "container": "", "pod": "web", "namespace": "default", "image": "", "name": "", "interface": "eth0",
        "id": f"/kubepods/pod{uid}", "value": "20.0",
    }  # fmt: skip
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names)), "each family once"


def test_a_family_without_samples_is_not_mentioned() -> None:
    assert family("a", "gauge", "About.", []) == []
    assert family("a", "gauge", "About.", [Sample(1.5, {"b": 'c"'}, 7)])[-1] == 'a{b="c\\""} 1.5 7'


def test_a_summary_has_the_fields_of_kubernetes(tmp_path: Path) -> None:
    tree = summary("node-1", _figures(tmp_path))
    node, (pod,) = tree["node"], tree["pods"]
    assert node["cpu"] == {
        "time": "2026-01-02T03:04:05Z",
        "usageNanoCores": 750_000_000,
        "usageCoreNanoSeconds": 16_000_000_000,
    }
    assert node["memory"]["availableBytes"] == (4096000 + 2048000) * 1024
    assert node["network"]["name"] == "eth0" and node["network"]["txErrors"] == 3
    assert node["rlimit"] == {"time": "2026-01-02T03:04:05Z", "maxpid": 32768, "curproc": 456}
    assert {"fs", "runtime", "swap", "startTime", "systemContainers"} <= node.keys()
    assert pod["podRef"]["name"] == "web" and pod["cpu"]["usageNanoCores"] == 250_000_000
    assert pod["containers"][0]["memory"]["workingSetBytes"] == 1 << 20
    eth0 = {"name": "eth0", "rxBytes": 10, "rxErrors": 1, "txBytes": 20, "txErrors": 2}
    assert pod["network"] == {"time": "2026-01-02T03:04:05Z", **eth0, "interfaces": [eth0]}
    assert pod["process_stats"] == {"process_count": 4}
    short = summary("node-1", _figures(tmp_path), only_cpu_and_memory=True)
    assert short["node"].keys() == {"nodeName", "startTime", "systemContainers", "cpu", "memory"}
    assert short["pods"][0]["containers"][0].keys() == {"name", "startTime", "cpu", "memory"}


def test_usage_is_the_difference_of_two_answers_or_since_the_start(tmp_path: Path) -> None:
    text = resource_metrics(_figures(tmp_path)).decode()
    when = datetime(2026, 1, 2, 3, 4, 15, tzinfo=UTC)
    first, name = point_of(text, 100.0, when), ("default", "web", "main")
    second = point_of(text.replace(" 2.5 ", " 4.5 "), 110.0, when)
    assert usage(name, second, first) == {"cpu": "200000000n", "memory": "1024Ki"}
    assert usage(name, first, None) == {"cpu": "250000000n", "memory": "1024Ki"}, "2.5 s in 10 s of life"
    assert usage(name, first, second) == {"cpu": "250000000n", "memory": "1024Ki"}, "it is another container"
    assert usage(("", "", ""), first, None) is None, "of a node that was asked once nothing is known"
    assert usage(("default", "web", "gone"), second, first) is None


async def test_an_agent_tells_what_its_containers_use_between_two_readings(
    node: SimNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anyio

    from kubelib.runtime.fake import Life

    node.images(run=Life(cpu=0.5, memory=3 << 20))
    await node.run()
    await node.until(lambda p: p.status.phase == "Running")
    import json

    figures = AgentFigures(node.agent)
    for _ in range(2):  # at once, and who asks for the first time waits for the second reading
        at_once = json.loads(await figures.summary(only_cpu_and_memory=False))
        assert at_once["node"]["cpu"]["usageNanoCores"] >= 0
        assert at_once["pods"][0]["cpu"]["usageNanoCores"] == pytest.approx(500_000_000)
    await anyio.sleep(10)
    (pod,) = json.loads(await figures.summary(only_cpu_and_memory=True))["pods"]
    assert pod["cpu"]["usageNanoCores"] == pytest.approx(500_000_000)
    assert pod["memory"]["workingSetBytes"] == 3 << 20
    own = (await figures.metrics("own")).decode()
    assert "kubelet_running_pods 1\n" in own and "kubelet_started_containers_total 1\n" in own
    assert 'kubelet_runtime_operations_total{operation_type="start_container"} 1\n' in own
    assert (
        'kubelet_runtime_operations_duration_seconds_bucket{operation_type="run_podsandbox",le="0.005"} 1\n'
        in own
    )
    assert "kubelet_runtime_operations_errors_total" not in own
    assert json.loads(figures.configuration())["kubeletconfig"]["kind"] == "KubeletConfiguration"
