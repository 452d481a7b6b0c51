"""The ConfigMaps and Secrets that a node's Pods use, on a simulated node: how many watches there are, of what, and for how long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kubelib.api.core.config import ConfigMap, Secret
from kubelib.api.core.environment import ConfigMapEnvSource, EnvFromSource, SecretEnvSource
from kubelib.api.core.pod import Pod
from kubelib.api.core.projections import ConfigMapProjection, ProjectedVolumeSource, VolumeProjection
from kubelib.api.core.volumes import ConfigMapVolumeSource, SecretVolumeSource, Volume
from kubelib.api.errors import ServiceUnavailable
from kubelib.api.meta import Key
from kubelib.registry.base import Patch, Query
from kubelib.runtime.fake import Life
from kubelib.testing.objects import make_config_map, make_meta
from tests.runtime.agent.watching import gone, is_running
from tests.runtime.conftest import SimNode, container

SETTINGS = Volume(name="v", config_map=ConfigMapVolumeSource(name="settings"))


class Watched:
    """A client that notes which ConfigMaps and Secrets are watched."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.now: list[tuple[str, str, str]] = []
        self.away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def resource(self, kind: Any) -> Any:
        registry = self._client.resource(kind)
        return _Door(self, registry, kind.kind) if kind in (ConfigMap, Secret) else registry


class _Door:
    def __init__(self, watched: Watched, registry: Any, kind: str) -> None:
        self._watched, self._registry, self._kind = watched, registry, kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    async def list(self, query: Query, **more: Any) -> Any:
        if self._watched.away:
            raise ServiceUnavailable("connection refused")
        return await self._registry.list(query, **more)

    @asynccontextmanager
    async def watch(self, query: Query, *, since: str) -> AsyncIterator[Any]:
        what = (self._kind, query.namespace, str(query.fields))
        self._watched.now.append(what)
        try:
            async with self._registry.watch(query, since=since) as events:
                yield events
        finally:
            self._watched.now.remove(what)


@pytest.fixture
async def watched(idle: SimNode) -> AsyncIterator[Watched]:
    """What is watched by the node, which runs."""
    watched = Watched(idle.client)
    idle.client = watched  # type: ignore[assignment]
    async with idle.running():
        yield watched


async def test_a_hundred_pods_that_share_a_config_map_make_one_watch(idle: SimNode, watched: Watched) -> None:
    await idle.client.resource(ConfigMap).create(make_config_map("settings"))
    for number in range(100):
        await idle.run(f"p{number}", volumes=(SETTINGS,))
    for number in range(100):
        await idle.until(is_running, name=f"p{number}")
    assert watched.now == [("ConfigMap", "default", "metadata.name=settings")]


async def test_watches_are_of_what_pods_use_and_end_with_the_last_pod_that_does(
    idle: SimNode, watched: Watched
) -> None:
    for name in ("settings", "more", "others"):
        await idle.client.resource(ConfigMap).create(make_config_map(name))
    for name in ("key", "words"):
        await idle.client.resource(Secret).create(Secret(metadata=make_meta(name, "default")))
    projected = ProjectedVolumeSource(
        sources=(VolumeProjection(config_map=ConfigMapProjection(name="more")),)
    )
    env_from = (EnvFromSource(secret_ref=SecretEnvSource(name="words")),)
    await idle.run("a", volumes=(SETTINGS, Volume(name="w", projected=projected)))
    await idle.run(
        "b",
        containers=(container(env_from=env_from),),
        volumes=(SETTINGS, Volume(name="k", secret=SecretVolumeSource(secret_name="key"))),
    )
    for name in ("a", "b"):
        await idle.until(is_running, name=name)
    both = ("ConfigMap", "default", "metadata.name=settings")
    assert sorted(watched.now) == [
        ("ConfigMap", "default", "metadata.name=more"),
        both,
        ("Secret", "default", "metadata.name=key"),
        ("Secret", "default", "metadata.name=words"),
    ]
    await idle.client.resource(Pod).delete(Key("default", "b"))
    await gone(idle, name="b")
    assert sorted(watched.now) == [("ConfigMap", "default", "metadata.name=more"), both]
    await idle.client.resource(Pod).delete(Key("default", "a"))
    await gone(idle, name="a")
    assert watched.now == []
    assert len(idle.agent.configuration) == 0


async def test_a_pod_that_has_ended_uses_nothing_any_more(idle: SimNode, watched: Watched) -> None:
    await idle.client.resource(ConfigMap).create(make_config_map("settings"))
    idle.images(job=Life(run_for=5))
    await idle.run(volumes=(SETTINGS,), containers=(container(image="job"),), restart_policy="Never")
    await idle.until(is_running)
    assert len(watched.now) == 1
    await idle.until(lambda pod: pod.status.phase == "Succeeded")
    await anyio.sleep(0.1)
    assert watched.now == []


async def test_what_becomes_immutable_is_watched_no_more_and_still_had(
    idle: SimNode, watched: Watched
) -> None:
    maps = idle.client.resource(ConfigMap)
    await maps.create(make_config_map("settings", colour="blue"))
    variables = (EnvFromSource(config_map_ref=ConfigMapEnvSource(name="settings")),)
    await idle.run(volumes=(SETTINGS,))
    await idle.until(is_running)
    assert len(watched.now) == 1
    await maps.patch(
        Key("default", "settings"), Patch("merge", {"immutable": True, "data": {"colour": "red"}})
    )
    await anyio.sleep(0.1)
    assert watched.now == []
    await idle.run("b", containers=(container("other", env_from=variables),))
    await idle.until(is_running, name="b")
    assert idle.spec_of("other").env["colour"] == "red"
    assert watched.now == []


async def test_what_only_variables_are_made_of_is_watched_while_it_is_asked_for(
    idle: SimNode, watched: Watched
) -> None:
    maps = idle.client.resource(ConfigMap)
    for name in ("settings", "words"):
        await maps.create(make_config_map(name, colour="blue"))
    variables = (EnvFromSource(config_map_ref=ConfigMapEnvSource(name="words")),)
    main = container("main", env_from=variables)
    idle.images(run=[Life(run_for=1000), Life()])
    await idle.run(containers=(main,), volumes=(SETTINGS,))
    await idle.until(is_running)
    both = [("ConfigMap", "default", f"metadata.name={name}") for name in ("settings", "words")]
    await anyio.sleep(290)
    assert sorted(watched.now) == both
    await anyio.sleep(100)
    assert watched.now == both[:1], "what a volume shows is watched for as long as it does"
    await maps.patch(Key("default", "words"), Patch("merge", {"data": {"colour": "red"}}))
    assert idle.agent.configuration.watched == 1
    await anyio.sleep(650)
    assert (await idle.status()).restart_count == 1
    assert idle.spec_of("main").env["colour"] == "red"
    assert sorted(watched.now) == both
    await anyio.sleep(400)
    assert watched.now == both[:1]
    shown = Volume(name="v", config_map=ConfigMapVolumeSource(name="words"))
    await idle.run("b", volumes=(shown,))
    await idle.until(is_running, name="b")
    assert sorted(watched.now) == both
    await anyio.sleep(400)
    assert sorted(watched.now) == both


async def test_a_pod_whose_configuration_cannot_be_read_yet_says_so_and_starts_once_it_can(
    idle: SimNode, watched: Watched
) -> None:
    await idle.client.resource(ConfigMap).create(make_config_map("settings"))
    watched.away = True
    await idle.run(volumes=(SETTINGS,))
    await anyio.sleep(3)
    assert {event.message for event in await idle.events("FailedMount")} == {
        'MountVolume.SetUp failed for volume "v" : failed to sync configmap cache: timed out waiting for the condition'
    }
    watched.away = False
    await idle.until(is_running)


async def test_what_a_pod_waits_for_starts_it_at_once(idle: SimNode, watched: Watched) -> None:
    variables = (EnvFromSource(config_map_ref=ConfigMapEnvSource(name="settings")),)
    await idle.run(containers=(container(env_from=variables),))
    await idle.until(lambda pod: bool(pod.status.container_statuses))
    waiting = (await idle.status()).state.waiting
    assert waiting is not None
    assert (waiting.reason, waiting.message) == (
        "CreateContainerConfigError",
        'configmap "settings" not found',
    )
    await idle.client.resource(ConfigMap).create(make_config_map("settings"))
    await idle.until(is_running, within=0.2)
