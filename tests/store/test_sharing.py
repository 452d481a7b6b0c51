"""Questions to a store that many ask at once are asked once, and nobody is given an answer that there was not."""

import anyio
import pytest

from kubelib.store.zookeeper.sharing import Shared


class Asked:
    """A call that ends when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.go_on = anyio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.calls += 1
        await self.go_on.wait()
        if self.error is not None:
            raise self.error


async def test_who_comes_while_a_call_is_under_way_shares_the_next() -> None:
    asked = Asked()
    shared = Shared(asked)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(shared)
        await anyio.wait_all_tasks_blocked()
        assert asked.calls == 1
        asked.go_on.set()
    assert asked.calls == 2


async def test_an_error_is_shared_too() -> None:
    asked, refused = Asked(), 0
    shared = Shared(asked)

    async def ask() -> None:
        nonlocal refused
        with pytest.raises(OSError, match="gone"):
            await shared()
        refused += 1

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        asked.error = OSError("gone")
        asked.go_on.set()
    assert refused == 5


async def test_when_who_was_to_call_is_cancelled_somebody_else_does() -> None:
    asked, answered = Asked(), 0
    shared = Shared(asked)
    scope = anyio.CancelScope()

    async def ask(scope: anyio.CancelScope) -> None:
        nonlocal answered
        with scope:
            await shared()
            answered += 1

    async with anyio.create_task_group() as group:
        group.start_soon(ask, anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        for one in (scope, anyio.CancelScope(), anyio.CancelScope()):
            group.start_soon(ask, one)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        asked.go_on.set()
    assert answered == 3
