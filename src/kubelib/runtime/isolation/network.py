"""Networks of Pods: a pair of virtual devices leads from each Pod's network namespace to the host's, which routes between them.

On the host's side every device has the same link-local address, which is the way out for its Pod, and a route to the Pod's address
alone; so no network of the host is touched, and when a Pod's namespace ends, the kernel removes its devices and its route. The
Services' addresses are the host's own (a ``local`` route), where the service proxy listens. What remains are three rules of
iptables for all Pods of a runtime: they let Pods' packets through where others (Docker) drop what is not theirs, and hide Pods'
addresses from the world behind the host's.
"""

import hashlib
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from kubelib.hosttools import ToolError, is_installed, run_tool
from kubelib.runtime.base import CannotCreate

log = logging.getLogger("kubelib.runtime")

GATEWAY = "169.254.1.1"
"""The host, as its Pods see it."""
ROUTES = Path("/proc/thread-self/net/route")
DEVICES, DEVICES_6 = Path("/proc/sys/net/ipv4/conf"), Path("/proc/sys/net/ipv6/conf")


def _run(words: Sequence[str], text: str = "") -> str:
    """Run a tool with `text` as its input; return why it failed, or nothing."""
    try:
        run_tool(words, text)
    except ToolError as error:
        return str(error)
    return ""


def obstacle() -> str:
    """Return why Pods cannot have networks of their own here, or nothing: it is tried, in a process of its own."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    for tool in ("ip", "nsenter"):
        if not is_installed(tool):
            return f"there is no program {tool} here"
    attempt = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import inside\n"
        "inside.unshare(inside.NEWNET)\n"
        "os.execvp('ip', ['ip', 'link', 'add', 'kubelib0', 'type', 'veth', 'peer', 'name', 'kubelib1'])\n"
    )
    why = _run([sys.executable, "-I", "-S", "-c", attempt, str(Path(__file__).parent)])
    return f"network namespaces cannot be made here: {why.splitlines()[-1]}" if why else ""


class Network:
    """The network of a runtime's Pods; `cidr` has their addresses, `owner` tells its devices and rules from those of others."""

    def __init__(self, cidr: str, owner: str) -> None:
        self.cidr = ipaddress.ip_network(cidr)
        self._owner = owner

    def holds(self, address: str) -> bool:
        """Return whether an address is one of a Pod here."""
        return bool(address) and ipaddress.ip_address(address) in self.cidr

    def device(self, uid: str) -> str:
        """Return the name that the host's end of a Pod's devices has."""
        return f"kl{hashlib.sha256(f'{self._owner} {uid}'.encode()).hexdigest()[:12]}"

    def connect(self, pid: int, uid: str, address: str) -> None:
        """Connect the namespace of a process to the host's. Raises `CannotCreate`."""
        device = self.device(uid)
        self.disconnect(uid)
        on_host = (
            f"link add {device} type veth peer name eth0 netns {pid}",
            f"addr add {GATEWAY}/32 dev {device}",
            f"link set {device} up",
            f"route replace {address}/32 dev {device}",
        )
        in_pod = (
            "link set lo up",
            f"addr add {address}/32 dev eth0",
            "link set eth0 up",
            f"route add {GATEWAY}/32 dev eth0 scope link",
            f"route add default via {GATEWAY} dev eth0",
        )
        why = _run(["ip", "-batch", "-"], "\n".join(on_host)) or _run(
            ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-batch", "-"], "\n".join(in_pod)
        )
        if not why:
            try:
                (DEVICES / device / "forwarding").write_text("1")
                # A Pod may send as itself alone, and tell the host of no routers.
                (DEVICES / device / "rp_filter").write_text("1")
                if (silent := DEVICES_6 / device / "disable_ipv6").exists():
                    silent.write_text("1")
            except OSError as error:
                why = str(error)
        if why:
            self.disconnect(uid)
            raise CannotCreate(f"failed to set up the network: {why}")

    def disconnect(self, uid: str) -> None:
        """Remove a Pod's devices, if they are there: the kernel would do it, but only some time later."""
        device = self.device(uid)
        try:
            socket.if_nametoindex(device)
        except OSError:
            return
        if (why := _run(["ip", "link", "del", device])) and "Cannot find device" not in why:
            log.warning("the device %s cannot be removed: %s", device, why)

    # Beyond the host

    def _rules(self) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
        cidr, comment = str(self.cidr), ("-m", "comment", "--comment", self._owner)
        return (
            ("nat", "POSTROUTING", ("-s", cidr, "!", "-d", cidr, *comment, "-j", "MASQUERADE")),
            ("filter", "FORWARD", ("-s", cidr, *comment, "-j", "ACCEPT")),
            ("filter", "FORWARD", ("-d", cidr, *comment, "-j", "ACCEPT")),
        )

    def open_ways(self) -> None:
        """Let Pods reach each other and, by the host's address, the world; say so if that cannot be."""
        for table, chain, rule in self._rules():
            if not _run(["iptables", "-w", "-t", table, "-C", chain, *rule]):
                continue
            if why := _run(["iptables", "-w", "-t", table, "-I", chain, *rule]):
                log.warning("Pods of %s reach nothing beyond this machine: %s", self.cidr, why)
                return
        for device in _ways_out():
            forwarding = DEVICES / device / "forwarding"
            try:
                if forwarding.read_text().strip() == "0":
                    forwarding.write_text("1")
                    log.info("what comes in by %s is forwarded now, as Pods' answers are", device)
            except OSError as error:
                log.warning("Pods of %s get no answers by %s: %s", self.cidr, device, error)

    def close_ways(self) -> None:
        """Remove what `open_ways` has added, as often as it is there."""
        for table, chain, rule in self._rules():
            for _ in range(10):
                if _run(["iptables", "-w", "-t", table, "-D", chain, *rule]):
                    break


def _ways_out() -> list[str]:
    """Return the devices by which the host reaches the rest of the world."""
    try:
        lines = [line.split() for line in ROUTES.read_text().splitlines()[1:]]
    except OSError:
        return []
    return sorted({fields[0] for fields in lines if fields[1] == fields[7] == "00000000"})
