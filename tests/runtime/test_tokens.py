"""Tokens that Pods are shown: bound to the Pod, renewed in time, kept while the API server is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import anyio
import jwt
import pytest

from kubelib.api.authentication import TokenRequest
from kubelib.api.core.config import ServiceAccount
from kubelib.api.core.pod import Pod
from kubelib.api.core.projections import (
    ProjectedVolumeSource,
    ServiceAccountTokenProjection,
    VolumeProjection,
)
from kubelib.api.core.volumes import Volume
from kubelib.api.errors import ServiceUnavailable
from kubelib.api.meta import Key, ObjectMeta
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.runtime.environment import ConfigMissing
from kubelib.runtime.tokens import PodTokens
from kubelib.runtime.volumes import Volumes
from kubelib.server.authn.tokens import ServiceAccountTokens, TokenKey, TokenSigner
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_pod
from tests.runtime.conftest import Configuration, container

PROJECTION = ServiceAccountTokenProjection(path="token", expiration_seconds=1000)


class Hand:
    """A clock that is set by hand, and a server that can be away."""

    def __init__(self) -> None:
        self.date = datetime(2026, 1, 1, tzinfo=UTC)
        self.away = False
        self.asked = 0

    def now(self) -> datetime:
        return self.date


@asynccontextmanager
async def opened(
    hand: Hand,
) -> AsyncIterator[tuple[ResourceRegistries, PodTokens, ServiceAccountTokens, Pod]]:
    async with MemoryStore() as store, ResourceRegistries(store, clock=hand) as registries:
        await registries.bootstrap()
        signer = TokenSigner(TokenKey.generated(), clock=hand)
        registries.tokens = signer
        client = LocalClient(registries)
        account = ServiceAccount(metadata=ObjectMeta(name="robot", namespace="default"))
        await client.resource(ServiceAccount).create(account)
        volume = Volume(
            name="v",
            projected=ProjectedVolumeSource(
                sources=(VolumeProjection(service_account_token=PROJECTION),), default_mode=0o640
            ),
        )
        made = make_pod("p", containers=(container(),), volumes=(volume,), service_account_name="robot")
        pod = await client.resource(Pod).create(made)

        async def issue(key: Key, request: TokenRequest) -> TokenRequest:
            hand.asked += 1
            if hand.away:
                raise ServiceUnavailable("away")
            return await client.create_token(key, request)

        tokens = PodTokens(issue, clock=hand, random=Random(1))
        yield registries, tokens, ServiceAccountTokens(signer, registries), pod


def test_a_token_is_bound_to_its_pod_and_renewed_before_it_expires() -> None:
    async def main() -> None:
        hand = Hand()
        async with opened(hand) as (_, tokens, authenticator, pod):
            first = await tokens.token(pod, PROJECTION)
            claims = jwt.decode(first, options={"verify_signature": False})
            assert claims["kubernetes.io"]["pod"] == {"name": "p", "uid": pod.metadata.uid}
            assert await authenticator.authenticate(first) is not None
            hand.date += timedelta(seconds=700)
            assert await tokens.token(pod, PROJECTION) == first
            hand.date += timedelta(seconds=110)
            second = await tokens.token(pod, PROJECTION)
            assert second != first
            assert hand.asked == 2
            tokens.forget(pod.metadata.uid)
            assert await tokens.token(pod, PROJECTION) != second

    anyio.run(main)


def test_while_the_server_is_away_a_good_token_is_shown_on() -> None:
    async def main() -> None:
        hand = Hand()
        async with opened(hand) as (_, tokens, _, pod):
            first = await tokens.token(pod, PROJECTION)
            hand.away = True
            hand.date += timedelta(seconds=900)
            assert await tokens.token(pod, PROJECTION) == first
            hand.date += timedelta(seconds=100)
            with pytest.raises(ConfigMissing, match="failed to fetch token: away"):
                await tokens.token(pod, PROJECTION)

    anyio.run(main)


def test_a_projected_volume_shows_the_token_and_its_successor(
    tmp_path: Path, configuration: Configuration
) -> None:
    async def main() -> None:
        hand = Hand()
        async with opened(hand) as (_, tokens, authenticator, pod):
            volumes = Volumes(tmp_path, configuration, tokens)
            shown = (await volumes.prepare(pod, address=""))["v"] / "token"
            first = shown.read_text()
            assert await authenticator.authenticate(first) is not None
            assert shown.stat().st_mode & 0o777 == 0o640
            hand.date += timedelta(seconds=900)
            await volumes.prepare(pod, address="")
            assert shown.read_text() != first
            assert await authenticator.authenticate(shown.read_text()) is not None

    anyio.run(main)
