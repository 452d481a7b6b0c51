"""Containers on a real Docker Engine: the suite's promises, and what Docker adds to them."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from kubelib.runtime.base import (
    Resources,
    RuntimeUnavailable,
)
from kubelib.runtime.containers import KIND, OWNER, POD_NAME, POD_NAMESPACE, POD_UID, container_name
from kubelib.runtime.docker import DockerRuntime
from kubelib.runtime.docker.podgroups import PodGroups
from kubelib.testing.runtime import (
    AttachSuite,
    DeviceSuite,
    DurableSuite,
    ExecSuite,
    ImageNameSuite,
    ImageSuite,
    NamesSuite,
    Open,
    Program,
    ResizeSuite,
    RuntimeSuite,
    SandboxLimitSuite,
    StatsSuite,
    TerminalSuite,
    containers,
    ended,
)
from tests.containers import BUSYBOX, Docker, mounts_below
from tests.enginesuite import EngineSuite
from tests.runtime.test_isolation import groups_left

EATER = ("sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x)")
"""Wants 200 MB."""


class TestDockerRuntime(
    EngineSuite,
    RuntimeSuite,
    ExecSuite,
    DeviceSuite,
    NamesSuite,
    AttachSuite,
    TerminalSuite,
    StatsSuite,
    ResizeSuite,
    SandboxLimitSuite,
    DurableSuite,
    ImageSuite,
    ImageNameSuite,
):
    refused = "no basic auth credentials"

    @pytest.fixture
    def open_runtime(self, docker_engine: Docker, tmp_path: Path) -> Iterator[Open]:
        self.engine, self.owner = docker_engine, str(tmp_path)
        yield lambda: self.opened(self.owner)
        assert docker_engine.containers() == []
        assert groups_left(Path(self.owner)) == []

    def held(self) -> dict[str, int]:
        return {**super().held(), "control groups": len(groups_left(Path(self.owner)))}

    def opened(self, owner: str) -> AbstractAsyncContextManager[Any]:
        return DockerRuntime(owner, url=self.engine.url)

    async def test_what_was_made_and_never_started_is_in_nobodys_way(
        self, runtime: DockerRuntime, docker_engine: Docker
    ) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox())
        container = self.container(Program())
        labels = {OWNER: self.owner, POD_UID: sandbox, KIND: "container"}
        name = container_name(
            container, {POD_NAME: "pod-0a1b2c3d", POD_NAMESPACE: "default", POD_UID: sandbox}
        )
        with docker_engine.client() as client:
            config = {"Image": BUSYBOX, "Labels": labels}
            client.create_container_from_config(config, name)
        identity = await runtime.start_container(sandbox, container)
        assert (await containers(runtime))[identity].state == "running"

    async def test_a_stopped_sandbox_has_nothing_left_of_the_engines_network(
        self, runtime: DockerRuntime, docker_engine: Docker
    ) -> None:
        identity = await self.start(runtime, Program(seconds=0))
        await ended(runtime, identity)
        with docker_engine.client() as client:
            assert len(client.inspect_network("bridge")["Containers"]) == 1
            await runtime.stop_sandbox((await self.in_sandbox(runtime)).id)
            assert client.inspect_network("bridge")["Containers"] == {}

    async def test_limits_of_a_pod_outlive_the_agent_and_go_with_the_pod(
        self, runtime: DockerRuntime, docker_engine: Docker
    ) -> None:
        limits = Resources(memory=32 << 20, cpu=0.5)
        sandbox = await runtime.run_sandbox(self.sandbox())
        await runtime.limit_sandbox(sandbox, limits)
        async with self.opened(self.owner) as other:
            identity = await self.start(other, Program(), command=EATER)
            found = await ended(other, identity)
            assert (found.exit_code, found.reason) == (137, "OOMKilled")
            sleeper = await self.start(other, Program(), name="sleeper")
            now = (await containers(other))[sleeper]
            has = self.sandbox_limits(other, now)
            assert (has.memory, has.cpu) == (limits.memory, limits.cpu)
            await other.limit_sandbox(sandbox, Resources(cpu=0.75))
            has = self.sandbox_limits(other, now)
            assert (has.memory, has.cpu) == (limits.memory, 0.75)
            assert groups_left(Path(self.owner)) != []
            with docker_engine.client() as client:  # behind the agent's back
                for line in client.containers(all=True):
                    client.remove_container(line["Id"], force=True)
        assert groups_left(Path(self.owner)) != []
        async with self.opened(self.owner):
            assert groups_left(Path(self.owner)) == []

    async def test_without_a_control_group_a_pod_runs_as_before_and_that_is_logged(
        self, runtime: DockerRuntime, caplog: pytest.LogCaptureFixture
    ) -> None:
        why, able = "Docker's cgroup driver is systemd, not cgroupfs", runtime._groups
        runtime._groups = PodGroups(self.owner, why)
        sandbox = await runtime.run_sandbox(self.sandbox())
        identity = await self.start(runtime, Program())
        await runtime.limit_sandbox(sandbox, Resources(cpu_request=0.5))
        assert caplog.messages == [], "its containers are weighed one by one"
        for groups, reason in (
            (runtime._groups, why),
            (able, "its sandbox was made without a control group"),
        ):
            runtime._groups = groups
            await runtime.limit_sandbox(sandbox, Resources(memory=32 << 20))
            assert (await containers(runtime))[identity].state == "running"
            assert f"pod default/{self.sandbox().name} is not limited as a whole: {reason}" in caplog.messages
        await runtime.remove_sandbox(sandbox)
        assert groups_left(Path(self.owner)) == []

    async def test_an_engine_that_is_not_there_is_said_in_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeUnavailable, match=r"cannot reach Docker at .*: No such file or directory"):
            async with DockerRuntime("nobody", url=f"unix://{tmp_path}/none"):
                pass


def test_an_engine_that_is_stopped_leaves_nothing_behind(tmp_path: Path, images: Path) -> None:
    with Docker(tmp_path / "engine") as engine:
        engine.load(images, ["busybox"])
        with engine.client() as client:
            config = {
                "Image": BUSYBOX,
                "Cmd": ["sleep", "100000"],
                "HostConfig": {"CgroupParent": engine.cgroup},
            }
            client.start(client.create_container_from_config(config, "left-over")["Id"])
        assert engine.network is not None
        name, pods = engine.network.name, engine.network.pods
        assert name in os.listdir("/run/netns")
        assert processes(str(engine.data)) != []
    assert name not in os.listdir("/run/netns")
    assert (
        f"{pods}.0" not in subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    )
    assert processes(str(engine.data)) == []
    assert mounts_below(engine.data) == []
    assert list(Path("/sys/fs/cgroup").glob(f"*{engine.cgroup}")) == []
    assert not engine.directory.exists()
    assert not engine.data.exists()


def processes(words: str) -> list[str]:
    """Return the command lines with something in them, but for this one's."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if words in line and directory.name != str(os.getpid()):
                found.append(line)
    return found
