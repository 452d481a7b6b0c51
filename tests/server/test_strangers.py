"""Every endpoint, tried by those who have no business there."""

import hashlib
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import jwt
import pytest

from kubelib.api.core.pod import Pod
from kubelib.clock import SYSTEM_CLOCK
from kubelib.registry.base import User
from kubelib.server.authn import user_of_certificate
from kubelib.server.authn.tokens import TokenKey
from kubelib.server.listener import bind, serve
from kubelib.server.nodeserver import NodeServer
from kubelib.server.tls import Tls
from kubelib.testing.cluster import Cluster
from reference_cluster import pki
from reference_cluster.apiserver import run_api_server

METHODS = {
    "get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH",
    "delete": "DELETE", "deletecollection": "DELETE",
}  # fmt: skip
PUBLIC = ("/healthz", "/livez", "/readyz", "/version")
TRUSTED = "/apis/certificates.k8s.io/v1/clustertrustbundles"
FOR_EVERYBODY_KNOWN = ("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews")


@pytest.fixture
def admin(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield client


def endpoints(admin: httpx.Client) -> Iterator[tuple[str, str]]:
    """Yield method and path of everything that discovery names, objects and subresources included."""
    versions = ["/api/v1"]
    for group in admin.get("/apis").json()["groups"]:
        versions += [f"/apis/{version['groupVersion']}" for version in group["versions"]]
    for version in versions:
        for resource in admin.get(version).json()["resources"]:
            name, _, subresource = resource["name"].partition("/")
            places = ["", "/namespaces/default"] if resource["namespaced"] else [""]
            for place in places:
                for verb in resource["verbs"]:
                    whole = verb in ("list", "watch", "create", "deletecollection") and not subresource
                    path = f"{version}{place}/{name}" + ("" if whole else "/x")
                    path += f"/{subresource}" if subresource else ""
                    yield METHODS[verb], path + ("?watch=true&timeoutSeconds=1" if verb == "watch" else "")
    for path in admin.get("/").json()["paths"]:
        if not path.startswith(PUBLIC):
            yield "GET", path


def tried(admin: httpx.Client, headers: list[tuple[str, str]]) -> dict[tuple[str, str], int]:
    with httpx.Client(base_url=admin.base_url, headers=headers, timeout=60) as stranger:
        return {
            (method, path): stranger.request(
                method, path, json={} if method in ("POST", "PUT", "PATCH") else None
            ).status_code
            for method, path in endpoints(admin)
        }


def test_there_are_endpoints_to_try(admin: httpx.Client) -> None:
    found = set(endpoints(admin))
    assert len(found) > 500
    assert ("POST", "/api/v1/namespaces/default/serviceaccounts/x/token") in found
    assert ("GET", "/metrics") in found


def test_without_credentials_nothing_is_to_be_had_but_health_and_version(admin: httpx.Client) -> None:
    assert {call: code for call, code in tried(admin, []).items() if code != 403} == {}
    with httpx.Client(base_url=admin.base_url, timeout=60) as stranger:
        assert [stranger.get(path).status_code for path in PUBLIC] == [200] * 4


@pytest.mark.parametrize(
    "authorization",
    ["Bearer wrong", "bearer wrong", "Bearer wrong a b", "Bearer a.b.c", "Bearer abcdef.0123456789abcdef"],
)
def test_wrong_credentials_are_refused_and_not_taken_for_none(
    admin: httpx.Client, authorization: str
) -> None:
    headers = [("authorization", authorization)]
    if authorization == "Bearer wrong":
        assert {call: code for call, code in tried(admin, headers).items() if code != 401} == {}
    with httpx.Client(base_url=admin.base_url, headers=headers, timeout=60) as stranger:
        for path in ("/api/v1/pods", "/healthz", "/version"):
            assert stranger.get(path).status_code == 401


@pytest.mark.parametrize(
    "authorization",
    ["Bearer", "bearer", "Bearer  wrong", "Bearer\twrong", "Basic YWRtaW46YWRtaW4=", "Token x"],
)
def test_what_is_no_bearer_token_shows_nothing(admin: httpx.Client, authorization: str) -> None:
    headers = {"authorization": authorization}
    with httpx.Client(base_url=admin.base_url, headers=headers, timeout=60) as stranger:
        assert [stranger.get(path).status_code for path in PUBLIC] == [200] * 4
        answer = stranger.get("/api/v1/pods")
        assert answer.status_code == 403
        assert 'User "system:anonymous"' in answer.json()["message"]


@pytest.mark.parametrize(
    ("subject", "user"),
    [
        ([("commonName", "jane"), ("organizationName", "a"), ("organizationName", "b")], ("jane", "")),
        ([("commonName", "other"), ("commonName", "jane")], ("jane", "")),
        ([("commonName", "jane"), ("1.3.6.1.4.1.57683.2", "u-1")], ("jane", "u-1")),
        ([("commonName", "jane"), ("1.3.6.1.4.1.57683.2", "")], None),
        ([("commonName", "jane"), ("1.3.6.1.4.1.57683.2", "a"), ("1.3.6.1.4.1.57683.2", "b")], None),
        ([("organizationName", "a")], None),
        ([("commonName", "")], None),
    ],
)
def test_a_certificate_stands_for_whom_its_subject_names(
    subject: list[tuple[str, str]], user: tuple[str, str] | None
) -> None:
    found = user_of_certificate({"subject": [[part] for part in subject]}, b"certificate")
    assert (found and (found.name, found.uid)) == user
    if found is not None:
        groups = tuple(value for kind, value in subject if kind == "organizationName")
        assert found.groups == (*groups, "system:authenticated")
        digest = hashlib.sha256(b"certificate").hexdigest()
        assert found.extra == (("authentication.kubernetes.io/credential-id", (f"X509SHA256={digest}",)),)


def test_a_user_without_rights_learns_what_there_is_and_who_they_are(admin: httpx.Client) -> None:
    make = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "nobody"}}
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    assert admin.post(accounts, json=make).status_code == 201
    request = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"}
    token = admin.post(f"{accounts}/nobody/token", json=request).json()["status"]["token"]
    allowed = {
        path
        for (_, path), code in tried(admin, [("authorization", f"Bearer {token}")]).items()
        if code != 403 and not path.endswith(FOR_EVERYBODY_KNOWN)
    }
    discovery = set(admin.get("/").json()["paths"]) - {"/", "/metrics"}
    # Which authorities there are is for all service accounts to know.
    trusted = {path for path in allowed if path.startswith(TRUSTED)}
    assert trusted
    assert allowed - trusted <= discovery


@pytest.fixture
def bad_tokens(kubelib_cluster: Cluster, admin: httpx.Client) -> dict[str, str]:
    """Tokens that were good, or are for something else, or are made up."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    for name in ("robot", "gone"):
        make = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": name}}
        assert admin.post(accounts, json=make).status_code == 201

    def token(account: str, **spec: Any) -> str:
        request = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
        answer = admin.post(f"{accounts}/{account}/token", json=request)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["status"]["token"])

    expired = token("robot", expirationSeconds=600)
    kubelib_cluster.clock.advance(seconds=700)
    good, gone = token("robot"), token("gone")
    assert admin.delete(f"{accounts}/gone").status_code == 200
    head, claims, signature = good.split(".")
    told = jwt.decode(good, options={"verify_signature": False})
    return {
        "expired": expired,
        "for others": token("robot", audiences=["vault"]),
        "of an account that is gone": gone,
        "changed": f"{head}.{claims[:-2]}AA.{signature}",
        "unsigned": jwt.encode(told, "", "none"),
        "signed by anybody": jwt.encode(told, "x" * 32, "HS256"),
        "signed by a foreign key": jwt.encode(told, TokenKey.generated().private, "ES256"),
    }


def test_tokens_that_are_not_good_open_nothing_anywhere(
    admin: httpx.Client, bad_tokens: dict[str, str]
) -> None:
    """Each endpoint with one of them, each of them at a hundred endpoints: who somebody is, is found out before all else."""
    tokens = list(bad_tokens.items())
    found: dict[tuple[str, str, str], int] = {}
    with httpx.Client(base_url=admin.base_url, timeout=60) as stranger:
        for number, (method, path) in enumerate([*endpoints(admin), *(("GET", path) for path in PUBLIC)]):
            name, token = tokens[number % len(tokens)]
            headers = {"authorization": f"Bearer {token}"}
            body: dict[str, Any] | None = {} if method in ("POST", "PUT", "PATCH") else None
            found[name, method, path] = stranger.request(method, path, json=body, headers=headers).status_code
    assert {call: code for call, code in found.items() if code != 401} == {}


# Connections that leave HTTP


WEBSOCKET = {"upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
UPGRADES = [
    *(
        {**WEBSOCKET, "sec-websocket-protocol": protocol}
        for protocol in ("v5.channel.k8s.io", "v4.channel.k8s.io", "SPDY/3.1+portforward.k8s.io", "base64.binary.k8s.io")
    ),
    WEBSOCKET,
    {"upgrade": "SPDY/3.1", "x-stream-protocol-version": "v4.channel.k8s.io"},
    {"upgrade": "SPDY/3.1", "x-stream-protocol-version": "portforward.k8s.io"},
    {"upgrade": "h2c", "http2-settings": "AAMAAABkAAQAAP__"},
]  # fmt: skip
PODS = "/api/v1/namespaces/default/pods"
CONNECTIONS = (
    f"{PODS}/p/exec?command=id&stdout=true",
    f"{PODS}/p/attach?stdout=true",
    f"{PODS}/p/portforward?ports=80",
    f"{PODS}/p/log?follow=true",
    f"{PODS}/p:80/proxy/",
    "/api/v1/namespaces/default/services/kubernetes:443/proxy/",
    "/api/v1/nodes/n/proxy/exec/default/p/c?command=id&output=1",
    "/api/v1/nodes/n:10250/proxy/pods",
    f"{PODS}?watch=true",
    "/api/v1/secrets?watch=true",
    "/apis/apps/v1/namespaces/default/deployments/d/exec",
)


def upgraded(open_: Callable[[], socket.socket], path: str, headers: Mapping[str, str]) -> str:
    """Ask for an upgrade; return the status line of the answer, and what follows the head."""
    lines = [
        f"GET {path} HTTP/1.1",
        "host: x",
        "connection: Upgrade",
        *(f"{n}: {v}" for n, v in headers.items()),
    ]
    with open_() as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        received = b""
        while b"\r\n" not in received:
            data = connection.recv(65536)
            if not data:
                break
            received += data
    return received.partition(b"\r\n")[0].decode()


def test_no_upgrade_is_a_way_around_who_one_is_and_what_one_may(
    admin: httpx.Client, kubelib_cluster: Cluster
) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}
    assert admin.post(PODS, json=pod).status_code == 201
    nobody = kubelib_cluster.user("nobody").token
    host, _, port = kubelib_cluster.url.removeprefix("http://").partition(":")

    def connect() -> socket.socket:
        return socket.create_connection((host, int(port)), timeout=60)

    for path in CONNECTIONS:
        for upgrade in UPGRADES:
            for authorization, code in (
                ({}, 403),
                ({"authorization": "Bearer wrong"}, 401),
                ({"authorization": f"Bearer {nobody}"}, 403),
            ):
                answer = upgraded(connect, path, {**upgrade, **authorization})
                assert answer.startswith(f"HTTP/1.1 {code} "), (path, upgrade, authorization, answer)


class _Shifted:
    """The clock of an authority that worked long ago, or will."""

    def __init__(self, days: float) -> None:
        self._days = days

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self._days)


NODE_PATHS = (
    "/pods", "/runningpods", "/stats/summary", "/metrics", "/metrics/resource", "/metrics/cadvisor", "/metrics/probes", "/configz",
    "/containerLogs/default/p/c", "/containerLogs/default/p/c?follow=true", "/exec/default/p/c?command=id&output=1",
    "/attach/default/p/c?output=1", "/portForward/default/p?port=80", "/run/default/p/c?cmd=id", "/logs/", "/logs/..%2f..%2fetc/passwd",
    "/debug/pprof/", "/checkpoint/default/p/c", "/", "//pods", "/x",
)  # fmt: skip


class _Untouched:
    """What stands for a node's runtime: nobody gets as far as to ask it for anything."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a stranger got to {name}")


async def _may_nothing(user: User, subresource: str) -> bool:
    return False


async def test_a_node_opens_nothing_to_strangers(tmp_path: Path) -> None:
    authority = pki.Authority(tmp_path / "pki")
    nobody = authority.client("nobody", pki.Identity("nobody"))
    early = pki.Authority(tmp_path / "pki", _Shifted(30)).client("early", pki.KUBELET_CLIENT)
    late = pki.Authority(tmp_path / "pki", _Shifted(-400)).client("late", pki.KUBELET_CLIENT)
    foreign = pki.Authority(tmp_path / "foreign").client("eve", pki.KUBELET_CLIENT)
    shown = authority.server("node", ["127.0.0.1"])
    node = NodeServer(
        _Untouched(),
        pod=lambda namespace, name: Pod(),
        pods=lambda: b"secret",
        allowed=_may_nothing,
    )

    def context(credential: pki.Credential | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(authority.ca))
        if credential is not None:
            made.load_cert_chain(credential.cert, credential.key)
        return made

    def try_all(port: int) -> None:
        for credential, code in ((None, 401), (nobody, 403)):
            with httpx.Client(
                base_url=f"https://127.0.0.1:{port}", verify=context(credential), trust_env=False, timeout=60
            ) as client:
                assert client.get("/healthz").text == "ok"
                for path in NODE_PATHS:
                    for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
                        answer = client.request(
                            method, path, headers={"authorization": "Bearer x", "x-remote-user": "root"}
                        )
                        assert (answer.status_code, b"secret" in answer.content) == (code, False), path
            trusted = context(credential)

            def connect(trusted: ssl.SSLContext = trusted) -> socket.socket:
                plain = socket.create_connection(("127.0.0.1", port), timeout=60)
                return trusted.wrap_socket(plain, server_hostname="127.0.0.1")

            for path in NODE_PATHS:
                for upgrade in UPGRADES:
                    line = upgraded(connect, path, upgrade)
                    expected = (400, code) if "SPDY" in upgrade["upgrade"] else (code,)
                    assert int(line.split()[1]) in expected, (path, upgrade, line)
        for credential in (early, late, foreign):
            with (
                pytest.raises((httpx.TransportError, ssl.SSLError)),
                httpx.Client(verify=context(credential), trust_env=False, timeout=60) as client,
            ):
                assert client.get(f"https://127.0.0.1:{port}/pods").status_code == 401
                raise ssl.SSLError  # refused in HTTP instead of TLS

    async with serve(
        node, bind("127.0.0.1", 0), Tls(shown.cert, shown.key, authority.ca), stop=node.stop
    ) as port:
        await anyio.to_thread.run_sync(try_all, port)


def test_certificates_of_strangers_and_of_the_past_open_nothing(tmp_path: Path) -> None:
    expired = pki.Authority(tmp_path / "pki", _Shifted(-400)).client("late", pki.ADMIN)
    early = pki.Authority(tmp_path / "pki", _Shifted(30)).client("early", pki.ADMIN)
    foreign = pki.Authority(tmp_path / "foreign").client("eve", pki.ADMIN)

    async def main() -> None:
        async with run_api_server(
            store="memory://", pki_directory=tmp_path / "pki", listen="127.0.0.1:0", clock=SYSTEM_CLOCK
        ) as server:
            good = server.authority.client("admin", pki.ADMIN)
            as_server = server.authority.server("fake", ["127.0.0.1"])

            async def get(credential: pki.Credential | None) -> Any:
                context = ssl.create_default_context(cafile=str(server.authority.ca))
                if credential is not None:
                    context.load_cert_chain(credential.cert, credential.key)
                async with httpx.AsyncClient(
                    verify=context, base_url=server.url, trust_env=False, timeout=60
                ) as client:
                    if credential is good:
                        body = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
                        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
                        info = (await client.post(path, json=body)).json()["status"]["userInfo"]
                        der = ssl.PEM_cert_to_DER_cert(good.cert.read_text())
                        shown = [f"X509SHA256={hashlib.sha256(der).hexdigest()}"]
                        assert info["extra"] == {"authentication.kubernetes.io/credential-id": shown}
                    return (await client.get("/api/v1/secrets")).status_code

            assert await get(good) == 200
            assert await get(None) == 403
            for credential in (expired, early, foreign, as_server):
                try:
                    answer = await get(credential)
                except (httpx.TransportError, ssl.SSLError):
                    continue  # refused before anything could be asked
                assert answer in (401, 403)

    anyio.run(main)
