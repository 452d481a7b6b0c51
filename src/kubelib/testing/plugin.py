"""The pytest plug-in of the distribution: clusters for tests, as fixtures.

    def test_my_controller(kubelib_cluster):
        kubernetes.config.load_kube_config(str(kubelib_cluster.kubeconfig))

``@pytest.mark.kubelib(controllers=True, scheduler=True, fake_nodes=3, crds=["manifests/"])`` says what runs beside the API
server and what it holds; a fixture `kubelib_options` of your own says it for a module, a folder or all tests.

    async def test_my_controller_in_virtual_time(sim):
        await sim.start(nodes=3, controllers=[my_controller])

``@pytest.mark.seeds(50)`` runs such a test under fifty interleavings. It needs no other plug-in for asynchronous tests.
"""

import functools
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kubelib.sim import SimCluster
    from kubelib.testing.cluster import Cluster, ClusterOptions


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    options = "controllers=False, scheduler=False, fake_nodes=0, rule=lives_on, crds=(), manifests=()"
    config.addinivalue_line("markers", f"kubelib({options}): what kubelib_cluster runs beside the API server")
    config.addinivalue_line(
        "markers", "seeds(count): run the test under that many interleavings of virtual time"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests of the fixture `sim` that are marked ``seeds(n)`` each of the seeds 0 … n-1."""
    if not _is_ours(metafunc._arg2fixturedefs.get("sim")):
        return
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is not None:
        seeds = range(marker.args[0])
        metafunc.parametrize("sim", seeds, indirect=True, ids=[f"seed{seed}" for seed in seeds])
    # They run on a loop of their own, once: not once for each backend that anyio knows.
    if "anyio_backend" in metafunc.fixturenames:
        metafunc.fixturenames.remove("anyio_backend")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Make tests of the fixture `sim` plain functions that simulate the asynchronous ones."""
    if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(item.obj):
        return
    if _is_ours(item._fixtureinfo.name2fixturedefs.get("sim")):
        item.obj = _simulated(item.obj, item)


def _is_ours(definitions: Any) -> bool:
    return bool(definitions) and definitions[-1].func.__module__ == __name__


def _simulated(test: Any, item: pytest.Item) -> Any:
    @functools.wraps(test)
    def simulated(**arguments: Any) -> None:
        __tracebackhide__ = True
        from kubelib.sim.loop import simulate

        sim = arguments["sim"]

        async def main() -> None:
            async with sim:
                await test(**arguments)

        try:
            simulate(main, seed=sim.seed)
        except BaseException as error:
            shown = str(sim.trace) or "nothing has changed"
            item.add_report_section("call", f"simulation with seed {sim.seed}", shown)
            while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                error = error.exceptions[0]
            raise error

    # As a coroutine function's wrapper it would be taken for one.
    del simulated.__wrapped__
    return simulated


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> "SimCluster":
    """A cluster in virtual time, for asynchronous tests; see `kubelib.sim.cluster.SimCluster`."""
    from kubelib.sim import SimCluster

    return SimCluster(seed=getattr(request, "param", 0))


@pytest.fixture(scope="session")
def kubelib_options() -> "ClusterOptions":
    """What clusters have unless a test's marker says otherwise. Override it where you want another default."""
    from kubelib.testing.cluster import ClusterOptions

    return ClusterOptions()


@pytest.fixture
def kubelib_cluster(
    request: pytest.FixtureRequest, kubelib_options: "ClusterOptions", tmp_path: Path
) -> "Iterator[Cluster]":
    """A Kubernetes cluster of the test's own: `.url`, `.kubeconfig` (a path), `.kubectl`, `.user`, `.client`, `.call` …

    See `kubelib.testing.cluster.Cluster`.
    """
    from kubelib.testing.cluster import Cluster

    marker = request.node.get_closest_marker("kubelib")
    with Cluster(tmp_path, kubelib_options, **(marker.kwargs if marker is not None else {})) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kubelib_session_cluster(
    kubelib_options: "ClusterOptions", tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Cluster]":
    """One cluster for all tests that ask for it, with the options of `kubelib_options`: they share what is in it."""
    from kubelib.testing.cluster import Cluster

    with Cluster(tmp_path_factory.mktemp("kubelib"), kubelib_options) as cluster:
        yield cluster


@pytest.fixture
def kubelib_restored_cluster(kubelib_session_cluster: "Cluster") -> "Iterator[Cluster]":
    """The cluster of the session, put back after the test to what it was before."""
    snapshot = kubelib_session_cluster.snapshot()
    yield kubelib_session_cluster
    kubelib_session_cluster.restore(snapshot)
