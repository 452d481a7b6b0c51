"""Rooms choose their event loops: those of the lower floors override this with `kubelib.testing.loops`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, settings

from tests.engines import Etcd, ZooKeeper

if TYPE_CHECKING:
    from tests.containers import Docker, Podman

pytest_plugins = ("tests.promises", "tests.firsttries", "tests.retries")

# Every run tries the same examples, so that what passed before it landed passes after; --hypothesis-profile=explore looks
# for others. The phase that explains a failure is left out: it takes minutes, and a failure that is printed small says enough.
# A busy machine makes an example slow, not wrong.
PHASES = [phase for phase in Phase if phase is not Phase.explain]
settings.register_profile("explore", deadline=None, phases=PHASES)
settings.register_profile("repeatable", deadline=None, phases=PHASES, derandomize=True, print_blob=True)
settings.load_profile("repeatable")


SAFETY = (
    "store",
    "transactions",
    "flow",
    "test_masters.py",
    "test_contention.py",
    "test_durability.py",
    "test_killed.py",
)
"""Where tests look for what is lost, seen twice or overcommitted: there what happens once in a hundred runs is the finding."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give tests a second try, and those with other programs a third, as Kubernetes does with its end-to-end tests, but never to
    what a search for losses has found. Each begins with everything anew that tests share (`tests.retries`).

    Where losses are looked for, a second try is given only to what could not be tried: an engine that did not start in time.
    Benchmarks measure once. A run names second tries as RERUN at its end: each is a defect to find, of the test or of what
    it tests. With ``-p no:rerunfailures`` nothing is tried twice.
    """
    if not config.pluginmanager.hasplugin("rerunfailures"):
        return
    here = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(here).parts
        if {place[0], place[-1]} & {*SAFETY}:
            item.add_marker(
                pytest.mark.flaky(reruns=1, rerun_except=["AssertionError", "Failed", "ExceptionGroup"])
            )
        elif place[0] != "bench":
            item.add_marker(pytest.mark.flaky(reruns=2 if place[0] == "external" else 1))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """An etcd for all who take a prefix of their own in it."""
    with Etcd(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    """A ZooKeeper for all who take a folder of their own in it."""
    with ZooKeeper(tmp_path_factory.mktemp("zookeeper")) as running:
        yield running


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images that tests run, as archives."""
    from tests.containers import build_images

    return build_images(tmp_path_factory.mktemp("images"), "pause", "busybox")


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator["Docker"]:
    """A Docker Engine for all who leave no container behind, with the images of pause and busybox."""
    from tests.containers import Docker

    with Docker(tmp_path_factory.mktemp("docker") / "engine") as running:
        running.load(images, ("pause", "busybox"))
        yield running


@pytest.fixture(scope="session")
def podman_service(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator["Podman"]:
    """A Podman service for all who leave no container behind, with the image of busybox."""
    from tests.containers import Podman

    with Podman(tmp_path_factory.mktemp("podman") / "service") as running:
        running.load(images, ("busybox",))
        yield running
