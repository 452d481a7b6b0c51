"""What a runtime does beside what it is asked: tasks that live as long as its context."""

from types import TracebackType
from typing import Self

import anyio
import anyio.abc


class Background:
    """An asynchronous context with a task group of its own, which never hides what has ended the body."""

    _group: anyio.abc.TaskGroup | None = None

    async def _begin(self, group: anyio.abc.TaskGroup) -> None:
        """Open what there is to open, and start the tasks. If it fails, `_finish` is called all the same."""

    def _finish(self) -> None:
        """Close what `_begin` may have opened, once the tasks have ended."""

    async def __aenter__(self) -> Self:
        self._group = await anyio.create_task_group().__aenter__()
        try:
            await self._begin(self._group)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        try:
            return await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if group.exceptions == (error,):
                return None  # the caller's own error goes on as it is
            raise
        finally:
            self._finish()
