"""Credentials that change while a client is open, at a server that really speaks TLS."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.api.errors import ServiceUnavailable, Unauthorized
from kubelib.client import credentials
from kubelib.client.base import Unreachable
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
    status = 401 if token == b"Bearer unknown" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
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


def said(**status: str) -> str:
    return json.dumps({"kind": "ExecCredential", "apiVersion": V1, "status": status})


class Program:
    """A program that notes what it is asked, and says what a file says."""

    def __init__(self, directory: Path) -> None:
        self.says, self._asked = directory / "says", directory / "asked"
        script = directory / "bin" / "login"
        script.parent.mkdir()
        asked = f'echo "$1 $WORD $KUBERNETES_EXEC_INFO" >> {self._asked}'
        script.write_text(f"#!/bin/sh\n{asked}\ncat {self.says}\nexit ${{CODE:-0}}\n")
        script.chmod(0o755)

    def answer(self, **status: str) -> None:
        self.says.write_text(said(**status))

    @property
    def asked(self) -> list[str]:
        return self._asked.read_text().splitlines() if self._asked.exists() else []


V1 = "client.authentication.k8s.io/v1"
LOGIN = (
    f"exec: {{command: ./bin/login, apiVersion: {V1}, interactiveMode: Never, provideClusterInfo: true,"
    " args: [me], env: [{name: WORD, value: word}]}"
)


async def test_a_program_says_who_we_are_and_is_asked_again_when_that_has_expired_or_is_refused(
    tmp_path: Path,
) -> None:
    program, authority = Program(tmp_path), Authority()
    async with serving(tmp_path, authority) as url:
        config = kubeconfig(tmp_path / "config", url, "certificate-authority: ca.crt", LOGIN)
        async with HttpClient(load_connection([config])) as client:
            program.answer(token="first", expirationTimestamp="2999-01-01T00:00:00Z")
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(ask, client)
            assert (await ask(client))["token"] == "Bearer first"
            (asked,) = program.asked
            argument, word, told = asked.split(" ", 2)
            spec = {"interactive": False, "cluster": {"server": url}}
            assert (argument, word, json.loads(told)) == (
                "me",
                "word",
                {"kind": "ExecCredential", "apiVersion": V1, "spec": spec},
            )
            config.touch()
            assert (await ask(client))["token"] == "Bearer first", "a file that is written does not undo it"
            assert len(program.asked) == 1
        async with HttpClient(load_connection([config])) as client:
            program.answer(token="unknown")
            for _ in range(2):
                with pytest.raises(Unauthorized):
                    await ask(client)
            assert len(program.asked) == 3
            program.answer(token="second", expirationTimestamp="2001-01-01T00:00:00Z")
            assert (await ask(client))["token"] == "Bearer second"
            jane = authority.client("jane")
            program.answer(clientCertificateData=jane.certificate.decode(), clientKeyData=jane.key.decode())
            seen = await ask(client)
            assert (seen["user"], seen["token"], len(program.asked)) == ("jane", "", 5)
            async with client.stream("GET", "/watch") as chunks:
                assert json.loads(await anext(chunks))["user"] == "jane"


async def test_no_program_is_asked_where_a_token_or_certificate_is_given(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program.answer(token="first")
    async with serving(tmp_path, Authority()) as url:
        config = kubeconfig(
            tmp_path / "config", url, "certificate-authority: ca.crt", f"token: given, {LOGIN}"
        )
        async with HttpClient(load_connection([config])) as client:
            assert (await ask(client))["token"] == "Bearer given"
    assert program.asked == []


@pytest.mark.parametrize(
    ("says", "change", "why"),
    [
        ("{}", ("", ""), f"exec plugin is configured to use API version {V1}, plugin returned version None"),
        (json.dumps({"apiVersion": V1}), ("", ""), "exec plugin didn't return a status field"),
        (
            said(),
            ("", ""),
            "exec plugin didn't return a token or cert/key pair",
        ),
        (
            said(clientKeyData="x"),
            ("", ""),
            "exec plugin returned only certificate or key, not both",
        ),
        (
            said(clientCertificateData="x", clientKeyData="x"),
            ("", ""),
            "failed parsing client key/certificate: ",
        ),
        ("no", ("", ""), "decoding stdout: "),
        ("{}", ("name: WORD, value: word", "name: CODE, value: 10"), "login failed with exit code 10"),
        ("{}", ("./bin/login", "does-not-exist"), "exec: executable does-not-exist not found\n\nGet it."),
        ("{}", ("./bin/login", "./config"), "/config: permission denied"),
    ],
)
async def test_what_a_program_does_wrong_is_said(
    tmp_path: Path, says: str, change: tuple[str, str], why: str
) -> None:
    Program(tmp_path).says.write_text(says)
    user = LOGIN.replace("exec: {", "exec: {installHint: Get it., ").replace(*change)
    config = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", "insecure-skip-tls-verify: true", user)
    async with HttpClient(load_connection([config])) as client:
        with pytest.raises(Unreachable) as refused:
            await ask(client)
    assert str(refused.value).startswith("getting credentials: ")
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("command: ./bin/login, ", ""), "command must be specified for u to use exec authentication plugin"),
        ((f"apiVersion: {V1}, ", ""), "apiVersion must be specified for u to use exec authentication plugin"),
        (("interactiveMode: Never, ", ""), "interactiveMode must be specified for u to use exec"),
        (("Never", "Perhaps"), 'invalid interactiveMode for u: "Perhaps"'),
        ((V1, "v7"), 'exec plugin: invalid apiVersion "v7"'),
    ],
)
def test_a_program_that_is_not_described_well_is_refused(
    tmp_path: Path, change: tuple[str, str], why: str
) -> None:
    config = kubeconfig(tmp_path / "config", "https://x", "", LOGIN.replace(*change))
    with pytest.raises(KubeconfigError) as refused:
        load_connection([config])
    assert why in str(refused.value)
