"""Tests in a network of their own, so that what they do to devices, addresses and rules concerns nobody else here."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from kubelib.runtime.isolation import inside


def run(*words: str) -> str:
    """Run a tool; return what it says."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


@contextmanager
def _back_afterwards() -> Iterator[None]:
    """Let this thread be in the network from before when the context ends."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            yield
        finally:
            inside.join(before, "the network from before")
    finally:
        os.close(before)


@contextmanager
def own_network() -> Iterator[None]:
    """Be in a new network namespace: this thread, and all that it starts meanwhile."""
    with _back_afterwards():
        inside.unshare(inside.NEWNET)
        run("ip", "link", "set", "lo", "up")
        yield


class Machine:
    """A network namespace with a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be on the machine: this thread, and what it starts meanwhile."""
        with _back_afterwards():
            there = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                inside.join(there, "the machine")
            finally:
                os.close(there)
            yield

    def run(self, *words: str) -> str:
        """Run a tool there; return what it says."""
        with self.entered():
            return run(*words)


@contextmanager
def wired(addresses: Mapping[str, str]) -> Iterator[dict[str, Machine]]:
    """Make two machines with these names and addresses, and a wire between them; they go when the context ends."""
    found = {name: Machine(f"kubelib-test-{name}-{os.getpid()}") for name in addresses}
    with ExitStack() as made:
        for machine in found.values():
            run("ip", "netns", "add", machine.name)
            made.callback(run, "ip", "netns", "del", machine.name)
        first, second = (machine.name for machine in found.values())
        far_end = ("peer", "name", "wire", "netns", second)
        run("ip", "link", "add", "wire", "netns", first, "type", "veth", *far_end)
        for name, machine in found.items():
            machine.run("ip", "link", "set", "lo", "up")
            machine.run("ip", "addr", "add", f"{addresses[name]}/24", "dev", "wire")
            machine.run("ip", "link", "set", "wire", "up")
        yield found


def networks_left() -> list[str]:
    """Return the devices, routes and rules of the network that this is in, beside the loopback device."""
    devices = [line for line in run("ip", "-brief", "link").splitlines() if not line.startswith("lo ")]
    return devices + run("ip", "route").splitlines() + rules()


def rules() -> list[str]:
    """Return the rules of iptables."""
    found = []
    for table in ("nat", "filter"):
        found += [
            line for line in run("iptables", "-w", "-t", table, "-S").splitlines() if line.startswith("-A")
        ]
    return found
