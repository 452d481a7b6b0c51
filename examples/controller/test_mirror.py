"""The controller under test in virtual time: hours pass in milliseconds, and every run is the same."""

import importlib.util
from pathlib import Path
from random import Random

import anyio
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.core.namespace import Namespace
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.local import LocalClient
from kubelib.clock import LoopClock
from kubelib.controllers import Manager
from kubelib.informers import SharedInformers
from kubelib.registry.registries import ResourceRegistries
from kubelib.sim import Conflicting, Lossy, simulate
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_config_map, make_namespace

spec = importlib.util.spec_from_file_location("mirror", Path(__file__).with_name("mirror.py"))
assert spec is not None
assert spec.loader is not None
mirror = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mirror)


async def mirror_for_an_hour(seed: int) -> None:
    async with ResourceRegistries(MemoryStore(), clock=LoopClock(), random=Random(seed)) as registries:
        await registries.bootstrap()
        client = LocalClient(registries)
        # The controller gets the bad line: one message in five is lost, every fourth write meets a rival.
        line = Conflicting(Lossy(client, Random(seed), rate=0.2, latency=0.1), every=4)
        informers = SharedInformers(line, random=Random(seed))
        maps = client.resource(ConfigMap)
        async with anyio.create_task_group() as tasks:
            await tasks.start(Manager([informers, mirror.mirror_controller(informers)]).run)

            original = make_config_map("motd", text="hello")
            labelled = replace(original.metadata, labels={"mirror": "everywhere"})
            original = await maps.create(replace(original, metadata=labelled))
            await client.resource(Namespace).create(make_namespace("late"))
            await anyio.sleep(1200)
            for where in ("kube-system", "late"):
                assert (await maps.get(Key(where, "motd"))).data == {"text": "hello"}

            await maps.update(replace(original, data={"text": "changed"}))
            await maps.delete(Key("kube-public", "motd"))
            await anyio.sleep(1200)
            for where in ("kube-public", "late"):
                assert (await maps.get(Key(where, "motd"))).data == {"text": "changed"}

            await maps.delete(original.key)
            await anyio.sleep(1200)
            assert [found for found in (await maps.list()).items if found.metadata.name == "motd"] == []
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(10))
def test_copies_follow_their_original_on_a_bad_line(seed: int) -> None:
    simulate(mirror_for_an_hour, seed, seed=seed)
