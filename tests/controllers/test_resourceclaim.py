from typing import Any

from kubelib.api.core.pod import Pod, PodResourceClaim
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.api.resource import (
    AllocationResult,
    DeviceAllocationResult,
    DeviceClaim,
    DeviceRequest,
    DeviceRequestAllocationResult,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimConsumerReference,
    ResourceClaimSpec,
    ResourceClaimTemplate,
    ResourceClaimTemplateSpec,
)
from kubelib.controllers.builtin.garbagecollector import garbage_collector
from kubelib.controllers.builtin.resourceclaim import FINALIZER, claim_for, resource_claim_controller
from kubelib.testing.objects import make_meta, make_pod, make_pod_status

SPEC = ResourceClaimSpec(
    devices=DeviceClaim(
        requests=(DeviceRequest(name="gpu", exactly=ExactDeviceRequest(device_class_name="gpu")),)
    )
)
TEMPLATE = ResourceClaimTemplate(
    metadata=make_meta("gpus"),
    spec=ResourceClaimTemplateSpec(metadata=ObjectMeta(labels={"a": "b"}, annotations={"c": "d"}), spec=SPEC),
)
FROM_TEMPLATE = PodResourceClaim(name="mine", resource_claim_template_name="gpus")
SHARED = PodResourceClaim(name="ours", resource_claim_name="shared")
ALLOCATION = AllocationResult(
    devices=DeviceAllocationResult(
        results=(DeviceRequestAllocationResult(request="gpu", driver="d.example", pool="p", device="0"),)
    )
)


def controller(world: Any) -> Any:
    return resource_claim_controller(world.informers, clock=world.clock, recorder=world.recorder)


async def allocate(world: Any, name: str, *pods: Pod) -> None:
    """Do what a scheduler does when it places Pods: give a claim devices, and reserve it."""
    users = tuple(
        ResourceClaimConsumerReference(resource="pods", name=pod.metadata.name, uid=pod.metadata.uid)
        for pod in pods
    )

    def protected(claim: ResourceClaim) -> ResourceClaim:
        return replace(claim, metadata=replace(claim.metadata, finalizers=(FINALIZER,)))

    def allocated(claim: ResourceClaim) -> ResourceClaim:
        return replace(claim, status=replace(claim.status, allocation=ALLOCATION, reserved_for=users))

    await world.change(ResourceClaim, name, protected)
    await world.change(ResourceClaim, name, allocated, subresource="status")


async def end(world: Any, name: str) -> None:
    await world.change(
        Pod, name, lambda p: replace(p, status=make_pod_status("Succeeded")), subresource="status"
    )


async def test_a_pod_gets_a_claim_of_its_own_from_a_template_and_is_told_its_name(world: Any) -> None:
    async with world.running(controller(world)):
        pod = await world.create(make_pod("p", resource_claims=(FROM_TEMPLATE, SHARED)))
        await world.settled(1)
        message = (
            'PodResourceClaim mine: resource claim template "gpus":'
            ' resourceclaimtemplate.resource.k8s.io "gpus" not found'
        )
        assert ("FailedResourceClaimCreation", message) in await world.events()
        await world.create(TEMPLATE)
        await world.settled(10)
        (claim,) = await world.all(ResourceClaim)
        assert claim.metadata.name.startswith("p-mine-")
        assert claim.metadata.labels == {"a": "b"}
        assert claim.metadata.annotations == {"c": "d", "resource.kubernetes.io/pod-claim-name": "mine"}
        (owner,) = claim.metadata.owner_references
        assert (owner.kind, owner.uid, owner.controller) == ("Pod", pod.metadata.uid, True)
        assert claim.spec.devices.requests[0].name == "gpu"

        async def told() -> list[tuple[str, str]]:
            statuses = (await world.get(Pod, "p")).status.resource_claim_statuses
            return [(status.name, status.resource_claim_name) for status in statuses]

        assert await told() == [("mine", claim.metadata.name)]
        # One that somebody deletes is made again, under another name.
        await world.delete(ResourceClaim, claim.metadata.name)
        await world.settled(5)
        (other,) = await world.all(ResourceClaim)
        assert other.metadata.name != claim.metadata.name
        assert await told() == [("mine", other.metadata.name)]


def test_both_parts_of_a_long_name_are_cut() -> None:
    pod = make_pod("p" * 60)
    made = claim_for(pod, "c" * 20, TEMPLATE)
    assert made.metadata.generate_name == "p" * 41 + "-" + "c" * 13


async def test_a_claim_is_given_back_by_its_last_user(world: Any) -> None:
    async with world.running(controller(world)):
        await world.create(ResourceClaim(metadata=make_meta("shared"), spec=SPEC))
        pods = [await world.create(make_pod(name, node="n", resource_claims=(SHARED,))) for name in "ab"]
        await allocate(world, "shared", *pods)
        await world.delete(ResourceClaim, "shared")
        await end(world, "a")
        await world.settled(5)
        claim = await world.get(ResourceClaim, "shared")
        assert [user.name for user in claim.status.reserved_for] == ["b"]
        assert claim.status.allocation is not None
        await world.delete(Pod, "b", grace=0)
        await world.settled(5)
        assert await world.names(ResourceClaim) == []


async def test_without_users_a_claim_can_be_allocated_anew(world: Any) -> None:
    async with world.running(controller(world)):
        await world.create(ResourceClaim(metadata=make_meta("shared"), spec=SPEC))
        pod = await world.create(make_pod("a", node="n", resource_claims=(SHARED,)))
        await allocate(world, "shared", pod)
        await end(world, "a")
        await world.settled(5)
        claim = await world.get(ResourceClaim, "shared")
        assert (claim.status.reserved_for, claim.status.allocation, claim.metadata.finalizers) == (
            (),
            None,
            (),
        )


async def test_pods_that_nobody_scheduled_have_their_claims_reserved(world: Any) -> None:
    async with world.running(controller(world)):
        await world.create(ResourceClaim(metadata=make_meta("shared"), spec=SPEC))
        await allocate(world, "shared")
        pod = await world.create(make_pod("a", node="n", resource_claims=(SHARED,)))
        await world.create(make_pod("waits", resource_claims=(SHARED,)))
        await world.settled(5)
        claim = await world.get(ResourceClaim, "shared")
        assert [user.uid for user in claim.status.reserved_for] == [pod.metadata.uid]


async def test_a_claim_that_was_made_for_a_pod_goes_when_that_has_ended(world: Any) -> None:
    async with world.running(controller(world), garbage(world)):
        await world.create(TEMPLATE)
        await world.create(make_pod("a", node="n", resource_claims=(FROM_TEMPLATE,)))
        await world.settled(5)
        assert len(await world.all(ResourceClaim)) == 1
        await end(world, "a")
        await world.settled(5)
        assert await world.names(ResourceClaim) == []
        assert Key("default", "a") in [pod.key for pod in await world.all(Pod)]


def garbage(world: Any) -> Any:
    return garbage_collector(
        world.informers, clock=world.clock, recorder=world.recorder, scheme=world.registries.scheme
    )
