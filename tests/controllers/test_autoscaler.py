from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from kubelib.api.apiextensions import CustomResourceDefinition
from kubelib.api.apps import Deployment
from kubelib.api.autoscaling_v2 import (
    CrossVersionObjectReference,
    ExternalMetricSource,
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec,
    HPAScalingPolicy,
    HPAScalingRules,
    MetricIdentifier,
    MetricSpec,
    MetricTarget,
    ObjectMetricSource,
    PodsMetricSource,
    ResourceMetricSource,
)
from kubelib.api.codec import decode, encode_json
from kubelib.api.core.container import ResourceRequirements
from kubelib.api.core.pod import Pod
from kubelib.api.errors import NotFound, ServiceUnavailable
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import OwnerReference
from kubelib.api.model import replace
from kubelib.api.policy import PodDisruptionBudget, PodDisruptionBudgetSpec
from kubelib.client.base import Client
from kubelib.controllers.autoscaling import CannotCompute, Recommendations, Usage, limited
from kubelib.controllers.autoscaling.asking import AskedMetrics
from kubelib.controllers.autoscaling.metrics import MetricsUnavailable, compute
from kubelib.controllers.autoscaling.rates import DOWN, UP
from kubelib.controllers.builtin.deployment import deployment_controller
from kubelib.controllers.builtin.disruption import disruption_controller
from kubelib.controllers.builtin.horizontalpodautoscaler import horizontal_pod_autoscaler_controller
from kubelib.controllers.builtin.replicaset import replica_set_controller
from kubelib.labels import Selector, parse_selector
from kubelib.registry.base import Patch, Query
from kubelib.sim import Conflicting, Lossy
from kubelib.testing.objects import CONTAINER, make_deployment, make_meta, make_pod
from tests.server.definitions import definition, thing

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CPU = MetricSpec(
    type="Resource",
    resource=ResourceMetricSource(
        name="cpu", target=MetricTarget(type="Utilization", average_utilization=50)
    ),
)
ASKING = replace(CONTAINER, resources=ResourceRequirements(requests={"cpu": "100m"}))


def make_autoscaler(**spec: Any) -> HorizontalPodAutoscaler:
    spec.setdefault("min_replicas", 1)
    spec.setdefault("max_replicas", 10)
    return HorizontalPodAutoscaler(
        metadata=make_meta("web"),
        spec=HorizontalPodAutoscalerSpec(
            scale_target_ref=CrossVersionObjectReference(
                kind="Deployment", name="web", api_version="apps/v1"
            ),
            metrics=(CPU,),
            **spec,
        ),
    )


DEFAULT_RULES = HorizontalPodAutoscalerBehavior(scale_up=UP, scale_down=DOWN)
"""What the API fills in where part of the rules are given."""


def pods(count: int, *, ready: bool = True) -> list[Pod]:
    made = [
        make_pod(f"p{n}", uid=f"p{n}", phase="Running", ready=ready, since=NOW, containers=(ASKING,))
        for n in range(count)
    ]
    started = NOW - timedelta(minutes=1)
    return [replace(p, status=replace(p.status, start_time=started)) for p in made]


def used(*milli: int) -> dict[str, Usage]:
    return {f"p{n}": Usage({"main": {"cpu": value}}) for n, value in enumerate(milli)}


@pytest.mark.parametrize(
    ("use", "current", "wanted"),
    [
        ((50, 50), 2, 2),
        ((54, 54), 2, 2),  # within the tolerance
        ((100, 100), 2, 4),
        ((20, 20, 20, 20), 4, 2),
        ((100,), 2, 2),  # one is not measured: it might be idle
        ((300,), 2, 6),
        ((10, 10, 10), 4, 3),  # one is not measured: it might use all it asks for
    ],
)
def test_usage_over_target_says_how_many_replicas_there_should_be(
    use: tuple[int, ...], current: int, wanted: int
) -> None:
    assert compute(CPU, pods(current), used(*use), current, NOW).replicas == wanted


def test_pods_that_only_start_count_as_idle() -> None:
    new = [replace(p, metadata=replace(p.metadata, uid="new", name="new")) for p in pods(1, ready=False)]
    some = [*pods(1), *new]
    assert compute(CPU, some, {**used(100), "new": Usage({"main": {"cpu": 900}})}, 2, NOW).replicas == 2


def test_pods_that_have_never_been_ready_count_as_idle_however_old() -> None:
    def old(name: str, changed: timedelta) -> Pod:
        (one,) = pods(1, ready=False)
        started = NOW - timedelta(hours=1)
        ready = replace(one.status.conditions[0], last_transition_time=started + changed)
        status = replace(one.status, start_time=started, conditions=(ready,))
        return replace(one, metadata=replace(one.metadata, name=name, uid=name), status=status)

    use = {**used(100), "new": Usage({"main": {"cpu": 100}})}
    never, later = old("new", timedelta(seconds=5)), old("new", timedelta(minutes=10))
    assert compute(CPU, [*pods(1), never], use, 2, NOW).replicas == 2
    assert compute(CPU, [*pods(1), later], use, 2, NOW).replicas == 4
    # Without measurements a Pod is missing, ready or not: less than all that it asks for is not assumed.
    assert compute(CPU, [*pods(1), later], used(30), 2, NOW).replicas == 2


def test_what_pods_use_while_they_get_ready_is_not_counted() -> None:
    """The fresh ones have started a minute ago and are ready since `NOW`."""

    def measured(since: timedelta) -> dict[str, Usage]:
        fresh = Usage({"main": {"cpu": 300}}, NOW + since)
        return {"p0": fresh, "p1": Usage({"main": {"cpu": 100}}, NOW)}

    now = NOW + timedelta(seconds=30)
    assert compute(CPU, pods(2), measured(timedelta(seconds=-1)), 2, now).replicas == 2
    assert compute(CPU, pods(2), measured(timedelta(0)), 2, now).replicas == 8
    old = NOW + timedelta(minutes=5)
    assert compute(CPU, pods(2), measured(timedelta(seconds=-1)), 2, old).replicas == 8


def test_sidecars_ask_for_something_too_and_pods_may_ask_as_a_whole() -> None:
    (one,) = pods(1)
    sidecar = replace(ASKING, name="sidecar", restart_policy="Always")
    with_sidecar = replace(one, spec=replace(one.spec, init_containers=(sidecar,)))
    assert compute(CPU, [with_sidecar], used(100), 1, NOW).replicas == 1
    as_a_whole = ResourceRequirements(requests={"cpu": "50m"})
    whole = replace(one, spec=replace(one.spec, containers=(CONTAINER,), resources=as_a_whole))
    assert compute(CPU, [whole], used(50), 1, NOW).replicas == 2


def test_a_pod_counts_as_measured_only_if_all_its_containers_are() -> None:
    half = {"p0": Usage({"main": {"cpu": 300}, "other": {"memory": 1}})}
    with pytest.raises(CannotCompute, match="did not receive metrics"):
        compute(CPU, pods(1), half, 1, NOW)


def test_what_cannot_be_told_is_said() -> None:
    with pytest.raises(CannotCompute, match="did not receive metrics"):
        compute(CPU, pods(2), {}, 2, NOW)
    with pytest.raises(CannotCompute, match="missing request for cpu in container main of Pod p0"):
        bare = [replace(p, spec=replace(p.spec, containers=(CONTAINER,))) for p in pods(1)]
        compute(CPU, bare, used(10), 1, NOW)
    with pytest.raises(CannotCompute, match="no pods"):
        compute(CPU, [], {}, 1, NOW)


def test_growth_is_limited_and_shrinking_waits_for_the_highest_recommendation_of_five_minutes() -> None:
    owner, memory = make_autoscaler(max_replicas=100, behavior=DEFAULT_RULES), Recommendations()
    outcome = limited(owner, memory, 2, 50, 0)
    assert (outcome.replicas, outcome.reason) == (6, "ScaleUpLimit")
    memory.changes.append((0, 4))
    assert limited(owner, memory, 6, 50, 5).replicas == 6  # not twice in one period
    assert limited(owner, memory, 6, 50, 20).replicas == 12
    calm = Recommendations()
    assert limited(owner, calm, 8, 8, 0).replicas == 8
    held = limited(owner, calm, 8, 2, 100)
    assert (held.replicas, held.stabilized and held.stabilized[0]) == (8, "ScaleDownStabilized")
    assert limited(owner, calm, 8, 2, 301).replicas == 2


@pytest.mark.parametrize(("current", "wanted"), [(1, 4), (2, 4), (3, 6), (10, 20)])
def test_without_rules_there_are_at_most_twice_as_many_at_once_or_four(current: int, wanted: int) -> None:
    owner = make_autoscaler(max_replicas=100)
    outcome = limited(owner, Recommendations(), current, 50, 0)
    assert (outcome.replicas, outcome.reason) == (wanted, "ScaleUpLimit")
    assert limited(owner, Recommendations(), current, 0, 0).reason == "TooFewReplicas"
    owner = make_autoscaler(max_replicas=wanted)
    assert limited(owner, Recommendations(), current, 50, 0).reason == "TooManyReplicas"


def test_what_there_is_at_first_counts_as_recommended() -> None:
    owner, memory = make_autoscaler(), Recommendations()
    memory.begin(8, 0)
    memory.begin(9, 0)
    assert limited(owner, memory, 8, 2, 10).replicas == 8
    assert limited(owner, memory, 8, 2, 301).replicas == 2


def test_bounds_and_rules_of_its_own() -> None:
    owner = make_autoscaler(min_replicas=3, max_replicas=5)
    assert limited(owner, Recommendations(), 4, 50, 0).reason == "TooManyReplicas"
    rules = HPAScalingRules(
        select_policy="Max",
        stabilization_window_seconds=0,
        policies=(HPAScalingPolicy(type="Pods", value=1, period_seconds=60),),
    )
    slow = replace(
        owner, spec=replace(owner.spec, behavior=HorizontalPodAutoscalerBehavior(scale_down=rules))
    )
    assert limited(slow, Recommendations(), 5, 1, 0).replicas == 4
    never = replace(rules, select_policy="Disabled")
    frozen = replace(
        owner, spec=replace(owner.spec, behavior=HorizontalPodAutoscalerBehavior(scale_down=never))
    )
    assert limited(frozen, Recommendations(), 5, 1, 0).replicas == 5


class Load:
    """So much work, shared by all Pods."""

    client: Client

    def __init__(self, total: int) -> None:
        self.total = total

    async def usage(self, namespace: str, selector: Selector) -> Mapping[str, Usage]:
        found = await self.client.resource(Pod).list(Query(namespace, selector))
        ready = [p for p in found.items if p.status.phase == "Running"]
        return {p.metadata.name: Usage({"main": {"cpu": self.total // len(ready)}}) for p in ready}


def conditions(autoscaler: HorizontalPodAutoscaler) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in autoscaler.status.conditions}


def asking_deployment(replicas: int) -> Deployment:
    made = make_deployment("web", replicas=replicas)
    template = made.spec.template
    spec = replace(template.spec, containers=(ASKING,))
    return replace(made, spec=replace(made.spec, template=replace(template, spec=spec)))


def components(world: Any, running_pods: Any, load: Load | None) -> list[Any]:
    how = {"clock": world.clock, "recorder": world.recorder}
    if load is not None:
        load.client = world.client
    return [
        running_pods(world),
        deployment_controller(world.informers, **how),
        replica_set_controller(world.informers, **how),
        horizontal_pod_autoscaler_controller(
            world.informers, metrics=load, scheme=world.registries.scheme, **how
        ),
    ]


async def test_a_deployment_follows_its_load_up_and_down(world: Any, running_pods: Any) -> None:
    load = Load(300)
    async with world.running(*components(world, running_pods, load)):
        await world.create(asking_deployment(1))
        await world.create(make_autoscaler())
        await world.settled(120)
        assert (await world.get(Deployment, "web")).spec.replicas == 6
        autoscaler = await world.get(HorizontalPodAutoscaler, "web")
        assert (autoscaler.status.current_replicas, autoscaler.status.desired_replicas) == (6, 6)
        assert conditions(autoscaler)["ScalingActive"] == ("True", "ValidMetricFound")
        (metric,) = autoscaler.status.current_metrics
        assert metric.resource is not None
        assert metric.resource.current.average_utilization == 50
        load.total = 50
        await world.settled(240)
        assert (await world.get(Deployment, "web")).spec.replicas == 6  # not so fast
        await world.settled(240)
        assert (await world.get(Deployment, "web")).spec.replicas == 1
        assert any(reason == "SuccessfulRescale" for reason, _ in await world.events())


async def test_without_metrics_the_bounds_still_hold_and_the_reason_is_said(
    world: Any, running_pods: Any
) -> None:
    async with world.running(*components(world, running_pods, None)):
        await world.create(asking_deployment(1))
        await world.create(make_autoscaler(min_replicas=2))
        await world.settled(60)
        assert (await world.get(Deployment, "web")).spec.replicas == 2
        autoscaler = await world.get(HorizontalPodAutoscaler, "web")
        assert conditions(autoscaler)["ScalingActive"] == ("False", "FailedGetResourceMetric")
        assert {c.message for c in autoscaler.status.conditions if c.type == "ScalingActive"} == {
            (
                "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu:"
                " unable to fetch metrics from resource metrics API: the server could not find the requested resource (get"
                " pods.metrics.k8s.io)"
            )
        }
        events = dict(await world.events())
        assert events["FailedGetResourceMetric"].startswith("failed to get cpu utilization: unable to get")
        assert events["FailedComputeMetricsReplicas"] == (
            "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: "
            + events["FailedGetResourceMetric"]
        )


NO_CUSTOM = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"
RATE = MetricIdentifier(name="rate")
VALUE, AVERAGE = MetricTarget(type="Value", value="1"), MetricTarget(type="AverageValue", average_value="1")
SERVICE = CrossVersionObjectReference(kind="Service", name="web")
EXTERNAL = (
    "unable to get external metric default/rate/{}: unable to fetch metrics from external metrics API: the server"
    " could not find the requested resource (get rate.external.metrics.k8s.io)"
)
LABELS = "&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}"


@pytest.mark.parametrize(
    ("metric", "shown", "before"),
    [
        (
            MetricSpec(type="Pods", pods=PodsMetricSource(metric=RATE, target=AVERAGE)),
            f"unable to get metric rate: {NO_CUSTOM}",
            "failed to get pods metric value: ",
        ),
        (
            MetricSpec(
                type="Object", object=ObjectMetricSource(described_object=SERVICE, target=VALUE, metric=RATE)
            ),
            f"unable to get metric rate: Service on default web/{NO_CUSTOM}",
            "failed to get object metric value: ",
        ),
        (
            MetricSpec(
                type="Object",
                object=ObjectMetricSource(described_object=SERVICE, target=AVERAGE, metric=RATE),
            ),
            f"unable to get metric rate: Service on default web/{NO_CUSTOM}",
            "failed to get object metric value: failed to get rate object metric: ",
        ),
        (
            MetricSpec(type="External", external=ExternalMetricSource(metric=RATE, target=AVERAGE)),
            EXTERNAL.format("nil"),
            "failed to get external metric value: failed to get rate external metric: ",
        ),
        (
            MetricSpec(
                type="External",
                external=ExternalMetricSource(
                    metric=replace(RATE, selector=LabelSelector(match_labels={"q": "a"})), target=VALUE
                ),
            ),
            EXTERNAL.format(LABELS),
            "failed to get external metric value: failed to get external metric rate: ",
        ),
    ],
)
async def test_metrics_that_only_adapters_tell_are_said_to_be_missing(
    world: Any, running_pods: Any, metric: MetricSpec, shown: str, before: str
) -> None:
    async with world.running(*components(world, running_pods, Load(1))):
        await world.create(asking_deployment(1))
        autoscaler = make_autoscaler()
        await world.create(replace(autoscaler, spec=replace(autoscaler.spec, metrics=(metric,))))
        await world.settled(20)
        (told,) = [
            c.message
            for c in (await world.get(HorizontalPodAutoscaler, "web")).status.conditions
            if c.type == "ScalingActive"
        ]
        assert told == f"the HPA was unable to compute the replica count: {shown}"
        events = await world.events()
        assert (f"FailedGet{metric.type}Metric", shown) in events
        all_of = f"invalid metrics (1 invalid out of 1), first error is: {before}{shown}"
        assert ("FailedComputeMetricsReplicas", all_of) in events


async def test_two_autoscalers_of_the_same_pods_leave_them_alone_and_say_so(
    world: Any, running_pods: Any
) -> None:
    async with world.running(*components(world, running_pods, Load(300))):
        await world.create(asking_deployment(1))
        for name in ("web", "other"):
            one = make_autoscaler()
            await world.create(replace(one, metadata=replace(one.metadata, name=name)))
        await world.settled(60)
        assert (await world.get(Deployment, "web")).spec.replicas == 1
        for name in ("web", "other"):
            autoscaler = await world.get(HorizontalPodAutoscaler, name)
            assert conditions(autoscaler)["ScalingActive"] == ("False", "AmbiguousSelector")
        message = "pods by selector app=web are controlled by multiple HPAs: [{other default} {web default}]"
        assert ("AmbiguousSelector", message) in await world.events()
        await world.delete(HorizontalPodAutoscaler, "other")
        await world.settled(60)
        assert (await world.get(Deployment, "web")).spec.replicas > 1


async def test_a_target_that_is_not_there_is_said(world: Any, running_pods: Any) -> None:
    async with world.running(*components(world, running_pods, Load(1))):
        await world.create(make_autoscaler())
        await world.settled(20)
        autoscaler = await world.get(HorizontalPodAutoscaler, "web")
        assert conditions(autoscaler) == {"AbleToScale": ("False", "FailedGetScale")}
        assert ("FailedGetScale", 'deployments/scale.apps "web" not found') in await world.events()


async def test_whatever_has_a_scale_is_scaled_and_counted(world: Any, running_pods: Any) -> None:
    where = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    scale = {"scale": {**where, "labelSelectorPath": ".status.selector"}, "status": {}}
    tree = definition("fleets", "Fleet", subresources=scale)
    await world.create(decode(CustomResourceDefinition, encode_json(tree)))
    resource = world.registries.scheme.kind("example.com/v1", "Fleet")
    fleets = world.registries.of(resource)
    fleet = thing("Fleet", "web", {"size": 2})
    document = await fleets.create(fleet, namespace="default")
    status = {"status": {"size": 2, "selector": "app=web"}}
    await fleets.patch(document.key, Patch("merge", status), subresource="status")
    owner = OwnerReference(
        api_version="example.com/v1", kind="Fleet", name="web", uid=document.meta.uid, controller=True
    )
    for name in ("a", "b"):
        await world.create(make_pod(name, labels={"app": "web"}, owners=(owner,), containers=(ASKING,)))
    await world.create(
        PodDisruptionBudget(
            metadata=make_meta("web"),
            spec=PodDisruptionBudgetSpec(
                selector=LabelSelector(match_labels={"app": "web"}), min_available="100%"
            ),
        )
    )
    autoscaler = make_autoscaler()
    ref = CrossVersionObjectReference(kind="Fleet", name="web", api_version="example.com/v1alpha1")
    budgets = disruption_controller(
        world.informers, clock=world.clock, recorder=world.recorder, scheme=world.registries.scheme
    )
    async with world.running(*components(world, running_pods, Load(200)), budgets):
        await world.settled(5)
        await world.create(replace(autoscaler, spec=replace(autoscaler.spec, scale_target_ref=ref)))
        await world.settled(10)
        assert (await world.get(PodDisruptionBudget, "web")).status.expected_pods == 2
        await world.settled(20)
        assert (await fleets.get(document.key)).tree()["spec"] == {"size": 4}
        told = (await world.get(HorizontalPodAutoscaler, "web")).status
        assert told.desired_replicas == 4
        await fleets.patch(document.key, Patch("merge", {"status": {"selector": None}}), subresource="status")
        await world.settled(20)
        told = await world.get(HorizontalPodAutoscaler, "web")
        assert conditions(told)["ScalingActive"] == ("False", "InvalidSelector")
        assert ("SelectorRequired", "selector is required") in await world.events()


async def test_a_deployment_that_is_idle_at_first_is_not_shrunk_for_five_minutes(
    world: Any, running_pods: Any
) -> None:
    async with world.running(*components(world, running_pods, Load(1))):
        await world.create(asking_deployment(5))
        await world.settled(10)
        await world.create(make_autoscaler())
        await world.settled(240)
        assert (await world.get(Deployment, "web")).spec.replicas == 5
        await world.settled(120)
        assert (await world.get(Deployment, "web")).spec.replicas == 1


@pytest.mark.seeds(5)
async def test_under_conflicts_and_losses_the_load_is_followed(
    make_world: Any, running_pods: Any, anyio_backend: Any
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.2, latency=0.1, until=200.0), every=4)

    async with (
        make_world(line, seed) as world,
        world.running(*components(world, running_pods, Load(200))),
    ):
        await world.create(asking_deployment(1))
        await world.create(make_autoscaler())
        await world.settled(1200)
        assert (await world.get(Deployment, "web")).spec.replicas == 4


def asked(answer: bytes | Exception) -> tuple[AskedMetrics, list[tuple[str, Mapping[str, str]]]]:
    questions: list[tuple[str, Mapping[str, str]]] = []

    async def ask(path: str, query: Mapping[str, str]) -> bytes:
        questions.append((path, query))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return AskedMetrics(ask), questions


async def test_what_pods_use_is_asked_of_the_api_by_their_selector() -> None:
    metrics, questions = asked(
        b'{"items":[{"metadata":{"name":"web-1"},"timestamp":"2026-01-01T00:00:00Z","window":"15.5s",'
        b'"containers":[{"name":"main","usage":{"cpu":"1500000n","memory":"2Ki"}}]}]}'
    )
    usage = await metrics.usage("shop", parse_selector("app=web,tier in (a,b)"))
    assert usage == {"web-1": Usage({"main": {"cpu": 2, "memory": 2048000}}, NOW - timedelta(seconds=15.5))}
    assert questions == [
        ("/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods", {"labelSelector": "app=web,tier in (a,b)"})
    ]


UNABLE = "unable to fetch metrics from resource metrics API: "


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b'{"items":[]}', "no metrics returned from resource metrics API"),
        (
            NotFound("404 page not found"),
            UNABLE + "the server could not find the requested resource (get pods.metrics.k8s.io)",
        ),
        (
            ServiceUnavailable("the server is currently unable to handle the request"),
            UNABLE + "the server is currently unable to handle the request (get pods.metrics.k8s.io)",
        ),
        (b"[]", UNABLE + "the answer makes no sense"),
        (b"nonsense", UNABLE + "the answer makes no sense"),
        (
            b'{"items":[{"metadata":{"name":"a"},"timestamp":"now","window":"1s","containers":[]}]}',
            UNABLE + "the answer makes no sense",
        ),
        (b'{"items":[{"metadata":{}}]}', UNABLE + "the answer makes no sense"),
        (
            b'{"items":[{"metadata":{"name":"a"},"containers":[{"name":"main","usage":{"cpu":"much"}}]}]}',
            UNABLE + "the answer makes no sense",
        ),
    ],
)
async def test_metrics_that_cannot_be_had_are_told_in_kubernetes_words(
    answer: bytes | Exception, why: str
) -> None:
    with pytest.raises(MetricsUnavailable) as error:
        await asked(answer)[0].usage("default", parse_selector("app=web"))
    assert str(error.value).startswith(why)
