"""An API server for the tests of a module, and names of kinds that nobody else has."""

from collections.abc import Iterator
from itertools import count

import httpx
import pytest

from kubelib.testing.cluster import Cluster, ClusterOptions
from tests.server.definitions import Api

_numbers = count(1)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
            yield Api(client)


@pytest.fixture
def names() -> tuple[str, str]:
    number = next(_numbers)
    return f"gadget{number}s", f"Gadget{number}"
