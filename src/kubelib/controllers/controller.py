"""The loop around a reconciler: changes become keys, keys are worked on until they succeed."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.document import Document
from kubelib.api.errors import ApiError, Conflict
from kubelib.api.meta import Key, Object
from kubelib.controllers.base import Reconciler, Terminal
from kubelib.controllers.events import Recorder
from kubelib.informers import PER_KEY, Backoff, Informer, KeyQueue

Keys = Callable[[Document], Iterable[Key]]
"""Maps a changed object to the keys to reconcile. Called with the old and the new state; it should only peek."""

log = logging.getLogger(__name__)


def itself(document: Document) -> Iterable[Key]:
    """Map an object to its own key."""
    return (document.key,)


def nothing(document: Document) -> Iterable[Key]:
    """Map to no keys: the informer is only waited for, because its cache is read."""
    return ()


def owner_of_kind(cls: type[Object]) -> Keys:
    """Return a mapping of an object to the owner that controls it, if that is of a kind."""
    kind, group = cls.kind, cls.api_version.rpartition("/")[0]

    def keys(document: Document) -> Iterable[Key]:
        for reference in document.meta.owner_references:
            if not reference.controller or reference.kind != kind:
                continue
            if reference.api_version.rpartition("/")[0] == group:
                return (Key(document.meta.namespace, reference.name),)
        return ()

    return keys


@attrs.define
class Counters:
    """What a controller has done so far; daemons export these as metrics."""

    reconciled: int = 0
    failed: int = 0
    conflicts: int = 0
    terminal: int = 0
    busy_seconds: float = 0.0


class Controller:
    """Feeds a reconciler with keys. A `Component`.

    `watches` says which informers' changes lead to which keys; the first one is of the kind that is reconciled. The
    informers are run by somebody else (`SharedInformers`, a `Manager`); this waits until they are in step. `leftovers` are the
    keys that are looked at when this starts although nothing of the first kind has them.
    """

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        watches: Sequence[tuple[Informer[Any], Keys]],
        *,
        workers: int = 1,
        backoff: Backoff = PER_KEY,
        recorder: Recorder | None = None,
        leftovers: Callable[[], Iterable[Key]] = tuple,
    ) -> None:
        if not watches:
            raise ValueError(f"{name}: a controller needs at least one informer")
        self.name = name
        self.counters = Counters()
        self.queue: KeyQueue[Key] = KeyQueue(backoff)
        self._reconciler = reconciler
        self._watches = watches
        self._workers = workers
        self._recorder = recorder
        self._leftovers = leftovers
        for informer, keys in watches:
            if keys is not nothing:
                informer.subscribe(self._handler(keys))

    def _handler(self, keys: Keys) -> Callable[[Document | None, Document | None], None]:
        add = self.queue.add

        def handle(old: Document | None, new: Document | None) -> None:
            if new is not None:
                for key in keys(new):
                    add(key)
            if old is not None:
                for key in keys(old):
                    add(key)

        return handle

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Reconcile until cancelled; started means that the caches are in step."""
        for informer, _ in self._watches:
            await informer.wait_until_synced()
        # Everything is looked at once, even if this ran before and was stopped for a while (leader election).
        first = self._watches[0][0]
        for document in first.cache:
            self.queue.add(document.key)
        for key in self._leftovers():
            self.queue.add(key)
        async with anyio.create_task_group() as tasks:
            for _ in range(self._workers):
                tasks.start_soon(self._work)
            task_status.started()

    async def _work(self) -> None:
        while True:
            async with self.queue.take() as key:
                await self._reconcile(key)

    async def _reconcile(self, key: Key) -> None:
        began = anyio.current_time()
        try:
            after = await self._reconciler.reconcile(key)
        except Terminal as error:
            self.counters.terminal += 1
            self.queue.forget(key)
            log.warning("%s: %s cannot be reconciled until it changes: %s", self.name, key, error)
            self._tell(key, str(error))
        except Conflict as error:
            # Somebody was quicker; what we decided on is out of date, nothing is wrong.
            self.counters.conflicts += 1
            log.debug("%s: %s: %s", self.name, key, error)
            self.queue.retry(key)
        except (ApiError, OSError) as error:
            self.counters.failed += 1
            log.info("%s: %s: %s; trying again", self.name, key, error)
            self.queue.retry(key)
        except Exception:
            self.counters.failed += 1
            log.exception("%s: reconciling %s failed; trying again", self.name, key)
            self.queue.retry(key)
        else:
            self.counters.reconciled += 1
            self.queue.forget(key)
            if after is not None:
                self.queue.add_after(key, after.seconds)
        finally:
            self.counters.busy_seconds += anyio.current_time() - began

    def _tell(self, key: Key, message: str) -> None:
        obj = self._watches[0][0].cache.view(key)
        if self._recorder is not None and obj is not None:
            self._recorder.warning(obj, "ReconcileFailed", message)
