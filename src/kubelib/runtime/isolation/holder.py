"""What holds a Pod's namespaces while its containers come and go: a program of its own. It imports no kubelib.

It is run as ``python -I -S holder.py DIRECTORY WISH``. It makes the namespaces, says which process they are of, and waits for the
word that the Pod's network is made; whoever started it and ends before that takes it along. From then on it lives until it is
killed or its directory goes. As the first process of a namespace that all containers share it buries their orphans, and what comes
to the host's ports of the Pod it carries there: its sockets are the host's, and end with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from kubelib.runtime import shim
    from kubelib.runtime.isolation import inside
else:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:0] = [here, os.path.dirname(here)]
    import inside
    import shim

CHUNK = 65536
PATIENCE = 10.0
"""Seconds in which a Pod has to accept a connection."""
UDP_IDLE = 60.0
"""Seconds after which an address that sends nothing is forgotten."""
MOST_CLIENTS = 500
"""Clients of a UDP port that are remembered; with more, the one that came first is forgotten."""
BACKLOG = 1024


def say(**what: object) -> None:
    """Tell whoever started this."""
    os.write(1, json.dumps(what).encode() + b"\n")


def fail(why: str) -> NoReturn:
    """Say why there will be no namespaces, and end."""
    say(failure=why)
    os._exit(1)


def listen(port: dict[str, Any]) -> socket.socket:
    """Take one of the host's ports. Raises OSError."""
    address = (port["host_ip"] or "0.0.0.0", port["host_port"])
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    if port["protocol"] == "UDP":
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind(address)
        return server
    return socket.create_server(address, family=family, backlog=BACKLOG)


class Forwarder:
    """Carries what comes to a port of the host to one of the Pod, in threads that are in the host's network."""

    def __init__(self, server: socket.socket, address: tuple[str, int], network: int) -> None:
        self.server = server
        self.address = address
        self._network = network

    def begin(self) -> None:
        """Begin; it never ends."""
        serve = self.serve_udp if self.server.type == socket.SOCK_DGRAM else self.serve_tcp
        threading.Thread(target=self.on_host, args=(serve,), daemon=True).start()

    def on_host(self, serve: Any, *arguments: Any) -> None:
        """Do something in the host's network: it is the thread that is in one."""
        inside.join(self._network, "the host's network")
        serve(*arguments)

    def serve_tcp(self) -> None:
        """Accept connections for ever."""
        while True:
            try:
                client, _ = self.server.accept()
                threading.Thread(target=self.on_host, args=(self.carry, client), daemon=True).start()
            except (OSError, RuntimeError):  # no descriptor, or no thread, is left for this one
                select.select([], [], [], 0.05)

    def carry(self, client: socket.socket) -> None:
        """Carry one connection both ways."""
        with client:
            try:
                pod = socket.create_connection(self.address, PATIENCE)
            except OSError:
                return
            with pod:
                pod.settimeout(None)
                back = threading.Thread(target=pump, args=(pod, client), daemon=True)
                back.start()
                pump(client, pod)
                back.join()

    def serve_udp(self) -> None:
        """Carry datagrams for ever: those of one client from one socket, so that answers find their way."""
        ways: dict[Any, socket.socket] = {}
        while True:
            sources = {way: client for client, way in ways.items()}
            ready, _, _ = select.select([self.server, *sources], [], [], UDP_IDLE)
            if not ready:
                for way in sources:
                    way.close()
                ways.clear()
            for source in ready:
                try:
                    if source is not self.server:
                        self.server.sendto(source.recv(CHUNK), sources[source])
                        continue
                    data, client = self.server.recvfrom(CHUNK)
                    if client not in ways:
                        if len(ways) >= MOST_CLIENTS:
                            ways.pop(next(iter(ways))).close()
                        ways[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                        ways[client].connect(self.address)
                    ways[client].send(data)
                except OSError:
                    pass  # as on any network: a datagram may be lost


def pump(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes one way until the source ends, then tell the target."""
    try:
        while data := source.recv(CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def make_namespaces(wish: dict[str, Any]) -> None:
    """Leave the host's namespaces. Raises OSError."""
    kinds = {"net": inside.NEWNET, "ipc": inside.NEWIPC, "uts": inside.NEWUTS, "pid": inside.NEWPID}
    flags = 0
    for kind in wish["namespaces"]:
        flags |= kinds[kind]
    inside.unshare(flags)
    if "uts" in wish["namespaces"]:
        inside.name_host(wish["hostname"])
    for name, value in wish["sysctls"].items():
        with open("/proc/sys/" + name.replace(".", "/"), "w") as file:
            file.write(value)


def main(directory: str, wish: dict[str, Any]) -> None:
    """Hold namespaces until they are not needed any more."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    forwarders = []
    for port in wish["ports"]:
        try:
            server = listen(port)
        except OSError as error:
            fail(f"failed to listen on host port {port['host_port']}/{port['protocol']}: {error.strerror}")
        forwarders.append(Forwarder(server, (wish["address"], port["port"]), network))
    try:
        make_namespaces(wish)
    except OSError as error:
        fail(f"{error.strerror}: {error.filename}")
    # The child is the first of its process namespace, and nobody waits for its end.
    if os.fork():
        os._exit(0)
    os.setsid()
    myself = int(os.readlink("/proc/self"))  # as /proc, which is the host's, has it
    say(pid=myself)
    if not os.read(0, 1):
        os._exit(0)
    shim.write_file(
        directory + "/holder.json", json.dumps({"pid": myself, "ticks": shim.start_ticks(myself)})
    )
    say(ready=True)
    nothing = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    for forwarder in forwarders:
        forwarder.begin()
    while os.path.exists(directory + "/sandbox.json"):
        signal.sigtimedwait({signal.SIGCHLD}, shim.LOOK_AROUND / 1000)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
