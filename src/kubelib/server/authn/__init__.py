"""Who asks: client certificates and bearer tokens."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from kubelib.api.errors import Unauthorized
from kubelib.registry.base import ANONYMOUS, User

API_AUDIENCE = "https://kubernetes.default.svc.cluster.local"
"""The API server itself, among those for whom a token can be."""


class TokenAuthenticator(Protocol):
    """Knows whom a bearer token stands for."""

    async def authenticate(
        self, token: str, audiences: Sequence[str] = ()
    ) -> tuple[User, tuple[str, ...]] | None:
        """Return the user, and for which of `audiences` (none: the API server) the token is; None if it is not good."""
        ...


@runtime_checkable
class ExplainsRefusals(Protocol):
    """Knows why a token that it would know is not good."""

    def refusal(self, token: str, audiences: Sequence[str] = ()) -> str:
        """Return why a token is not good for any of `audiences` (none: the API server); empty if it is a stranger's."""
        ...


class StaticTokens:
    """Tokens given at start."""

    def __init__(self, tokens: Mapping[str, User]) -> None:
        self._tokens = dict(tokens)

    async def authenticate(
        self, token: str, audiences: Sequence[str] = ()
    ) -> tuple[User, tuple[str, ...]] | None:
        """Return the user of a token. It is for the API server alone, who knows it by its issuer's name."""
        user = self._tokens.get(token)
        if user is None:
            return None
        common = tuple(audience for audience in audiences if audience == API_AUDIENCE)
        return (user, common) if common or not audiences else None


CREDENTIAL = "authentication.kubernetes.io/credential-id"
"""What is known of a user beside name and groups: by which certificate or token it is known."""
_UID = "1.3.6.1.4.1.57683.2"


def user_of_certificate(certificate: Mapping[str, Any] | None, encoded: bytes | None = None) -> User | None:
    """Return whom a verified client certificate stands for: its CN, its O's are the groups.

    `encoded` is the certificate itself, by whose digest it is called. None for one that names nobody, or two uids.
    """
    if not certificate:
        return None
    name, groups, uids = "", [], []
    for relative in certificate.get("subject", ()):
        for kind, value in relative:
            if kind == "commonName":
                name = value
            elif kind == "organizationName":
                groups.append(value)
            elif kind == _UID:
                uids.append(value)
    if not name or len(uids) > 1 or "" in uids:
        return None
    extra = ((CREDENTIAL, (f"X509SHA256={hashlib.sha256(encoded).hexdigest()}",)),) if encoded else ()
    return User(name, (*groups, "system:authenticated"), "".join(uids), extra)


def bearer_token(authorization: str) -> str:
    """Return the token of a header; empty for what is no bearer token: that may be meant for somebody on the way."""
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.partition(" ")[0] if scheme.lower() == "bearer" else ""


class Authenticator:
    """Asks the certificate first, then the token; neither makes the caller anonymous, a wrong token is refused.

    Without `anonymous`, who shows neither is refused, too.
    """

    def __init__(self, tokens: Sequence[TokenAuthenticator] = (), *, anonymous: bool = True) -> None:
        self._tokens = tuple(tokens)
        self._anonymous = anonymous

    async def authenticate(self, certified: User | None, authorization: str) -> User:
        """Return the user. Raises Unauthorized for a token that nobody knows."""
        if certified is not None:
            return certified
        # As `bearer_token`, without the call: this is done for each request.
        scheme, _, rest = authorization.strip().partition(" ") if authorization else ("", "", "")
        token = rest.partition(" ")[0] if scheme.lower() == "bearer" else ""
        if token:
            found = await self.review(token)
            if found is not None:
                return found[0]
        elif self._anonymous:
            return ANONYMOUS
        raise Unauthorized("Unauthorized")

    async def review(self, token: str, audiences: Sequence[str] = ()) -> tuple[User, tuple[str, ...]] | None:
        """Return the user of a token and for which of `audiences` it is; None for a token that nobody knows."""
        for authenticator in self._tokens:
            found = await authenticator.authenticate(token, audiences)
            if found is not None:
                return found
        return None

    def refusal(self, token: str, audiences: Sequence[str] = ()) -> str:
        """Return what is told of a token that is not good, as kube-apiserver tells it."""
        explaining = (one for one in self._tokens if isinstance(one, ExplainsRefusals))
        reasons = [why for one in explaining if (why := one.refusal(token, audiences))]
        told = ["invalid bearer token", *reasons]
        return f"[{', '.join(told)}]" if reasons else told[0]
