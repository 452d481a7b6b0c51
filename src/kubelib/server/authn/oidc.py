"""Users of an OpenID Connect provider: their identity tokens as bearer tokens.

Claims, prefixes and refusals are those of kube-apiserver's ``--oidc-…`` flags. The provider's keys are fetched when they are first needed,
and again when a token names one that is not known, but not more often than `REFRESH` allows.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import attrs

from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.registry.base import User
from kubelib.server.authn import API_AUDIENCE, CREDENTIAL

if TYPE_CHECKING:
    import ssl

REFRESH = 10.0
"""Seconds between two looks at the provider's keys at least."""
LEEWAY = 300.0
"""For how many seconds the provider's clock may be ahead of ours."""
PATIENCE = 10.0
LARGEST = 1024 * 1024
_LONGEST = 16 * 1024
_REMEMBERED = 10_000
ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")


@attrs.frozen(kw_only=True)
class OidcSettings:
    """Which provider is believed, and how its claims are read."""

    issuer: str
    client_id: str
    username_claim: str = "sub"
    username_prefix: str = ""
    """Empty: the issuer and ``#``, unless the claim is ``email``; ``-``: none."""
    groups_claim: str = ""
    groups_prefix: str = ""
    required_claims: Mapping[str, str] = attrs.field(factory=dict)
    algorithms: tuple[str, ...] = ("RS256",)
    ca: str = ""
    """The authority of the provider's certificate as PEM text; empty: those of the system."""

    def __attrs_post_init__(self) -> None:
        if not self.issuer.startswith("https://"):
            raise ValueError(f"the issuer {self.issuer!r} must be an https:// address: use --oidc-issuer-url")
        if not self.client_id:
            raise ValueError("an OpenID Connect issuer needs a client: use --oidc-client-id as well")
        for algorithm in self.algorithms:
            if algorithm not in ALGORITHMS:
                raise ValueError(f"{algorithm!r} cannot be used: choose among {', '.join(ALGORITHMS)}")

    @property
    def prefix(self) -> str:
        """What comes before user names."""
        if self.username_prefix == "-":
            return ""
        if not self.username_prefix and self.username_claim != "email":
            return f"{self.issuer}#"
        return self.username_prefix


class OidcTokens:
    """Knows the tokens of a provider; see `kubelib.server.authn.TokenAuthenticator`."""

    def __init__(self, settings: OidcSettings, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.settings = settings
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._looked = float("-inf")
        self._looking = anyio.Lock()  # held while the provider is asked: all others wait for the same answer
        self._verified: dict[str, tuple[User, float]] = {}

    async def authenticate(
        self, token: str, audiences: Sequence[str] = ()
    ) -> tuple[User, tuple[str, ...]] | None:
        """Return the user of a token; it is for the API server alone."""
        if len(token) > _LONGEST or token.count(".") != 2:
            return None
        common = tuple(audience for audience in audiences if audience == API_AUDIENCE)
        if audiences and not common:
            return None
        now = self._clock.now().timestamp()
        known = self._verified.get(token)
        if known is not None and now < known[1]:
            return known[0], common
        claims = await self._claims(token, now)
        user = self._user(claims) if claims is not None else None
        if claims is None or user is None:
            return None
        if len(self._verified) >= _REMEMBERED:
            self._verified.clear()
        self._verified[token] = (user, float(claims["exp"]))
        return user, common

    async def _claims(self, token: str, now: float) -> dict[str, Any] | None:
        import jwt

        settings = self.settings
        try:
            # Others issue tokens too: only those that say to be of this issuer are worth a look at its keys.
            told = jwt.decode(token, options={"verify_signature": False})
            if told.get("iss") != settings.issuer:
                return None
            identity = str(jwt.get_unverified_header(token).get("kid") or "")
            keys = await self._candidates(identity)
        except (jwt.PyJWTError, TypeError, ValueError):
            return None
        for key in keys:
            claims = self._verify(token, key, now)
            if claims is not None:
                return claims
        return None

    def _verify(self, token: str, key: Any, now: float) -> dict[str, Any] | None:
        import jwt

        settings = self.settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(settings.algorithms),
                issuer=settings.issuer,
                audience=settings.client_id,
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,  # by our clock, below
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                },
            )
            good = now < float(claims["exp"]) and now + LEEWAY >= float(claims.get("nbf", 0))
        except (jwt.PyJWTError, TypeError, ValueError):
            return None
        return claims if good else None

    async def _candidates(self, identity: str) -> list[Any]:
        """Return the keys that may have signed a token: the one that it names, any if it names none."""
        if identity not in self._keys:
            async with self._looking:
                if identity not in self._keys and anyio.current_time() - self._looked >= REFRESH:
                    self._looked = anyio.current_time()
                    try:
                        self._keys = await anyio.to_thread.run_sync(self._fetch)
                    except (OSError, ValueError):
                        return []  # the provider does not answer: nobody is known by it for now
        if not identity:
            return list(self._keys.values())
        return [self._keys[identity]] if identity in self._keys else []

    def _fetch(self) -> dict[str, Any]:
        import ssl

        import jwt

        issuer = self.settings.issuer
        context = ssl.create_default_context(cadata=self.settings.ca or None)
        found = _get(f"{issuer.rstrip('/')}/.well-known/openid-configuration", context)
        if found.get("issuer") != issuer:
            raise ValueError("the provider is not the one that it should be")
        address = str(found.get("jwks_uri") or "")
        if not address.startswith("https://"):
            raise ValueError("the provider's keys are not at an https:// address")
        keys: dict[str, Any] = {}
        for document in _get(address, context).get("keys") or ():
            try:
                key = jwt.PyJWK(document)
            except jwt.PyJWTError:
                continue
            if document.get("use", "sig") == "sig":
                keys[key.key_id or ""] = key.key
        return keys

    def _user(self, claims: Mapping[str, Any]) -> User | None:
        settings = self.settings
        name = claims.get(settings.username_claim)
        if not isinstance(name, str) or not name:
            return None
        if settings.username_claim == "email" and claims.get("email_verified", True) is not True:
            return None
        if any(claims.get(claim) != value for claim, value in settings.required_claims.items()):
            return None
        groups: Any = claims.get(settings.groups_claim) if settings.groups_claim else None
        groups = [groups] if isinstance(groups, str) else groups or []
        if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
            return None
        named = tuple(f"{settings.groups_prefix}{group}" for group in groups)
        extra = ((CREDENTIAL, (f"JTI={claims['jti']}",)),) if claims.get("jti") else ()
        return User(f"{settings.prefix}{name}", (*named, "system:authenticated"), extra=extra)


def _get(address: str, context: "ssl.SSLContext") -> dict[str, Any]:
    """Return a JSON document; redirects are not followed: the provider is where it says that it is. Raises OSError, ValueError."""
    import urllib.request

    class NoRedirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *args: Any, **kwargs: Any) -> None:
            return

    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), NoRedirects())
    with opener.open(address, timeout=PATIENCE) as answer:
        body = answer.read(LARGEST + 1)
    if len(body) > LARGEST:
        raise ValueError("the provider's answer is too large")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("the provider's answer is no object")
    return found
