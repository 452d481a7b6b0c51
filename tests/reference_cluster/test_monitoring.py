"""The figures of a scheduler daemon: for those whom the API server lets read them, and true."""

import ssl
from typing import Any

import anyio
import httpx
import pytest

from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.sched.architectures import Architecture
from kubelib.testing.cluster import Cluster
from kubelib.testing.objects import make_node, make_pod
from reference_cluster.scheduler import SchedulerSettings, run_scheduler
from tests.engines import free_ports


def figures(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture
def settings() -> SchedulerSettings:
    architecture = Architecture(sharing="shared-state", schedulers=2)
    return SchedulerSettings(architecture=architecture, elect=None, address=("127.0.0.1", free_ports(1)[0]))


async def test_figures_are_shown_to_those_who_may_read_them(
    kubelib_cluster: Cluster, settings: SchedulerSettings
) -> None:
    paths: list[dict[str, Any]] = [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    reader = await anyio.to_thread.run_sync(lambda: kubelib_cluster.user("reader", rules=paths))
    other = await anyio.to_thread.run_sync(lambda: kubelib_cluster.user("other"))
    certified = await anyio.to_thread.run_sync(
        lambda: kubelib_cluster.user("certified", rules=paths, certificate=True)
    )
    assert settings.address is not None
    url = f"https://127.0.0.1:{settings.address[1]}"
    scheduler = await anyio.to_thread.run_sync(
        lambda: kubelib_cluster.kubeconfig_for("system:kube-scheduler")
    )
    async with run_scheduler(scheduler, settings) as line:
        assert line.endswith(f"with figures at {url}/metrics")
        untrusting = ssl.create_default_context()
        untrusting.check_hostname, untrusting.verify_mode = False, ssl.CERT_NONE
        async with httpx.AsyncClient(base_url=url, verify=untrusting, trust_env=False) as client:

            async def status(token: str, path: str = "/metrics") -> int:
                headers = {"authorization": f"Bearer {token}"} if token else {}
                return (await client.get(path, headers=headers)).status_code

            assert await status("", "/healthz") == 200
            assert await status("") == 401
            assert await status("nonsense") == 401
            assert await status(other.token) == 403
            assert await status(reader.token) == 200
            assert await status(reader.token, "/secrets") == 403
            assert await status(kubelib_cluster.token, "/secrets") == 404
            await _schedule(kubelib_cluster)
            headers = {"authorization": f"Bearer {reader.token}"}
            text = (await client.get("/metrics", headers=headers)).text
        assert certified.credential is not None
        shown = kubelib_cluster.directory / "shown.pem"
        shown.write_bytes(certified.credential.certificate + certified.credential.key)
        untrusting.load_cert_chain(shown)
        async with httpx.AsyncClient(base_url=url, verify=untrusting, trust_env=False) as client:
            assert (await client.get("/metrics")).status_code == 200
    found = figures(text)
    each = [f'kubelib_scheduler_claims_total{{outcome="landed",scheduler="default-scheduler-{n}"}}' for n in (0, 1)]  # fmt: skip
    assert sum(found[name] for name in each) == 6
    assert found['kubelib_scheduler_cluster_utilisation{resource="cpu"}'] == pytest.approx(0.6 / 8)
    assert found['kubelib_scheduler_dominant_share{scheduler_name="default-scheduler"}'] == pytest.approx(
        0.6 / 8
    )
    waits = [f'kubelib_scheduler_wait_until_placed_seconds_count{{scheduler="default-scheduler-{n}"}}' for n in (0, 1)]  # fmt: skip
    assert sum(found[name] for name in waits) == 6
    assert found["kubelib_scheduler_fairness"] == 1


async def _schedule(cluster: Cluster) -> None:
    """Let six Pods be placed."""

    async def create() -> None:
        from kubelib.api.core.container import Container, ResourceRequirements
        from kubelib.api.core.node import Node

        await cluster.client.resource(Node).create(make_node("n"))
        resources = ResourceRequirements(requests={"cpu": "100m"})
        for number in range(6):
            container = Container(name="main", image="x", resources=resources)
            await cluster.client.resource(Pod).create(make_pod(f"p{number}", containers=(container,)))

    async def placed() -> bool:
        pods = [await cluster.client.resource(Pod).get(Key("default", f"p{number}")) for number in range(6)]
        return all(pod.spec.node_name for pod in pods)

    await cluster.acall(create)
    with anyio.fail_after(60):
        while not await cluster.acall(placed):
            await anyio.sleep(0.05)
