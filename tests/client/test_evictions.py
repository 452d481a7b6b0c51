"""Evictions through clients, near and far."""

import pytest

from kubelib.api.core.pod import Pod
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.policy import Eviction
from kubelib.testing.cluster import Cluster
from kubelib.testing.objects import make_pod


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_an_eviction_takes_a_pod_away_over_http_and_in_process() -> None:
    async with Cluster() as cluster, cluster.http_client() as far:
        pods = far.resource(Pod)
        for name in ("far", "near"):
            await pods.create(make_pod(name))
        await far.resource(Eviction).create(Eviction(metadata=ObjectMeta(name="far", namespace="default")))
        near = Eviction(metadata=ObjectMeta(name="near", namespace="default"))
        await cluster.acall(cluster.client.resource(Eviction).create, near)
        for name in ("far", "near"):
            with pytest.raises(NotFound):
                await pods.get(Key("default", name))
        with pytest.raises(NotFound):
            await far.resource(Eviction).create(near)
