from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.container import Container, ContainerPort
from kubelib.api.core.pod import Pod
from kubelib.api.core.service import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Service,
    ServicePort,
)
from kubelib.api.discovery import EndpointSlice
from kubelib.api.errors import Forbidden
from kubelib.api.meta import ObjectMeta, controller_of
from kubelib.api.model import replace
from kubelib.api.times import format_time
from kubelib.controllers.builtin.endpoints import endpoints_controller, within_capacity
from kubelib.controllers.builtin.endpoints import plan as plan_endpoints
from kubelib.controllers.builtin.endpointslice import endpoint_slice_controller
from kubelib.controllers.builtin.endpointslice import plan as plan_slices
from kubelib.controllers.builtin.endpointslicemirroring import endpoint_slice_mirroring_controller, left_out
from kubelib.controllers.builtin.endpointslicemirroring import plan as plan_mirror
from kubelib.controllers.services import HEADLESS, labels_of
from kubelib.controllers.slices import SERVICE_NAME, match
from kubelib.controllers.triggers import LAST_CHANGE, TriggerTimes
from kubelib.informers import SharedInformers
from kubelib.sim import Conflicting, Lossy
from kubelib.sim.hardship import Wrapper
from kubelib.testing.objects import CONTAINER, make_node, make_pod, make_service

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEB = {"app": "web"}


def pod(name: str, ip: str, *, ready: bool = True, port: int = 8080, **more: Any) -> Pod:
    ports = (ContainerPort(name="http", container_port=port),)
    return make_pod(
        name,
        labels=WEB,
        ip=ip,
        phase="Running",
        ready=ready,
        node="n",
        containers=(replace(CONTAINER, ports=ports),),
        **more,
    )


NAMED = ServicePort(name="web", port=80, target_port="http", protocol="TCP")


def test_ready_and_unready_addresses_stand_apart_under_the_ports_that_they_have() -> None:
    service = make_service("web", selector=WEB, ports=[NAMED])
    pods = [pod("a", "10.0.0.1"), pod("b", "10.0.0.2", ready=False), pod("c", "10.0.0.3", port=9090)]
    found = {subset.ports[0].port: subset for subset in plan_endpoints(service, pods)}
    assert [a.ip for a in found[8080].addresses] == ["10.0.0.1"]
    assert [a.ip for a in found[8080].not_ready_addresses] == ["10.0.0.2"]
    assert [a.ip for a in found[9090].addresses] == ["10.0.0.3"]
    target = found[8080].addresses[0].target_ref
    assert target is not None
    assert (target.kind, target.name, target.namespace) == ("Pod", "a", "default")


def test_pods_without_address_or_at_their_end_are_not_behind_a_service() -> None:
    service = make_service("web", selector=WEB)
    assert (
        plan_endpoints(service, [make_pod("a", labels=WEB), make_pod("b", ip="10.0.0.1", phase="Failed")])
        == ()
    )


def test_what_asks_for_unready_addresses_gets_them_as_ready() -> None:
    service = make_service("web", selector=WEB, publish_not_ready_addresses=True)
    (subset,) = plan_endpoints(service, [pod("a", "10.0.0.1", ready=False)])
    assert [a.ip for a in subset.addresses] == ["10.0.0.1"]
    (part,) = plan_slices(service, [pod("a", "10.0.0.1", ready=False)])
    conditions = part.endpoints[0].conditions
    assert conditions is not None
    assert (conditions.ready, conditions.serving, conditions.terminating) == (True, False, False)


def test_a_hostname_counts_only_in_the_services_own_subdomain() -> None:
    service = make_service("web", selector=WEB, cluster_ip="None")
    pods = [
        pod("a", "10.0.0.1", hostname="h", subdomain="web"),
        pod("b", "10.0.0.2", hostname="h", subdomain="other"),
    ]
    (subset,) = plan_endpoints(service, pods)
    assert [a.hostname for a in subset.addresses] == ["h", ""]
    (part,) = plan_slices(service, pods)
    assert [e.hostname for e in part.endpoints] == ["h", ""]


def test_endpoints_hold_a_thousand_addresses_the_ready_ones_first() -> None:
    def subset(ready: int, unready: int) -> EndpointSubset:
        one = EndpointAddress(ip="10.0.0.1")
        return EndpointSubset(addresses=(one,) * ready, not_ready_addresses=(one,) * unready)

    def sizes(*subsets: EndpointSubset) -> list[tuple[int, int]]:
        return [(len(s.addresses), len(s.not_ready_addresses)) for s in within_capacity(subsets)]

    assert sizes(subset(500, 300), subset(100, 100)) == [(500, 300), (100, 100)]
    assert sizes(subset(500, 450), subset(200, 150)) == [(500, 225), (200, 75)]
    assert sizes(subset(1000, 5), subset(500, 5)) == [(667, 0), (333, 0)]


@pytest.mark.parametrize(
    ("distribution", "zones", "nodes"),
    [
        ("", None, None),
        ("PreferClose", ["z"], []),
        ("PreferSameZone", ["z"], []),
        ("PreferSameNode", ["z"], ["n"]),
    ],
)
def test_endpoints_tell_their_zone_and_for_whom_they_are_meant_first(
    distribution: str, zones: list[str] | None, nodes: list[str] | None
) -> None:
    service = make_service("web", selector=WEB, ports=[NAMED])
    service = replace(service, spec=replace(service.spec, traffic_distribution=distribution))
    pods = [pod("a", "10.0.0.1"), pod("b", "10.0.0.2", ready=False)]
    (part,) = plan_slices(service, pods, lambda node: {"n": "z"}[node])
    ready, unready = part.endpoints
    assert (ready.zone, unready.zone, unready.hints) == ("z", "z", None)
    if zones is None or nodes is None:
        assert ready.hints is None
    else:
        assert ready.hints is not None
        assert [zone.name for zone in ready.hints.for_zones] == zones
        assert [node.name for node in ready.hints.for_nodes] == nodes


@pytest.mark.parametrize(
    ("annotations", "hinted"),
    [
        ({"service.kubernetes.io/topology-mode": "Auto"}, False),
        ({"service.kubernetes.io/topology-mode": "auto"}, False),
        ({"service.kubernetes.io/topology-aware-hints": "Auto"}, False),
        ({"service.kubernetes.io/topology-mode": "Disabled"}, True),
        (
            {
                "service.kubernetes.io/topology-aware-hints": "Disabled",
                "service.kubernetes.io/topology-mode": "Auto",
            },
            True,
        ),
    ],
)
def test_a_topology_mode_has_precedence_over_a_traffic_distribution(
    annotations: dict[str, str], hinted: bool
) -> None:
    service = make_service("web", selector=WEB, ports=[NAMED])
    service = replace(
        service,
        metadata=replace(service.metadata, annotations=annotations),
        spec=replace(service.spec, traffic_distribution="PreferSameZone"),
    )
    (part,) = plan_slices(service, [pod("a", "10.0.0.1")], lambda node: {"n": "z"}[node])
    assert (part.endpoints[0].hints is not None) is hinted


def slices(pods: Sequence[Pod], *before: EndpointSlice) -> tuple[list[EndpointSlice], int]:
    """The slices of a Service after its Pods have changed, and how many were written or deleted."""
    found = {slice_.metadata.name: slice_ for slice_ in before}
    changes = match(plan_slices(make_service("web", selector=WEB), pods), before)
    for number, (part, slice_) in enumerate(changes, len(before)):
        if slice_ is not None:
            del found[slice_.metadata.name]
        if part is not None:
            name = slice_.metadata.name if slice_ is not None else f"web-{number}"
            meta = ObjectMeta(name=name, labels=part.labels)
            found[name] = EndpointSlice(
                metadata=meta, address_type="IPv4", ports=part.ports, endpoints=part.endpoints
            )
    addresses = sorted(endpoint.addresses[0] for s in found.values() for endpoint in s.endpoints)
    assert addresses == sorted(pod.status.pod_ip for pod in pods)
    return list(found.values()), len(changes)


def sizes(found: Sequence[EndpointSlice]) -> list[int]:
    return sorted(len(slice_.endpoints) for slice_ in found)


def test_endpoints_stay_in_their_slices_and_new_ones_change_as_few_as_can_be() -> None:
    many = [pod(f"p{n:03}", f"10.0.{n // 100}.{100 + n % 100}") for n in range(400)]
    first, changed = slices(many[:250])
    assert (sizes(first), changed) == ([50, 100, 100], 3)
    assert slices(many[:250], *first) == (first, 0)
    less, changed = slices(many[1:250], *first)  # only the slice that it was in knows of it
    assert (sizes(less), changed) == ([50, 99, 100], 1)
    other, changed = slices([*many[1:250], many[399]], *first)  # the new one takes the place
    assert (sizes(other), changed) == ([50, 100, 100], 1)
    more, changed = slices(many[1:251], *less)  # fits into the fullest
    assert (sizes(more), changed) == ([50, 100, 100], 1)
    more, changed = slices(many[1:253], *less)  # three do not
    assert (sizes(more), changed) == ([53, 99, 100], 1)
    more, changed = slices(many[1:302], *less)  # nor do these into any
    assert (sizes(more), changed) == ([50, 52, 99, 100], 1)
    more, changed = slices(
        [*many[2:250], *many[299:400]], *less
    )  # a slice that changes anyway is filled first
    assert (sizes(more), changed) == ([50, 99, 100, 100], 2)
    left, changed = slices(many[100:250], *first)
    assert (sizes(left), changed) == ([50, 100], 1)
    unready = [pod("p000", "10.0.0.100", ready=False), *many[1:250]]
    same, changed = slices(unready, *first)
    assert (sizes(same), changed) == ([50, 100, 100], 1)


def test_a_service_without_pods_has_an_empty_slice() -> None:
    (part,) = plan_slices(make_service("web", selector=WEB), [])
    assert part.endpoints == ()


def controllers(world: Any) -> list[Any]:
    return [
        make(world.informers, clock=world.clock, recorder=world.recorder)
        for make in (endpoints_controller, endpoint_slice_controller)
    ]


async def ready_node(world: Any) -> str:
    """A node for Pods: those without one are in no slice."""
    return str((await world.create(make_node("n"))).metadata.name)


async def addresses(world: Any) -> tuple[list[str], list[str]]:
    """What Endpoints and slices say, which must agree."""
    endpoints = await world.get(Endpoints, "web")
    classic = sorted(a.ip for subset in endpoints.subsets for a in subset.addresses)
    slices = [e for s in await world.all(EndpointSlice) for e in s.endpoints if e.conditions.ready]
    return classic, sorted(e.addresses[0] for e in slices)


async def test_endpoints_follow_services_and_pods(world: Any, running_pods: Any) -> None:
    async with world.running(running_pods(world), *controllers(world)):
        service = await world.create(make_service("web", selector=WEB))
        node = await ready_node(world)
        for name in "abc":
            await world.create(make_pod(name, labels=WEB, node=node))
        await world.create(make_pod("other", labels={"app": "other"}))
        await world.settled(5)
        classic, sliced = await addresses(world)
        assert len(classic) == 3
        assert sliced == classic
        (slice_,) = await world.all(EndpointSlice)
        assert slice_.metadata.labels["kubernetes.io/service-name"] == "web"
        assert (
            slice_.metadata.labels["endpointslice.kubernetes.io/managed-by"]
            == "endpointslice-controller.k8s.io"
        )
        owner = controller_of(slice_)
        assert owner is not None
        assert owner.uid == service.metadata.uid
        assert slice_.address_type == "IPv4"

        await world.delete(Pod, "a")
        await world.change(Pod, "b", lambda p: replace(p, metadata=replace(p.metadata, labels={})))
        await world.settled(5)
        classic, sliced = await addresses(world)
        assert len(classic) == len(sliced) == 1

        await world.change(
            Service, "web", lambda s: replace(s, metadata=replace(s.metadata, labels={"tier": "front"}))
        )
        await world.settled(5)
        assert (await world.get(Endpoints, "web")).metadata.labels["tier"] == "front"
        (slice_,) = await world.all(EndpointSlice)
        assert slice_.metadata.labels["tier"] == "front"

        await world.delete(Service, "web")
        await world.settled(5)
        assert await world.names(Endpoints) == []
        assert await world.names(EndpointSlice) == []


async def test_hand_made_endpoints_of_a_service_without_selector_are_left_alone(world: Any) -> None:
    async with world.running(*controllers(world)):
        await world.create(make_service("web"))
        mine = Endpoints(metadata=make_service("web").metadata)
        await world.create(mine)
        await world.settled(10)
        assert await world.names(Endpoints) == ["web"]


async def test_a_service_that_is_only_a_name_has_no_endpoints_until_it_gets_an_address(world: Any) -> None:
    async with world.running(*controllers(world)):
        service = make_service("web", selector=WEB, type="ExternalName", external_name="example.com")
        await world.create(service)
        await world.settled(5)
        assert (await world.names(Endpoints), await world.names(EndpointSlice)) == ([], [])
        await world.change(Service, "web", lambda s: replace(s, spec=replace(s.spec, type="ClusterIP")))
        await world.settled(5)
        assert await world.names(Endpoints) == ["web"]
        (slice_,) = await world.all(EndpointSlice)
        assert HEADLESS not in slice_.metadata.labels


async def test_endpoints_of_no_service_are_their_maker_s_until_the_controller_starts_anew(world: Any) -> None:
    leader = {"control-plane.alpha.kubernetes.io/leader": "{}"}
    async with world.running(*controllers(world)):
        for name, annotations in ("lock", {}), ("election", leader):
            meta = ObjectMeta(name=name, namespace="default", annotations=annotations)
            await world.create(Endpoints(metadata=meta))
        await world.settled(10)
        labels = {"role": "leader"}
        await world.change(
            Endpoints, "lock", lambda e: replace(e, metadata=replace(e.metadata, labels=labels))
        )
        await world.settled(10)
        assert sorted(await world.names(Endpoints)) == ["election", "lock"]
    async with world.running(*controllers(world)):
        await world.settled(10)
        assert await world.names(Endpoints) == ["election"]


@pytest.mark.seeds(8)
async def test_on_a_bad_line_endpoints_become_true(
    make_world: Any, running_pods: Any, anyio_backend: Any
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.15, latency=0.1, until=200.0), every=4)

    async with make_world(line, seed) as world, world.running(running_pods(world), *controllers(world)):
        await world.create(make_service("web", selector=WEB))
        node = await ready_node(world)
        for n in range(20):
            await world.create(make_pod(f"p{n}", labels=WEB, node=node))
            await anyio.sleep(0.3)
        for n in range(0, 20, 2):
            await world.delete(Pod, f"p{n}")
            await anyio.sleep(0.3)
        await anyio.sleep(1500)
        expected = sorted(p.status.pod_ip for p in await world.all(Pod))
        assert len(expected) == 10
        assert await addresses(world) == (expected, expected)


def test_the_earliest_change_that_is_new_is_what_triggers() -> None:
    def at(name: str, seconds: int) -> Pod:
        return make_pod(name, phase="Running", ready=True, since=NOW + timedelta(seconds=seconds))

    service = make_service("web", selector=WEB)
    service = replace(service, metadata=replace(service.metadata, creation_timestamp=NOW))
    times = TriggerTimes()
    assert times.next(service, [at("a", 5)]) == "2026-01-01T00:00:00Z"  # the Service itself is new
    assert times.next(service, [at("a", 5)]) == ""
    assert times.next(service, [at("a", 9), at("b", 7)]) == "2026-01-01T00:00:07Z"
    assert times.next(service, [at("b", 7)]) == ""  # one that goes triggers nothing
    times.forget(service.key)
    assert times.next(service, []) == "2026-01-01T00:00:00Z"


async def test_endpoints_say_since_when_they_should_be_what_they_are(world: Any, running_pods: Any) -> None:
    how = {"clock": world.clock, "recorder": world.recorder}
    parts = [make(world.informers, **how) for make in (endpoints_controller, endpoint_slice_controller)]

    async def told() -> list[str | None]:
        all_of = [*await world.all(Endpoints), *await world.all(EndpointSlice)]
        return [obj.metadata.annotations.get(LAST_CHANGE) for obj in all_of]

    async with world.running(running_pods(world, delay=5), *parts):
        service = await world.create(make_service("web", selector=WEB))
        await world.settled(2)
        assert await told() == [format_time(service.metadata.creation_timestamp)] * 2
        await world.create(make_pod("a", labels=WEB, node=await ready_node(world)))
        await world.settled(10)
        pod = await world.get(Pod, "a")
        assert await told() == [format_time(pod.status.conditions[0].last_transition_time)] * 2
        await world.delete(Pod, "a", grace=0)
        await world.settled(2)
        assert await told() == [None, None]


async def test_a_service_that_waits_for_its_end_keeps_its_slices_and_gets_no_new_ones(
    world: Any, running_pods: Any
) -> None:
    async with world.running(*controllers(world), running_pods(world)):
        service = make_service("web", selector=WEB)
        meta = replace(service.metadata, finalizers=("example.com/balancer",))
        await world.create(replace(service, metadata=meta))
        await world.create(make_pod("a", node=await ready_node(world), labels=WEB))
        await world.settled(5)
        await world.delete(Service, "web")
        await world.settled(5)
        classic, found = await addresses(world)
        assert len(classic) == 1
        assert found == classic
        (slice_,) = await world.all(EndpointSlice)
        await world.delete(EndpointSlice, slice_.metadata.name)
        await world.settled(5)
        assert await world.names(EndpointSlice) == []


async def test_slices_of_an_earlier_service_of_the_name_are_replaced(world: Any) -> None:
    earlier = await world.create(make_service("web", selector=WEB))
    parts = [endpoint_slice_controller(world.informers, clock=world.clock, recorder=world.recorder)]
    async with world.running(*parts):
        await world.settled(2)
        (slice_,) = await world.all(EndpointSlice)
    await world.delete(Service, "web")
    service = await world.create(make_service("web", selector=WEB))
    informers = SharedInformers(world.client, random=Random(1))
    again = endpoint_slice_controller(informers, clock=world.clock, recorder=world.recorder)
    async with world.running(informers, again):
        await world.settled(2)
        (new,) = await world.all(EndpointSlice)
        before, after = controller_of(slice_), controller_of(new)
        assert before is not None
        assert after is not None
        assert (before.uid, after.uid) == (earlier.metadata.uid, service.metadata.uid)


def test_named_ports_are_the_first_of_their_name_and_may_be_those_of_sidecars() -> None:
    def container(name: str, number: int, **more: Any) -> Container:
        ports = (ContainerPort(name=name, container_port=number),)
        return replace(CONTAINER, name=f"c{number}", ports=ports, **more)

    ports = [replace(NAMED, name=name, target_port=name, port=n) for n, name in enumerate(("a", "b", "c"), 1)]
    service = make_service("web", selector=WEB, ports=ports)
    behind = make_pod(
        "a",
        labels=WEB,
        ip="10.0.0.1",
        ready=True,
        containers=(container("a", 1001), container("a", 1002)),
        init_containers=(
            container("a", 1003, restart_policy="Always"),
            container("b", 1004, restart_policy="Always"),
            container("c", 1005),  # has ended when the Pod serves
        ),
    )
    (part,) = plan_slices(service, [behind])
    assert {port.name: port.port for port in part.ports} == {"a": 1001, "b": 1004}
    (subset,) = plan_endpoints(service, [behind])
    assert {port.name: port.port for port in subset.ports} == {"a": 1001, "b": 1004}


async def test_a_slice_that_is_on_its_way_out_is_replaced(world: Any) -> None:
    async with world.running(*controllers(world)):
        await world.create(make_service("web", selector=WEB))
        await world.settled(2)
        (going,) = await world.names(EndpointSlice)
        held = {"finalizers": ("example.com/held",)}
        await world.change(EndpointSlice, going, lambda s: replace(s, metadata=replace(s.metadata, **held)))
        await world.delete(EndpointSlice, going)
        await world.settled(2)
        assert len(await world.all(EndpointSlice)) == 2


async def test_pods_of_nodes_that_are_not_there_are_left_out_and_looked_at_again(world: Any) -> None:
    parts = [endpoint_slice_controller(world.informers, clock=world.clock, recorder=world.recorder)]

    async def listed(service: str) -> list[str]:
        slices = [s for s in await world.all(EndpointSlice) if s.metadata.labels[SERVICE_NAME] == service]
        return sorted(e.target_ref.name for s in slices for e in s.endpoints)

    await world.create(make_node("there"))
    for name, node in ("a", "there"), ("b", "lost"):
        made = pod(name, f"10.0.0.{1 + (name == 'b')}")
        await world.create(replace(made, spec=replace(made.spec, node_name=node)))
        await world.change(
            Pod, name, lambda p, status=made.status: replace(p, status=status), subresource="status"
        )
    await world.create(make_service("web", selector=WEB))
    await world.create(make_service("all", selector=WEB, publish_not_ready_addresses=True))
    async with world.running(*parts):
        await world.settled(2)
        assert (await listed("web"), await listed("all")) == (["a"], ["a", "b"])
        message = "skipping Pod b for Service default/web: Node lost Not Found"
        told = f"Error updating Endpoint Slices for Service default/web: {message}"
        assert set(await world.events()) == {("FailedToUpdateEndpointSlices", told)}
        await world.create(make_node("lost"))
        await world.settled(60)
        assert await listed("web") == ["a", "b"]


async def test_endpoints_that_cannot_be_written_are_told_of_on_the_service(world: Any) -> None:
    class Refused(Wrapper[Any]):
        async def create(self, obj: Any) -> Any:
            raise Forbidden("no more room")

    class Line:
        def resource(self, kind: Any) -> Any:
            registry = world.direct.resource(kind)
            return Refused(registry) if kind in (Endpoints, EndpointSlice) else registry

    informers = SharedInformers(Line(), random=Random(1))
    how = {"clock": world.clock, "recorder": world.recorder}
    parts = [make(informers, **how) for make in (endpoints_controller, endpoint_slice_controller)]
    async with world.running(informers, *parts):
        await world.create(make_service("web", selector=WEB))
        await world.settled(2)
        assert set(await world.events()) == {
            ("FailedToCreateEndpoint", "Failed to create endpoint for service default/web: no more room"),
            (
                "FailedToUpdateEndpointSlices",
                "Error updating Endpoint Slices for Service default/web: no more room",
            ),
        }


def test_what_has_no_address_is_headless_and_nothing_else() -> None:
    service = make_service("web", selector=WEB, cluster_ip="10.0.0.1")
    service = replace(service, metadata=replace(service.metadata, labels={**WEB, HEADLESS: ""}))
    assert labels_of(service) == WEB
    assert labels_of(replace(service, spec=replace(service.spec, cluster_ip=""))) == {**WEB, HEADLESS: ""}


def test_addresses_that_are_not_mirrored_are_told() -> None:
    many = tuple(EndpointAddress(ip=f"10.0.{n // 250}.{n % 250}") for n in range(1003))
    odd = EndpointSubset(addresses=(EndpointAddress(ip="nowhere"), *many))
    endpoints = Endpoints(metadata=ObjectMeta(name="a", namespace="default"), subsets=(odd,))
    assert [len(part.endpoints) for part in plan_mirror(endpoints)] == [1000]
    assert list(left_out(endpoints)) == [
        ("InvalidIPAddress", "Skipped 1 invalid IP addresses when mirroring to EndpointSlices"),
        (
            "TooManyAddressesToMirror",
            "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped",
        ),
    ]


async def test_endpoints_written_by_hand_are_mirrored_changed_and_removed(world: Any) -> None:
    async def mirrored() -> list[tuple[str, tuple[str, ...], tuple[int | None, ...]]]:
        return sorted(
            (s.address_type, tuple(e.addresses[0] for e in s.endpoints), tuple(p.port for p in s.ports))
            for s in await world.all(EndpointSlice)
        )

    def subset(port: int, *addresses: str) -> EndpointSubset:
        return EndpointSubset(
            addresses=tuple(EndpointAddress(ip=a) for a in addresses),
            ports=(EndpointPort(name="web", port=port, protocol="TCP"),),
        )

    async with world.running(
        endpoint_slice_controller(world.informers, clock=world.clock, recorder=world.recorder),
        endpoint_slice_mirroring_controller(world.informers, clock=world.clock, recorder=world.recorder),
    ):
        service = make_service("byhand")
        await world.create(replace(service, spec=replace(service.spec, selector={})))
        meta = ObjectMeta(name="byhand", namespace="default", labels={"of": "me"})
        await world.create(Endpoints(metadata=meta, subsets=(subset(80, "10.1.2.3", "fd00::1"),)))
        await world.settled(3)
        assert await mirrored() == [("IPv4", ("10.1.2.3",), (80,)), ("IPv6", ("fd00::1",), (80,))]
        (slice_,) = [s for s in await world.all(EndpointSlice) if s.address_type == "IPv4"]
        assert slice_.metadata.labels == {
            "of": "me",
            "kubernetes.io/service-name": "byhand",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
        }
        await world.change(Endpoints, "byhand", lambda e: replace(e, subsets=(subset(81, "10.2.3.4"),)))
        await world.settled(3)
        assert await mirrored() == [("IPv4", ("10.2.3.4",), (81,))]
        await world.change(
            Endpoints,
            "byhand",
            lambda e: replace(
                e,
                metadata=replace(e.metadata, labels={"endpointslice.kubernetes.io/skip-mirror": "true"}),
            ),
        )
        await world.settled(3)
        assert await mirrored() == []
        await world.change(Endpoints, "byhand", lambda e: replace(e, metadata=replace(e.metadata, labels={})))
        await world.settled(3)
        assert len(await mirrored()) == 1
        await world.delete(Endpoints, "byhand")
        await world.settled(3)
        assert await mirrored() == []
