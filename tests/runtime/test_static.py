"""Static Pods: files that a node runs by itself, and the mirror Pods that show them."""

import json
import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.api.core.pod import Pod
from kubelib.api.errors import NotFound, ServiceUnavailable
from kubelib.api.meta import Key
from kubelib.registry.base import Preconditions
from kubelib.runtime.fake import Life
from kubelib.runtime.mirrors import HASH, MIRROR, SEEN, SOURCE
from kubelib.runtime.static import BadManifest, StaticPodWorker, static_pod
from tests.runtime.agent.watching import gone
from tests.runtime.conftest import SimNode

NAME = "web-node-1"


def manifest(name: str = "web", image: str = "run", **spec: Any) -> str:
    tree = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}}
    return json.dumps({**tree, "spec": {"containers": [{"name": "main", "image": image}], **spec}})


@pytest.fixture
async def static(idle: SimNode, tmp_path: Path) -> tuple[SimNode, Path]:
    """A node that looks into a directory; the test starts it."""
    directory = tmp_path / "manifests"
    directory.mkdir()
    idle.settings = {"static_pods": directory}
    idle.agent = idle._new_agent()
    return idle, directory


def is_running(pod: Pod) -> bool:
    return pod.status.phase == "Running"


async def found(node: SimNode, name: str = NAME, within: float = 30) -> Pod:
    with anyio.fail_after(within):
        while True:
            try:
                pod = await node.pod(name)
                if is_running(pod):
                    return pod
            except NotFound:
                pass
            await anyio.sleep(0.1)


async def test_a_file_becomes_a_pod_that_runs_and_a_mirror_that_shows_it(
    static: tuple[SimNode, Path],
) -> None:
    node, directory = static
    (directory / "web.yaml").write_text(manifest())
    async with node.running():
        pod = await found(node)
        annotations = pod.metadata.annotations
        (worker,) = node.agent.workers.values()
        assert annotations[MIRROR] == annotations[HASH] == worker.uid != pod.metadata.uid
        assert annotations[SOURCE] == "file" and SEEN in annotations
        assert [(o.kind, o.name, o.controller) for o in pod.metadata.owner_references] == [
            ("Node", "node-1", True)
        ]
        assert pod.metadata.labels == {"app": "web"} and pod.spec.node_name == "node-1"
        assert any(t.operator == "Exists" and t.effect == "NoExecute" for t in pod.spec.tolerations)
        assert pod.status.container_statuses[0].ready and pod.status.pod_ip
        assert [s.uid for s in await node.runtime.list_sandboxes()] == [worker.uid]
        (directory / "web.yaml").unlink()
        await gone(node, name=NAME)
        assert await node.runtime.list_sandboxes() == ()


async def test_a_mirror_that_somebody_deletes_comes_back_and_what_runs_does_not_notice(
    static: tuple[SimNode, Path],
) -> None:
    node, directory = static
    (directory / "web.yaml").write_text(manifest())
    async with node.running():
        first = await found(node)
        await node.client.resource(Pod).delete(Key("default", NAME))
        with anyio.fail_after(60):
            while (second := await found(node)).metadata.uid == first.metadata.uid:
                await anyio.sleep(0.2)
        assert second.metadata.deletion_timestamp is None
        assert (
            second.status.container_statuses[0].container_id
            == first.status.container_statuses[0].container_id
        )
        assert second.status.container_statuses[0].restart_count == 0


async def test_another_content_is_another_pod_and_the_old_one_ends_first(
    static: tuple[SimNode, Path],
) -> None:
    node, directory = static
    node.images(run=Life(stop_delay=5))
    (directory / "web.yaml").write_text(manifest())
    async with node.running():
        first = await found(node)
        (directory / "web.yaml").write_text(manifest(hostname="other"))
        with anyio.fail_after(60):
            while (second := await found(node)).metadata.annotations[HASH] == first.metadata.annotations[
                HASH
            ]:
                assert len(node.running_containers()) <= 1
                await anyio.sleep(0.2)
        assert second.spec.hostname == "other"
        assert len(await node.runtime.list_sandboxes()) == 1


async def test_what_was_removed_while_the_node_was_away_ends_and_the_rest_is_adopted(
    static: tuple[SimNode, Path],
) -> None:
    node, directory = static
    (directory / "web.yaml").write_text(manifest())
    (directory / "other.yaml").write_text(manifest("other"))
    async with node.running():
        before = await found(node)
        await found(node, "other-node-1")
    (directory / "other.yaml").unlink()
    async with node.running():
        await gone(node, name="other-node-1")
        after = await found(node)
        assert (
            after.status.container_statuses[0].container_id
            == before.status.container_statuses[0].container_id
        )
        with anyio.fail_after(30):
            while len(await node.runtime.list_sandboxes()) > 1:
                await anyio.sleep(0.1)


class Away:
    """A client whose API server may be away."""

    def __init__(self, client: Any) -> None:
        self.client, self.away = client, True

    def resource(self, kind: Any) -> Any:
        return Door(self, self.client.resource(kind))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


class Door:
    """One resource of such a client."""

    def __init__(self, away: Away, registry: Any) -> None:
        self._away, self._registry = away, registry

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._registry, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if self._away.away:
                raise ServiceUnavailable("connection refused")
            return method(*arguments, **options)

        return call


async def test_static_pods_run_while_the_api_server_is_away_and_are_shown_when_it_is_back(
    static: tuple[SimNode, Path],
) -> None:
    node, directory = static
    (directory / "net.yaml").write_text(manifest("net", hostNetwork=True))
    client = node.client
    node.client = away = Away(client)  # type: ignore[assignment]
    async with anyio.create_task_group() as group:
        node.agent = node._new_agent()
        group.start_soon(node.agent.run)
        with anyio.fail_after(30):
            while node.running_containers() != ["main"]:
                await anyio.sleep(0.1)
        (directory / "web.yaml").write_text(manifest())  # wants an address, and the node has no range yet
        await anyio.sleep(5)
        assert node.running_containers() == ["main"]
        away.away = False
        node.client = client
        await found(node)
        await found(node, "net-node-1")
        away.away = True
        (directory / "net.yaml").unlink()
        with anyio.fail_after(90):
            while len(node.running_containers()) > 1:
                await anyio.sleep(0.1)
        away.away = False
        await gone(node, name="net-node-1")
        group.cancel_scope.cancel()
    assert node.agent.node.pod_cidr == node._new_agent().node.pod_cidr != "", "kept for the next start"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "couldn't parse as pod"),
        ("kind: Service\napiVersion: v1\n", "is not a Pod of v1"),
        ('{"kind":"Pod","apiVersion":"v1","metadata":{},"spec":{}}', "has no metadata.name"),
        (manifest(containers=[]), "spec.containers"),
        (manifest("Bad Name"), "metadata.name"),
        (manifest("../../etc"), "metadata.name"),
        *(
            (
                f'{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"a","{field}":"{value}"}},"spec":{{}}}}',
                f"metadata.{field}",
            )
            for field, value in (
                ("namespace", "../.."),
                ("uid", "../../../tmp/x"),
                ("uid", ".."),
                ("uid", "a/b"),
                ("uid", "-"),
            )
        ),
        (manifest(volumes=[{"name": "v", "secret": {"secretName": "s"}}]), "may not reference secrets"),
        (manifest(serviceAccountName="sa"), "may not reference service accounts"),
        (manifest(containers=[{"name": "a", "image": "i", "envFrom": []}, 3]), "web.yaml"),
        ("- 1\n", "is not a Pod of v1"),
        ("\x00", "couldn't parse as pod"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(BadManifest, match=why):
        static_pod(text.encode(), Path("/m/web.yaml"), "node-1", "2026-01-01T00:00:00Z")


async def test_a_bad_file_is_reported_once_and_harms_no_other(
    static: tuple[SimNode, Path], caplog: pytest.LogCaptureFixture
) -> None:
    node, directory = static
    (directory / "bad.yaml").write_text("kind: [")
    (directory / ".hidden.yaml").write_text(manifest("hidden"))
    (directory / "web.yaml").write_text(manifest())
    (directory / "web2.yaml").write_text(manifest())  # the same name again
    with caplog.at_level(logging.WARNING):
        async with node.running():
            await found(node)
            await anyio.sleep(5)
            assert len(node.agent.workers) == 1
            assert all(isinstance(worker, StaticPodWorker) for worker in node.agent.workers.values())
    assert sum("bad.yaml" in record.getMessage() for record in caplog.records) == 1


def test_the_identity_follows_from_node_file_and_content_alone() -> None:
    def uid(text: str, file: str = "/m/a", node: str = "n", seen: str = "2026-01-01T00:00:00Z") -> str:
        return static_pod(text.encode(), Path(file), node, seen).metadata.uid

    base = uid(manifest())
    assert base == uid(manifest(), seen="2027-01-01T00:00:00Z")
    assert (
        len({base, uid(manifest(hostname="h")), uid(manifest(), file="/m/b"), uid(manifest(), node="m")}) == 4
    )
    assert Preconditions(base).uid == base
