"""Many requests at once, but not more at once than is polite."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

T = TypeVar("T")

AT_ONCE = 32
"""Requests in flight. More gain nothing: in process nothing waits, and over one connection the server is busy."""


async def for_each(
    items: Sequence[T], act: Callable[[T], Awaitable[object]], *, at_once: int = AT_ONCE
) -> list[Exception]:
    """Do `act` for all items; return the errors. All items are tried."""
    errors: list[Exception] = []
    rest = iter(items)

    async def work() -> None:
        for item in rest:
            try:
                await act(item)
            except Exception as error:
                errors.append(error)

    # A task costs more than a request in process: few of them share the items.
    if len(items) == 1:
        await work()
    elif items:
        async with anyio.create_task_group() as tasks:
            for _ in range(min(at_once, len(items))):
                tasks.start_soon(work)
    return errors


async def slow_start(
    items: Sequence[T], act: Callable[[T], Awaitable[object]], *, first: int = 1
) -> list[Exception]:
    """Do `act` for all items in batches of 1, 2, 4, …; stop after the first batch with an error and return its errors.

    What cannot work (a quota, a bad template) is so found out with one request, and not with five hundred.
    """
    at, size = 0, first
    while at < len(items):
        errors = await for_each(items[at : at + size], act)
        if errors:
            return errors
        at, size = at + size, size * 2
    return []
