"""What real engines promise beyond the suites of `kubelib.testing.runtime`, and what shows only in real containers."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from anyio.abc import ByteStream

from kubelib.runtime.base import (
    BadContainerConfig,
    CannotCreate,
    CannotStart,
    Credentials,
    Dns,
    ImageNotFound,
    Mount,
    NoSuchContainer,
    PortMapping,
    Resources,
    SandboxId,
    Security,
)
from kubelib.testing.runtime import OfRuntimes, Program, containers, ended, text_of
from tests.containers import BUSYBOX, REGISTRY_PORTS, Docker, Podman, mounts_below
from tests.registries import PASSWORD, USER, private_registry

BOMB = "(b() { b | b & b; }; b) 2>/dev/null & exec sleep 100000"
"""A fork bomb below a process that does not fork itself: a shell ends when it cannot."""


class EngineSuite(OfRuntimes):
    """For runtimes that are engines of this machine; `engine` is set by the fixture `open_runtime`."""

    image = BUSYBOX
    missing_image = "127.0.0.1:1/no/such/image:1"
    refused: str
    """What is said of one who has no credentials."""
    engine: Docker | Podman
    owner: str

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    def leftovers(self) -> list[str]:
        return self.engine.containers()

    def held(self) -> dict[str, int]:
        """Return how much is mounted below the engine's data, as it sees it."""
        return {"mounts": len(mounts_below(self.engine.data, str(self.engine.pid)))}

    def opened(self, owner: str) -> AbstractAsyncContextManager[Any]:
        """Open a runtime on the engine, for the Pods of one node."""
        raise NotImplementedError

    async def say(self, runtime: Any, shell: str, tmp_path: Path, **more: Any) -> str:
        """Run a line of shell in a container; return what it writes, but for errors: their place among the rest is anybody's guess."""
        log = tmp_path / f"{more.get('name', 'main')}.log"
        sandbox = await runtime.run_sandbox(more.pop("sandbox", self.sandbox()))
        words = ("sh", "-c", f"exec 2>/dev/null; {shell}")
        spec = self.container(Program(), command=words, log_path=str(log), **more)
        await ended(runtime, await runtime.start_container(sandbox, spec))
        return (await text_of(log)).decode()

    # Images

    async def test_an_image_of_a_private_registry_is_for_those_with_credentials(
        self, runtime: Any, images: Path, tmp_path: Path
    ) -> None:
        assert self.engine.network is not None
        address, port = self.engine.network.host, REGISTRY_PORTS[self.engine.kind]
        with private_registry(address, images / "busybox.tar", port) as registry:
            image = f"{registry}/private:1"
            with pytest.raises(ImageNotFound, match=self.refused):
                await runtime.pull(image)
            wrong = Credentials(username=USER, password="wrong", registry=registry)
            with pytest.raises(ImageNotFound, match=r"unauthorized|401"):
                await runtime.pull(image, credentials=wrong)
            right = Credentials(username=USER, password=PASSWORD, registry=registry)
            assert await runtime.pull(image, credentials=right)
            assert await runtime.has_image(image)
            assert await self.say(runtime, "echo it runs", tmp_path, image=image) == "it runs\n"
            with pytest.raises(ImageNotFound, match="manifest unknown"):
                await runtime.pull(f"{registry}/private:2", credentials=right)
        self.engine.forget_image(image)

    async def test_an_image_is_removed_with_all_its_names_once_no_container_has_it(
        self, runtime: Any
    ) -> None:
        here = self.engine.copy_image()
        spec = self.container(Program(seconds=0), image=here)
        sandbox = await runtime.run_sandbox(self.sandbox())
        identity = await runtime.start_container(sandbox, spec)
        image = (await ended(runtime, identity)).image_id
        assert await runtime.remove_image(image) == 0
        assert await runtime.has_image(here)
        await runtime.remove_container(identity)
        assert await runtime.remove_image(image) > 0
        assert not await runtime.has_image(here)
        assert await runtime.remove_image(image) == 0
        space = await runtime.image_space()
        assert 0 < space.available <= space.capacity

    # Rights and limits

    async def test_limits_are_kept_and_who_breaks_them_is_known(self, runtime: Any, tmp_path: Path) -> None:
        limits = Resources(memory=32 << 20, cpu=0.5, cpu_request=0.25, pids=50)
        look = "cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us cpu/cpu.shares memory/memory.limit_in_bytes pids/pids.max memory/memory.memsw.limit_in_bytes"
        said = await self.say(runtime, look, tmp_path, name="calm", resources=limits)
        assert said.split() == ["50000", "256", str(32 << 20), "50", str(32 << 20)]
        hungry = ("sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x)")
        identity = await self.start(runtime, Program(), name="hungry", resources=limits, command=hungry)
        found = await ended(runtime, identity)
        assert (found.exit_code, found.reason) == (137, "OOMKilled")
        killed = await self.start(runtime, Program(), name="killed", resources=limits)
        await runtime.stop_container(killed, grace=0)
        assert (await containers(runtime))[killed].reason == "Error"

    async def test_a_container_is_who_it_is_to_be_and_may_what_it_may(
        self, runtime: Any, tmp_path: Path
    ) -> None:
        look = (
            "id; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; touch /x || echo read-only; pwd;"
            " cat /proc/self/oom_score_adj"
        )
        security = Security(
            read_only_root=True,
            drop_capabilities=["ALL"],
            add_capabilities=["CHOWN"],
            no_new_privileges=True,
            supplemental_groups=[3000],
            seccomp="Unconfined",
        )
        more = {"user": 1000, "group": 2000, "working_dir": "/tmp", "oom_score_adj": 700}
        said = await self.say(runtime, look, tmp_path, security=security, **more)
        assert re.sub(r"\(\w+\)", "", said.splitlines()[0]).startswith("uid=1000 gid=2000 groups=")
        assert "3000" in said.splitlines()[0]
        wanted = {"CapBnd:\t0000000000000001", "NoNewPrivs:\t1", "Seccomp:\t0", "/tmp", "read-only", "700"}
        assert wanted <= set(said.splitlines())
        plain = await self.say(runtime, look, tmp_path, name="plain")
        assert {"NoNewPrivs:\t0", "Seccomp:\t2"} <= set(plain.splitlines())
        assert "read-only" not in plain

    async def test_a_user_whom_the_image_lacks_is_a_number_and_does_not_become_known(
        self, runtime: Any, tmp_path: Path
    ) -> None:
        known = await self.say(runtime, "cat /etc/passwd /etc/group", tmp_path, name="root")
        assert "root:" in known and "4242" not in known
        look = "id -u; id -g; whoami || echo nameless; cat /etc/passwd /etc/group"
        said = await self.say(runtime, look, tmp_path, user=4242, group=4243)
        assert said == f"4242\n4243\nnameless\n{known}"

    async def test_a_container_that_must_not_be_root_is_refused_if_its_image_is(self, runtime: Any) -> None:
        with pytest.raises(BadContainerConfig, match="image will run as root"):
            await self.start(runtime, Program(), security=Security(non_root=True))
        identity = await self.start(runtime, Program(seconds=0), user=1, security=Security(non_root=True))
        assert (await ended(runtime, identity)).exit_code == 0

    async def test_one_that_forks_without_end_harms_nobody_else(self, runtime: Any) -> None:
        limit = 40
        identity = await self.start(
            runtime, Program(), command=("sh", "-c", BOMB), resources=Resources(pids=limit)
        )
        with anyio.fail_after(60):
            while (await runtime.stats(identity)).processes < limit - 5:  # some end as they find no room
                await anyio.sleep(0.05)
        other = await runtime.run_sandbox(self.sandbox("99999999-uid", name="other"))
        calm = await runtime.start_container(other, self.container(Program()))
        assert (await runtime.exec(calm, ("echo", "well"))).stdout == b"well\n"
        assert (await runtime.stats(identity)).processes <= limit
        await runtime.stop_container(identity, grace=0)
        assert (await containers(runtime))[identity].exit_code == 137

    # What containers share, and have

    async def test_the_containers_of_a_sandbox_share_its_name_network_and_processes(
        self, runtime: Any, tmp_path: Path
    ) -> None:
        dns = Dns(servers=("192.0.2.53",), searches=("a.example",), options=("ndots:3",))
        sandbox = self.sandbox(hostname="front", dns=dns, share_processes=True)
        server = ("sh", "-c", "echo hello > /tmp/index.html; exec httpd -f -p 127.0.0.1:8080 -h /tmp")
        await runtime.run_sandbox(sandbox)
        await self.start(runtime, Program(), name="server", command=server)
        ask = (
            "until wget -q -O- http://127.0.0.1:8080/; do sleep 0.1; done; hostname; cat /etc/resolv.conf; ps"
        )
        said = await self.say(runtime, ask, tmp_path, sandbox=sandbox)
        assert said.startswith("hello\nfront\n")
        assert {"nameserver 192.0.2.53", "search a.example", "options ndots:3"} <= set(said.splitlines())
        assert "httpd -f" in said
        stream = await runtime.connect(SandboxId(sandbox.uid), 8080)
        async with stream:
            await stream.send(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            with pytest.raises(anyio.EndOfStream):
                while True:
                    answer += await stream.receive()
        assert answer.endswith(b"hello\n")

    async def test_a_sandbox_may_be_on_the_hosts_network_and_see_its_processes(
        self, runtime: Any, tmp_path: Path
    ) -> None:
        sandbox = self.sandbox(host_network=True, host_pid=True, host_ipc=True)
        said = await self.say(
            runtime, "ip -o -4 addr; ps; readlink /proc/self/ns/ipc", tmp_path, sandbox=sandbox
        )
        assert self.engine.network is not None
        assert self.engine.network.inside in said
        assert {"docker": "dockerd", "podman": "system service"}[self.engine.kind] in said
        assert os.readlink("/proc/self/ns/ipc") in said

    async def test_a_container_looks_into_another(self, runtime: Any, tmp_path: Path) -> None:
        target = await self.start(runtime, Program(), name="target", command=("sleep", "4242"))
        said = await self.say(runtime, "ps", tmp_path, name="debugger", target=target)
        assert "sleep 4242" in said
        assert "sleep 4242" not in await self.say(runtime, "ps", tmp_path, name="stranger")

    async def test_mounts_are_made_where_they_are_missing_and_may_be_read_only(
        self, runtime: Any, tmp_path: Path
    ) -> None:
        mounts = [Mount(str(tmp_path / "new"), "/data"), Mount(str(tmp_path / "ro"), "/ro", True)]
        said = await self.say(
            runtime, "echo x > /data/file; touch /ro/x || echo refused", tmp_path, mounts=mounts
        )
        assert (tmp_path / "new" / "file").read_text() == "x\n"
        assert said.endswith("refused\n")

    async def test_mounts_made_later_are_seen_as_far_as_is_asked(self, runtime: Any, tmp_path: Path) -> None:
        volume, inside = tmp_path / "volume", ("nsenter", "-t", str(self.engine.pid), "-m")

        def run(*words: str) -> None:
            subprocess.run([*inside, *words], check=True)

        volume.mkdir()
        run("mount", "--bind", str(volume), str(volume))
        try:
            slave = Mount(str(volume), "/slave", propagation="HostToContainer")
            mounts = [Mount(str(volume), "/none"), slave]
            run("mount", "--make-shared", str(volume))
            both = [*mounts, Mount(str(volume), "/both", propagation="Bidirectional")]
            identity = await self.start(runtime, Program(), mounts=both)
            (volume / "later").mkdir()
            run("mount", "-t", "tmpfs", "later", str(volume / "later"))
            seen = (await runtime.exec(identity, ("grep", "-o", "/[a-z]*/later", "/proc/mounts"))).stdout
            assert sorted(seen.decode().split()) == ["/both/later", "/slave/later"]
            await runtime.stop_container(identity, grace=0)
        finally:
            run("umount", "-R", "-l", str(volume))

    async def test_a_mount_that_is_bad_is_an_error(self, runtime: Any, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        bad = Mount(str(tmp_path / "file"), "/bin")  # a file where there is a directory
        with pytest.raises((CannotCreate, CannotStart)):
            await self.start(runtime, Program(), mounts=[bad])

    async def test_a_port_of_the_host_leads_to_the_pod_and_is_not_given_twice(
        self, runtime: Any, tmp_path: Path
    ) -> None:
        assert self.engine.network is not None
        (tmp_path / "index.html").write_text("from the host\n")
        sandbox = await runtime.run_sandbox(self.sandbox(ports=(PortMapping(18080, 80),)))
        container = attrs.evolve(
            self.container(Program()),
            command=("httpd", "-f", "-p", "80", "-h", "/srv"),
            mounts=[Mount(str(tmp_path), "/srv", read_only=True)],
        )
        await runtime.start_container(sandbox, container)
        for there in ((self.engine.network.inside, 18080), (await runtime.address(sandbox), 80)):
            assert b"from the host" in await fetched(partial(anyio.connect_tcp, *there))
        assert b"from the host" in await fetched(partial(runtime.connect, sandbox, 80))
        with pytest.raises(OSError, match="refused"):
            await runtime.connect(sandbox, 81)
        other = self.sandbox("99999999-uid", name="other", ports=(PortMapping(18080, 80),))
        with pytest.raises(CannotCreate):
            await runtime.run_sandbox(other)

    async def test_a_start_that_was_under_way_when_its_agent_was_killed_is_the_only_one(
        self, runtime: Any, tmp_path: Path
    ) -> None:
        note = Mount(str(tmp_path / "notes"), "/notes")
        for name, program in (("stays", Program()), ("ends", Program(seconds=0, exit_code=3))):
            words = ("sh", "-c", f"echo begun >> /notes/{name}; {program.shell()}")
            spec = self.container(program, name=name, command=words, mounts=[note])
            sandbox = await runtime.run_sandbox(self.sandbox())
            identity = await runtime.start_container(sandbox, spec)
            if name == "ends":
                await ended(runtime, identity)
            # One that has just been started knows nothing of the answers that the other was waiting for.
            async with self.opened(self.owner) as other:
                assert await other.start_container(sandbox, spec) == identity
                found = (await containers(other))[identity]
                assert (found.state, found.exit_code) == (
                    ("running", 0) if name == "stays" else ("exited", 3)
                )
            with anyio.fail_after(60):
                while not await anyio.Path(tmp_path / "notes" / name).exists():
                    await anyio.sleep(0.02)
            assert (tmp_path / "notes" / name).read_text() == "begun\n"

    async def test_a_container_is_not_blamed_for_a_sandbox_that_has_just_died(self, runtime: Any) -> None:
        for attempt in range(5):
            sandbox = await runtime.run_sandbox(self.sandbox(share_processes=True))
            os.kill(runtime._pid(runtime._of(sandbox)), signal.SIGKILL)
            with contextlib.suppress(NoSuchContainer):  # Podman starts the sandbox anew with it
                await runtime.start_container(sandbox, self.container(Program(), attempt=attempt))
            assert "ContainerCannotRun" not in {c.reason for c in (await containers(runtime)).values()}

    async def test_one_node_does_not_see_the_pods_of_another(self, runtime: Any) -> None:
        await self.start(runtime, Program())
        async with self.opened("somebody else") as other:
            assert await other.list_sandboxes() == ()
            await other.remove_sandbox((await runtime.list_sandboxes())[0].id)
        assert len(await runtime.list_sandboxes()) == 1

    async def test_nothing_is_left_open(self, runtime: Any, tmp_path: Path) -> None:
        identity = await self.start(runtime, Program(echo=True), stdin=True)
        terminal = await self.start(runtime, Program(echo=True), name="terminal", stdin=True, tty=True)
        open_before: list[int] = []
        for _ in range(3):
            async with self.opened(str(tmp_path)) as other, other.events():
                for one in (identity, terminal):
                    async with other.attach(one, stdin=True) as stream:
                        await stream.send(b"x\n")
                        await stream.receive()
                await other.exec(identity, ("true",))
            open_before.append(len(os.listdir("/proc/self/fd")))
        assert len(set(open_before[1:])) == 1


async def fetched(connect: Callable[[], Awaitable[ByteStream]]) -> bytes:
    """Ask for the page ``/`` until there is one."""
    with anyio.fail_after(60):
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
