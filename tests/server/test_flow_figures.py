"""The figures of priority and fairness."""

from pathlib import Path

import anyio
import attrs
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kubelib.api.errors import TooManyRequests
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import User
from kubelib.server.flow import FlowControl
from kubelib.server.flow.defaults import ensure_flow_objects
from kubelib.server.flow.tallies import Tally
from kubelib.server.metrics import _flow
from kubelib.server.requestinfo import parse_request
from kubelib.sim import simulate
from kubelib.store import MemoryStore
from kubelib.testing.cluster import Cluster, ClusterOptions

PODS = parse_request("GET", "/api/v1/namespaces/default/pods")
GREEDY = User("greedy", ("system:authenticated",))
MODEST = User("modest", ("system:authenticated",))
LIMITS = ("nominal", "lower", "upper", "current")


def exposed(control: FlowControl) -> dict[str, float]:
    """Return the figures of flow control by what stands before each."""
    lines = [line for lines in _flow(control) for line in lines if not line.startswith("#")]
    return {
        name.removeprefix("apiserver_flowcontrol_"): float(value)
        for name, _, value in (line.rpartition(" ") for line in lines)
    }


def test_figures_tell_flow_schemas_apart_as_those_of_kubernetes_do() -> None:
    async def main() -> None:
        async with ResourceRegistries(MemoryStore()) as registries:
            await registries.bootstrap()
            await ensure_flow_objects(registries)
            control = FlowControl(registries, concurrency=600)
            greedy, modest = control.flow(GREEDY, PODS), control.flow(MODEST, PODS)
            level, held = greedy.level, []
            while level.try_take(2):
                held.append(control.seated(greedy, 2))
            async with anyio.create_task_group() as group:

                async def wait() -> None:
                    (await control.wait(modest, 3)).give_back()

                group.start_soon(wait)
                await anyio.sleep(0.3)
                shown = exposed(control)
                where = 'flow_schema="global-default",priority_level="global-default"'
                assert shown[f"current_executing_requests{{{where}}}"] == len(held)
                assert shown[f"current_executing_seats{{{where}}}"] == 2 * len(held)
                assert shown[f"current_inqueue_requests{{{where}}}"] == 1
                assert shown[f"current_inqueue_seats{{{where}}}"] == 3
                for seat in held:
                    seat.give_back()
            with pytest.raises(TooManyRequests):
                level.reconfigure(attrs.evolve(level.settings, queues=0))
                await control.wait(modest)
            shown = exposed(control)
            for now in ("executing_requests", "executing_seats", "inqueue_requests", "inqueue_seats"):
                assert shown[f"current_{now}{{{where}}}"] == 0
            assert shown[f"dispatched_requests_total{{{where}}}"] == len(held) + 1
            waited = f'request_wait_duration_seconds_bucket{{execute="true",{where}'
            found = [shown[f'{waited},le="{bound}"}}'] for bound in ("0", "0.2", "0.5", "+Inf")]
            assert found == [len(held), len(held), len(held) + 1, len(held) + 1]
            assert shown[f'request_wait_duration_seconds_count{{execute="false",{where}}}'] == 1
            limits = [shown[f'{which}_limit_seats{{priority_level="workload-low"}}'] for which in LIMITS]
            assert limits == [245, 24, 600, 245 + control.pool.size - 221]

    simulate(main, seed=1)


def test_executions_are_in_their_classes_whether_they_are_quick_or_not() -> None:
    tally = Tally()
    for seconds in (0.0, 0.001, 0.005, 0.006, 100.0):
        tally.executed(seconds)
    shown = tally.executions()
    assert shown.count == 5
    assert shown.sum == pytest.approx(100.012)
    assert dict(shown.within())[0] == 1
    assert dict(shown.within())[0.005] == 3
    assert dict(shown.within())[0.02] == dict(shown.within())[30] == 4


def test_it_is_shown_how_long_requests_were_executed_and_watches_until_they_had_begun(
    tmp_path: Path,
) -> None:
    with Cluster(tmp_path, ClusterOptions()) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:

            def executed(type_: str) -> dict[str, float]:
                found: dict[str, float] = {}
                for metric in text_string_to_metric_families(client.get("/metrics").text):
                    if metric.name == "apiserver_flowcontrol_request_execution_seconds":
                        assert metric.type == "histogram"
                        for sample in metric.samples:
                            if sample.labels["type"] == type_ and "le" not in sample.labels:
                                assert {"flow_schema", "priority_level", "type"} == set(sample.labels)
                                name = sample.name.rpartition("_")[2]
                                found[name] = found.get(name, 0) + sample.value
                return found

            before, watched = executed("regular"), executed("watch")
            for _ in range(5):
                assert client.get("/api/v1/namespaces").status_code == 200
            client.get("/api/v1/namespaces?watch=true&timeoutSeconds=1")
            after = executed("regular")
            assert after["count"] >= before.get("count", 0) + 5
            assert before.get("sum", 0) < after["sum"] < 60
            begun = executed("watch")
            assert begun["count"] >= watched.get("count", 0) + 1
            assert begun["sum"] < 1, "only until it has begun"
