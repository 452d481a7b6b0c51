"""TLS as a server has it: files that change while it serves, versions, cipher suites, and further authorities of users."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.streams.tls import TLSAttribute, TLSStream
from click.testing import CliRunner

from kubelib.api.core.config import ConfigMap
from kubelib.api.meta import Key
from kubelib.client import credentials
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.client.local import LocalClient
from kubelib.clock import SystemClock
from kubelib.server import tls as tls_module
from kubelib.server.aggregation import trust
from kubelib.server.listener import bind, serve
from kubelib.server.sni import NamedCertificate
from kubelib.server.tls import Tls, cipher_of
from kubelib.testing.certificates import Authority
from reference_cluster import pki, renewal
from reference_cluster.access import AccessSettings
from reference_cluster.apiserver import RunningServer, run_api_server
from reference_cluster.cli import kubelib

HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_module, "LOOK_EVERY", 0.0)


async def who(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the name of the user that the connection's certificate stands for."""
    user = scope["state"]["user"]
    body = (user.name if user is not None else "nobody").encode()
    start = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": start})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(tls: Tls) -> AsyncIterator[str]:
    with bind(HOST, 0) as listening:
        async with serve(who, listening, tls) as port:
            yield f"https://{HOST}:{port}"


def trusting(authority: Authority, *, client: Authority | None = None, user: str = "jane") -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    if client is not None:
        client.client(user).load_into(context)
    return context


def asking(url: str, context: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, verify=context, trust_env=False, timeout=60)


async def ask(url: str, context: ssl.SSLContext) -> str:
    async with asking(url, context) as client:
        return (await client.get("/")).text


async def test_a_certificate_that_is_replaced_is_shown_to_those_who_connect_from_then_on(
    tmp_path: Path,
) -> None:
    old, new = Authority(), Authority()
    files = old.server(HOST).write(tmp_path, "server")
    async with serving(Tls(*files)) as url, asking(url, trusting(old)) as connected:
        assert (await connected.get("/")).text == "nobody"
        new.server(HOST).write(tmp_path, "server")
        assert await ask(url, trusting(new)) == "nobody"
        with pytest.raises(httpx.ConnectError):
            await ask(url, trusting(old))
        assert (await connected.get("/")).text == "nobody", "a connection stays as it was"
        good = files[0].read_bytes()
        for bad in (b"", b"nonsense", old.certificate):
            files[0].write_bytes(bad)
            assert await ask(url, trusting(new)) == "nobody"
        files[0].unlink()
        assert await ask(url, trusting(new)) == "nobody"
        files[0].write_bytes(good)
        assert await ask(url, trusting(new)) == "nobody"


async def test_a_client_is_shown_the_certificate_for_the_name_that_it_wants(tmp_path: Path) -> None:
    names = (HOST, "own.example.com", "own.example.com", "*.example.com")
    files = [Authority().server(name).write(tmp_path, f"s{number}") for number, name in enumerate(names)]
    given = ("given.example.com", "own.example.com")
    named = [NamedCertificate(*files[1]), NamedCertificate(*files[2], given), NamedCertificate(*files[3])]
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE

    async def shown(port: int, name: str) -> int:
        """Return the number of the certificate that a client sees who wants a name."""
        async with (
            await anyio.connect_tcp(HOST, port) as plain,
            await TLSStream.wrap(
                plain, hostname=name, ssl_context=unverified, standard_compatible=False
            ) as stream,
        ):
            found = stream.extra(TLSAttribute.peer_certificate_binary) or b""
        pem = ssl.DER_cert_to_PEM_cert(found).strip().encode()
        (number,) = [number for number, (cert, _) in enumerate(files) if pem in cert.read_bytes()]
        return number

    with bind(HOST, 0) as listening:
        async with serve(who, listening, Tls(*files[0], named=named)) as port:
            for name, number in (
                ("own.example.com", 2), ("OWN.example.com", 2), ("given.example.com", 2), ("other.example.com", 3),
                ("a.b.example.com", 0), ("elsewhere.org", 0),
            ):  # fmt: skip
                assert await shown(port, name) == number, name
            Authority().server("*.example.com").write(tmp_path, "s3")
            assert await shown(port, "other.example.com") == 3


async def test_an_authority_of_users_that_is_replaced_lets_no_others_in(tmp_path: Path) -> None:
    server, old, new = Authority(), Authority(), Authority()
    trusted = tmp_path / "clients.crt"
    trusted.write_bytes(old.certificate)
    async with serving(Tls(*server.server(HOST).write(tmp_path, "server"), trusted)) as url:
        assert await ask(url, trusting(server, client=old)) == "jane"
        trusted.write_bytes(new.certificate + old.certificate)
        assert await ask(url, trusting(server, client=old)) == "jane"
        assert await ask(url, trusting(server, client=new)) == "jane"
        trusted.write_bytes(new.certificate)
        assert await ask(url, trusting(server, client=new)) == "jane"
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            assert await ask(url, trusting(server, client=old)) != "jane"
            raise ssl.SSLError  # refused in HTTP instead of TLS


async def test_clients_that_speak_nothing_new_enough_or_good_enough_are_refused(tmp_path: Path) -> None:
    server = Authority()
    files = server.server(HOST).write(tmp_path, "server")
    old = trusting(server)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(Tls(*files)) as url:
        assert await ask(url, old) == "nobody"
    only_new = (
        Tls(*files, minimum=ssl.TLSVersion.TLSv1_3),
        Tls(*files, ciphers=[cipher_of("TLS_AES_128_GCM_SHA256")]),
    )
    for tls in only_new:
        async with serving(tls) as url:
            assert await ask(url, trusting(server)) == "nobody"
            with pytest.raises(httpx.ConnectError):
                await ask(url, old)
    weaker, stronger = (
        cipher_of(f"TLS_ECDHE_ECDSA_WITH_{name}") for name in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384")
    )
    async with serving(Tls(*files, ciphers=[stronger])) as url:
        old.set_ciphers(weaker)
        with pytest.raises(httpx.ConnectError):
            await ask(url, old)
        old.set_ciphers(f"{weaker}:{stronger}")
        assert await ask(url, old) == "nobody"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--tls-cipher-suites", "TLS_RSA_WITH_NONSENSE"], "Cipher suite TLS_RSA_WITH_NONSENSE not supported or doesn't exist"),
        (["--tls-min-version", "VersionTLS10"], "VersionTLS12"),
        (["--strict-transport-security-directives", "max-age"], "allowed values: max-age=expireTime, includeSubDomains, preload"),
        (["--strict-transport-security-directives", "preload,"], "empty value in strict-transport-security-directives"),
        (["--tls-sni-cert-key", "a.crt"], "expected comma separated certificate and key file paths"),
        (["--tls-sni-cert-key", "a.crt,a.key:"], "empty names list is not allowed"),
        (["--client-ca-file", "missing.crt"], "cannot read missing.crt"),
        (["--shutdown-delay-duration", "soon"], "'soon' is no duration"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(tmp_path: Path, arguments: list[str], why: str) -> None:
    found = CliRunner().invoke(kubelib, ["apiserver", "--data-dir", str(tmp_path), *arguments])
    assert found.exit_code != 0
    assert why in found.output


class Later:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.by = timedelta()
        self._clock = SystemClock()

    def now(self) -> datetime:
        return self._clock.now() + self.by


Run = Callable[..., AbstractAsyncContextManager[RunningServer]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    @asynccontextmanager
    async def run(clock: Any = None, **access: Any) -> AsyncIterator[RunningServer]:
        settings = AccessSettings(**access)
        how = {"clock": clock} if clock is not None else {}
        async with run_api_server(
            store="memory://", pki_directory=tmp_path / "pki", listen=f"{HOST}:0", access=settings, **how
        ) as server:
            yield server

    return run


def known(server: RunningServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.authority.ca))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(60):
        while not await holds():
            await anyio.sleep(0.01)


async def test_users_of_a_further_authority_are_known_and_others_learn_of_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "LOOK_EVERY", 0.05)
    first, second, file = Authority(), Authority(), tmp_path / "more.crt"
    file.write_bytes(first.certificate)
    async with run(client_cas=[file]) as server:
        maps = LocalClient(server.registries).resource(ConfigMap)

        async def told(*authorities: Authority) -> bool:
            data = (await maps.get(Key("kube-system", "extension-apiserver-authentication"))).data
            wanted = [server.authority.ca.read_bytes(), *(one.certificate for one in authorities)]
            return sorted(data["client-ca-file"].encode().split(b"-----BEGIN")) == sorted(
                b"".join(wanted).split(b"-----BEGIN")
            )

        async def name(authority: Authority) -> str:
            context = known(server)
            authority.client("jane").load_into(context)
            review = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
            async with asking(server.url, context) as client:
                answer = await client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json=review)
            return str(answer.json()["status"]["userInfo"]["username"])

        assert await told(first)
        assert await name(first) == "jane"
        file.write_bytes(second.certificate)
        # What was trusted stays until it expires: another API server may say it, and its certificates are about.
        await until(lambda: told(first, second))
        assert await name(second) == "jane"


async def test_the_servers_certificate_is_made_anew_before_it_expires(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "RENEW_EVERY", 0.05)
    clock = Later()
    async with run(clock) as server:
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE

        async def shown() -> bytes:
            port = int(server.url.rpartition(":")[2])
            async with await anyio.connect_tcp(
                HOST, port, ssl_context=unverified, tls_standard_compatible=False
            ) as stream:
                return stream.extra(TLSAttribute.peer_certificate_binary) or b""

        before = await shown()
        await anyio.sleep(0.2)
        assert await shown() == before
        clock.by = timedelta(days=350)

        async def renewed() -> bool:
            return await shown() != before

        await until(renewed)


async def test_clients_go_on_with_certificates_that_are_made_anew_before_those_they_began_with_expire(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, value in (
        (renewal, "RENEW_EVERY", 0.1),
        (pki, "LEAF_LIFETIME", timedelta(seconds=4)),
        (pki, "RENEW_BEFORE", timedelta(seconds=2)),
        (credentials, "LOOK_EVERY", 0.1),
    ):
        monkeypatch.setattr(module, name, value)
    review = json.dumps({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}).encode()
    async with run() as server:
        path = server.kubeconfig(tmp_path / "scheduler.kubeconfig", "scheduler", pki.SCHEDULER)
        others = [
            tmp_path / "pki" / name for name in ("apiserver-kubelet-client", "front-proxy/front-proxy-client")
        ]
        before = [file.with_suffix(".crt").read_bytes() for file in others]
        seen: set[bytes] = set()
        async with HttpClient(load_connection([path])) as client:

            async def several_times() -> bool:
                where = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
                answer = json.loads((await client.request("POST", where, body=review)).body)
                assert answer["status"]["userInfo"]["username"] == pki.SCHEDULER.user
                seen.add(client.connection.cert_data)
                return len(seen) > 3  # the first is good for no longer than the third

            await until(several_times)
        for file, old in zip(others, before, strict=True):
            assert file.with_suffix(".crt").read_bytes() != old


async def test_answers_say_that_browsers_come_by_https_alone(run: Run) -> None:
    async with (
        run(security_directives=("max-age=31536000", "includeSubDomains", "preload")) as server,
        asking(server.url, known(server)) as client,
    ):
        for path, code in (("/version", 200), ("/api/v1/secrets", 403), ("/healthz", 200)):
            answer = await client.get(path)
            assert answer.status_code == code
            found = answer.headers.get_list("strict-transport-security")
            assert found == ["max-age=31536000; includeSubDomains; preload"]


async def test_nobody_is_anonymous_where_that_is_not_allowed(run: Run) -> None:
    async with run(anonymous=False) as server, asking(server.url, known(server)) as client:
        for path in ("/version", "/healthz", "/api/v1/secrets"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (
                401,
                'Bearer realm="kubernetes"',
            )
        context = known(server)
        credential = server.authority.client("admin", pki.ADMIN)
        context.load_cert_chain(credential.cert, credential.key)
        async with asking(server.url, context) as admin:
            assert (await admin.get("/api/v1/secrets")).status_code == 200


async def test_a_server_that_is_to_end_says_so_and_answers_for_a_while(run: Run) -> None:
    ended = anyio.Event()
    async with anyio.create_task_group() as group:

        async def running(*, task_status: Any) -> None:
            async with run(shutdown_delay=1.0) as server:
                task_status.started(server)
                await ended.wait()

        server: RunningServer = await group.start(running)
        async with asking(server.url, known(server)) as client:
            assert (await client.get("/readyz")).status_code == 200
            ended.set()

            async def unready() -> bool:
                return (await client.get("/readyz")).status_code == 500

            await until(unready)
            assert (await client.get("/version")).status_code == 200
            assert json.loads((await client.get("/api/v1/secrets")).content)["code"] == 403
            assert (await client.get("/livez")).status_code == 200
    with pytest.raises(httpx.ConnectError):
        await ask(server.url, known(server))


def test_what_others_say_of_authorities_is_kept_until_it_expires() -> None:
    one, two = (Authority().certificate.decode() for _ in range(2))
    now = datetime.now(UTC)
    both = trust.combined("client-ca-file", one, two, now)
    assert both == one + two
    for ours in (one, two, one + two, two + one):  # servers that say different things come to the same
        assert trust.combined("client-ca-file", both, ours, now) == both
    assert trust.combined("client-ca-file", both, one, now + timedelta(days=365 * 100)) == one
    assert trust.combined("client-ca-file", "nonsense", one, now) == one
    names = "requestheader-allowed-names"
    assert trust.combined(names, '["a","b"]', '["b","c"]', now) == '["a","b","c"]'
    assert trust.combined(names, "nonsense", '["b"]', now) == '["b"]'
