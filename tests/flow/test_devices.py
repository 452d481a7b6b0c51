"""Claims to devices through the whole cluster: slices, allocation, preparation, real processes that use them, and back."""

import json
import runpy
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
import yaml

from kubelib.api.codec import decode
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.api.resource import DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice
from kubelib.client.local import LocalClient
from kubelib.clock import SYSTEM_CLOCK
from kubelib.controllers import EventRecorder
from kubelib.controllers.builtin.resourceclaim import resource_claim_controller
from kubelib.informers import SharedInformers
from kubelib.registry.base import Query
from kubelib.registry.registries import ResourceRegistries
from kubelib.runtime.agent import NodeAgent
from kubelib.runtime.process import ProcessRuntime
from kubelib.runtime.settings import NodeSettings
from kubelib.sched.scheduler import Scheduler
from kubelib.store import MemoryStore

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "devices"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_pods_use_the_devices_of_the_example_and_give_them_back(tmp_path: Path) -> None:
    driver: Any = runpy.run_path(str(EXAMPLE / "scratch.py"))["ScratchDisks"](tmp_path / "disks")
    device_class, template, pod = yaml.safe_load_all((EXAMPLE / "scratch.yaml").read_text())
    async with (
        MemoryStore() as store,
        ResourceRegistries(store) as registries,
        ProcessRuntime(tmp_path / "runtime") as runtime,
        anyio.create_task_group() as group,
    ):
        await registries.bootstrap()
        client = LocalClient(registries)
        settings = NodeSettings(name="node-1", capacity={"cpu": "4", "memory": "1Gi"})
        agent = NodeAgent(
            client, runtime, settings, tmp_path / "node", random=Random(1), device_drivers=[driver]
        )
        await group.start(agent.run)
        await group.start(Scheduler(client, random=Random(2)).run)
        informers = SharedInformers(client, random=Random(3))
        recorder = EventRecorder(client, clock=SYSTEM_CLOCK, random=Random(4))
        controller = resource_claim_controller(informers, clock=SYSTEM_CLOCK, recorder=recorder)
        await group.start(informers.run)
        await group.start(controller.run)
        await client.resource(DeviceClass).create(decode(DeviceClass, json.dumps(device_class).encode()))
        template["metadata"]["namespace"] = "default"
        made = decode(ResourceClaimTemplate, json.dumps(template).encode())
        await client.resource(ResourceClaimTemplate).create(made)
        names = [f"writer-{at}" for at in range(3)]  # one more than there are disks
        for name in names:
            pod["metadata"] = {"name": name, "namespace": "default"}
            await client.resource(Pod).create(decode(Pod, json.dumps(pod).encode()))
        said = {}
        with anyio.fail_after(30):
            for name in names:
                while (
                    found := await client.resource(Pod).get(Key("default", name))
                ).status.phase != "Succeeded":
                    assert found.status.phase != "Failed"
                    await anyio.sleep(0.05)
                said[name] = agent.log_path(found, "main", 0).read_text().split(" ", 3)[3].strip()
            while (await client.resource(ResourceClaim).list(Query("default"))).items:
                await anyio.sleep(0.05)
        assert {words.split()[0] for words in said.values()} == {"hello"}
        assert {words.split()[1] for words in said.values()} == {"disk-0", "disk-1"}
        assert list((tmp_path / "disks").iterdir()) == []
        [item] = (await client.resource(ResourceSlice).list(Query())).items
        assert [device.name for device in item.spec.devices] == ["disk-0", "disk-1"]
        group.cancel_scope.cancel()
