"""Who asks: client certificates and bearer tokens."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from kubelib.api.errors import Unauthorized
from kubelib.registry.base import ANONYMOUS, User


class TokenAuthenticator(Protocol):
    """Knows whom a bearer token stands for."""

    async def authenticate(self, token: str) -> User | None:
        """Return the user, or None for a token that it does not know."""
        ...


class StaticTokens:
    """Tokens given at start."""

    def __init__(self, tokens: Mapping[str, User]) -> None:
        self._tokens = dict(tokens)

    async def authenticate(self, token: str) -> User | None:
        """Return the user of a token."""
        return self._tokens.get(token)


def user_of_certificate(certificate: Mapping[str, Any] | None) -> User | None:
    """Return whom a verified client certificate stands for: its CN, its O's are the groups."""
    if not certificate:
        return None
    name, groups = "", []
    for relative in certificate.get("subject", ()):
        for kind, value in relative:
            if kind == "commonName":
                name = value
            elif kind == "organizationName":
                groups.append(value)
    return User(name, (*groups, "system:authenticated")) if name else None


class Authenticator:
    """Asks the certificate first, then the token; neither makes the caller anonymous, a wrong token is refused."""

    def __init__(self, tokens: Sequence[TokenAuthenticator] = ()) -> None:
        self._tokens = tuple(tokens)

    async def authenticate(self, certified: User | None, authorization: str) -> User:
        """Return the user. Raises Unauthorized for a token that nobody knows."""
        if certified is not None:
            return certified
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            for authenticator in self._tokens:
                user = await authenticator.authenticate(token.strip())
                if user is not None:
                    return user
        raise Unauthorized("Unauthorized")
