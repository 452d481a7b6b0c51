"""Users of an OpenID Connect provider, which runs beside the test and speaks TLS."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kubelib.server.authn import oidc
from kubelib.server.authn.oidc import OidcSettings, OidcTokens
from kubelib.server.authn.tokens import TokenKey, TokenSigner
from kubelib.testing.certificates import Authority


class Provider:
    """An identity provider with one key at a time."""

    def __init__(self, directory: Path) -> None:
        authority = Authority()
        self.ca = authority.certificate.decode()
        cert, key = authority.server("127.0.0.1").write(directory, "provider")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.asked = 0
        self.more: list[dict[str, Any]] = []
        """Further keys beside its own."""
        self.rotate("one")
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                found = {
                    "/.well-known/openid-configuration": {
                        "issuer": provider.url,
                        "jwks_uri": f"{provider.url}/keys",
                    },
                    "/keys": {"keys": [provider.jwk, *provider.more, {"kty": "nonsense"}]},
                }[self.path]
                body = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def rotate(self, kid: str) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.kid = kid
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        self.jwk: dict[str, Any] = {**public, "kid": kid, "use": "sig", "alg": "RS256"}

    def token(self, **claims: Any) -> str:
        now = int(time.time())
        all_claims = {
            "iss": self.url,
            "aud": "kubelib",
            "sub": "jane",
            "iat": now,
            "exp": now + 600,
            **claims,
        }
        all_claims = {name: value for name, value in all_claims.items() if value is not None}
        return jwt.encode(all_claims, self.key, "RS256", headers={"kid": self.kid})

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("oidc"))
    yield provider
    provider.close()


def tokens(provider: Provider, **settings: Any) -> OidcTokens:
    return OidcTokens(OidcSettings(issuer=provider.url, client_id="kubelib", ca=provider.ca, **settings))


async def test_a_token_stands_for_its_user_with_the_issuer_before_the_name(provider: Provider) -> None:
    known = tokens(provider)
    asked = provider.asked
    for _ in range(2):
        assert await known.authenticate(provider.token(jti="t1")) is not None
    found = await known.authenticate(provider.token(jti="t1"))
    assert found is not None
    user = found[0]
    assert user.name == f"{provider.url}#jane"
    assert user.groups == ("system:authenticated",)
    assert user.extra == (("authentication.kubernetes.io/credential-id", ("JTI=t1",)),)
    assert provider.asked == asked + 2, "the provider is asked for its keys once"


async def test_claims_prefixes_and_groups_are_read_as_the_flags_say(provider: Provider) -> None:
    known = tokens(
        provider,
        username_claim="email",
        groups_claim="roles",
        groups_prefix="oidc:",
        required_claims={"hd": "x"},
    )
    good: dict[str, Any] = {"email": "j@x", "email_verified": True, "roles": ["a", "b"], "hd": "x"}
    found = await known.authenticate(provider.token(**good))
    assert found is not None
    assert (found[0].name, found[0].groups) == ("j@x", ("oidc:a", "oidc:b", "system:authenticated"))
    found = await known.authenticate(provider.token(**{**good, "roles": "one"}))
    assert found is not None
    assert found[0].groups == ("oidc:one", "system:authenticated")
    for change in (
        {"email_verified": False},
        {"hd": "y"},
        {"hd": None},
        {"email": None},
        {"roles": [1]},
        {"email": 3},
    ):
        assert await known.authenticate(provider.token(**{**good, **change})) is None, change


async def test_a_provider_may_be_minutes_ahead_and_need_not_name_its_key(provider: Provider) -> None:
    known = tokens(provider)
    assert await known.authenticate(provider.token(nbf=int(time.time()) + 240)) is not None
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    second = rsa.generate_private_key(65537, 2048)
    other = jwt.algorithms.RSAAlgorithm.to_jwk(second.public_key(), as_dict=True)
    provider.more = [{**other, "kid": "second", "use": "sig", "alg": "RS256"}]
    known = tokens(provider)
    for key in (provider.key, second):
        assert await known.authenticate(jwt.encode(claims, key, "RS256")) is not None
    assert (
        await known.authenticate(jwt.encode(claims, rsa.generate_private_key(65537, 2048), "RS256")) is None
    )
    provider.more = []


async def test_what_is_not_from_or_for_us_is_refused(provider: Provider) -> None:
    known = tokens(provider)
    now = int(time.time())
    stranger = rsa.generate_private_key(65537, 2048)
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    head, body, signature = provider.token().split(".")
    for token in (
        provider.token(aud="other"),
        provider.token(iss="https://elsewhere"),
        provider.token(exp=now - 1),
        provider.token(exp=None),
        provider.token(exp="never"),
        provider.token(nbf=now + 360),
        jwt.encode(claims, stranger, "RS256", headers={"kid": provider.kid}),
        jwt.encode(claims, "secret" * 10, "HS256", headers={"kid": provider.kid}),
        f"{head}.{body}.{signature[:-6]}AAAAAA",
        f"{head}.{body}.",
        "a.b.c",
        "x" * 100_000,
    ):
        assert await known.authenticate(token) is None, token[:60]
    assert await known.authenticate(provider.token(), ["vault"]) is None


async def test_a_new_key_is_fetched_but_a_flood_of_unknown_ones_asks_no_more(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tokens(provider)
    assert await known.authenticate(provider.token()) is not None
    provider.rotate("two")
    asked = provider.asked
    assert await known.authenticate(provider.token()) is None, "it was asked a moment ago"
    assert provider.asked == asked
    monkeypatch.setattr(oidc, "REFRESH", 0.0)
    assert await known.authenticate(provider.token()) is not None


async def test_a_provider_that_does_not_answer_lets_nobody_in() -> None:
    settings = OidcSettings(issuer="https://127.0.0.1:1", client_id="kubelib")
    now = int(time.time())
    claims = {"iss": settings.issuer, "aud": "kubelib", "sub": "a", "exp": now + 60}
    token = jwt.encode(claims, rsa.generate_private_key(65537, 2048), "RS256", headers={"kid": "k"})
    assert await OidcTokens(settings).authenticate(token) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"issuer": "http://x", "client_id": "a"},
        {"issuer": "https://x", "client_id": ""},
        {"issuer": "https://x", "client_id": "a", "algorithms": ("HS256",)},
        {"issuer": "https://x", "client_id": "a", "algorithms": ("none",)},
    ],
)
def test_settings_that_would_be_unsafe_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|use --|cannot be used"):
        OidcSettings(**settings)


def _pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def test_tokens_of_a_former_key_are_good_while_it_is_named() -> None:
    old, new = _pem(ec.generate_private_key(ec.SECP256R1())), _pem(rsa.generate_private_key(65537, 2048))
    claims = {"sub": "a", "aud": ["x"], "iat": 1, "exp": 2}
    before = TokenSigner(TokenKey(lambda: old))
    token = before.sign(claims)
    both = TokenSigner(TokenKey(lambda: new), verifying=[TokenKey(lambda: old)])
    assert both.verify(token) is not None
    assert both.verify(both.sign(claims)) is not None
    assert jwt.get_unverified_header(both.sign(claims))["alg"] == "RS256"
    assert TokenSigner(TokenKey(lambda: new)).verify(token) is None
    keys = jwt.PyJWKSet.from_json(both.jwks().decode())
    assert len(keys.keys) == 2
    kid = jwt.get_unverified_header(token)["kid"]
    assert jwt.decode(
        token, keys[kid], algorithms=["ES256"], options={"verify_exp": False, "verify_aud": False}
    )


def test_keys_that_are_too_weak_or_no_keys_are_refused() -> None:
    weak = _pem(rsa.generate_private_key(65537, 1024))
    with pytest.raises(ValueError, match="2048 bits"):
        TokenKey(lambda: weak).public  # noqa: B018
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert TokenKey(lambda: pem).algorithm == "ES256"
    with pytest.raises(ValueError, match="private key"):
        TokenKey(lambda: pem).private  # noqa: B018
