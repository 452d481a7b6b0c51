"""``/metrics`` of the daemons beside the API server: whether they lead, what they ask, which controllers run, and their queues."""

import ssl
from collections.abc import Iterator

import anyio
import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from kubelib.controllers.election import Timing
from kubelib.sched.architectures import Architecture
from kubelib.testing.cluster import Cluster, ClusterOptions
from reference_cluster.controller_manager import run_controller_manager
from reference_cluster.scheduler import SchedulerSettings, run_scheduler
from tests.engines import free_ports


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        yield cluster


async def scraped(cluster: Cluster, line: str) -> dict[str, Metric]:
    untrusting = ssl.create_default_context()
    untrusting.check_hostname, untrusting.verify_mode = False, ssl.CERT_NONE
    headers = {"authorization": f"Bearer {cluster.token}"}
    async with httpx.AsyncClient(verify=untrusting, headers=headers, trust_env=False) as client:
        answer = await client.get(line.rpartition(" ")[2])
    assert answer.status_code == 200
    return {metric.name: metric for metric in text_string_to_metric_families(answer.text)}


def of(metric: Metric, **labels: str) -> float:
    return sum(s.value for s in metric.samples if labels.items() <= s.labels.items() and not s.name.endswith("_bucket"))  # fmt: skip


async def test_a_controller_manager_shows_its_controllers_once_it_leads(cluster: Cluster) -> None:
    kubeconfig = await anyio.to_thread.run_sync(
        lambda: cluster.kubeconfig_for("system:kube-controller-manager")
    )
    address = ("127.0.0.1", free_ports(1)[0])
    async with run_controller_manager(kubeconfig, elect=Timing(), address=address) as line:
        with anyio.fail_after(20):
            while True:
                found = await scraped(cluster, line)
                added = found.get("workqueue_adds")
                if (
                    added is not None
                    and of(added, name="namespace")
                    and of(found["workqueue_work_duration_seconds"])
                ):
                    break
                await anyio.sleep(0.1)
        host = line.partition(" is ready for https://")[2].partition(",")[0]
    assert of(found["leader_election_master_status"], name="kube-controller-manager") == 1
    running = {s.labels["name"] for s in found["running_managed_controllers"].samples}
    assert {"deployment-controller", "job-controller", "node-lifecycle-controller"} <= running
    assert not {"events", "informers"} & running
    assert {s.labels["manager"] for s in found["running_managed_controllers"].samples} == {
        "kube-controller-manager"
    }
    assert {"deployment", "job", "namespace", "node taints"} <= {
        s.labels["name"] for s in found["workqueue_depth"].samples
    }
    requests = found["rest_client_requests"]
    assert of(requests, code="200", method="GET", host=host) >= 1
    assert of(requests, code="201", method="POST") >= 1, "the lease"
    assert found["rest_client_request_duration_seconds"].type == "histogram"
    assert of(found["kubernetes_build_info"]) == 1


async def test_a_scheduler_shows_what_it_asks_and_that_another_leads(cluster: Cluster) -> None:
    kubeconfig = await anyio.to_thread.run_sync(lambda: cluster.kubeconfig_for("system:kube-scheduler"))
    architecture = Architecture()
    first, second = (
        SchedulerSettings(architecture=architecture, elect=Timing(), address=("127.0.0.1", port))
        for port in free_ports(2)
    )
    async with run_scheduler(kubeconfig, first) as one:
        with anyio.fail_after(20):
            while not of((await scraped(cluster, one))["leader_election_master_status"]):
                await anyio.sleep(0.1)
        async with run_scheduler(kubeconfig, second) as other:
            found = await scraped(cluster, other)
            assert of(found["leader_election_master_status"], name="kube-scheduler") == 0
            assert of(found["rest_client_requests"], method="GET", code="200") >= 1
            assert "workqueue_depth" not in found
