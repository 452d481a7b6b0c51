"""The pytest plug-in of the distribution: the fixture `kubelib_cluster`.

    def test_my_controller(kubelib_cluster):
        kubernetes.config.load_kube_config(str(kubelib_cluster.kubeconfig))

``@pytest.mark.kubelib(controllers=True, scheduler=True, fake_nodes=3)`` says what runs beside the API server.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kubelib.testing.cluster import TestCluster


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    options = "controllers=False, scheduler=False, fake_nodes=0, rule=lives_on"
    config.addinivalue_line("markers", f"kubelib({options}): what kubelib_cluster runs beside the API server")


@pytest.fixture
def kubelib_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[TestCluster]":
    """A Kubernetes API server of the test's own: `.url`, `.kubeconfig` (a path), `.token`, `.client`, `.call`."""
    from kubelib.testing.cluster import ClusterOptions, TestCluster

    marker = request.node.get_closest_marker("kubelib")
    options = ClusterOptions(**(marker.kwargs if marker is not None else {}))
    with TestCluster(tmp_path, options) as cluster:
        yield cluster
