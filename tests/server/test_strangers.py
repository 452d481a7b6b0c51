"""Every endpoint, tried by those who have no business there."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from kubelib.clock import SYSTEM_CLOCK
from kubelib.testing.cluster import TestCluster
from reference_cluster import pki
from reference_cluster.apiserver import run_api_server

METHODS = {
    "get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH",
    "delete": "DELETE", "deletecollection": "DELETE",
}  # fmt: skip
PUBLIC = ("/healthz", "/livez", "/readyz", "/version")
FOR_EVERYBODY_KNOWN = ("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews")


@pytest.fixture
def admin(kubelib_cluster: TestCluster) -> Iterator[httpx.Client]:
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
    [
        "Bearer wrong",
        "Bearer",
        "Bearer a.b.c",
        "Bearer abcdef.0123456789abcdef",
        "Basic YWRtaW46YWRtaW4=",
        "bearer",
        "Token x",
        "Bearer\twrong",
    ],
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
    assert allowed <= discovery


class _Past:
    """The clock of an authority that worked long ago."""

    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(days=400)


def test_certificates_of_strangers_and_of_the_past_open_nothing(tmp_path: Path) -> None:
    old = pki.Authority(tmp_path / "pki", _Past())
    expired = old.client("late", pki.ADMIN)
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
                    return (await client.get("/api/v1/secrets")).status_code

            assert await get(good) == 200
            assert await get(None) == 403
            for credential in (expired, foreign, as_server):
                try:
                    answer = await get(credential)
                except (httpx.TransportError, ssl.SSLError):
                    continue  # refused before anything could be asked
                assert answer in (401, 403)

    anyio.run(main)
