"""Carries what comes to ports of the host to Pods: part of the holder's program, for Pods that ask for such ports."""

from __future__ import annotations

import select
import socket
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kubelib.runtime.isolation import inside
else:
    import inside

CHUNK = 65536
PATIENCE = 10.0
"""Seconds in which a Pod has to accept a connection."""
UDP_IDLE = 60.0
"""Seconds after which an address that sends nothing is forgotten."""
MOST_CLIENTS = 500
"""Clients of a UDP port that are remembered; with more, the one that came first is forgotten."""
BACKLOG = 1024


def listen(protocol: str, host: str, port: int) -> socket.socket:
    """Take one of the host's ports. Raises OSError."""
    address = (host or "0.0.0.0", port)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    if protocol == "UDP":
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
