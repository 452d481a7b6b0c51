"""Scales through clients, near and far."""

import pytest

from kubelib.api.apps import Deployment
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.testing.cluster import Cluster
from kubelib.testing.objects import make_deployment


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_scale_is_asked_for_over_http_and_in_process() -> None:
    key = Key("default", "web")
    async with Cluster(controllers=False) as cluster, cluster.http_client() as far:
        made = await far.resource(Deployment).create(make_deployment("web", replicas=3))
        for scale in (
            await far.scale(Deployment, key),
            await cluster.acall(cluster.client.scale, Deployment, key),
        ):
            assert (scale.key, scale.metadata.uid) == (key, made.metadata.uid)
            assert (scale.spec.replicas, scale.status.replicas) == (3, 0)
            assert scale.status.selector == "app=web"
        with pytest.raises(NotFound):
            await far.scale(Deployment, Key("default", "gone"))
