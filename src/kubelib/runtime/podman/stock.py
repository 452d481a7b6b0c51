"""What the service has: known from its events, and asked for anew whenever they may have been missed."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import attrs

from kubelib.runtime.base import ContainerId, NoSuchContainer, RuntimeEvent, RuntimeFailure
from kubelib.runtime.containers import KIND, OWNER, POD_UID
from kubelib.runtime.engines import Removed, follow_events
from kubelib.runtime.news import News
from kubelib.runtime.podman import memory, readings
from kubelib.runtime.podman.engine import Engine
from kubelib.runtime.podman.readings import Known

log = logging.getLogger("kubelib.runtime.podman")

Tree = Mapping[str, Any]


class Stock:
    """The containers of one owner on a service, kept in step while `watch` runs."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner
        self.sandboxes: dict[str, Known] = {}
        """By Pod UID: the infra container."""
        self.containers: dict[str, Known] = {}
        """By identity."""
        self._removed = Removed()
        self.news = News()
        self._group: anyio.abc.TaskGroup | None = None

    async def watch(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Keep in step with the service, also over its restarts."""
        async with anyio.create_task_group() as self._group:
            query = {"stream": "true"}
            await follow_events(
                self._engine, self._owner, query, self._take_stock, self._on_event, task_status
            )

    async def listed(self, uid: str = "") -> list[Tree]:
        """Return a line about each of our containers, of one Pod if it is named."""
        query = {"all": "true", "filters": self._filters(uid)}
        found: list[Tree] = await self._engine.call("GET", "/containers/json", query) or []
        return found

    async def pods(self, uid: str = "") -> list[Tree]:
        """Return a line about each of our pods, of one Pod if it is named: also of those in which there is no container."""
        found: list[Tree] = (
            await self._engine.call("GET", "/pods/json", {"filters": self._filters(uid)}) or []
        )
        return found

    def _filters(self, uid: str) -> str:
        return json.dumps({"label": [f"{OWNER}={self._owner}", *([f"{POD_UID}={uid}"] if uid else [])]})

    async def _take_stock(self) -> None:
        """Ask for everything, and tell of what has changed since it was last known."""
        listed = {line["Id"] for line in await self.listed()}
        known = {*self.containers, *(infra.id for infra in self.sandboxes.values())}
        for identity in known - listed:
            self.drop(identity)
        async with anyio.create_task_group() as group:
            for identity in listed:
                group.start_soon(self._look_if_it_answers, identity)

    def _on_event(self, event: Tree) -> None:
        identity = event["Actor"]["ID"]
        match event["Action"]:
            case "start" | "died" | "pause" | "unpause":
                assert self._group is not None
                self._group.start_soon(self._look_if_it_answers, identity)
            case "remove":
                self.drop(identity, event["Actor"]["Attributes"])

    def forget(self, uid: str) -> None:
        """Forget a Pod that is gone."""
        for identity in [known.id for known in self.containers.values() if known.uid == uid]:
            self.drop(identity)
        if (infra := self.sandboxes.get(uid)) is not None:
            self.drop(infra.id)

    def drop(self, identity: str, labels: Mapping[str, str] | None = None) -> None:
        """Forget a container that is gone."""
        if not self._removed.add(identity):
            return
        known = self.containers.pop(identity, None)
        if known is None:
            known = next((infra for infra in self.sandboxes.values() if infra.id == identity), None)
            if known is not None:
                del self.sandboxes[known.uid]
        labels = known.labels if known is not None else labels or {}
        self.news.wake(identity)
        container = ContainerId(identity) if labels.get(KIND) == "container" else None
        self.news.tell(RuntimeEvent("removed", labels.get(POD_UID, ""), container))

    async def _look_if_it_answers(self, identity: str) -> None:
        try:
            await self.look(identity)
        except RuntimeFailure as error:
            log.warning("%s", error)  # all are looked at once it is back

    async def look(self, identity: str, *, failure: str = "") -> Known | None:
        """Ask for one container, and tell of what has changed; return it unless it is gone."""
        try:
            now = readings.known_of(await self._engine.call("GET", f"/containers/{identity}/json"))
        except NoSuchContainer:
            return None
        if now.status == "exited" and now.exit_code != 0 and not now.is_sandbox:
            killed = now.oom_killed or await anyio.to_thread.run_sync(memory.killed_in, identity)
            now = attrs.evolve(now, oom_killed=killed)
        if identity in self._removed or now.status == "removing":
            return None
        known = self.sandboxes.get(now.uid) if now.is_sandbox else self.containers.get(identity)
        if failure or (known is not None and known.failure):
            now = attrs.evolve(now, failure=failure or (known.failure if known is not None else ""))
        if now.is_sandbox:
            self.sandboxes[now.uid] = now
        elif known is not None and known.finished is not None and now.running:
            return known  # this is older than what was learnt meanwhile: nothing of ours is started twice
        else:
            self.containers[identity] = now
        change = readings.change_of(known, now)
        if change is not None:
            self.news.wake(identity)
            self.news.tell(RuntimeEvent(change, now.uid, None if now.is_sandbox else ContainerId(identity)))
        return now
