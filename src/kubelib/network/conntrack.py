"""What the kernel remembers of connections: clients by UDP would go on to an endpoint that has gone for as long as they send.

A rule is asked only about the first datagram of a client; the kernel remembers where it went. The table is read and changed by
netlink, see ``linux/netfilter/nfnetlink_conntrack.h``.
"""

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs

from kubelib.network.services import ANY_NODE_ADDRESS, Rule

_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER, _ABOUT, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBH"), struct.Struct("=HH")
_ORIGINAL, _REPLY, _ZONE = 1, 2, 18
"""Of an entry: how its packets come, how answers come, and to which table it belongs."""
_ADDRESSES, _PORTS = 1, 2
_SOURCE, _DESTINATION, _PROTOCOL, _DESTINATION_PORT = 1, 2, 1, 3
_KIND = 0x3FFF
"""Which bits of an attribute's type say what it is."""
PATIENCE = 10.0
"""Seconds in which the kernel has to answer."""


@attrs.frozen
class Flow:
    """A client by UDP that the kernel remembers."""

    address: str
    """Where it sends to, as it sees it."""
    port: int
    endpoint: str
    """The address from which it is answered."""
    name: bytes = attrs.field(repr=False)
    """Attributes by which the kernel finds it."""


def stale(flows: Iterable[Flow], rules: Iterable[Rule]) -> Iterator[Flow]:
    """Yield the clients of Services by UDP which go where no endpoint serves; they stay with those that are going, but still serve.

    A Service without endpoints has nowhere else to send them.
    """
    serving: dict[tuple[str, int], Collection[str]] = {
        (rule.frontend.address, rule.frontend.port): {backend.address for backend in rule.serving}
        for rule in rules
        if rule.frontend.protocol == "UDP" and rule.serving
    }
    for flow in flows:
        for address in (flow.address, ANY_NODE_ADDRESS):
            known = serving.get((address, flow.port))
            if known is not None and flow.endpoint not in known:
                yield flow
                break


def forget_stale(rules: Iterable[Rule]) -> None:
    """Send the clients by UDP of Services with these rules to other endpoints where theirs have gone. Raises OSError."""
    gone = [*stale(flows(), rules)]
    if gone:
        forget(gone)


def flows() -> list[Flow]:
    """Return all clients by UDP over IPv4. Raises OSError if this user may not know, or the kernel does not."""
    with _opened() as kernel:
        _ask(kernel, _GET, _DUMP, b"")
        return [flow for entry in _answers(kernel) if (flow := _flow(entry)) is not None]


def forget(flows: Iterable[Flow]) -> None:
    """Let the kernel ask the rules again about what these clients send. Raises OSError."""
    with _opened() as kernel:
        for flow in flows:
            _ask(kernel, _DELETE, _ACK, flow.name)
            try:
                for _ in _answers(kernel):
                    pass
            except OSError as error:
                if error.errno != errno.ENOENT:  # it has been forgotten meanwhile
                    raise


def _opened() -> socket.socket:
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
    kernel.settimeout(PATIENCE)
    return kernel


def _ask(kernel: socket.socket, what: int, how: int, attributes: bytes) -> None:
    about = _ABOUT.pack(socket.AF_INET, 0, 0) + attributes
    kernel.send(_HEADER.pack(_HEADER.size + len(about), what, _REQUEST | how, 1, 0) + about)


def _answers(kernel: socket.socket) -> Iterator[Mapping[int, bytes]]:
    """Yield the attributes of each entry that the kernel tells of, up to the end of its answer. Raises OSError."""
    while True:
        data = kernel.recv(1 << 16)
        while data:
            size, kind, _, _, _ = _HEADER.unpack_from(data)
            message, data = data[_HEADER.size : size], data[_aligned(size) :]
            if kind == _DONE:
                return
            if kind == _ERROR:
                (code,) = struct.unpack_from("=i", message)
                if code:
                    raise OSError(-code, os.strerror(-code))
                return
            yield _attributes(message[_ABOUT.size :])


def _flow(entry: Mapping[int, bytes]) -> Flow | None:
    """Return what an entry says; None if it is not of UDP."""
    original, reply = _attributes(entry[_ORIGINAL]), _attributes(entry[_REPLY])
    ports = _attributes(original[_PORTS])
    if ports[_PROTOCOL][0] != socket.IPPROTO_UDP:
        return None
    zone = _packed(_ZONE, entry[_ZONE]) if _ZONE in entry else b""
    return Flow(
        address=str(ipaddress.IPv4Address(_attributes(original[_ADDRESSES])[_DESTINATION])),
        port=int.from_bytes(ports[_DESTINATION_PORT], "big"),
        endpoint=str(ipaddress.IPv4Address(_attributes(reply[_ADDRESSES])[_SOURCE])),
        name=_packed(_ORIGINAL | 0x8000, entry[_ORIGINAL]) + zone,
    )


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        size, kind = _ATTRIBUTE.unpack_from(data)
        found[kind & _KIND] = data[_ATTRIBUTE.size : size]
        data = data[_aligned(size) :]
    return found


def _packed(kind: int, data: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(size, kind) + data.ljust(_aligned(len(data)), b"\0")


def _aligned(size: int) -> int:
    return (size + 3) & ~3
