"""Tests in a network of their own, so that what they do to devices, addresses and rules concerns nobody else here."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from kubelib.runtime.isolation import inside


def run(*words: str) -> str:
    """Run a tool; return what it says."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


@contextmanager
def own_network() -> Iterator[None]:
    """Be in a new network namespace: this thread, and all that it starts meanwhile."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        inside.unshare(inside.NEWNET)
        try:
            run("ip", "link", "set", "lo", "up")
            yield
        finally:
            inside.join(before, "the network from before")
    finally:
        os.close(before)


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
