"""The parts of the Docker runtime that need no engine: what it is asked to create, and the logs that it is read."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from kubelib.runtime.abilities import ContainerStats
from kubelib.runtime.base import (
    ContainerId,
    ContainerSpec,
    Dns,
    Mount,
    PortMapping,
    Resources,
    SandboxSpec,
    Security,
)
from kubelib.runtime.containers import FEWEST_SHARES
from kubelib.runtime.docker import readings
from kubelib.runtime.docker.configs import SHARES, container_config, sandbox_config
from kubelib.runtime.docker.engine import negotiated
from kubelib.runtime.docker.logs import LARGEST, PIECE, Lines, LogFile, records
from kubelib.runtime.docker.podgroups import PodGroups, obstacle
from kubelib.runtime.docker.runtime import _processes, stats_of
from kubelib.runtime.podman.requests import container_request

LABELS = {
    "kubelib.dev/owner": "me",
    "io.kubernetes.pod.uid": "u",
    "io.kubernetes.pod.name": "web",
    "io.kubernetes.pod.namespace": "shop",
}


def sandbox(**more: Any) -> dict[str, Any]:
    spec = SandboxSpec(uid="u", namespace="shop", name="web", hostname="front", address="", **more)
    return sandbox_config(spec, "pause", "me")


def created(pid: str = "", seccomp: str = "", **more: Any) -> dict[str, Any]:
    spec = ContainerSpec(name="main", image="image", **more)
    return container_config(spec, "abc", LABELS, pid=pid, seccomp=seccomp)


def test_a_sandbox_holds_the_network_and_what_belongs_to_it() -> None:
    ports = (PortMapping(8080, 80), PortMapping(8081, 80, host_ip="127.0.0.1"), PortMapping(53, 53, "UDP"))
    dns = Dns(servers=("192.0.2.1",), searches=("a.example",), options=("ndots:2",))
    config = sandbox(ports=ports, dns=dns, sysctls={"net.core.somaxconn": "9"})
    host = config["HostConfig"]
    assert (config["Hostname"], host["NetworkMode"], host["IpcMode"]) == ("front", "bridge", "shareable")
    assert host["PortBindings"] == {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": "8081"}],
        "53/udp": [{"HostIp": "", "HostPort": "53"}],
    }
    assert config["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert (host["Dns"], host["DnsSearch"], host["DnsOptions"]) == (["192.0.2.1"], ["a.example"], ["ndots:2"])
    assert host["Sysctls"] == {"net.core.somaxconn": "9"}


def test_a_sandbox_of_the_host_has_the_hosts_names_and_namespaces() -> None:
    config = sandbox(host_network=True, host_pid=True, host_ipc=True)
    host = config["HostConfig"]
    assert (config["Hostname"], host["NetworkMode"], host["IpcMode"], host["PidMode"]) == (
        "",
        "host",
        "host",
        "host",
    )


def test_a_container_joins_its_sandbox_and_replaces_what_the_image_says_by_what_is_given() -> None:
    config = created(command=("a", "b"), args=("c",), env={"A": "x=y"}, working_dir="/w", user=1, group=2)
    assert (config["Entrypoint"], config["Cmd"], config["User"]) == (["a", "b"], ["c"], "1:2")
    assert (config["Env"], config["WorkingDir"]) == (["A=x=y"], "/w")
    host = config["HostConfig"]
    assert (host["NetworkMode"], host["IpcMode"], host["PidMode"]) == ("container:abc", "container:abc", "")
    assert not {"Entrypoint", "Cmd", "User"} & created().keys()


def test_limits_become_the_engines() -> None:
    host = created(resources=Resources(memory=1 << 20, cpu=0.5, cpu_request=0.25, pids=7), oom_score_adj=999)[
        "HostConfig"
    ]
    assert (host["Memory"], host["MemorySwap"]) == (1 << 20, 1 << 20)
    assert (host["CpuShares"], host["CpuPeriod"], host["CpuQuota"]) == (256, 100_000, 50_000)
    assert (host["PidsLimit"], host["OomScoreAdj"]) == (7, 999)
    free = created()["HostConfig"]
    assert free["CpuShares"] == FEWEST_SHARES
    assert not {"Memory", "CpuQuota", "PidsLimit"} & free.keys()


def test_rights_become_the_engines() -> None:
    security = Security(
        privileged=True,
        read_only_root=True,
        add_capabilities=["NET_ADMIN"],
        drop_capabilities=["ALL"],
        no_new_privileges=True,
        supplemental_groups=[5],
        seccomp="/profile",
        unmasked_proc=True,
    )
    host = created(security=security, seccomp="{}")["HostConfig"]
    assert (host["Privileged"], host["ReadonlyRootfs"], host["GroupAdd"]) == (True, True, ["5"])
    assert (host["CapAdd"], host["CapDrop"]) == (["NET_ADMIN"], ["ALL"])
    assert host["SecurityOpt"] == ["no-new-privileges", "seccomp={}"]
    assert (host["MaskedPaths"], host["ReadonlyPaths"]) == ([], [])
    assert created(security=Security(seccomp="Unconfined"))["HostConfig"]["SecurityOpt"] == [
        "seccomp=unconfined"
    ]


def test_labels_and_profiles_of_security_modules_are_the_engines() -> None:
    confined = Security(apparmor="loaded", selinux={"type": "mine_t", "level": "s0:c1,c2"})
    options = ["apparmor=loaded", "label=type:mine_t", "label=level:s0:c1,c2"]
    assert created(security=confined)["HostConfig"]["SecurityOpt"] == options
    assert created(security=Security(apparmor="Unconfined"))["HostConfig"]["SecurityOpt"] == [
        "apparmor=unconfined"
    ]
    labels = sandbox()["Labels"]
    spec = ContainerSpec(name="main", image="image", security=confined)
    request = container_request(spec, "image", "pod", labels)
    assert request["apparmor_profile"] == "loaded"
    assert request["selinux_opts"] == ["type:mine_t", "level:s0:c1,c2"]
    free = container_request(
        attrs.evolve(spec, security=Security(apparmor="Unconfined")), "image", "pod", labels
    )
    assert free["apparmor_profile"] == "unconfined"
    assert "selinux_opts" not in free


def test_a_volume_is_bound() -> None:
    [mount] = created(mounts=[Mount("/a", "/b", read_only=True)])["HostConfig"]["Mounts"]
    assert mount == {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True}


@pytest.mark.parametrize(
    ("propagation", "flag"), [("HostToContainer", "rslave"), ("Bidirectional", "rshared")]
)
def test_mounts_made_later_are_seen_as_the_volume_says(propagation: Any, flag: str) -> None:
    [mount] = created(mounts=[Mount("/a", "/b", propagation=propagation)])["HostConfig"]["Mounts"]
    assert mount["BindOptions"] == {"Propagation": flag}


@pytest.mark.parametrize(
    ("config", "target", "expected"),
    [
        ({}, None, ""),
        ({"share_processes": True}, None, "container:abc"),
        ({"host_pid": True}, None, "host"),
        ({"host_pid": True}, "def", "container:def"),
    ],
)
def test_whose_processes_a_container_sees(config: dict[str, Any], target: str | None, expected: str) -> None:
    made = sandbox(**config)
    tree = {"Id": "abc", "HostConfig": made["HostConfig"], "Config": {"Labels": made["Labels"]}}
    spec = ContainerSpec(name="main", image="image", target=ContainerId(target) if target else None)
    assert _processes(spec, tree) == expected
    assert (SHARES in made["Labels"]) is bool(config.get("share_processes"))


def test_an_engine_that_is_too_old_is_refused() -> None:
    with pytest.raises(ValueError, match=r"speaks version 1\.40 of the API, and 1\.41"):
        negotiated("1.40", "1.12", "1.45")
    assert negotiated("1.55", "1.50", "1.45") == "1.50"


def inspected(**state: Any) -> dict[str, Any]:
    labels = {
        **LABELS,
        "io.kubernetes.container.name": "main",
        "kubelib.dev/attempt": "2",
        "kubelib.dev/image": "i",
    }
    begun = {"Status": "exited", "Running": False, "ExitCode": 0, "StartedAt": "2026-01-02T03:04:05.5Z"}
    return {
        "Id": "abc",
        "Image": "sha256:1",
        "Created": "2026-01-02T03:04:00Z",
        "Config": {"Labels": labels},
        "State": {**begun, "FinishedAt": "2026-01-02T03:04:06Z", **state},
    }


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"ExitCode": 0}, ("exited", 0, "Completed")),
        ({"ExitCode": 3}, ("exited", 3, "Error")),
        ({"ExitCode": 137, "OOMKilled": True}, ("exited", 137, "OOMKilled")),
        (
            {"Status": "created", "ExitCode": 127, "Error": "no such file"},
            ("exited", 127, "ContainerCannotRun"),
        ),
        ({"Status": "created", "Error": ""}, ("created", 0, "")),
        ({"Status": "running", "Running": True, "Pid": 7}, ("running", 0, "")),
        ({"Status": "paused", "Running": True, "Pid": 7}, ("running", 0, "")),
    ],
)
def test_how_a_container_is_read(state: dict[str, Any], expected: tuple[str, int, str]) -> None:
    found = readings.container_of(inspected(**state))
    assert (found.state, found.exit_code, found.reason) == expected
    assert found.attempt == 2


def test_none_has_ended_before_it_was_started() -> None:
    """A busy engine notes the start of one that is brief when it has ended already."""
    late = inspected(StartedAt="2026-01-02T03:04:06.008Z")
    found = readings.container_of(late)
    assert found.started == found.finished == datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)


def test_one_that_could_not_be_started_has_ended_when_it_was_made() -> None:
    found = readings.container_of(inspected(Status="created", ExitCode=127, Error="no such file"))
    assert found.finished == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert found.message == "no such file"


@pytest.mark.parametrize(
    "details",
    [
        {"total_inactive_file": 400, "total_rss": 300, "total_pgfault": 20, "total_pgmajfault": 2, "rss": 1},
        {"inactive_file": 400, "anon": 300, "pgfault": 20, "pgmajfault": 2},
    ],
    ids=["version 1", "version 2"],
)
def test_figures_are_read_in_either_version_of_cgroups_and_memory_that_can_be_dropped_does_not_count(
    details: dict[str, int],
) -> None:
    usage = {
        "total_usage": 2_500_000_000,
        "usage_in_usermode": 2_000_000_000,
        "usage_in_kernelmode": 500_000_000,
    }
    told = {
        "cpu_stats": {"cpu_usage": usage},
        "memory_stats": {"usage": 1000, "stats": details},
        "pids_stats": {"current": 3},
    }
    assert stats_of(told) == ContainerStats(
        cpu_seconds=2.5,
        user_seconds=2.0,
        system_seconds=0.5,
        memory=600,
        memory_usage=1000,
        rss=300,
        page_faults=20,
        major_page_faults=2,
        processes=3,
    )


# Control groups of Pods

V1 = ("blkio", "cpu", "memory")


def hierarchy(root: Path, *, unified: bool, **groups: dict[str, str]) -> Path:
    """Make what a machine's control groups look like, with groups of these names and files."""
    tops = [root] if unified else [root / controller for controller in V1]
    for top in tops:
        top.mkdir(parents=True)
        for name, files in groups.items():
            (top / name).mkdir(parents=True)
            for file, text in files.items():
                (top / name / file).write_text(text)
    if unified:
        (root / "cgroup.controllers").write_text("cpu memory pids\n")
        (root / "cgroup.subtree_control").write_text("")
    return root


def test_all_that_is_of_a_pod_is_in_its_control_group() -> None:
    spec = SandboxSpec(uid="u", namespace="shop", name="web", hostname="front", address="")
    path = PodGroups("me").path("u")
    assert path.startswith("/docker/kubelib-")
    assert path.endswith("-podu")
    assert path != PodGroups("another").path("u")
    assert sandbox_config(spec, "pause", "me", path)["HostConfig"]["CgroupParent"] == path
    container = ContainerSpec(name="main", image="image")
    config = container_config(container, "abc", LABELS, pid="", parent=path)
    assert config["HostConfig"]["CgroupParent"] == path
    assert created()["HostConfig"]["CgroupParent"] == PodGroups("me", "a reason").path("u") == ""


def test_limits_of_a_pod_are_written_in_version_2_and_its_group_goes_with_it(tmp_path: Path) -> None:
    files = dict.fromkeys(("cpu.weight", "cpu.max", "memory.max", "memory.oom.group"), "")
    name = PodGroups("me").path("u").strip("/")
    root = hierarchy(tmp_path / "v2", unified=True, **{name: files, "system.slice": {}})
    groups = PodGroups("me", root=root)
    assert groups.limit(f"/{name}", Resources(memory=64 << 20, cpu=0.25))
    assert {file: (root / name / file).read_text() for file in files} == files | {
        "memory.max": str(64 << 20),
        "cpu.max": "25000 100000",
        "cpu.weight": "10",
    }
    assert (groups.left(), PodGroups("another", root=root).left()) == ({"u"}, set())
    assert not groups.remove("u")  # what is in it has not gone yet
    for file in files:
        (root / name / file).unlink()  # the kernel's go with the directory
    assert groups.remove("u")
    assert groups.remove("u")
    assert groups.left() == set()
    assert (root / "system.slice").exists()


def test_in_version_1_the_group_goes_in_every_hierarchy_and_one_that_is_not_seen_is_not_limited(
    tmp_path: Path,
) -> None:
    name = PodGroups("me").path("u").strip("/")
    root = hierarchy(tmp_path / "v1", unified=False, **{name: {}})
    groups = PodGroups("me", root=root)
    written = {"cpu": ("cpu.cfs_period_us", "cpu.cfs_quota_us"), "memory": ("memory.limit_in_bytes",)}
    for controller, names in written.items():
        for file in names:
            (root / controller / name / file).write_text("")
    assert groups.limit(f"/{name}", Resources(memory=64 << 20, cpu=0.25))
    has = [(root / c / name / file).read_text() for c, names in written.items() for file in names]
    assert has == ["100000", "25000", str(64 << 20)]
    for controller, names in written.items():
        for file in names:
            (root / controller / name / file).unlink()
    assert groups.remove("u")
    assert list(root.rglob("kubelib-*")) == []
    assert not groups.limit(f"/{name}", Resources(memory=64 << 20))
    assert list(root.rglob("kubelib-*")) == []


def test_why_a_pod_has_no_control_group(tmp_path: Path) -> None:
    first, second = (
        hierarchy(tmp_path / "1", unified=False),
        hierarchy(tmp_path / "2", unified=True),
    )
    info = {"CgroupDriver": "cgroupfs", "CgroupVersion": "1"}
    assert obstacle(info, local=True, root=first) == ""
    assert obstacle(info | {"CgroupVersion": "2"}, local=True, root=second) == ""
    assert obstacle({}, local=False) == "Docker is not on this machine"
    other = "Docker's cgroup driver is systemd, not cgroupfs"
    assert obstacle(info | {"CgroupDriver": "systemd"}, local=True, root=first) == other
    assert "another version" in obstacle(info, local=True, root=second)
    (first / "memory").rmdir()
    assert obstacle(info, local=True, root=first) == "this process may not write control groups"


# Logs

WHEN = b"2026-01-02T03:04:05.%09dZ"


def test_a_record_has_time_stream_tag_and_text() -> None:
    when = WHEN % 1
    assert list(records("stderr", [when + b" whole\n", when + b" a part", when + b" \n"])) == [
        when + b" stderr F whole\n",
        when + b" stderr P a part\n",
        when + b" stderr F \n",
    ]


def test_lines_of_a_terminal_are_taken_apart_wherever_they_are_cut() -> None:
    first, second = WHEN % 1, WHEN % 2
    long = first + b" " + b"x" * PIECE
    text = long + first + b" rest\n" + second + b" last"
    for size in (1, 7, 1000, len(text)):
        lines, found = Lines(), []
        for begin in range(0, len(text), size):
            found += lines.feed(text[begin : begin + size])
        assert [*found, *lines.end()] == [long, first + b" rest\n", second + b" last"]


def test_a_log_goes_on_where_it_ended_and_has_each_line_once(tmp_path: Path) -> None:
    path = tmp_path / "of" / "pod" / "0.log"
    said = [b"%s stdout F %d\n" % (WHEN % n, n) for n in (1, 2, 2, 3)]
    log = LogFile(path)
    assert log.since == "0"
    log.write(said[:3])
    log.close()
    with path.open("ab") as file:
        file.write(b"half a rec")
    log = LogFile(path)
    assert log.since == f"{int(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp())}.000000002"
    log.write(said[1:])  # the engine says again what has that time
    log.close()
    assert path.read_bytes() == b"".join(said)


def test_a_large_log_is_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    log = LogFile(path)
    line = WHEN % 1 + b" stdout F " + b"x" * 100_000 + b"\n"
    for _ in range(2 * LARGEST // len(line) + 3):
        log.write([line])
    log.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.log", "0.log.1"]
    assert all(p.stat().st_size <= LARGEST for p in tmp_path.iterdir())
