"""Where points are run: in this process, in several, or wherever Dask's workers are; and by which engine, which changes no result."""

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from kubelib.sim.cell.setup import Engine
from kubelib.sim.sweep.base import Lost, Outcome, Work
from kubelib.sim.sweep.points import likeness, run_point


class Inline:
    """One point after the other, here."""

    def __init__(self, engine: Engine = "python") -> None:
        self._engine: Engine = engine

    def run(self, work: Sequence[Work]) -> Iterator[tuple[Work, Outcome]]:
        """Yield the outcome of each work."""
        for one in sorted(work, key=likeness):
            yield one, run_point(one, self._engine)


class Processes:
    """Some processes of this machine. They end when this one ends, however it does."""

    def __init__(self, count: int | None = None, engine: Engine = "python") -> None:
        self.count = count or len(os.sched_getaffinity(0))
        self._engine: Engine = engine

    def run(self, work: Sequence[Work]) -> Iterator[tuple[Work, Outcome]]:
        """Yield the outcome of each work as it is ready."""
        context = _Recording()
        pool = ProcessPoolExecutor(min(self.count, len(work) or 1), context, _attend_to_parent)
        try:
            futures = {pool.submit(run_point, one, self._engine): one for one in sorted(work, key=likeness)}
            yield from _collect(futures)
        except BrokenProcessPool:
            raise Lost(
                "A process that ran points was killed, perhaps for want of memory: try fewer processes."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in context.started:
                child.terminate()
                child.join()


class _Recording(SpawnContext):
    """Starts processes and remembers which, so that these and no others are ended."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *arguments: Any, **more: Any) -> SpawnProcess:  # type: ignore[override]
        process = SpawnProcess(*arguments, **more)
        self.started.append(process)
        return process


def _collect(futures: "dict[Future[Outcome], Work]") -> Iterator[tuple[Work, Outcome]]:
    for future in as_completed(futures):
        yield futures[future], future.result()


def _attend_to_parent() -> None:
    """End this process when the one that started it is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class OnDask:
    """The workers of a Dask cluster, by the address of its scheduler; ``threads`` is those of this process.

    All that is asked of Dask is `Client.submit` and `as_completed`, or `compute` with the threaded scheduler. Workers need
    kubelib, and a trace at the same path. Raises `Lost` if Dask is not there.
    """

    def __init__(self, address: str, engine: Engine = "python") -> None:
        self._address = address
        self._run = partial(run_point, engine=engine)

    def run(self, work: Sequence[Work]) -> Iterator[tuple[Work, Outcome]]:
        """Yield the outcome of each work as it is ready."""
        ordered = sorted(work, key=likeness)
        if self._address == "threads":
            yield from self._in_threads(ordered)
            return
        client, ready = self._connect(self._address)
        try:
            futures = {client.submit(self._run, one, pure=False): one for one in ordered}
            for future in ready(futures):
                yield futures[future], future.result()
        finally:
            client.close()

    def _in_threads(self, work: Sequence[Work]) -> Iterator[tuple[Work, Outcome]]:
        try:
            import dask
        except ImportError:
            raise Lost(_MISSING) from None
        library: Any = dask
        # a few at a time, so that finished points are kept soon
        for start in range(0, len(work), _BUNDLE):
            bundle = work[start : start + _BUNDLE]
            outcomes = library.compute(
                *(library.delayed(self._run)(one) for one in bundle), scheduler="threads"
            )
            yield from zip(bundle, outcomes, strict=True)

    def _connect(self, address: str) -> tuple[Any, Any]:
        try:
            import distributed
        except ImportError:
            raise Lost(_MISSING) from None
        library: Any = distributed
        try:
            return library.Client(address, timeout="10s"), library.as_completed
        except (OSError, ValueError) as error:
            raise Lost(f"There is no Dask scheduler at {address}: {error}.") from None


_MISSING = "Dask is not installed: pip install 'kubelib-cluster[dask]'."
_BUNDLE = 8
