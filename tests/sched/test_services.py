"""Default constraints for Pods that no controller has made: those that a Service selects belong together."""

from collections.abc import Mapping
from typing import Any

import anyio
import numpy as np
import pytest

from kubelib.api.core.service import Service, ServicePort, ServiceSpec
from kubelib.api.meta import ObjectMeta
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from kubelib.sched.policies.configuration import read_configuration
from kubelib.sched.policies.neighbours import SYSTEM_DEFAULTS, PrefersEven, SpreadsEvenly
from kubelib.sched.selectors import SpreadTerm
from kubelib.testing.objects import make_node, make_pod

HOST = "kubernetes.io/hostname"
ONE_EACH = SpreadTerm(None, HOST, 1, required=True)
SPREADING = """apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- pluginConfig:
  - name: PodTopologySpread
    args: {defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule}]}
"""


def make_service(name: str, namespace: str = "default", **selector: str) -> Service:
    return Service(
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=ServiceSpec(selector=selector, ports=(ServicePort(port=80),)),
    )


def pod(name: str, labels: Mapping[str, str], **options: Any) -> PodInfo:
    return PodInfo.of(make_pod(name, uid=name, labels=labels, **options))


@pytest.mark.parametrize(
    ("services", "concerned", "fitting"),
    [
        ([], False, [True, True]),
        ([make_service("s", app="web")], True, [False, True]),
        ([make_service("s", app="web"), make_service("t", tier="front")], True, [True, False]),
        ([make_service("s", app="other")], False, [True, True]),
        ([make_service("s")], False, [True, True]),
        ([make_service("s", "elsewhere", app="web")], False, [True, True]),
    ],
)
def test_pods_that_services_select_are_spread(
    services: list[Service], concerned: bool, fitting: list[bool]
) -> None:
    table = NodeTable()
    for name in "ab":
        table.put_node(make_node(name))
    front, back = {"app": "web", "tier": "front"}, {"app": "web", "tier": "back"}
    there = {"1": (back, "a"), "2": (back, "a"), "3": (front, "b"), "4": ({"tier": "front"}, "a")}
    for name, (labels, node) in there.items():
        table.put_pod(pod(name, labels), node)
    for service in services:
        assert not table.services.put(service.key, service)
    new, rows = pod("new", front), np.array([table.rows["a"], table.rows["b"]])
    must, may = SpreadsEvenly([ONE_EACH]), PrefersEven(SYSTEM_DEFAULTS, anywhere=True)
    assert must.concerns(new, table) == may.concerns(new, table) == concerned
    if concerned:
        assert np.asarray(must.fits(new, table, rows)).tolist() == fitting
        points = np.asarray(may.score(new, table, rows))
        assert (points[1] > points[0]) == fitting[1]
    for service in services:
        table.services.put(service.key, None)
    assert not must.concerns(new, table)


async def test_services_are_followed_where_default_constraints_are_set(world: Any) -> None:
    policy = read_configuration(SPREADING, default_policy())
    assert policy.by_services and not default_policy().by_services
    await world.add_nodes(2)
    room = {"cpu": "640", "memory": "3200Gi", "pods": "110"}
    await world.add_node(make_node("node-2", allocatable=room))  # would have them all
    await world.direct.resource(Service).create(make_service("s", app="web"))
    async with world.running(world.scheduler(policy)):
        for number in range(6):
            await world.add_pod(f"p{number}", labels={"app": "web"})
        await anyio.sleep(5)
    placed = sorted((await world.placed()).values())
    assert placed == ["node-0", "node-0", "node-1", "node-1", "node-2", "node-2"]
