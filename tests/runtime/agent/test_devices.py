"""Devices that Pods claim: a Pod starts with them or not at all, and they are given back when it has ended."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from kubelib.api.core.container import ResourceClaim as ContainerClaim
from kubelib.api.core.container import ResourceRequirements
from kubelib.api.core.pod import Binding, Pod, PodResourceClaim
from kubelib.api.core.references import ObjectReference
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.api.resource import (
    AllocationResult,
    Device,
    DeviceAllocationResult,
    DeviceClaim,
    DeviceRequest,
    DeviceRequestAllocationResult,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimConsumerReference,
    ResourceClaimSpec,
    ResourceClaimStatus,
    ResourceSlice,
)
from kubelib.registry.base import Patch, Query
from kubelib.runtime.base import CannotPrepare, ClaimId, DeviceNode, Mount, PreparedDevice
from kubelib.runtime.fake import Life
from kubelib.testing.objects import make_pod
from tests.runtime.agent.watching import gone, is_ready
from tests.runtime.conftest import SimNode, container

DRIVER = "lamps.example.com"


class Lamps:
    """A driver that notes what it is asked."""

    name = DRIVER

    def __init__(self) -> None:
        self.lamps = [Device(name="red"), Device(name="green")]
        self.lit: dict[str, int] = {}
        self.out: list[str] = []
        self.broken = ""

    def devices(self) -> Sequence[Device]:
        return self.lamps

    async def prepare(self, claim: ResourceClaim) -> Sequence[PreparedDevice]:
        if self.broken:
            raise CannotPrepare(self.broken)
        name = claim.metadata.name
        self.lit[name] = self.lit.get(name, 0) + 1
        assert claim.status.allocation is not None
        return [
            PreparedDevice(
                requests=[result.request],
                env={"LAMP": result.device},
                mounts=[Mount("/tmp", f"/lamps/{result.device}")],
            )
            for result in claim.status.allocation.devices.results
        ]

    async def unprepare(self, claim: ClaimId) -> None:
        if self.broken:
            raise CannotPrepare(self.broken)
        self.out.append(claim.name)


@pytest.fixture
async def lamps(idle: SimNode) -> Lamps:
    driver = Lamps()
    idle.device_drivers = (driver,)
    return driver


def using(*requests: str) -> Any:
    claims = tuple(ContainerClaim(name="light", request=request) for request in requests)
    return container(resources=ResourceRequirements(claims=claims))


async def claim_for(node: SimNode, *pods: Pod, name: str = "lamp", **devices: str) -> ResourceClaim:
    """Make a claim of devices by request, allocated and reserved as it says, or bring it up to date."""
    registry, key = node.client.resource(ResourceClaim), Key("default", name)
    there = [c for c in (await registry.list(Query("default"))).items if c.key == key]
    if not there:
        exactly = ExactDeviceRequest(device_class_name="lamps")
        requests = tuple(DeviceRequest(name=r, exactly=exactly) for r in devices or {"any": ""})
        meta = ObjectMeta(namespace="default", name=name)
        claim = ResourceClaim(metadata=meta, spec=ResourceClaimSpec(devices=DeviceClaim(requests=requests)))
        there = [await registry.create(claim)]
    results = tuple(
        DeviceRequestAllocationResult(request=request, driver=DRIVER, pool="node-1", device=device)
        for request, device in devices.items()
    )
    allocation = AllocationResult(devices=DeviceAllocationResult(results=results)) if devices else None
    users = tuple(
        ResourceClaimConsumerReference(resource="pods", name=p.metadata.name, uid=p.metadata.uid)
        for p in pods
    )
    status = ResourceClaimStatus(allocation=allocation, reserved_for=users)
    return await registry.update(replace(there[0], status=status), subresource="status")


async def run(node: SimNode, name: str = "a", *, uses: Any = None, **spec: Any) -> Pod:
    claims = (PodResourceClaim(name="light", resource_claim_name="lamp"),)
    return await node.run(name, resource_claims=claims, containers=(uses or using(""),), **spec)


async def why_not(node: SimNode) -> str:
    """Return what is told of the Pod that waits for its devices."""
    await anyio.sleep(10)
    assert node.running_containers() == []
    assert [(await node.status(which="main")).state.waiting.reason] == ["ContainerCreating"]  # type: ignore[union-attr]
    events = await node.events("FailedPrepareDynamicResources")
    assert {event.type for event in events} == {"Warning"}
    return events[-1].message.removeprefix("Failed to prepare dynamic resources: prepare dynamic resources: ")


async def test_a_pod_waits_until_its_claim_is_there_reserved_for_it_and_allocated(
    idle: SimNode, lamps: Lamps
) -> None:
    async with idle.running():
        pod = await run(idle)
        assert await why_not(idle) == (
            'fetch ResourceClaim lamp: resourceclaims.resource.k8s.io "lamp" not found'
        )
        claim = await claim_for(idle, any="red")
        assert await why_not(idle) == (
            f"pod a ({pod.metadata.uid}) is not allowed to use ResourceClaim lamp ({claim.metadata.uid})"
        )
        assert lamps.lit == {}
        await claim_for(idle, pod, any="red")
        await idle.until(is_ready)
        assert lamps.lit == {"lamp": 1}


async def test_a_pod_waits_while_no_driver_of_that_name_is_registered(idle: SimNode) -> None:
    async with idle.running():
        pod = await run(idle)
        await claim_for(idle, pod, any="red")
        assert await why_not(idle) == f"DRA driver {DRIVER} is not registered"
        await idle.client.resource(Pod).delete(pod.key)
        await gone(idle)  # nothing was prepared, so nothing keeps it


async def test_a_pod_waits_for_a_claim_that_is_still_to_be_made(idle: SimNode, lamps: Lamps) -> None:
    async with idle.running():
        template = (PodResourceClaim(name="light", resource_claim_template_name="lamps"),)
        await idle.run(resource_claims=template, containers=(using(""),))
        assert await why_not(idle) == "Pod default/a: ResourceClaim not created yet"


async def test_what_a_driver_cannot_do_is_told_and_tried_again(idle: SimNode, lamps: Lamps) -> None:
    lamps.broken = "out of bulbs"
    async with idle.running():
        pod = await run(idle)
        await claim_for(idle, pod, any="red")
        assert await why_not(idle) == "NodePrepareResources failed for ResourceClaim lamp: out of bulbs"
        lamps.broken = ""
        await idle.until(is_ready)


async def test_a_container_gets_what_is_prepared_for_the_requests_that_it_names(
    idle: SimNode, lamps: Lamps
) -> None:
    async with idle.running():
        pod = await run(idle, uses=using("second"))
        await claim_for(idle, pod, first="red", second="green")
        await idle.until(is_ready)
        spec = idle.spec_of("main")
        assert spec.env["LAMP"] == "green"
        assert [m.target for m in spec.mounts if m.target.startswith("/lamps")] == ["/lamps/green"]
        other = await run(idle, "b", uses=container("dark"))
        await claim_for(idle, pod, other, first="red", second="green")
        await idle.until(is_ready, name="b")
        assert "LAMP" not in idle.spec_of("dark").env


async def test_a_container_gets_what_is_prepared_for_its_extended_resources(
    idle: SimNode, lamps: Lamps
) -> None:
    """What a scheduler does that backs extended resources by claims is done by hand here."""
    async with idle.running():
        wants = ResourceRequirements(requests={"example.com/lamp": "1"}, limits={"example.com/lamp": "1"})
        dark = container("dark", image="run")
        both = (container(resources=wants), dark)
        pod = await idle.client.resource(Pod).create(make_pod("a", containers=both))
        await claim_for(idle, pod, one="red", two="green")
        mappings = [
            {"containerName": name, "resourceName": "example.com/lamp", "requestName": request}
            for name, request in (("main", "two"), ("dark", "one"))
        ]
        status = {"extendedResourceClaimStatus": {"resourceClaimName": "lamp", "requestMappings": mappings}}
        pods = idle.client.resource(Pod)
        await pods.patch(pod.key, Patch("merge", {"status": status}), subresource="status")
        target = ObjectReference(kind="Node", name="node-1")
        binding = Binding(metadata=ObjectMeta(name="a", namespace="default"), target=target)
        await idle.client.resource(Binding).create(binding)
        await idle.until(is_ready)
        assert idle.spec_of("main").env["LAMP"] == "green"
        assert "LAMP" not in idle.spec_of("dark").env  # it asks for none
        await pods.delete(pod.key)
        await gone(idle)
        assert lamps.out == ["lamp"]


async def test_a_claim_is_given_back_when_the_last_pod_has_ended_and_before_that_is_told(
    idle: SimNode, lamps: Lamps
) -> None:
    idle.images(run=Life(run_for=20, exit_code=0))
    async with idle.running():
        first = await run(idle, "a", restart_policy="Never")
        second = await run(idle, "b", restart_policy="Never", termination_grace_period_seconds=1)
        await claim_for(idle, first, second, any="red")
        await idle.until(is_ready, name="a")
        await idle.until(is_ready, name="b")
        assert lamps.lit == {"lamp": 1}
        await idle.client.resource(Pod).delete(second.key)
        await gone(idle, name="b")
        assert lamps.out == []
        lamps.broken = "it is hot"
        await anyio.sleep(60)
        assert (await idle.pod("a")).status.phase == "Running"
        lamps.broken = ""
        await idle.until(lambda pod: pod.status.phase == "Succeeded")
        assert lamps.out == ["lamp"]


async def test_an_agent_that_takes_over_gives_back_what_pods_claimed_that_are_gone(
    idle: SimNode, lamps: Lamps
) -> None:
    async with idle.running():
        pod = await run(idle)
        await claim_for(idle, pod, any="red")
        await idle.until(is_ready)
    await idle.client.resource(Pod).delete(pod.key, grace=0)
    async with idle.running():
        await anyio.sleep(5)
        assert lamps.out == ["lamp"]
    async with idle.running():
        await anyio.sleep(5)
        assert lamps.out == ["lamp"]


async def test_a_container_is_started_again_with_its_devices_by_an_agent_that_takes_over(
    idle: SimNode, lamps: Lamps
) -> None:
    idle.images(run=Life(run_for=20, exit_code=1))
    async with idle.running():
        pod = await run(idle)
        await claim_for(idle, pod, any="red")
        await idle.until(is_ready)
    async with idle.running():
        await idle.until(lambda pod: pod.status.container_statuses[0].restart_count == 1)
        assert idle.spec_of("main").env["LAMP"] == "red"
        assert lamps.out == []


async def test_a_runtime_that_has_no_devices_starts_nothing_without_them(idle: SimNode, lamps: Lamps) -> None:
    async def prepare(claim: ResourceClaim) -> Sequence[PreparedDevice]:
        return [PreparedDevice(devices=[DeviceNode("/dev/null", "/dev/lamp")])]

    lamps.prepare = prepare  # type: ignore[method-assign]
    async with idle.running():
        pod = await run(idle)
        await claim_for(idle, pod, any="red")
        await anyio.sleep(5)
        [event] = await idle.events("Failed")
        assert event.message == "Error: runtime does not support devices that are claimed"


async def test_a_node_shows_what_its_drivers_have_and_what_changes(idle: SimNode, lamps: Lamps) -> None:
    async def shown() -> list[tuple[str, list[str], int, int]]:
        found = (await idle.client.resource(ResourceSlice).list(Query())).items
        return [
            (
                item.metadata.name,
                [device.name for device in item.spec.devices],
                item.spec.pool.generation,
                item.spec.pool.resource_slice_count,
            )
            for item in found
        ]

    async with idle.running():
        await anyio.sleep(1)
        assert await shown() == [(f"node-1-{DRIVER}-0", ["red", "green"], 1, 1)]
        [item] = (await idle.client.resource(ResourceSlice).list(Query())).items
        assert [owner.name for owner in item.metadata.owner_references] == ["node-1"]
        lamps.lamps = [Device(name=f"lamp-{at}") for at in range(100)]
        await anyio.sleep(60)
        assert [(len(names), *rest) for _, names, *rest in await shown()] == [(64, 2, 2), (36, 2, 2)]
    lamps.lamps = lamps.lamps[:10]
    async with idle.running():
        await anyio.sleep(1)
        assert [(len(names), *rest) for _, names, *rest in await shown()] == [(10, 3, 1)]
    async with idle.running():
        await anyio.sleep(1)
        assert [(len(names), *rest) for _, names, *rest in await shown()] == [(10, 3, 1)]


async def test_a_driver_that_fails_takes_neither_its_node_nor_other_drivers_with_it(
    idle: SimNode, lamps: Lamps
) -> None:
    class Broken(Lamps):
        name = "broken.example.com"

        def devices(self) -> Sequence[Device]:
            raise ZeroDivisionError

        async def prepare(self, claim: ResourceClaim) -> Sequence[PreparedDevice]:
            raise ZeroDivisionError

    idle.device_drivers = (Broken(), lamps)
    async with idle.running():
        pod = await run(idle)
        await claim_for(idle, pod, any="red")
        await idle.until(is_ready)
        found = (await idle.client.resource(ResourceSlice).list(Query())).items
        assert [item.spec.driver for item in found] == [DRIVER]
