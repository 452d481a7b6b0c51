"""Containers on a real Docker Engine: the suite's promises, and what Docker adds to them."""

import contextlib
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from anyio.abc import ByteStream

from kubelib.runtime.base import (
    CannotCreate,
    Credentials,
    ImageNotFound,
    Mount,
    PortMapping,
    Resources,
    RuntimeUnavailable,
    Security,
)
from kubelib.runtime.containers import KIND, OWNER, POD_NAME, POD_NAMESPACE, POD_UID, container_name
from kubelib.runtime.docker import DockerRuntime
from kubelib.testing.runtime import (
    AttachSuite,
    DurableSuite,
    ExecSuite,
    ImageNameSuite,
    ImageSuite,
    Open,
    Program,
    RuntimeSuite,
    StatsSuite,
    TerminalSuite,
    containers,
    ended,
    text_of,
)
from tests.containers import BUSYBOX, Docker, mounts_below
from tests.registries import PASSWORD, USER, private_registry


class TestDockerRuntime(
    RuntimeSuite, ExecSuite, AttachSuite, TerminalSuite, StatsSuite, DurableSuite, ImageSuite, ImageNameSuite
):
    image = BUSYBOX
    missing_image = "127.0.0.1:1/no/such/image:1"

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def open_runtime(self, docker_engine: Docker, tmp_path: Path) -> Iterator[Open]:
        self.engine, self.owner = docker_engine, str(tmp_path)

        def opened() -> AbstractAsyncContextManager[Any]:
            return DockerRuntime(self.owner, url=docker_engine.url)

        yield opened
        assert docker_engine.containers() == []

    def leftovers(self) -> list[str]:
        return self.engine.containers()

    async def test_an_image_of_a_private_registry_is_for_those_with_credentials(
        self, runtime: DockerRuntime, docker_engine: Docker, images: Path
    ) -> None:
        assert docker_engine.network is not None
        with private_registry(docker_engine.network.host, images / "pause.tar") as registry:
            image = f"{registry}/private:1"
            with pytest.raises(ImageNotFound, match="no basic auth credentials"):
                await runtime.pull(image)
            wrong = Credentials(username=USER, password="wrong", registry=registry)
            with pytest.raises(ImageNotFound, match=r"unauthorized|401"):
                await runtime.pull(image, credentials=wrong)
            right = Credentials(username=USER, password=PASSWORD, registry=registry)
            identity = await runtime.pull(image, credentials=right)
            assert await runtime.has_image(image)
            with pytest.raises(ImageNotFound, match="manifest unknown"):
                await runtime.pull(f"{registry}/private:2", credentials=right)
        # It is the image of the sandboxes under another name: only that name can go while there are sandboxes.
        assert await runtime.remove_image(f"docker://{identity}")
        assert not await runtime.has_image(image)
        docker_engine.load(images, ["pause"])

    async def test_an_image_that_a_container_has_is_not_removed(self, runtime: DockerRuntime) -> None:
        await self.start(runtime, Program())
        [sandbox] = await runtime.list_sandboxes()
        assert await runtime.remove_image(sandbox.containers[0].image_id) == 0
        assert await runtime.has_image(self.image)
        space = await runtime.image_space()
        assert space is not None
        assert 0 < space.available <= space.capacity

    async def test_limits_are_kept_and_rights_are_as_asked(
        self, runtime: DockerRuntime, tmp_path: Path
    ) -> None:
        log = tmp_path / "log"
        command = (
            "cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us cpu/cpu.shares memory/memory.limit_in_bytes pids/pids.max;"
            "cat /proc/self/oom_score_adj; grep -E 'NoNewPrivs|CapBnd' /proc/self/status; id -G"
        )
        security = Security(
            drop_capabilities=["ALL"],
            add_capabilities=["CHOWN"],
            no_new_privileges=True,
            supplemental_groups=[4000],
        )
        identity = await self.start(
            runtime,
            Program(),
            command=("sh", "-c", command),
            resources=Resources(memory=64 << 20, cpu=0.5, cpu_request=0.25, pids=50),
            security=security,
            oom_score_adj=700,
            user=1000,
            group=2000,
            log_path=str(log),
        )
        assert (await ended(runtime, identity)).exit_code == 0
        assert (await text_of(log)).decode().split() == [
            *("50000", "256", str(64 << 20), "50", "700"),
            *("CapBnd:", "0000000000000001", "NoNewPrivs:", "1", "2000", "4000"),
        ]

    async def test_a_port_of_the_host_leads_to_the_pod_and_what_it_binds_is_there(
        self, runtime: DockerRuntime, docker_engine: Docker, tmp_path: Path
    ) -> None:
        assert docker_engine.network is not None
        (tmp_path / "index.html").write_text("from the host\n")
        spec = self.sandbox(ports=(PortMapping(18080, 80),))
        sandbox = await runtime.run_sandbox(spec)
        container = attrs.evolve(
            self.container(Program()),
            command=("httpd", "-f", "-p", "80", "-h", "/srv"),
            mounts=[Mount(str(tmp_path), "/srv", read_only=True)],
        )
        await runtime.start_container(sandbox, container)
        inside = (docker_engine.network.inside, 18080)
        pod = (await runtime.address(sandbox), 80)
        for there in (inside, pod):
            assert b"from the host" in await fetched(partial(anyio.connect_tcp, *there))
        assert b"from the host" in await fetched(partial(runtime.connect, sandbox, 80))
        with pytest.raises(OSError, match="refused"):
            await runtime.connect(sandbox, 81)
        other = self.sandbox("99999999-uid", ports=(PortMapping(18080, 80),))
        with pytest.raises(CannotCreate, match="port is already allocated"):
            await runtime.run_sandbox(other)

    async def test_one_node_does_not_see_the_pods_of_another(self, runtime: DockerRuntime) -> None:
        await self.start(runtime, Program())
        async with DockerRuntime("somebody else", url=self.engine.url) as other:
            assert await other.list_sandboxes() == ()
            await other.remove_sandbox((await runtime.list_sandboxes())[0].id)
        assert len(await runtime.list_sandboxes()) == 1

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


async def fetched(connect: Callable[[], Awaitable[ByteStream]]) -> bytes:
    """Ask for the page ``/`` until there is one."""
    with anyio.fail_after(30):
        while True:
            try:
                async with await connect() as stream:
                    await stream.send(b"GET / HTTP/1.0\r\n\r\n")
                    answer = b""
                    with contextlib.suppress(anyio.EndOfStream):
                        while True:
                            answer += await stream.receive()
                if answer:
                    return answer
            except (OSError, anyio.BrokenResourceError):
                pass
            await anyio.sleep(0.05)
