"""Service-account tokens: JSON web tokens that the cluster signs, and that die with what they are bound to.

Claims, user names, groups and extra fields are those of ``pkg/serviceaccount`` in Kubernetes. A token whose signature has been
verified is remembered; its lifetime and the objects that it is bound to are looked at on every request.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import attrs

from kubelib.api.codec import encode_json
from kubelib.api.core.config import Secret, ServiceAccount
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key, Object
from kubelib.api.times import parse_time
from kubelib.api.validation.problems import quote
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.registry.base import User
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.authn import API_AUDIENCE
from kubelib.server.authn.legacytokens import HeldTokens

ISSUER = API_AUDIENCE
PRIVATE = "kubernetes.io"
"""The claim that holds what is Kubernetes' own."""
LEEWAY = timedelta(seconds=60)
"""For how long a token still works after its object was due to be gone, as in Kubernetes."""
SKEW = 60.0
"""By how many seconds the clock of another API server may be wrong: so much earlier and later a token works."""
_LONGEST = 16 * 1024
_REMEMBERED = 10_000
_EXTRA = "authentication.kubernetes.io/"
_BOUND: Mapping[str, type[Object]] = {"pod": Pod, "secret": Secret, "node": Node}


class TokenKey:
    """A key that signs tokens, or only verifies them: an elliptic-curve or an RSA key. `load` returns it as PEM when first needed."""

    def __init__(self, load: Callable[[], bytes]) -> None:
        self._load = load
        self._key: Any = None
        self._id = ""

    @classmethod
    def generated(cls) -> "TokenKey":
        """Return a key that lives as long as the process."""

        def load() -> bytes:
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric import ec

            return ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )

        return cls(load)

    def _loaded(self) -> Any:
        if self._key is None:
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric import ec, rsa

            pem = self._load()
            try:
                key: Any = serialization.load_pem_private_key(pem, None)
            except (TypeError, ValueError):
                key = serialization.load_pem_public_key(pem)
            public = key.public_key() if hasattr(key, "public_key") else key
            curves = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
            if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, curves):
                pass
            elif not isinstance(public, rsa.RSAPublicKey) or public.key_size < 2048:
                raise ValueError(
                    "a key of service-account tokens must be an RSA key of 2048 bits or more, or a P-256, P-384 or P-521 key"
                )
            self._key = key
        return self._key

    @property
    def private(self) -> Any:
        """The key that signs. Raises ValueError if what was loaded cannot."""
        key = self._loaded()
        if not hasattr(key, "public_key"):
            raise ValueError("the key that signs service-account tokens must be a private key")
        return key

    @property
    def public(self) -> Any:
        """The key that verifies. Raises ValueError if what was loaded is no such key."""
        key = self._loaded()
        return key.public_key() if hasattr(key, "public_key") else key

    @property
    def algorithm(self) -> str:
        """How the key signs: ``ES256``, ``RS256``, …"""
        curve = getattr(self.public, "curve", None)
        return "RS256" if curve is None else {256: "ES256", 384: "ES384", 521: "ES512"}[curve.key_size]

    @property
    def id(self) -> str:
        """The name of the key: the digest of its public half."""
        if not self._id:
            from cryptography.hazmat.primitives import serialization

            public = self.public.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            self._id = _base64(hashlib.sha256(public).digest())
        return self._id

    def jwk(self) -> dict[str, Any]:
        """Return the public half as a JSON web key."""
        from jwt.algorithms import ECAlgorithm, RSAAlgorithm

        kind = RSAAlgorithm if self.algorithm == "RS256" else ECAlgorithm
        found: dict[str, Any] = kind.to_jwk(self.public, as_dict=True)
        found.pop("key_ops", None)
        return {"use": "sig", "alg": self.algorithm, "kid": self.id, **found}

    def jwks(self) -> bytes:
        """Return the public half as a JSON web key set."""
        return encode_json({"keys": [self.jwk()]})


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenSigner:
    """Signs tokens, and knows its own again; see `kubelib.registry.base.TokenSigner`."""

    audiences: tuple[str, ...]
    """For whom a token is when nothing else is asked: the API server."""

    def __init__(
        self,
        key: TokenKey,
        *,
        issuer: str = ISSUER,
        audiences: Sequence[str] = (),
        verifying: Sequence[TokenKey] = (),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`verifying` are further keys whose tokens are good: those that signed before, and those that will."""
        self.key = key
        self.verifying = tuple(verifying)
        self.issuer = issuer
        self.audiences = tuple(audiences) or (issuer,)
        self.clock = clock

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a signed token with these claims, and who issued it."""
        import jwt

        return jwt.encode(
            {**claims, "iss": self.issuer}, self.key.private, self.key.algorithm, headers={"kid": self.key.id}
        )

    def verify(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token of ours, None for any other. Whether it is still good is not looked at."""
        if len(token) > _LONGEST or token.count(".") != 2:
            return None
        import jwt

        keys = self._keys()
        try:
            named = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError:
            return None
        for key in [key for key in keys if key.id == named] if named is not None else keys:
            try:
                # The time comes from our clock, and the audience depends on who asks: both are the caller's part.
                claims: dict[str, Any] = jwt.decode(
                    token,
                    key.public,
                    algorithms=[key.algorithm],
                    issuer=self.issuer,
                    options={
                        "require": ["exp", "iat", "iss", "sub", "aud"],
                        "verify_aud": False,
                        "verify_exp": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                    },
                )
            except jwt.PyJWTError:
                continue
            return claims
        return None

    def _keys(self) -> list[TokenKey]:
        """Return all keys whose tokens are good, each once."""
        return list({key.id: key for key in (self.key, *self.verifying)}.values())

    def jwks(self) -> bytes:
        """Return the public halves of all keys as a JSON web key set."""
        return encode_json({"keys": [key.jwk() for key in self._keys()]})

    def configuration(self, address: str) -> bytes:
        """Return the OpenID provider configuration of a server at `address`."""
        return encode_json(
            {
                "issuer": self.issuer,
                "jwks_uri": f"https://{address}/openid/v1/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": sorted({key.algorithm for key in self._keys()}),
            }
        )


@attrs.frozen
class _Verified:
    """A token with a good signature."""

    user: User
    audiences: frozenset[str]
    valid_from: float
    valid_until: float
    bound: tuple[tuple[type[Object], Key, str], ...]
    """The objects without which the token is worth nothing: the account, then others; kind, key, uid."""

    secret: Key | None = attrs.field(init=False)
    """The Secret that the token is bound to."""

    @secret.default
    def _bound_secret(self) -> Key | None:
        return next((key for kind, key, _ in self.bound if kind is Secret), None)


class ServiceAccountTokens:
    """Knows the tokens of service accounts; see `kubelib.server.authn.TokenAuthenticator`."""

    def __init__(self, signer: TokenSigner, registries: ResourceRegistries) -> None:
        self.signer = signer
        self._registries = registries
        self._verified: dict[str, _Verified] = {}
        self._held = HeldTokens(registries)

    async def authenticate(
        self, token: str, audiences: Sequence[str] = ()
    ) -> tuple[User, tuple[str, ...]] | None:
        """Return the user of a token for any of `audiences` (none: the API server), and for which of them it is."""
        verified = self._verified.get(token)
        if verified is None:
            claims = self.signer.verify(token)
            verified = _read(claims) if claims is not None else None
            if verified is None:
                return None
            if len(self._verified) >= _REMEMBERED:
                self._verified.clear()
            self._verified[token] = verified
        now = self.signer.clock.now().timestamp()
        if now - SKEW > verified.valid_until or now + SKEW < verified.valid_from:
            self._verified.pop(token, None)
            return None
        common = tuple(a for a in audiences or self.signer.audiences if a in verified.audiences)
        if not common or not all(self._is_there(*bound) for bound in verified.bound):
            return None
        if verified.secret is not None:
            secret = self._held.holding(verified.secret, token)
            if secret is not None:
                if self._held.refusal(secret, verified.bound[0][1]):
                    return None
                await self._held.note_use(secret)
        return verified.user, common

    def refusal(self, token: str, audiences: Sequence[str] = ()) -> str:
        """Return why a token with a good signature is not good, in Kubernetes' words; empty if it is none of ours."""
        claims = self.signer.verify(token)
        verified = _read(claims) if claims is not None else None
        if claims is None or verified is None:
            return ""
        wanted = tuple(audiences or self.signer.audiences)
        if not verified.audiences.intersection(wanted):
            own = [claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"]
            return f"token audiences {_quoted(own)} is invalid for the target audiences {_quoted(wanted)}"
        now = self.signer.clock.now().timestamp()
        if now - SKEW > verified.valid_until:
            return "service account token has expired"
        if now + SKEW < verified.valid_from:
            return "service account token is not valid yet"
        for bound in verified.bound:
            if not self._is_there(*bound):
                return self._why_gone(*bound)
        secret = self._held.holding(verified.secret, token) if verified.secret is not None else None
        return self._held.refusal(secret, verified.bound[0][1]) if secret is not None else ""

    def _why_gone(self, kind: type[Object], key: Key, uid: str) -> str:
        document = self._registries.cache_of(kind).get(key)
        if kind is ServiceAccount and document is None:
            return f'serviceaccounts "{key.name}" not found'
        if document is not None and document.meta.uid != uid:
            if kind is ServiceAccount:
                return f"service account UID ({document.meta.uid}) does not match claim ({uid})"
            what = kind.kind.lower()
            return f"{what} UID ({document.meta.uid}) does not match service account {what} ref claim ({uid})"
        if kind is ServiceAccount:
            return f"service account {key.namespace}/{key.name} has been deleted"
        return "service account token has been invalidated"

    def _is_there(self, kind: type[Object], key: Key, uid: str) -> bool:
        document = self._registries.cache_of(kind).get(key)
        if document is None or document.meta.uid != uid:
            return False
        leaving = document.meta.deletion_timestamp
        return not leaving or parse_time(leaving) + LEEWAY >= self.signer.clock.now()


def _read(claims: Mapping[str, Any]) -> _Verified | None:
    """Return what signed claims say; None if they are not those of a service account."""
    try:
        own = claims[PRIVATE]
        namespace, account = own["namespace"], own["serviceaccount"]
        name, uid = account["name"], account["uid"]
        audiences = claims["aud"]
        audiences = [audiences] if isinstance(audiences, str) else audiences
        if claims["sub"] != username(namespace, name):
            return None
        bound: list[tuple[type[Object], Key, str]] = [(ServiceAccount, Key(namespace, name), uid)]
        extra: list[tuple[str, tuple[str, ...]]] = []
        if claims.get("jti"):
            extra.append((_EXTRA + "credential-id", (f"JTI={claims['jti']}",)))
        for part, kind in _BOUND.items():
            reference = own.get(part)
            if reference is None:
                continue
            if part != "secret":
                extra.append((f"{_EXTRA}{part}-name", (reference["name"],)))
                if reference.get("uid"):  # of a node that is not there only the name is known
                    extra.append((f"{_EXTRA}{part}-uid", (reference["uid"],)))
            # The node of a Pod's token only tells where it runs: the token is bound to the Pod.
            if part != "node" or "pod" not in own:
                where = "" if part == "node" else namespace
                bound.append((kind, Key(where, reference["name"]), reference["uid"]))
        user = User(name=claims["sub"], groups=groups_of(namespace), uid=uid, extra=tuple(sorted(extra)))
        return _Verified(
            user,
            frozenset(audiences),
            float(claims.get("nbf", claims["iat"])),
            float(claims["exp"]),
            tuple(bound),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _quoted(names: Sequence[str]) -> str:
    """Return names as Go shows them."""
    return "[" + " ".join(quote(name) for name in names) + "]"


def username(namespace: str, name: str) -> str:
    """Return the user name of a service account."""
    return f"system:serviceaccount:{namespace}:{name}"


def groups_of(namespace: str) -> tuple[str, ...]:
    """Return the groups of the service accounts of a namespace."""
    return "system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"
