"""Images that nobody uses go when the disk is full, those first that were not used for longest."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import pytest

from kubelib.runtime import lifecycle
from kubelib.runtime.abilities import Space
from kubelib.runtime.base import Container, ContainerId, ContainerState
from kubelib.runtime.fake import FakeRuntime, Life
from kubelib.runtime.garbage import PERIOD, YOUNGEST, ImageCollector
from tests.runtime.conftest import SimNode, container, sim_node

GIB = 1 << 30


class Disk:
    """Images of one GiB each on a disk of 100, which has other things too."""

    def __init__(self, other: int) -> None:
        self.other = other
        self.images = ["a", "b", "c", "d"]
        self.kept: Sequence[str] = ()

    async def image_space(self) -> Space:
        return Space(capacity=100 * GIB, available=(100 - self.other - len(self.images)) * GIB)

    async def remove_image(self, image: str) -> int:
        if image in self.kept or image not in self.images:
            return 0
        self.images.remove(image)
        return GIB


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SimNode]:
    async with sim_node(tmp_path) as node, node.running():
        yield node


async def collector_of(node: SimNode, disk: Disk) -> ImageCollector:
    """Return a collector that has seen the images one after the other, long ago."""
    collector = ImageCollector(node.agent, disk)
    for image in disk.images:
        collector.saw([image])
        await anyio.sleep(1)
    await anyio.sleep(YOUNGEST)
    return collector


async def test_nothing_is_removed_as_long_as_there_is_room(node: SimNode) -> None:
    disk = Disk(other=80)
    collector = await collector_of(node, disk)
    await collector.look()
    assert disk.images == ["a", "b", "c", "d"]


async def test_the_images_go_that_were_not_used_for_longest_until_there_is_room(node: SimNode) -> None:
    disk = Disk(other=78)
    disk.images += ["e", "f", "g", "h"]
    collector = await collector_of(node, disk)
    await collector.look()
    assert disk.images == ["g", "h"]  # 80 of 100


async def test_what_was_used_lately_or_is_in_use_stays_and_that_it_is_not_enough_is_said(
    node: SimNode,
) -> None:
    disk = Disk(other=90)
    collector = await collector_of(node, disk)
    disk.kept = ["b"]
    collector.saw(["a", "c"])
    await collector.look()
    assert disk.images == ["a", "b", "c"]
    await anyio.sleep(2)
    [event] = await node.events("FreeDiskSpaceFailed")
    wanted, found = 14 * GIB, GIB
    assert f"Attempted to free {wanted} bytes, but only found {found} bytes" in event.message


async def test_images_of_containers_that_there_are_count_as_used(node: SimNode) -> None:
    await node.run("a", containers=(container(image="run"),))
    await node.until(lambda pod: pod.status.phase == "Running")
    [sandbox] = await node.runtime.list_sandboxes()
    image = sandbox.containers[0].image_id
    disk = Disk(other=90)
    disk.images = [image, "b"]
    collector = await collector_of(node, disk)
    await collector.look()
    assert disk.images == [image]


async def test_the_agent_looks_now_and_then_if_its_runtime_has_images(tmp_path: Path) -> None:
    class WithImages(FakeRuntime, Disk):
        def __init__(self, runtime: FakeRuntime) -> None:
            self.__dict__.update(runtime.__dict__)
            Disk.__init__(self, other=90)

    async with sim_node(tmp_path) as node:
        node.runtime = runtime = WithImages(node.runtime)
        async with node.running():
            assert node.agent.images is not None
            node.agent.images.saw(runtime.images)
            await anyio.sleep(PERIOD + YOUNGEST + 1)
            assert runtime.images == []


def attempt(name: str, number: int, state: ContainerState = "exited") -> Container:
    return Container(id=ContainerId(f"{name}-{number}"), name=name, image="i", attempt=number, state=state)


def test_all_attempts_but_the_last_two_are_superfluous() -> None:
    containers = [*(attempt("a", n) for n in range(4)), attempt("b", 0), attempt("b", 1, "running")]
    assert [c.id for c in lifecycle.superfluous(containers)] == ["a-0", "a-1"]
    assert lifecycle.superfluous([attempt("a", 0), attempt("a", 1), attempt("a", 2, "running")]) == (
        attempt("a", 0),
    )


async def test_a_node_keeps_the_last_two_attempts_of_a_container_and_their_logs(node: SimNode) -> None:
    node.images(fail=Life(run_for=1, exit_code=1))
    await node.run("a", containers=(container(image="fail"),))
    await node.until(
        lambda pod: (
            bool(pod.status.container_statuses) and pod.status.container_statuses[0].restart_count >= 3
        ),
        within=600,
    )
    await anyio.sleep(1)
    [sandbox] = await node.runtime.list_sandboxes()
    attempts = sorted(c.attempt for c in sandbox.containers)
    assert len(attempts) == 2
    assert attempts[1] >= 3
