"""Credentials that change while a client is open, at a server that really speaks TLS."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.api.errors import ServiceUnavailable
from kubelib.client import credentials
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import KubeconfigError, load_connection, write_kubeconfig
from kubelib.server.listener import bind, serve
from kubelib.server.tls import Tls
from kubelib.testing.certificates import Authority

HOST = "127.0.0.1"
Seen = dict[str, Any]


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "LOOK_EVERY", 0.0)


async def who(scope: Any, receive: Any, send: Any) -> None:
    """Say whom the certificate and the token stand for, and from which port of the client; ``/watch`` goes on."""
    user, token = scope["state"]["user"], dict(scope["headers"]).get(b"authorization", b"")
    said = {
        "user": user.name if user is not None else "",
        "token": token.decode(),
        "from": scope["client"][1],
    }
    await send({"type": "http.response.start", "status": 200, "headers": []})
    watched = scope["path"] == "/watch"
    await send({"type": "http.response.body", "body": json.dumps(said).encode(), "more_body": watched})
    if watched:
        while (await receive())["type"] != "http.disconnect":
            pass


@asynccontextmanager
async def serving(directory: Path, authority: Authority) -> AsyncIterator[str]:
    cert, key = authority.server(HOST).write(directory, "server")
    (directory / "ca.crt").write_bytes(authority.certificate)
    with bind(HOST, 0) as listening:
        async with serve(who, listening, Tls(cert, key, directory / "ca.crt")) as port:
            yield f"https://{HOST}:{port}"


def kubeconfig(path: Path, url: str, cluster: str, user: str) -> Path:
    path.write_text(
        f"clusters: [{{name: c, cluster: {{server: '{url}', {cluster}}}}}]\n"
        f"users: [{{name: u, user: {{{user}}}}}]\n"
        "contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n"
    )
    return path


async def ask(client: HttpClient) -> Seen:
    seen: Seen = json.loads((await client.request("GET", "/")).body)
    return seen


async def test_certificates_in_files_are_shown_as_they_are_now_and_connections_that_showed_others_end(
    tmp_path: Path,
) -> None:
    authority = Authority()
    cert, key = authority.client("jane").write(tmp_path, "client")
    async with serving(tmp_path, authority) as url:
        config = kubeconfig(
            tmp_path / "config",
            url,
            "certificate-authority: ca.crt",
            "client-certificate: client.crt, client-key: client.key",
        )
        async with HttpClient(load_connection([config])) as client:
            view = client.guarded(lambda: None)
            first = await ask(client)
            assert first["user"] == "jane"
            assert await ask(client) == first, "a connection serves again"
            with pytest.raises(ServiceUnavailable, match="credentials of the connection have changed"):
                async with client.stream("GET", "/watch") as chunks:
                    with anyio.fail_after(30):
                        async for chunk in chunks:
                            assert json.loads(chunk)["user"] == "jane"
                            authority.client("joe").write(tmp_path, "client")
                            assert (await ask(view))["user"] == "joe"
            assert (await ask(client))["user"] == "joe"
            good = cert.read_bytes(), key.read_bytes()
            for bad in (b"", b"nonsense", authority.client("jim").certificate):
                cert.write_bytes(bad)
                assert (await ask(client))["user"] == "joe", "what makes no sense is not taken in"
            cert.unlink()
            assert (await ask(client))["user"] == "joe"
            cert.write_bytes(good[0])
            assert (await ask(client))["user"] == "joe"
            assert client.connection.cert_data == good[0]


async def test_authorities_in_files_are_trusted_as_they_are_now(tmp_path: Path) -> None:
    old, new = Authority(), Authority()
    async with serving(tmp_path, new) as url:
        trusted = tmp_path / "trusted.crt"
        trusted.write_bytes(old.certificate)
        config = kubeconfig(tmp_path / "config", url, "certificate-authority: trusted.crt", "token: t")
        async with HttpClient(load_connection([config])) as client:
            with pytest.raises(ServiceUnavailable, match="certificate verify failed"):
                await ask(client)
            trusted.write_bytes(new.certificate)
            assert (await ask(client))["token"] == "Bearer t"


async def test_a_token_in_a_file_is_shown_as_it_is_now_on_the_connections_that_there_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    async with serving(tmp_path, Authority()) as url:
        config = kubeconfig(
            tmp_path / "config", url, "certificate-authority: ca.crt", "token: other, tokenFile: token"
        )
        async with HttpClient(load_connection([config])) as client:
            first = await ask(client)
            assert first["token"] == "Bearer first"
            following = tmp_path / "next"
            following.write_text("second")
            following.replace(token)
            assert await ask(client) == {**first, "token": "Bearer second"}
            async with client.stream("GET", "/watch") as chunks:
                assert json.loads(await anext(chunks))["token"] == "Bearer second"
            with caplog.at_level(logging.WARNING):
                token.write_text(" \n")
                assert (await ask(client))["token"] == "Bearer second"
                token.unlink()
                assert (await ask(client))["token"] == "Bearer second"
            assert [record.getMessage().partition("taken in: ")[2] for record in caplog.records] == [
                "there is no token any more",
                "cannot read the tokenFile token: No such file or directory",
            ]


async def test_what_a_kubeconfig_itself_holds_is_taken_in_too_for_the_same_context_and_server(
    tmp_path: Path,
) -> None:
    authority, path = Authority(), tmp_path / "config"
    async with serving(tmp_path, authority) as url:

        def write(user: str, server: str = url) -> None:
            cert, key = authority.client(user).write(tmp_path, user)
            write_kubeconfig(path, server=server, user="u", ca=tmp_path / "ca.crt", cert=cert, key=key)

        write("jane")
        async with HttpClient(load_connection([path])) as client:
            assert (await ask(client))["user"] == "jane"
            write("joe")
            assert (await ask(client))["user"] == "joe"
            write("jim", "https://elsewhere:6443")
            assert (await ask(client))["user"] == "joe"
            write("jack")
            path.write_text(path.read_text().replace("u@kubelib", "another"))
            assert (await ask(client))["user"] == "joe"
            cert, key = (file.read_bytes() for file in authority.client("jill").write(tmp_path, "jill"))
            client.renew(cert, key)
            assert (await ask(client))["user"] == "jill"


def test_a_token_file_that_cannot_be_read_is_said_by_name(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "config", "https://x", "", "tokenFile: nowhere")
    with pytest.raises(KubeconfigError, match="cannot read the tokenFile nowhere: No such file or directory"):
        load_connection([config])
