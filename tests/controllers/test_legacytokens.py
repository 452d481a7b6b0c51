"""Tokens in Secrets that nobody uses: which are marked, which go, and which stay."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import anyio
import pytest

from kubelib.api.core.config import ConfigMap, Secret, ServiceAccount
from kubelib.api.core.pod import Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.core.volumes import SecretVolumeSource, Volume
from kubelib.api.legacytokens import INVALID_SINCE, LAST_USED, TRACKING, TYPE, day_of
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.controllers.builtin.legacytokencleaner import LegacyTokenCleaner, legacy_token_cleaner
from kubelib.testing.objects import make_pod

World = Any
DAY = 86_400.0
LIMIT = timedelta(days=100)


async def prepared(world: World, since: str | None = None, *, listed: bool = True) -> None:
    """Make an account that lists the Secret ``t``, and say since when uses are written down."""
    if since is None:
        since = day_of(world.clock.now())
    meta = ObjectMeta(name=TRACKING.name, namespace=TRACKING.namespace)
    await world.create(ConfigMap(metadata=meta, data={"since": since} if since else {}))
    secrets = (ObjectReference(name="t"),) if listed else ()
    account = ServiceAccount(metadata=ObjectMeta(name="a", namespace="default"), secrets=secrets)
    await world.create(account)


async def token(world: World, **more: Any) -> Secret:
    annotations = {"kubernetes.io/service-account.name": "a", **more.pop("annotations", {})}
    meta = ObjectMeta(name="t", namespace="default", annotations=annotations)
    return await world.create(Secret(metadata=meta, **{"type": TYPE, **more}))  # type: ignore[no-any-return]


async def cleaned(world: World) -> None:
    """Look once, with nothing else going on."""
    cleaner = LegacyTokenCleaner(world.informers, world.clock, LIMIT)
    async with world.running():
        await anyio.sleep(1)
        await cleaner.clean()


async def labels(world: World) -> Mapping[str, str] | None:
    """Return the labels of the Secret; None if it is gone."""
    if "t" not in await world.names(Secret):
        return None
    return (await world.get(Secret, "t")).metadata.labels  # type: ignore[no-any-return]


def ago(world: World, days: float) -> str:
    return day_of(world.clock.now() - timedelta(days=days))


async def test_a_forgotten_token_is_marked_and_goes_when_it_was_marked_for_as_long(world: World) -> None:
    await prepared(world)
    await token(world)
    async with world.running(
        legacy_token_cleaner(world.informers, clock=world.clock, recorder=world.recorder)
    ):
        await anyio.sleep(365 * DAY)
        assert await labels(world) == {}
        await anyio.sleep(3 * DAY)
        found = await labels(world)
        assert found is not None and ago(world, 3) <= found[INVALID_SINCE] <= ago(world, 0)
        await anyio.sleep(362 * DAY)
        assert await labels(world) == found
        await anyio.sleep(6 * DAY)
        assert await labels(world) is None


@pytest.mark.parametrize("since", ["", "2022-12-27-1", "2022-02-30"])
async def test_nothing_is_done_where_nobody_says_since_when_uses_are_noted(world: World, since: str) -> None:
    await prepared(world, since)
    await token(world)
    await anyio.sleep(200 * DAY)
    await cleaned(world)
    assert await labels(world) == {}


async def test_nothing_is_done_before_uses_were_noted_for_long_enough(world: World) -> None:
    await token(world)
    await anyio.sleep(200 * DAY)
    await prepared(world, ago(world, 100))
    await cleaned(world)
    assert await labels(world) == {}
    await anyio.sleep(DAY)
    await cleaned(world)
    assert INVALID_SINCE in (await labels(world) or {})


async def test_what_was_not_made_for_its_account_stays(world: World) -> None:
    await prepared(world, listed=False)
    await token(world)
    await anyio.sleep(200 * DAY)
    await cleaned(world)
    assert await labels(world) == {}


@pytest.mark.parametrize(
    ("more", "stays"),
    [
        ({}, False),
        ({"annotations": {"kubernetes.io/service-account.uid": "another"}}, True),
        ({"annotations": {"kubernetes.io/service-account.name": "nobody"}}, True),
        ({"type": "Opaque"}, True),
    ],
)
async def test_only_tokens_of_an_account_that_is_there_are_looked_at(
    world: World, more: dict[str, Any], stays: bool
) -> None:
    await prepared(world)
    await token(world, **more)
    await anyio.sleep(200 * DAY)
    await cleaned(world)
    assert (await labels(world) == {}) is stays


@pytest.mark.parametrize(
    ("used", "stays"), [(99, True), (101, False), ("2022-12-27-1", True), ("yesterday", True)]
)
async def test_a_token_that_was_used_not_long_ago_stays(world: World, used: int | str, stays: bool) -> None:
    await prepared(world)
    await token(world)
    await anyio.sleep(200 * DAY)
    day = ago(world, used) if isinstance(used, int) else used

    def note(secret: Secret) -> Secret:
        return replace(secret, metadata=replace(secret.metadata, labels={LAST_USED: day}))

    await world.change(Secret, "t", note)
    await cleaned(world)
    assert (INVALID_SINCE not in (await labels(world) or {})) is stays


@pytest.mark.parametrize(
    ("since", "left"), [(99, "as it was"), (101, None), ("2022-12-29-1", "marked today")]
)
async def test_a_marked_token_goes_when_it_was_marked_long_ago(
    world: World, since: int | str, left: str | None
) -> None:
    await prepared(world)
    await token(world)
    await anyio.sleep(300 * DAY)
    day = ago(world, since) if isinstance(since, int) else since

    def mark(secret: Secret) -> Secret:
        return replace(secret, metadata=replace(secret.metadata, labels={INVALID_SINCE: day}))

    await world.change(Secret, "t", mark)
    await cleaned(world)
    expected = {"as it was": {INVALID_SINCE: day}, "marked today": {INVALID_SINCE: ago(world, 0)}}
    assert await labels(world) == (expected[left] if left else None)


async def test_a_young_token_and_one_that_a_pod_uses_stay(world: World) -> None:
    await prepared(world)
    await anyio.sleep(200 * DAY)
    await token(world)
    await anyio.sleep(90 * DAY)
    await cleaned(world)
    assert await labels(world) == {}
    await anyio.sleep(90 * DAY)
    pod = make_pod("p")
    volume = Volume(name="v", secret=SecretVolumeSource(secret_name="t"))
    await world.create(replace(pod, spec=replace(pod.spec, volumes=(volume,))))
    await cleaned(world)
    assert await labels(world) == {}
    await world.delete(Pod, "p")
    await cleaned(world)
    assert INVALID_SINCE in (await labels(world) or {})
