"""What an engine has: known from its events, and asked for anew whenever some may have been missed."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.abc
import attrs

from kubelib.runtime.base import ContainerId, NoSuchContainer, RuntimeEvent, RuntimeFailure, Sandbox
from kubelib.runtime.containers import KIND, LOG, OWNER, POD_UID
from kubelib.runtime.docker import logs, readings
from kubelib.runtime.docker.engine import Engine
from kubelib.runtime.engines import Removed, follow_events, in_order
from kubelib.runtime.news import News

log = logging.getLogger("kubelib.runtime.docker")

Tree = Mapping[str, Any]

LOOK = 1.0
"""Seconds after which a container that is waited for is looked at, should its event not have come."""
DRAIN = 5.0
"""Seconds that the rest of an ended container's log may take before its end is told."""


class Inventory:
    """The sandboxes and containers of one owner, and who wants to hear of them. Their logs are kept meanwhile."""

    def __init__(self, engine: Engine, owner: str, group: anyio.abc.TaskGroup) -> None:
        self._engine = engine
        self._owner = owner
        self._group = group
        self.sandboxes: dict[str, Tree] = {}
        """By Pod UID: the sandbox's container as the engine last described it."""
        self.containers: dict[str, Tree] = {}
        """By identity."""
        self._of_pod: dict[str, set[str]] = {}
        """By Pod UID: the identities of its containers."""
        self._followed: dict[str, anyio.Event] = {}
        """By container: set once its log is written to its end."""
        self._removed = Removed()
        self.news = News()

    async def watch(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Keep in step with the engine, also over its restarts."""
        await follow_events(self._engine, self._owner, {}, self._take_stock, self._on_event, task_status)

    async def listed(self, uid: str = "") -> list[Tree]:
        """Return a line about each of our containers, of one Pod if it is named."""
        labels = [f"{OWNER}={self._owner}", *([f"{POD_UID}={uid}"] if uid else [])]
        found: list[Tree] = await self._engine.call(
            lambda client: client.containers(all=True, filters={"label": labels})
        )
        return found

    async def _take_stock(self) -> None:
        """Ask for everything, and tell of what has changed since it was last known."""
        listed = {line["Id"] for line in await self.listed()}
        for identity in (self.containers.keys() | {tree["Id"] for tree in self.sandboxes.values()}) - listed:
            self.drop(identity)
        await each(self.look, listed)

    def _on_event(self, event: Tree) -> None:
        identity, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
        match event["Action"]:
            case "start" | "die" | "oom" | "pause" | "unpause":
                # The rest of an ended one's log may take a moment: others need not wait for that.
                self._group.start_soon(self._look_if_it_answers, identity)
            case "destroy":
                self.drop(identity, attributes)

    def drop(self, identity: str, labels: Mapping[str, str] | None = None) -> None:
        """Forget a container that is gone."""
        if not self._removed.add(identity):
            return
        self._followed.pop(identity, None)
        tree = self.containers.pop(identity, None)
        if tree is not None:
            self._of_pod[readings.labels_of(tree)[POD_UID]].discard(identity)
        else:
            tree = next((t for t in self.sandboxes.values() if t["Id"] == identity), None)
            if tree is not None:
                uid = readings.labels_of(tree)[POD_UID]
                del self.sandboxes[uid]
                self._of_pod.pop(uid, None)
        labels = readings.labels_of(tree) if tree is not None else labels or {}
        self.news.wake(identity)
        if POD_UID in labels:
            container = ContainerId(identity) if labels.get(KIND) == "container" else None
            self.news.tell(RuntimeEvent("removed", labels[POD_UID], container))

    async def _look_if_it_answers(self, identity: str) -> None:
        try:
            await self.look(identity)
        except RuntimeFailure as error:
            log.warning("%s", error)  # all are looked at once it is back

    async def look(self, identity: str) -> Tree | None:
        """Ask for one container, and tell of what has changed; return it unless it is gone."""
        try:
            tree: Tree = await self._engine.call(lambda client: client.inspect_container(identity))
        except NoSuchContainer:
            return None
        labels = readings.labels_of(tree)
        if identity in self._removed:
            return None
        if labels.get(KIND) == "sandbox":
            known = self.sandboxes.get(labels[POD_UID])
            self.sandboxes[labels[POD_UID]] = tree
            self._report(known, tree, None)
            return tree
        if readings.is_unborn(tree) or readings.is_going(tree):
            return tree
        if labels.get(LOG):
            done = self._keep_log(tree)
            if not readings.is_running(tree):
                with anyio.move_on_after(DRAIN):
                    await done.wait()
        if identity in self._removed:
            return None
        known = self.containers.get(identity)
        if known is not None and not readings.is_running(known) and readings.is_running(tree):
            return known  # this is older than what was learnt meanwhile: nothing of ours is started twice
        self.containers[identity] = tree
        self._of_pod.setdefault(labels[POD_UID], set()).add(identity)
        self._report(known, tree, ContainerId(identity))
        return tree

    def _report(self, known: Tree | None, tree: Tree, container: ContainerId | None) -> None:
        runs = readings.is_running(tree)
        if known is None or readings.is_running(known) is not runs:
            self.news.wake(tree["Id"])
            if runs or known is not None or container is not None:
                kind: Literal["started", "exited"] = "started" if runs else "exited"
                self.news.tell(RuntimeEvent(kind, readings.labels_of(tree)[POD_UID], container))

    def of_pod(self, uid: str) -> list[ContainerId]:
        """Return the containers of a Pod."""
        return [ContainerId(identity) for identity in sorted(self._of_pod.get(uid, ()))]

    def sandbox(self, uid: str) -> Sandbox | None:
        """Return the sandbox of a Pod with its containers, or None."""
        tree = self.sandboxes.get(uid)
        if tree is None:
            return None
        own = [readings.container_of(self.containers[one]) for one in self._of_pod.get(uid, ())]
        if not self._engine.is_local():  # the numbers of processes are another machine's
            own = [attrs.evolve(one, pid=0) for one in own]
        return readings.sandbox_of(tree, in_order(own))

    # Logs

    def _keep_log(self, tree: Tree) -> anyio.Event:
        """Follow a container's log into its file if nobody does yet; return what is set at its end."""
        identity = tree["Id"]
        done = self._followed.get(identity)
        if done is None:
            done = self._followed[identity] = anyio.Event()
            self._group.start_soon(self._follow, tree, done)
        return done

    async def _follow(self, tree: Tree, done: anyio.Event) -> None:
        identity, path = tree["Id"], Path(readings.labels_of(tree)[LOG])
        try:
            while True:
                whole = False
                try:
                    await logs.follow(self._engine, identity, path, tty=tree["Config"]["Tty"])
                    whole = True
                except NoSuchContainer:
                    return
                except (RuntimeFailure, OSError) as error:
                    log.info("the log of container %s: %s", identity[:12], error)
                # An engine that stops ends what it sends, but not what there is to say.
                if whole and await self._is_over(identity):
                    return
                await anyio.sleep(LOOK)
        finally:
            done.set()

    async def _is_over(self, identity: str) -> bool:
        try:
            tree = await self._engine.call(lambda client: client.inspect_container(identity))
        except NoSuchContainer:
            return True
        except RuntimeFailure:
            return False
        return not readings.is_running(tree)

    # Waiting

    async def ended(self, container: ContainerId) -> None:
        """Wait until a container does not run."""
        while (known := self.containers.get(container)) is not None and readings.is_running(known):
            if not await self.news.wait_for(container, LOOK) and await self.look(container) is None:
                return


async def each(function: Callable[[str], Awaitable[object]], identities: Iterable[str]) -> None:
    """Call a function for all, side by side; raise one of the failures, after all have been tried."""
    failures: list[RuntimeFailure] = []

    async def one(identity: str) -> None:
        try:
            await function(identity)
        except RuntimeFailure as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        for identity in identities:
            group.start_soon(one, identity)
    if failures:
        raise failures[0]
