"""Autoscalers by what adapters tell: of Pods, of other objects, and from outside of the cluster."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from kubelib.api.apps import Deployment
from kubelib.api.autoscaling_v2 import (
    CrossVersionObjectReference,
    ExternalMetricSource,
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerSpec,
    MetricIdentifier,
    MetricSpec,
    MetricTarget,
    ObjectMetricSource,
    PodsMetricSource,
)
from kubelib.api.errors import NotFound, ServiceUnavailable
from kubelib.api.machinery import LabelSelector
from kubelib.api.model import replace
from kubelib.controllers.autoscaling import MetricsUnavailable
from kubelib.controllers.autoscaling.asking import AskedMetrics
from kubelib.controllers.builtin.deployment import deployment_controller
from kubelib.controllers.builtin.horizontalpodautoscaler import horizontal_pod_autoscaler_controller
from kubelib.controllers.builtin.replicaset import replica_set_controller
from kubelib.labels import parse_selector
from kubelib.testing.objects import make_deployment, make_meta

CUSTOM, EXTERNAL = "/apis/custom.metrics.k8s.io", "/apis/external.metrics.k8s.io/v1beta1"
VERSIONS = {"preferredVersion": {"version": "v1beta2"}, "versions": [{"version": "v1beta2"}]}
WEB = parse_selector("app=web")


class Api:
    """An API whose adapters answer so; it notes what it is asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {CUSTOM: VERSIONS, **answers}
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    async def ask(self, path: str, query: Mapping[str, str]) -> bytes:
        self.asked.append((path, dict(query)))
        answer = self.answers.get(path, NotFound("404 page not found"))
        if isinstance(answer, Exception):
            raise answer
        return json.dumps(answer).encode()


def values(*amounts: str, names: str = "abcdefgh") -> dict[str, Any]:
    items = [{"describedObject": {"name": n}, "value": a} for n, a in zip(names, amounts, strict=False)]
    return {"items": items}


async def test_adapters_are_asked_as_kubernetes_asks_them() -> None:
    base = f"{CUSTOM}/v1beta2/namespaces/shop"
    api = Api(
        **{
            f"{base}/pods/*/rate": values("2", "1500m"),
            f"{base}/ingresses.networking.k8s.io/front/rate": values("7"),
            f"{base}/metrics/rate": values("8"),
            f"{EXTERNAL}/namespaces/shop/depth": values("3", "1k"),
        }
    )
    metrics, fast = AskedMetrics(api.ask), parse_selector("kind=fast")
    assert await metrics.of_pods("shop", "rate", WEB, fast) == {"a": 2000, "b": 1500}
    assert await metrics.of_object("shop", "rate", "ingresses.networking.k8s.io", "front", None) == 7000
    assert await metrics.of_object("shop", "rate", "", "", fast) == 8000
    assert await metrics.external("shop", "depth", fast) == [3000, 1000000]
    assert api.asked == [
        (CUSTOM, {}),
        (f"{base}/pods/*/rate", {"labelSelector": "app=web", "metricLabelSelector": "kind=fast"}),
        (f"{base}/ingresses.networking.k8s.io/front/rate", {}),
        (f"{base}/metrics/rate", {"metricLabelSelector": "kind=fast"}),
        (f"{EXTERNAL}/namespaces/shop/depth", {"labelSelector": "kind=fast"}),
    ]


async def test_the_preferred_version_that_is_understood_is_asked_for() -> None:
    older = {"preferredVersion": {"version": "v2"}, "versions": [{"version": "v2"}, {"version": "v1beta1"}]}
    path = f"{CUSTOM}/v1beta1/namespaces/shop/pods/*/rate"
    api = Api(**{CUSTOM: older, path: values("2")})
    assert await AskedMetrics(api.ask).of_pods("shop", "rate", WEB, None) == {"a": 2000}


UNABLE = "unable to fetch metrics from custom metrics API: "


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({CUSTOM: NotFound("404 page not found")}, f"{UNABLE}no custom metrics API (custom.metrics.k8s.io) registered"),
        ({CUSTOM: {**VERSIONS, "preferredVersion": {"version": "v2"}, "versions": []}}, f"{UNABLE}no known available metric versions found"),
        ({}, f"{UNABLE}the server could not find the requested resource (get pods.custom.metrics.k8s.io)"),
        ({"pods/*/rate": NotFound("no rate for pods")}, f"{UNABLE}no rate for pods"),
        ({"pods/*/rate": ServiceUnavailable("not now")}, f"{UNABLE}not now"),
        ({"pods/*/rate": values()}, "no metrics returned from custom metrics API"),
        ({"pods/*/rate": {"items": [{}]}}, f"{UNABLE}the answer makes no sense"),
    ],
)  # fmt: skip
async def test_what_adapters_cannot_tell_is_said_in_kubernetes_words(
    answers: dict[str, Any], why: str
) -> None:
    base = f"{CUSTOM}/v1beta2/namespaces/shop"
    api = Api(**{path if path == CUSTOM else f"{base}/{path}": answer for path, answer in answers.items()})
    with pytest.raises(MetricsUnavailable) as error:
        await AskedMetrics(api.ask).of_pods("shop", "rate", WEB, None)
    assert str(error.value).startswith(why)


async def test_of_one_object_there_is_one_value() -> None:
    api = Api(**{f"{CUSTOM}/v1beta2/namespaces/shop/services/web/rate": values("1", "2")})
    with pytest.raises(MetricsUnavailable) as error:
        await AskedMetrics(api.ask).of_object("shop", "rate", "services", "web", None)
    what = "the custom metrics API server returned 2 results when we asked for exactly one"
    assert str(error.value) == UNABLE + what


RATE = MetricIdentifier(name="rate", selector=LabelSelector(match_labels={"q": "a"}))
LABELS = "&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}"
SERVICE = CrossVersionObjectReference(kind="Service", name="web", api_version="v1")


def average(amount: str) -> MetricTarget:
    return MetricTarget(type="AverageValue", average_value=amount)


def value(amount: str) -> MetricTarget:
    return MetricTarget(type="Value", value=amount)


def of_pods(target: MetricTarget) -> MetricSpec:
    return MetricSpec(type="Pods", pods=PodsMetricSource(metric=RATE, target=target))


def of_service(target: MetricTarget, of: CrossVersionObjectReference = SERVICE) -> MetricSpec:
    source = ObjectMetricSource(described_object=of, metric=RATE, target=target)
    return MetricSpec(type="Object", object=source)


def external(target: MetricTarget) -> MetricSpec:
    return MetricSpec(type="External", external=ExternalMetricSource(metric=RATE, target=target))


class Everything:
    """Adapters that tell the same of everything."""

    def __init__(self, told: int) -> None:
        self.told = told
        self.resources: list[str] = []

    async def usage(self, namespace: str, selector: Any) -> Mapping[str, Any]:
        raise MetricsUnavailable("nobody measures")

    async def of_pods(self, namespace: str, metric: str, pods: Any, selector: Any) -> Any:
        return _Always(self.told)

    async def of_object(self, namespace: str, metric: str, resource: str, name: str, selector: Any) -> int:
        self.resources.append(resource)
        return self.told

    async def external(self, namespace: str, metric: str, selector: Any) -> list[int]:
        return [self.told // 2, self.told - self.told // 2]


class _Always(dict[str, int]):
    def __init__(self, told: int) -> None:
        super().__init__()
        self._told = told

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> int:
        return self._told


async def scaled(
    world: Any, running_pods: Any, metric: MetricSpec, told: Everything, replicas: int = 2, **spec: Any
) -> HorizontalPodAutoscaler:
    """The autoscaler of so many Pods after its first look at a metric."""
    how = {"clock": world.clock, "recorder": world.recorder}
    async with world.running(
        running_pods(world), deployment_controller(world.informers, **how), replica_set_controller(world.informers, **how)
    ):  # fmt: skip
        await world.create(make_deployment("web", replicas=replicas))
        await world.settled(10)
        controller = horizontal_pod_autoscaler_controller(
            world.informers, metrics=told, scheme=world.registries.scheme, **how
        )
        target = CrossVersionObjectReference(kind="Deployment", name="web", api_version="apps/v1")
        wanted = HorizontalPodAutoscalerSpec(
            scale_target_ref=target, **{"max_replicas": 20, "metrics": (metric,), **spec}
        )
        await world.create(HorizontalPodAutoscaler(metadata=make_meta("web"), spec=wanted))
        async with world.running(controller):
            await world.settled(5)
        found: HorizontalPodAutoscaler = await world.get(HorizontalPodAutoscaler, "web")
        return found


@pytest.mark.parametrize(
    ("metric", "told", "replicas", "shown", "reason"),
    [
        (of_pods(average("10")), 15_000, 3, "15", "pods metric rate above target"),
        (of_pods(average("10")), 10_900, 2, "10900m", None),
        (of_service(value("10")), 20_000, 4, "20", "Service metric rate above target"),
        (of_service(value("10")), 10_500, 2, "10500m", None),
        (of_service(average("10")), 35_000, 4, "17500m", f"external metric rate({LABELS}) above target"),
        (of_service(average("10")), 21_000, 2, "10500m", None),
        (external(value("10")), 15_000, 3, "15", f"external metric rate({LABELS}) above target"),
        (external(average("10")), 31_001, 4, "15501m", f"external metric rate({LABELS}) above target"),
    ],
)
async def test_there_are_as_many_replicas_as_what_adapters_tell_calls_for(
    world: Any,
    running_pods: Any,
    metric: MetricSpec,
    told: int,
    replicas: int,
    shown: str,
    reason: str | None,
) -> None:
    autoscaler = await scaled(world, running_pods, metric, Everything(told))
    assert (await world.get(Deployment, "web")).spec.replicas == replicas
    (status,) = autoscaler.status.current_metrics
    found = status.pods or status.object or status.external
    assert found is not None
    assert status.type == metric.type
    assert found.metric == RATE
    assert shown in (found.current.value, found.current.average_value)
    told_of = [message for event, message in await world.events() if event == "SuccessfulRescale"]
    assert told_of == ([f"New size: {replicas}; reason: {reason}"] if reason else [])


async def test_a_target_without_pods_comes_back_when_something_outside_asks_for_it(
    world: Any, running_pods: Any
) -> None:
    metric = external(value("10"))
    await scaled(world, running_pods, metric, Everything(25_000), replicas=0, min_replicas=0)
    assert (await world.get(Deployment, "web")).spec.replicas == 3


async def test_objects_are_asked_for_by_their_resource_and_kinds_that_there_are_not_are_told(
    world: Any, running_pods: Any
) -> None:
    told = Everything(10_000)
    ingress = CrossVersionObjectReference(kind="Ingress", name="a", api_version="networking.k8s.io/v1")
    space = CrossVersionObjectReference(kind="Namespace", name="other", api_version="v1")
    none = replace(ingress, kind="Egress")
    autoscaler = await scaled(
        world,
        running_pods,
        of_service(value("10")),
        told,
        metrics=tuple(of_service(value("10"), of) for of in (SERVICE, ingress, space, none)),
    )
    assert told.resources == ["services", "ingresses.networking.k8s.io", ""]
    assert [status.type for status in autoscaler.status.current_metrics] == ["Object"] * 3 + [""]
    what = (
        'unable to map kind Egress.networking.k8s.io to resource: no matches for kind "Egress" in group'
        ' "networking.k8s.io"'
    )
    assert (
        "FailedGetObjectMetric",
        f"unable to get metric rate: Egress on default a/{UNABLE}{what}",
    ) in await world.events()
