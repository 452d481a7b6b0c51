"""Pods with networks of their own, without an engine: who reaches whom, by what, and that nothing is left of it."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib import hosttools
from kubelib.runtime.base import (
    CannotCreate,
    ContainerId,
    ContainerSpec,
    Dns,
    NoSuchContainer,
    PortMapping,
    RuntimeEvent,
    SandboxId,
    SandboxSpec,
    Security,
)
from kubelib.runtime.isolation.holders import CannotIsolate, holder_of, servers_of_host
from kubelib.runtime.isolation.network import Network, obstacle
from kubelib.runtime.process import ProcessRuntime
from tests.ownnetwork import networks_left, own_network, rules, run
from tests.runtime.test_process import processes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
CIDR = "10.244.0.0/16"
ONE, TWO = "10.244.7.2", "10.244.7.3"
SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("up", flush=True)
while True:
    client, peer = server.accept()
    client.sendall(f"{sys.argv[3]} to {peer[0]}".encode())
    client.close()
"""
ECHO = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", int(sys.argv[1])))
print("up", flush=True)
while True:
    data, peer = server.recvfrom(9999)
    server.sendto(data.upper(), peer)
"""
CLIENT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as one:
        print(one.makefile().read(), end="")
except OSError as error:
    print(type(error).__name__, end="")
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with own_network():
        yield tmp_path / "runtime"
        assert processes(str(tmp_path / "runtime")) == []
        assert networks_left() == []


def opened(root: Path) -> ProcessRuntime:
    return ProcessRuntime(root, isolation="pod", network=CIDR)


@pytest.fixture
async def runtime(root: Path) -> AsyncIterator[ProcessRuntime]:
    async with opened(root) as runtime:
        yield runtime
        await clear(runtime)


async def clear(runtime: ProcessRuntime) -> None:
    for sandbox in await runtime.list_sandboxes():
        await runtime.remove_sandbox(sandbox.id)


def pod(name: str, address: str, **more: Any) -> SandboxSpec:
    return SandboxSpec(
        uid=f"{name}-uid", namespace="default", name=name, hostname=name, address=address, **more
    )


async def start(
    runtime: ProcessRuntime, sandbox: SandboxId, *words: str, name: str = "main", **more: Any
) -> ContainerId:
    """Start a container that says a word once it is ready, and wait for that."""
    log = runtime.root / f"{sandbox}-{name}.log"
    log.unlink(missing_ok=True)
    spec = ContainerSpec(name=name, image="process", command=words, log_path=str(log), **more)
    container = await runtime.start_container(sandbox, spec)
    with anyio.fail_after(60):
        while not log.exists() or b" up" not in log.read_bytes():
            await anyio.sleep(0.02)
    return container


async def serve(
    runtime: ProcessRuntime, sandbox: SandboxId, word: str, *, at: str = "0.0.0.0", port: int = 80
) -> ContainerId:
    return await start(runtime, sandbox, sys.executable, "-c", SERVER, at, str(port), word)


async def ask(runtime: ProcessRuntime, container: ContainerId, address: str, port: int = 80) -> str:
    """Return what a container hears when it connects."""
    done = await runtime.exec(container, (sys.executable, "-c", CLIENT, address, str(port)), timeout=60)
    return done.stdout.decode() + done.stderr.decode()


async def heard(address: str, port: int = 80) -> str:
    """Return what the host hears when it connects."""
    async with await anyio.connect_tcp(address, port) as stream:
        return (await stream.receive()).decode()


async def test_two_pods_listen_at_the_same_port_and_see_each_other_only_by_their_addresses(
    runtime: ProcessRuntime,
) -> None:
    first, second = (
        await runtime.run_sandbox(pod("one", ONE)),
        await runtime.run_sandbox(pod("two", TWO)),
    )
    one, two = await serve(runtime, first, "one"), await serve(runtime, second, "two", at="127.0.0.1")
    assert await ask(runtime, one, "127.0.0.1") == "one to 127.0.0.1"
    assert await ask(runtime, two, "127.0.0.1") == "two to 127.0.0.1"
    assert await ask(runtime, two, ONE) == f"one to {TWO}", "its address is not hidden from other Pods"
    assert await ask(runtime, one, TWO) == "ConnectionRefusedError", "what listens there does so for itself"
    assert (await heard(ONE)).startswith("one to ")
    with pytest.raises(OSError, match="All connection attempts failed"):
        await heard("127.0.0.1")
    async with await runtime.connect(second, 80) as stream:
        assert (await stream.receive()).decode() == "two to 127.0.0.1", "a forwarded port is the Pod's own"
    await runtime.remove_sandbox(first)
    assert await ask(runtime, two, "127.0.0.1") == "two to 127.0.0.1"
    assert len(rules()) == 3 and networks_left()[0].startswith("kl")


async def test_a_forwarded_port_is_found_where_the_pod_listens_at_its_address_alone(
    runtime: ProcessRuntime,
) -> None:
    sandbox = await runtime.run_sandbox(pod("one", ONE))
    await serve(runtime, sandbox, "one", at=ONE)
    async with await runtime.connect(sandbox, 80) as stream:
        assert (await stream.receive()).decode().startswith("one to ")


async def test_addresses_of_services_are_reached_where_the_host_takes_them(runtime: ProcessRuntime) -> None:
    run("ip", "route", "add", "local", "10.96.0.0/16", "dev", "lo")
    sandbox = await runtime.run_sandbox(pod("one", ONE))
    one = await serve(runtime, sandbox, "one")
    listener = await anyio.create_tcp_listener(local_host="10.96.0.9", local_port=443)

    async def answer(stream: Any) -> None:
        async with stream:
            await stream.send(
                f"service to {stream.extra(anyio.abc.SocketAttribute.remote_address)[0]}".encode()
            )

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        assert await ask(runtime, one, "10.96.0.9", 443) == f"service to {ONE}"
        group.cancel_scope.cancel()


async def test_ports_of_the_host_lead_to_the_pod_and_are_free_again_after_it(runtime: ProcessRuntime) -> None:
    ports = (PortMapping(8080, 80), PortMapping(5300, 53, "UDP", "127.0.0.1"))
    sandbox = await runtime.run_sandbox(pod("one", ONE, ports=ports))
    await serve(runtime, sandbox, "one")
    await start(runtime, sandbox, sys.executable, "-c", ECHO, "53", name="echo")
    assert (await heard("127.0.0.1", 8080)).startswith("one to ")
    async with await anyio.create_connected_udp_socket("127.0.0.1", 5300) as datagrams:
        for word in (b"abc", b"def"):
            await datagrams.send(word)
            with anyio.fail_after(30):
                assert await datagrams.receive() == word.upper()
    with pytest.raises(CannotCreate, match=r"failed to listen on host port 8080/TCP: Address already in use"):
        await runtime.run_sandbox(pod("two", TWO, ports=(PortMapping(8080, 80),)))
    await runtime.remove_sandbox(sandbox)
    second = await runtime.run_sandbox(pod("two", TWO, ports=(PortMapping(8080, 80),)))
    await serve(runtime, second, "two")
    assert (await heard("127.0.0.1", 8080)).startswith("two to ")


async def test_pods_on_the_hosts_network_and_those_with_loopback_addresses_stay_there(
    runtime: ProcessRuntime,
) -> None:
    host = os.readlink("/proc/thread-self/ns/net")
    for spec in (pod("one", "127.0.0.1", host_network=True), pod("two", "127.244.7.2")):
        sandbox = await runtime.run_sandbox(spec)
        container = await serve(runtime, sandbox, spec.name, at=spec.address, port=8081)
        said = await runtime.exec(container, ("readlink", "/proc/self/ns/net"))
        assert said.stdout.decode().strip() == host
        async with await runtime.connect(sandbox, 8081) as stream:
            assert (await stream.receive()).decode().startswith(f"{spec.name} to ")
    assert networks_left() == []


async def test_names_are_resolved_and_the_kernel_is_set_as_the_pod_says(runtime: ProcessRuntime) -> None:
    dns = Dns(servers=("192.0.2.53",), searches=("svc.cluster.local",), options=("ndots:5",))
    sysctls = {"net.ipv4.ip_unprivileged_port_start": "0", "kernel.shmmax": "65536"}
    sandbox = await runtime.run_sandbox(pod("web-1", ONE, dns=dns, sysctls=sysctls))
    container = await start(runtime, sandbox, "sh", "-c", "echo up; exec sleep 1000")
    script = (
        "cat /etc/resolv.conf /etc/hostname; hostname; ls /sys/class/net /sys/fs/cgroup;"
        " cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax;"
        " for f in /sys/fs/cgroup/*/cgroup.procs; do echo 1 > $f && echo wrote; done"
    )
    said = await runtime.exec(container, ("sh", "-c", script))
    lines = said.stdout.decode().splitlines()
    assert lines[:5] == [
        "search svc.cluster.local", "nameserver 192.0.2.53", "options ndots:5", "web-1", "web-1",
    ]  # fmt: skip
    assert "eth0" in lines and "wrote" not in lines
    assert lines[-2:] == ["0", "65536"]
    with pytest.raises(CannotCreate, match="No such file or directory: /proc/sys/net/no"):
        await runtime.run_sandbox(pod("odd", TWO, sysctls={"net.no": "1"}))


async def test_what_pods_send_beyond_the_host_comes_from_the_hosts_address(runtime: ProcessRuntime) -> None:
    # A machine of the world: the namespace of another process, to which the host's default route leads.
    world = await anyio.open_process(["unshare", "--net", "sh", "-c", "echo up; exec sleep 1000"], stdin=None)
    try:
        assert world.stdout is not None
        await world.stdout.receive()
        run("ip", "link", "add", "world0", "type", "veth", "peer", "name", "eth0", "netns", str(world.pid))
        for words in (
            "addr add 192.0.2.1/24 dev world0",
            "link set world0 up",
            "route add default via 192.0.2.2",
        ):
            run("ip", *words.split())
        there = ("nsenter", f"--net=/proc/{world.pid}/ns/net")
        for words in ("link set lo up", "addr add 192.0.2.2/24 dev eth0", "link set eth0 up"):
            run(*there, "ip", *words.split())
        sandbox = await runtime.run_sandbox(pod("one", ONE))
        container = await start(runtime, sandbox, "sh", "-c", "echo up; exec sleep 1000")
        async with await anyio.open_process(
            [*there, sys.executable, "-c", SERVER, "0.0.0.0", "80", "world"]
        ) as server:
            assert server.stdout is not None
            await server.stdout.receive()
            assert await ask(runtime, container, "192.0.2.2") == "world to 192.0.2.1"
            server.kill()
    finally:
        run("ip", "link", "del", "world0")  # before its other end goes with the last process there
        world.kill()
        await world.wait()


async def test_a_sandbox_whose_holder_was_killed_says_so_and_is_made_anew(runtime: ProcessRuntime) -> None:
    sandbox = await runtime.run_sandbox(pod("one", ONE))
    await serve(runtime, sandbox, "one")
    holder = holder_of(runtime.root / "sandboxes" / sandbox)
    assert holder is not None
    async with runtime.events() as events:
        os.kill(holder, signal.SIGKILL)
        with anyio.fail_after(30):
            async for event in events:
                if event == RuntimeEvent("exited", sandbox):
                    break
    [told] = await runtime.list_sandboxes()
    assert not told.ready and told.containers[0].state == "running"
    await runtime.stop_container(told.containers[0].id, grace=0)
    assert await runtime.run_sandbox(pod("one", ONE)) == sandbox
    again = await start(runtime, sandbox, sys.executable, "-c", SERVER, "0.0.0.0", "80", "again", attempt=1)
    assert await ask(runtime, again, ONE) == f"again to {ONE}"


async def test_a_sandbox_that_was_stopped_leaves_its_address_and_its_port_to_another(
    runtime: ProcessRuntime,
) -> None:
    devices = networks_left()
    first = await runtime.run_sandbox(pod("one", ONE, ports=(PortMapping(8080, 80),)))
    await serve(runtime, first, "first")
    directory = runtime._sandbox(first)
    await runtime.stop_sandbox(first)
    assert holder_of(directory) is None
    assert networks_left() == devices
    second = await runtime.run_sandbox(pod("two", ONE, ports=(PortMapping(8080, 80),)))
    await serve(runtime, second, "second")
    assert (await heard(ONE)).startswith("second")
    with pytest.raises(NoSuchContainer):
        await runtime.connect(first, 80)
    await runtime.remove_sandbox(first)
    assert (await heard(ONE)).startswith("second")


async def test_what_a_killed_runtime_has_left_is_found_and_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(root) as runtime:
        sandbox = await runtime.run_sandbox(pod("one", ONE))
        await serve(runtime, sandbox, "one")
    async with opened(root) as runtime:
        assert len(rules()) == 3
        assert (await heard(ONE)).startswith("one to ")
        await clear(runtime)
        assert networks_left() == []


@pytest.mark.parametrize("step", ["open_ways", "connect", "disconnect"])
async def test_a_runtime_that_is_killed_at_any_step_leaves_nothing_that_the_next_does_not_remove(
    root: Path, step: str
) -> None:
    """It ends in the middle: in a process of its own, at the step after which it has no chance to clean up."""
    program = (
        "import anyio, os, signal, sys\n"
        "from kubelib.runtime.isolation.network import Network\n"
        "from tests.runtime import test_isolated_networks as here\n"
        "real = getattr(Network, sys.argv[2])\n"
        "def die(*given):\n"
        "    real(*given)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "setattr(Network, sys.argv[2], die)\n"
        "async def main():\n"
        "    async with here.opened(here.Path(sys.argv[1])) as runtime:\n"
        "        await runtime.run_sandbox(here.pod('one', here.ONE))\n"
        "anyio.run(main)\n"
    )
    done = await anyio.run_process([sys.executable, "-c", program, str(root), step], check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    async with opened(root) as runtime:
        sandbox = await runtime.run_sandbox(pod("one", ONE))
        await serve(runtime, sandbox, "one")
        assert (await heard(ONE)).startswith("one to ")
        with anyio.fail_after(30):
            while (
                len(processes(str(root / "sandboxes"))) > 2
            ):  # the holder and the shim: the one before has gone
                await anyio.sleep(0.02)
        await clear(runtime)


async def test_containers_that_share_processes_see_each_other_and_bury_their_orphans(
    runtime: ProcessRuntime,
) -> None:
    sandbox = await runtime.run_sandbox(pod("one", ONE, share_processes=True))
    first = await start(runtime, sandbox, "sh", "-c", "(sleep 54321 & (sleep 0 &)); echo up; exec sleep 1234")
    second = await start(runtime, sandbox, "sh", "-c", "echo up; exec sleep 2345", name="second")
    listing = ("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; cat /proc/[0-9]*/stat | grep -c ') Z '")
    said = (await runtime.exec(second, listing)).stdout.decode()
    assert all(f"sleep {number}" in said for number in (1234, 2345, 54321)), said
    with anyio.fail_after(30):
        while (await runtime.exec(second, listing)).stdout.decode().splitlines()[-1][-1] != "0":
            await anyio.sleep(0.02)
    assert (await runtime.exec(second, ("cat", "/proc/1/comm"))).stdout.decode().startswith("python")
    await runtime.stop_container(first, grace=0)
    said = (await runtime.exec(second, listing)).stdout.decode()
    assert "sleep 2345" in said and "54321" not in said, "what a container has started ends with it"


async def test_who_may_not_make_networks_is_told_why(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert obstacle() == ""
    monkeypatch.setattr(hosttools, "PATH", str(root))
    assert obstacle() == "there is no program ip here"
    with pytest.raises(
        CannotIsolate, match=f"{CIDR} are for Pods with networks of their own: there is no program ip"
    ):
        async with opened(root):
            pass
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert obstacle() == "only root may make network namespaces"


def seccomp_of(said: bytes) -> list[str]:
    return [line.split()[1] for line in said.decode().splitlines() if line.startswith("Seccomp:")]


async def test_system_calls_are_refused_as_the_profile_says_in_containers_and_commands(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    sandbox = await runtime.run_sandbox(pod("one", ONE))
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    script = f"grep Seccomp: /proc/self/status; unshare -U true; mkdir /tmp/{tmp_path.name}; echo done"
    expected = {
        "": ("2", "unshare failed: Operation not permitted", False),
        "Unconfined": ("0", "", False),
        str(profile): ("2", "No space left on device", True),
    }
    for number, (given, (mode, refusal, no_mkdir)) in enumerate(expected.items()):
        for privileges in (False, True):
            security = Security(seccomp=given, no_new_privileges=privileges)
            name = f"c{number}{privileges:d}"
            container = await start(
                runtime,
                sandbox,
                "sh",
                "-c",
                "echo up; exec sleep 1000",
                name=name,
                security=security,
                user=1234,
            )
            status = Path(f"/proc/{(await found(runtime, container)).pid}/status").read_bytes()
            assert seccomp_of(status) == [mode]
            said = await runtime.exec(container, ("sh", "-c", script))
            assert seccomp_of(said.stdout) == [mode]
            assert b"done" in said.stdout and refusal in said.stderr.decode()
            assert ("mkdir" in said.stderr.decode()) == no_mkdir, said.stderr
    for broken, why in (
        ("{", "Expecting property name"),
        ('{"defaultAction": "ALLOW"}', "'ALLOW' is no action"),
    ):
        profile.write_text(broken)
        with pytest.raises(CannotCreate, match=f"cannot load seccomp profile '{profile}': {why}"):
            await start(runtime, sandbox, "true", name="broken", security=Security(seccomp=str(profile)))


async def found(runtime: ProcessRuntime, container: ContainerId) -> Any:
    return next(c for s in await runtime.list_sandboxes() for c in s.containers if c.id == container)


async def test_a_command_may_no_more_than_its_container(runtime: ProcessRuntime) -> None:
    sandbox = await runtime.run_sandbox(pod("one", ONE))
    security = Security(drop_capabilities=("ALL",), add_capabilities=("CHOWN",), supplemental_groups=(77,))
    container = await start(runtime, sandbox, "sh", "-c", "echo up; exec sleep 1000", security=security)
    said = await runtime.exec(container, ("sh", "-c", "grep Cap /proc/self/status; id -G; kill -9 $$"))
    assert (
        "CapEff:\t0000000000000001" in said.stdout.decode()
        and "CapBnd:\t0000000000000001" in said.stdout.decode()
    )
    assert said.stdout.decode().split()[-1] == "77"
    assert said.exit_code == 137


def test_a_server_of_names_on_the_hosts_loopback_device_is_replaced_by_those_behind_it(
    tmp_path: Path,
) -> None:
    host, behind = tmp_path / "host", tmp_path / "behind"
    assert servers_of_host((host, behind)) == ""
    host.write_text("nameserver 127.0.0.53\n")
    assert servers_of_host((host, behind)) == "", "nobody knows better"
    behind.write_text("nameserver 192.0.2.53\nsearch example\n")
    assert servers_of_host((host, behind)) == behind.read_text()
    host.write_text("nameserver 127.0.0.53\nnameserver 192.0.2.54\n")
    assert servers_of_host((host, behind)) == "", "the host's own will do"


def test_devices_are_named_after_their_owner_and_pod() -> None:
    one, other = Network(CIDR, "kubelib-a"), Network(CIDR, "kubelib-b")
    names = {one.device("x"), one.device("y"), other.device("x")}
    assert len(names) == 3 and all(len(name) < 16 for name in names)
    assert one.holds("10.244.3.4") and not one.holds("127.0.0.1") and not one.holds("")
