"""Probes that ask over HTTP/2 in the clear, against real listeners."""

from typing import Any

import anyio
import anyio.abc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from kubelib.api.core.probes import HTTPGetAction, HTTPHeader
from tests.runtime.test_probes import ADDRESS, Serve, answers, listening, probed


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def answers2(of: dict[str, list[tuple[str, str]]], seen: list[dict[str, str]], body: bytes = b"") -> Serve:
    """Answer over HTTP/2 with the headers for a path; a path of none is reset."""

    async def serve(stream: anyio.abc.ByteStream) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        async with stream:
            while True:
                await stream.send(connection.data_to_send())
                try:
                    events = connection.receive_data(await stream.receive())
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                for event in events:
                    if isinstance(event, RequestReceived):
                        asked = {str(name): str(value) for name, value in event.headers or ()}
                        seen.append(asked)
                        number = event.stream_id or 0
                        if headers := of.get(asked[":path"]):
                            connection.send_headers(number, headers, end_stream=not body)
                            if body:
                                connection.send_data(number, body, end_stream=True)
                        else:
                            connection.reset_stream(number)

    return serve


async def test_http_is_asked_over_http2_where_a_probe_says_so() -> None:
    away = "http://127.244.202.9/"
    of = {"/ready?a=1": [(":status", "204")], "/bad": [(":status", "500")]}
    of |= {
        "/moved": [(":status", "302"), ("location", "bad")],
        "/away": [(":status", "302"), ("location", away)],
    }
    seen: list[dict[str, str]] = []
    told: list[str] = []
    headers = (
        HTTPHeader(name="X-Own", value="1"),
        HTTPHeader(name="Host", value="shop"),
        HTTPHeader(name="Connection", value="close"),
    )
    async with listening(answers2(of, seen, b"so")) as port:

        async def asked(path: str, **more: Any) -> str | None:
            return await probed(
                told=told, http_get=HTTPGetAction(port=port, path=path, protocol="HTTP2", **more)
            )

        assert await asked("/ready?a=1", http_headers=headers) is None
        assert seen[0].pop("user-agent").startswith("kube-probe/")
        assert seen[0] == {
            ":method": "GET",
            ":scheme": "http",
            ":authority": "shop",
            ":path": "/ready?a=1",
            "accept": "*/*",
            "x-own": "1",
        }
        assert await asked("/moved") == "HTTP probe failed with statuscode: 500"
        assert await asked("/away") is None
        assert told == ["Probe terminated redirects, Response body: so"]
        assert await asked("/none") == f'Get "http://{ADDRESS}:{port}/none": the connection was closed'
    async with listening(answers("200 OK")) as port:
        why = await asked("/ready?a=1")
    assert why is not None and why.startswith(f'Get "http://{ADDRESS}:{port}/ready?a=1": ')
