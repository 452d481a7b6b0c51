"""How clients find their way to a server: the first of its addresses that answers, as RFC 8305 has it."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address

import anyio
import attrs

HEAD_START = 0.25
"""For how many seconds an address has the way to itself before the next one is tried, too."""

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


async def connected(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to a host. Raises OSError."""
    return await first_of(await _addresses(host, port))


async def first_of(addresses: Sequence[Address]) -> socket.socket:
    """Return a socket that is connected to the first of some addresses that answers. Raises OSError if none does."""
    race = _Race()
    try:
        async with anyio.create_task_group() as group:
            for address in addresses:
                over = anyio.Event()
                group.start_soon(race.run, address, over, group.cancel_scope)
                with anyio.move_on_after(HEAD_START):
                    await over.wait()
    except BaseException:
        if race.won is not None:
            race.won.close()
        raise
    if race.won is None:
        raise race.errors[-1]
    return race.won


async def _addresses(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, of one family and the other in turn."""
    try:
        number = ip_address(host)
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    else:
        family = socket.AF_INET6 if number.version == 6 else socket.AF_INET
        return [(family, (host, port))]
    addresses: list[Address] = list(dict.fromkeys((family, address) for family, *_, address in found))  # type: ignore[misc]
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    pairs = [(first[n : n + 1], others[n : n + 1]) for n in range(max(len(first), len(others)))]
    return [address for pair in pairs for some in pair for address in some]


@attrs.define
class _Race:
    won: socket.socket | None = None
    errors: list[OSError] = attrs.field(factory=list)

    async def run(self, address: Address, over: anyio.Event, others: anyio.CancelScope) -> None:
        try:
            found = await _dial(*address)
        except OSError as error:
            self.errors.append(error)
        else:
            if self.won is None:
                self.won = found
                others.cancel()
            else:
                found.close()
        finally:
            over.set()


async def _dial(family: socket.AddressFamily, address: tuple[str, int] | tuple[str, int, int, int]) -> socket.socket:  # fmt: skip
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setblocking(False)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(found, address)
    except BaseException:
        found.close()
        raise
    return found
