"""Events live for an hour after they were last written, as long as kube-apiserver keeps them, and watchers see them go."""

import anyio
import pytest

from kubelib.api.core.event import Event
from kubelib.api.core.references import ObjectReference
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.registry.base import Patch, Query
from kubelib.sim import SimCluster

ABOUT = ObjectReference(kind="Pod", namespace="default", name="p", api_version="v1")
HOUR = 3600.0


def event(name: str) -> Event:
    meta = ObjectMeta(name=name, namespace="default")
    return Event(metadata=meta, involved_object=ABOUT, reason="Tested", message="hello", type="Normal")


async def test_an_event_lives_for_an_hour_after_it_was_last_written(sim: SimCluster) -> None:
    await sim.start(builtin=False)
    events = sim.client.resource(Event)
    gone: dict[str, float] = {}
    began = anyio.current_time()

    async def watch() -> None:
        async with events.watch(Query("default"), since="") as changes:
            async for change in changes:
                if change.type == "DELETED":
                    gone[change.object.metadata.name] = anyio.current_time() - began

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        for name in ("seen-once", "seen-again"):
            await events.create(event(name))
        await sim.sleep(HOUR / 2)
        await events.patch(Key("default", "seen-again"), Patch("merge", {"count": 2}))
        await sim.sleep(HOUR / 2 - 60)
        assert len((await events.list(Query("default"))).items) == 2
        await sim.sleep(120)
        with pytest.raises(NotFound):
            await events.get(Key("default", "seen-once"))
        assert (await events.get(Key("default", "seen-again"))).count == 2
        await sim.sleep(HOUR / 2)
        assert not list((await events.list(Query("default"))).items)
        group.cancel_scope.cancel()
    assert {name: round(when / HOUR, 1) for name, when in gone.items()} == {
        "seen-once": 1.0,
        "seen-again": 1.5,
    }
