"""What is shown of work queues: Kubernetes' names, one label, and how long keys wait and are held."""

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kubelib.exposition import bound_text, text
from kubelib.informers import KeyQueue
from kubelib.informers.figures import queue_families
from kubelib.sim import simulate


def shown(queue: KeyQueue[str]) -> dict[str, float]:
    found = {}
    for metric in text_string_to_metric_families(text(*queue_families({"job": queue})).decode()):
        assert metric.documentation.startswith("[BETA] ")
        for sample in metric.samples:
            assert sample.labels["name"] == "job"
            name = sample.name.removeprefix("workqueue_")
            found[name + (f" {sample.labels['le']}" if "le" in sample.labels else "")] = sample.value
    return found


def test_it_is_shown_what_waits_what_is_in_work_and_how_long_that_takes() -> None:
    async def main() -> None:
        queue: KeyQueue[str] = KeyQueue()
        for key in ("a", "a", "b", "c"):
            queue.add(key)
        await anyio.sleep(0.5)
        async with queue.take():
            await anyio.sleep(2)
            async with queue.take():
                await anyio.sleep(3)
                found = shown(queue)
        assert (found["depth"], found["adds_total"]) == (1, 3)
        assert found["unfinished_work_seconds"] == pytest.approx(8, abs=1e-3)
        assert found["longest_running_processor_seconds"] == pytest.approx(5, abs=1e-3)
        assert found["queue_duration_seconds_count"] == 2
        assert found["queue_duration_seconds_sum"] == pytest.approx(3, abs=1e-3)
        assert (found["queue_duration_seconds_bucket 1"], found["queue_duration_seconds_bucket 10"]) == (
            1,
            2,
        )
        assert found["work_duration_seconds_count"] == 0
        found = shown(queue)
        assert found["work_duration_seconds_sum"] == pytest.approx(8, abs=1e-3)
        assert found["unfinished_work_seconds"] == found["longest_running_processor_seconds"] == 0
        queue.retry("c")
        assert shown(queue)["retries_total"] == 1

    simulate(main, seed=1)


def test_a_key_that_is_added_while_it_is_in_work_waits_from_then_on() -> None:
    async def main() -> None:
        queue: KeyQueue[str] = KeyQueue()
        queue.add("a")
        async with queue.take():
            await anyio.sleep(5)
            queue.add("a")
            await anyio.sleep(1)
        async with queue.take():
            pass
        assert queue.waits.sum == pytest.approx(1, abs=1e-3)
        assert queue.works.sum == pytest.approx(6, abs=1e-3)

    simulate(main, seed=1)


@pytest.mark.parametrize(
    ("bound", "written"),
    [
        (0, "0"), (0.001, "0.001"), (16.384, "16.384"), (1e-06, "1e-06"), (9.999999999999999e-05, "9.999999999999999e-05"),
        (1e6, "1e+06"), (31104000, "3.1104e+07"), (16777216, "1.6777216e+07"), (131072, "131072"), (1000, "1000"),
    ],
)  # fmt: skip
def test_bounds_are_written_as_kubernetes_writes_them(bound: float, written: str) -> None:
    assert bound_text(bound) == written
