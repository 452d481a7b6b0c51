"""Tokens of service accounts over HTTP: who gets them, what they are good for, and when they end."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import jwt
import pytest

from kubelib.api import legacytokens
from kubelib.api.core.config import ConfigMap, ServiceAccount
from kubelib.api.errors import NotFound
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.api.times import parse_time
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import WriteOptions
from kubelib.server.authn.legacytokens import Tracking
from kubelib.server.authn.tokens import ISSUER, ServiceAccountTokens, TokenKey, TokenSigner
from kubelib.sim import sim_backend
from kubelib.store import MemoryStore
from kubelib.testing.cluster import Cluster

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture
def admin(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "robot"}}
        assert client.post(ACCOUNTS, json=account).status_code == 201
        yield client


def ask(admin: httpx.Client, **spec: Any) -> httpx.Response:
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
    return admin.post(f"{ACCOUNTS}/robot/token", json=body)


def token(admin: httpx.Client, **spec: Any) -> str:
    answer = ask(admin, **spec)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["status"]["token"])


def who(admin: httpx.Client, bearer: str) -> httpx.Response:
    body = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    return admin.post(WHO, json=body, headers={"authorization": f"Bearer {bearer}"})


def pod(account: str = "robot") -> dict[str, Any]:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p"},
        "spec": {"serviceAccountName": account, "containers": [{"name": "c", "image": "i"}]},
    }


def test_a_token_stands_for_its_account(admin: httpx.Client) -> None:
    user = who(admin, token(admin)).json()["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:default:robot"
    assert user["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    ]
    assert user["uid"] == admin.get(f"{ACCOUNTS}/robot").json()["metadata"]["uid"]
    assert user["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")


def test_a_token_for_others_is_no_token_for_the_api(admin: httpx.Client) -> None:
    other = token(admin, audiences=["vault"])
    assert who(admin, other).status_code == 401
    review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": other}}
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    assert admin.post(path, json=review).json()["status"] == {
        "user": {},
        "error": f'[invalid bearer token, token audiences ["vault"] is invalid for the target audiences ["{ISSUER}"]]',
    }
    review["spec"] = {"token": other, "audiences": ["vault", "x"]}
    status = admin.post(path, json=review).json()["status"]
    assert status["authenticated"] is True
    assert status["audiences"] == ["vault"]
    assert status["user"]["username"] == "system:serviceaccount:default:robot"


def test_a_token_dies_with_its_account_and_does_not_rise_with_its_successor(admin: httpx.Client) -> None:
    bearer = token(admin)
    assert who(admin, bearer).status_code == 201
    admin.delete(f"{ACCOUNTS}/robot")
    assert who(admin, bearer).status_code == 401
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "robot"}}
    assert admin.post(ACCOUNTS, json=account).status_code == 201
    assert who(admin, bearer).status_code == 401


def test_a_review_says_why_a_token_is_not_good(admin: httpx.Client) -> None:
    def why(bearer: str) -> str:
        review = {"spec": {"token": bearer}}
        status = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", json=review).json()["status"]
        assert not status.get("authenticated")
        error: str = status["error"]
        return error.removeprefix("[invalid bearer token, ").removesuffix("]")

    pods, secrets = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/secrets"
    account = admin.get(f"{ACCOUNTS}/robot").json()["metadata"]["uid"]
    admin.post(pods, json=pod())
    admin.post(secrets, json={"metadata": {"name": "s"}})
    of_pod, of_secret = (
        token(admin, boundObjectRef={"apiVersion": "v1", "kind": kind, "name": name})
        for kind, name in (("Pod", "p"), ("Secret", "s"))
    )
    admin.delete(f"{pods}/p", params={"gracePeriodSeconds": 0})
    assert why(of_pod) == "service account token has been invalidated"
    before = admin.get(f"{secrets}/s").json()["metadata"]["uid"]
    admin.delete(f"{secrets}/s")
    again = admin.post(secrets, json={"metadata": {"name": "s"}}).json()["metadata"]["uid"]
    assert (
        why(of_secret) == f"secret UID ({again}) does not match service account secret ref claim ({before})"
    )
    plain = token(admin)
    admin.delete(f"{ACCOUNTS}/robot")
    assert why(plain) == 'serviceaccounts "robot" not found'
    successor = admin.post(ACCOUNTS, json={"metadata": {"name": "robot"}}).json()["metadata"]["uid"]
    assert why(plain) == f"service account UID ({successor}) does not match claim ({account})"
    assert why("nobody's") == "invalid bearer token"


def test_what_pods_get_works_for_a_year_but_says_that_it_is_for_an_hour(admin: httpx.Client) -> None:
    admin.post("/api/v1/namespaces/default/pods", json=pod())
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "p"}

    def seconds(**spec: Any) -> tuple[int, int | None]:
        answer = ask(admin, **spec).json()
        claims = jwt.decode(answer["status"]["token"], options={"verify_signature": False})
        told = parse_time(answer["status"]["expirationTimestamp"]).timestamp()
        assert (
            told
            == claims["iat"] + spec["expirationSeconds"]
            == claims["iat"] + answer["spec"]["expirationSeconds"]
        )
        warn = claims["kubernetes.io"].get("warnafter")
        return claims["exp"] - claims["iat"], warn and warn - claims["iat"]

    assert seconds(expirationSeconds=3607, boundObjectRef=bound) == (365 * 24 * 3600, 3607)
    assert seconds(expirationSeconds=3600, boundObjectRef=bound) == (3600, None)
    assert seconds(expirationSeconds=3607) == (3607, None)
    assert seconds(expirationSeconds=3607, boundObjectRef=bound, audiences=["vault"]) == (3607, None)


def test_who_asks_who_it_is_gets_a_date_and_no_name(admin: httpx.Client) -> None:
    metadata = admin.post(WHO, json={"metadata": {"name": "x"}}).json()["metadata"]
    assert list(metadata) == ["creationTimestamp"]
    assert parse_time(metadata["creationTimestamp"]) > datetime(2026, 1, 1, tzinfo=UTC)


def test_a_bound_token_dies_with_its_pod(admin: httpx.Client) -> None:
    pods = "/api/v1/namespaces/default/pods"
    made = admin.post(pods, json=pod()).json()
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"]}
    bearer = token(admin, boundObjectRef=reference)
    extra = who(admin, bearer).json()["status"]["userInfo"]["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert extra["authentication.kubernetes.io/pod-uid"] == [made["metadata"]["uid"]]
    admin.delete(f"{pods}/p", params={"gracePeriodSeconds": 0})
    assert who(admin, bearer).status_code == 401


def test_a_token_is_bound_only_to_what_is_there_and_belongs_together(admin: httpx.Client) -> None:
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p"}
    assert ask(admin, boundObjectRef=reference).status_code == 404
    assert ask(admin, boundObjectRef={**reference, "kind": "Service"}).status_code == 400
    assert admin.post("/api/v1/namespaces/default/pods", json=pod("somebody")).status_code == 201
    assert ask(admin, boundObjectRef=reference).status_code == 400
    assert ask(admin, boundObjectRef={**reference, "uid": "wrong"}).status_code == 409


@pytest.mark.parametrize("seconds", [0, 599, 2**32 + 1, -1])
def test_lifetimes_have_bounds(admin: httpx.Client, seconds: int) -> None:
    answer = ask(admin, expirationSeconds=seconds)
    assert answer.status_code == 422
    assert answer.json()["details"]["causes"][0]["field"] == "spec.expirationSeconds"


def test_a_dry_run_gives_no_token(admin: httpx.Client) -> None:
    answer = admin.post(
        f"{ACCOUNTS}/robot/token",
        params={"dryRun": "All"},
        json={"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"},
    )
    assert answer.status_code == 201
    assert not answer.json()["status"].get("token")


def test_strangers_verify_a_token_with_the_published_key(admin: httpx.Client) -> None:
    document = admin.get("/.well-known/openid-configuration").json()
    assert document["issuer"] == ISSUER
    assert document["jwks_uri"].endswith("/openid/v1/jwks")
    keys = jwt.PyJWKSet.from_dict(admin.get("/openid/v1/jwks").json())
    bearer = token(admin, audiences=["vault"])
    key = keys[jwt.get_unverified_header(bearer)["kid"]]
    assert jwt.decode(bearer, key, algorithms=["ES256"], audience="vault")["sub"].endswith(":robot")


def test_tampered_and_foreign_tokens_are_refused(admin: httpx.Client) -> None:
    bearer = token(admin)
    head, body, signature = bearer.split(".")
    claims = jwt.decode(bearer, options={"verify_signature": False})
    nothing = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    public = str(admin.get("/openid/v1/jwks").json()["keys"][0])
    stranger = TokenSigner(TokenKey.generated())
    for wrong in (
        f"{nothing}.{body}.",
        f"{nothing}.{body}.{signature}",
        f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        f"{head}.{body}",
        "a.b.c",
        "x" * 100_000,
        jwt.encode(claims, public, "HS256"),
        stranger.sign(claims),
    ):
        assert who(admin, wrong).status_code == 401, wrong[:80]


@pytest.mark.kubelib(controllers=True)
def test_a_secret_of_the_type_gets_the_token_of_its_account_which_dies_with_it(
    admin: httpx.Client, kubelib_cluster: Cluster
) -> None:
    secrets = "/api/v1/namespaces/default/secrets"
    secret: dict[str, Any] = {
        "kind": "Secret",
        "apiVersion": "v1",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "robot"}},
    }
    assert admin.post(secrets, json=secret).status_code == 201

    def filled() -> Any:
        found = admin.get(f"{secrets}/t").json()
        return found if "token" in (found.get("data") or {}) else None

    found = kubelib_cluster.eventually(filled)
    data = {name: base64.b64decode(value).decode() for name, value in found["data"].items()}
    assert data["namespace"] == "default"
    assert data["ca.crt"] == kubelib_cluster.ca.decode()
    uid = admin.get(f"{ACCOUNTS}/robot").json()["metadata"]["uid"]
    assert found["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == uid
    user = who(admin, data["token"]).json()["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:default:robot"
    listed = {"secrets": [{"name": "t"}, {"name": "other"}]}
    headers = {"Content-Type": "application/merge-patch+json"}
    assert admin.patch(f"{ACCOUNTS}/robot", json=listed, headers=headers).status_code == 200
    admin.delete(f"{secrets}/t")
    assert who(admin, data["token"]).status_code == 401

    def unlisted() -> bool:
        account = admin.get(f"{ACCOUNTS}/robot").json()
        return bool(account["secrets"] == [{"name": "other"}])

    kubelib_cluster.eventually(unlisted)
    assert admin.post(secrets, json=secret).status_code == 201
    kubelib_cluster.eventually(filled)
    admin.delete(f"{ACCOUNTS}/robot")
    kubelib_cluster.eventually(lambda: admin.get(f"{secrets}/t").status_code == 404)


TRACKING = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking"


@pytest.mark.kubelib(controllers=True)
def test_the_day_on_which_a_secrets_token_is_used_is_written_on_the_secret(
    admin: httpx.Client, kubelib_cluster: Cluster
) -> None:
    secret = "/api/v1/namespaces/default/secrets/t"
    body: dict[str, Any] = {
        "kind": "Secret",
        "apiVersion": "v1",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "robot"}},
    }
    assert admin.post("/api/v1/namespaces/default/secrets", json=body).status_code == 201

    def held() -> str:
        data = admin.get(secret).json().get("data") or {}
        return base64.b64decode(data.get("token", "")).decode()

    token = kubelib_cluster.eventually(held)
    mark = "kubernetes.io/legacy-token-last-used"
    assert mark not in (admin.get(secret).json()["metadata"].get("labels") or {})
    assert who(admin, token).status_code == 201
    found = admin.get(secret).json()["metadata"]
    assert found["labels"][mark] == datetime.now(UTC).date().isoformat()
    assert who(admin, token).status_code == 201
    assert admin.get(secret).json()["metadata"]["resourceVersion"] == found["resourceVersion"]
    merge = {"Content-Type": "application/merge-patch+json"}
    for day, noted in (
        ("2026-01-01", True),
        ((datetime.now(UTC) + timedelta(days=1)).date().isoformat(), False),
    ):
        admin.patch(secret, json={"metadata": {"labels": {mark: day}}}, headers=merge)
        assert who(admin, token).status_code == 201
        assert (admin.get(secret).json()["metadata"]["labels"][mark] != day) is noted
    # A token that is only bound to the Secret is not the one that it holds.
    admin.patch(secret, json={"metadata": {"labels": {mark: None}}}, headers=merge)
    reference = {"kind": "Secret", "apiVersion": "v1", "name": "t"}
    other = ask(admin, boundObjectRef=reference).json()["status"]["token"]
    assert who(admin, other).status_code == 201
    assert mark not in (admin.get(secret).json()["metadata"].get("labels") or {})
    invalid = "kubernetes.io/legacy-token-invalid-since"
    admin.patch(secret, json={"metadata": {"labels": {invalid: "2026-01-01"}}}, headers=merge)
    assert who(admin, token).status_code == 401
    assert who(admin, other).status_code == 201
    review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
    answer = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", json=review).json()
    assert answer["status"]["error"] == (
        "[invalid bearer token, the token in secret default/t for service account default/robot has been marked invalid."
        " Use tokens from the TokenRequest API or manually created secret-based tokens,"
        " or remove the 'kubernetes.io/legacy-token-invalid-since' label from the secret to temporarily allow use of"
        " this token]"
    )
    admin.patch(secret, json={"metadata": {"labels": {invalid: None}}}, headers=merge)
    assert who(admin, token).status_code == 201


def test_a_config_map_says_since_when_uses_are_noted(admin: httpx.Client) -> None:
    today = datetime.now(UTC).date().isoformat()
    assert admin.get(TRACKING).json()["data"] == {"since": today}


@pytest.mark.parametrize(
    ("data", "becomes"),
    [
        ({"since": "2022-12-27"}, {"since": "2022-12-27"}),
        ({"since": "2022-13-27", "a": "b"}, {"since": "2026-01-01", "a": "b"}),
        ({}, {"since": "2026-01-01"}),
    ],
)
def test_a_date_that_is_none_is_mended_and_what_somebody_takes_away_comes_back_later(
    data: dict[str, str], becomes: dict[str, str]
) -> None:
    async def main() -> None:
        async with MemoryStore() as store, ResourceRegistries(store, clock=_Hand()) as registries:
            await registries.bootstrap()
            maps = LocalClient(registries).resource(ConfigMap)
            tracking = Tracking(registries)
            await tracking.look()
            found = await maps.get(legacytokens.TRACKING)
            assert found.data == {"since": "2026-01-01"}
            await maps.update(replace(found, data=data))
            await tracking.look()
            assert (await maps.get(legacytokens.TRACKING)).data == becomes
            await maps.delete(legacytokens.TRACKING)
            await tracking.look()
            with pytest.raises(NotFound):
                await maps.get(legacytokens.TRACKING)
            await anyio.sleep(1801)
            await tracking.look()
            assert (await maps.get(legacytokens.TRACKING)).data == {"since": "2026-01-01"}

    name, options = sim_backend()
    anyio.run(main, backend=name, backend_options=options)


class _Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.date = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.date


def test_a_token_is_asked_for_of_the_account_that_is_there(admin: httpx.Client) -> None:
    uid = admin.get(f"{ACCOUNTS}/robot").json()["metadata"]["uid"]
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
    for given, code in (("", 201), (uid, 201), ("former", 409)):
        answer = admin.post(f"{ACCOUNTS}/robot/token", json={**body, "metadata": {"uid": given}})
        assert answer.status_code == code, answer.text
        if code == 201:
            assert answer.json()["metadata"]["uid"] == uid
    assert answer.json()["message"] == (
        'Operation cannot be fulfilled on TokenRequest.authentication.k8s.io "robot": the UID in the token request (former)'
        f" does not match the UID of the service account ({uid})"
    )
    made = admin.post("/api/v1/namespaces/default/pods", json=pod()).json()["metadata"]
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "former"}
    refused = ask(admin, boundObjectRef=reference)
    assert refused.status_code == 409 and made["uid"] != "former"
    assert refused.json()["message"].startswith(
        'Operation cannot be fulfilled on Pod "p": the UID in the bound'
    )


def test_a_pods_token_tells_its_node_and_its_uid_if_that_is_there(admin: httpx.Client) -> None:
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    body = pod()
    body["spec"]["nodeName"] = "n"
    admin.post("/api/v1/namespaces/default/pods", json=body)
    bearer = token(admin, boundObjectRef=reference)
    claims = jwt.decode(bearer, options={"verify_signature": False})["kubernetes.io"]
    assert claims["node"] == {"name": "n"}
    extra = who(admin, bearer).json()["status"]["userInfo"]["extra"]
    assert extra["authentication.kubernetes.io/node-name"] == ["n"]
    assert "authentication.kubernetes.io/node-uid" not in extra
    node = admin.post("/api/v1/nodes", json={"metadata": {"name": "n"}}).json()["metadata"]
    extra = who(admin, token(admin, boundObjectRef=reference)).json()["status"]["userInfo"]["extra"]
    assert extra["authentication.kubernetes.io/node-uid"] == [node["uid"]]


def test_the_audit_log_says_which_token_was_issued() -> None:
    async def main() -> None:
        async with MemoryStore() as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            registries.tokens = TokenSigner(TokenKey.generated())
            account = ServiceAccount(metadata=ObjectMeta(name="a", namespace="default"))
            await LocalClient(registries).resource(ServiceAccount).create(account)
            documents = registries.of(registries.scheme.of(ServiceAccount))
            said: dict[str, str] = {}
            options = WriteOptions(annotate=said.__setitem__)
            answer = await documents.create(
                {}, namespace="default", name="a", subresource="token", options=options
            )
            token = answer.tree()["status"]["token"]
            identity = jwt.decode(token, options={"verify_signature": False})["jti"]
            assert said == {"authentication.kubernetes.io/issued-credential-id": f"JTI={identity}"}

    anyio.run(main)


def test_a_remembered_token_still_expires() -> None:
    async def main() -> None:
        clock = _Hand()
        async with MemoryStore() as store, ResourceRegistries(store, clock=clock) as registries:
            await registries.bootstrap()
            signer = TokenSigner(TokenKey.generated(), clock=clock)
            registries.tokens = signer
            tokens = ServiceAccountTokens(signer, registries)
            accounts = LocalClient(registries).resource(ServiceAccount)
            account = await accounts.create(
                ServiceAccount(metadata=ObjectMeta(name="a", namespace="default"))
            )
            documents = registries.of(registries.scheme.of(ServiceAccount))
            answer = await documents.create({}, namespace="default", name="a", subresource="token")
            bearer = answer.tree()["status"]["token"]
            assert (await tokens.authenticate(bearer)) is not None
            clock.date += timedelta(seconds=3599)
            found = await tokens.authenticate(bearer)
            assert found is not None
            assert found[0].uid == account.metadata.uid
            clock.date += timedelta(seconds=61)  # clocks differ
            assert await tokens.authenticate(bearer) is not None
            clock.date += timedelta(seconds=1)
            assert await tokens.authenticate(bearer) is None
            assert tokens.refusal(bearer) == "service account token has expired"
            clock.date -= timedelta(seconds=3721)
            assert await tokens.authenticate(bearer) is not None
            clock.date -= timedelta(seconds=1)
            assert await tokens.authenticate(bearer) is None
            assert tokens.refusal(bearer) == "service account token is not valid yet"
            clock.date -= timedelta(days=1)
            assert await tokens.authenticate(bearer) is None
            assert tokens.refusal(bearer) == "service account token is not valid yet"

    anyio.run(main)
