"""An admission webhook that does not answer, or not in time, costs its own time and nothing else."""

import json
from typing import Any

import anyio
import pytest

from kubelib.api.errors import ApiError, InternalError
from kubelib.api.meta import Key
from kubelib.client.webhooks import CONNECTIONS_PER_SERVER
from tests.hooks import Request, hook
from tests.server.webhooks.asking import (
    MUTATING,
    VALIDATING,
    Api,
    agree,
    answering,
    asked,
    config_map,
    rule,
    store_with,
)


async def hangs(request: Request) -> None:
    await anyio.sleep_forever()


async def trickles(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        await request.stream.send(b" ")
        await anyio.sleep(0.02)


@pytest.mark.parametrize("behave", [hangs, trickles])
@pytest.mark.parametrize("kind", [MUTATING, VALIDATING])
async def test_a_webhook_that_hangs_costs_its_time_and_no_more(api: Api, kind: str, behave: Any) -> None:
    async with hook(behave) as seen:
        await api.configure(kind, seen, timeoutSeconds=1)
        with anyio.fail_after(60), pytest.raises(InternalError, match="context deadline exceeded"):
            await api.create(config_map())
        await store_with(api, kind, failurePolicy="Ignore")
        with anyio.fail_after(60):
            await api.create(config_map())


async def test_a_request_that_is_given_up_leaves_nothing_behind(api: Api) -> None:
    async with hook(hangs) as seen:
        await api.configure(MUTATING, seen, timeoutSeconds=30)
        with anyio.move_on_after(0.3):
            await api.create(config_map())
        assert len(seen.requests) == 1
        await store_with(api, MUTATING, failurePolicy="Ignore", timeoutSeconds=1)
    assert api.of("ConfigMap").cache.get(Key("default", "x")) is None


async def test_a_webhook_that_causes_what_it_is_asked_about_comes_to_an_end(api: Api) -> None:
    """Each call makes the next: the calls of one webhook at a time are limited, and each takes its time and no more."""
    async with anyio.create_task_group() as group:
        depth = 0

        async def again(request: Request) -> None:
            nonlocal depth
            depth += 1
            try:
                await api.create(config_map(f"again-{depth}"))
            except ApiError as error:
                await request.reply(json.dumps({"message": str(error)}).encode(), "500 Internal Server Error")

        async with hook(again) as seen, hook(answering(agree)) as other:
            await api.configure(MUTATING, seen, timeoutSeconds=1)
            with anyio.fail_after(60), pytest.raises(InternalError, match="context deadline exceeded"):
                await api.create(config_map())
            assert depth <= CONNECTIONS_PER_SERVER + 1
            # Meanwhile others are asked and answer.
            await api.configure(MUTATING, other, name="d", rules=[rule("secrets")])
            with anyio.fail_after(60):
                await api.of("Secret").create(
                    {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}},
                    namespace="default",
                    options=api.options(),
                )
            assert len(asked(other)) == 1
        group.cancel_scope.cancel()


async def test_many_writes_share_a_few_connections(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen, timeoutSeconds=30)
        async with anyio.create_task_group() as group:
            for number in range(120):
                group.start_soon(api.create, config_map(f"x-{number}"))
    assert len(seen.requests) == 120
    assert seen.most_open <= 32
