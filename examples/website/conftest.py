"""Every test has a cluster of its own, in which the definition of Websites is established, and the operator as its own user."""

from collections.abc import Iterator
from pathlib import Path

import lightkube
import pytest

from examples.website.operator import RULES, Operator
from kubelib.testing import Cluster, ClusterOptions


@pytest.fixture(scope="session")
def kubelib_options() -> ClusterOptions:
    """What kubelib's fixture runs for all tests in this folder."""
    return ClusterOptions(crds=[Path(__file__).with_name("website.yaml")])


def client_of(kubeconfig: Path) -> lightkube.Client:
    config = lightkube.KubeConfig.from_file(str(kubeconfig))
    return lightkube.Client(config=config, trust_env=False, field_manager="somebody")


@pytest.fixture
def client(kubelib_cluster: Cluster) -> Iterator[lightkube.Client]:
    """The administrator's client."""
    client = client_of(kubelib_cluster.kubeconfig)
    yield client
    client.close()


@pytest.fixture
def operator(kubelib_cluster: Cluster) -> Iterator[Operator]:
    """The operator, which may do what it says that it needs, and nothing else."""
    client = client_of(kubelib_cluster.kubeconfig_for("website-operator", rules=RULES))
    yield Operator(client, set())
    client.close()
