"""The way to a server that has several addresses."""

import socket
from collections.abc import Iterator

import anyio
import pytest

from kubelib.client.connecting import Address, connected, first_of


@pytest.fixture
def answering() -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield socket.AF_INET, server.getsockname()


@pytest.fixture
def refusing() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return socket.AF_INET, server.getsockname()


@pytest.fixture
def silent() -> Iterator[Address]:
    """One that takes no further connection, and does not say so."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        with socket.create_connection(server.getsockname()):
            yield socket.AF_INET, server.getsockname()


async def test_an_address_that_refuses_gives_way_to_the_next_at_once(
    refusing: Address, answering: Address
) -> None:
    began = anyio.current_time()
    with await first_of([refusing, refusing, answering]) as found:
        assert found.getpeername() == answering[1]
    assert anyio.current_time() - began < 0.25


async def test_one_that_is_silent_keeps_the_next_waiting_for_no_longer_than_a_moment(
    silent: Address, answering: Address
) -> None:
    with anyio.fail_after(10):
        with await first_of([silent, answering]) as found:
            assert found.getpeername() == answering[1]


async def test_who_gives_up_waiting_leaves_nothing_open(silent: Address) -> None:
    with anyio.move_on_after(0.5) as scope:
        await first_of([silent, silent])
    assert scope.cancelled_caught


async def test_when_none_answers_it_is_said_why(refusing: Address) -> None:
    with pytest.raises(ConnectionRefusedError):
        await first_of([refusing, refusing])


async def test_names_are_looked_up(answering: Address) -> None:
    with await connected("localhost", answering[1][1]) as found:
        assert found.getpeername() == answering[1]
