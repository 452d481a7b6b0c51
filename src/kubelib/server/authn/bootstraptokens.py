"""Bootstrap tokens as credentials: secrets of type ``bootstrap.kubernetes.io/token`` in ``kube-system``.

What makes one good, and whom it stands for, is that of ``plugin/pkg/auth/authenticator/token/bootstrap`` in Kubernetes.
"""

import base64
import hmac
import re
from collections.abc import Sequence

from kubelib.api.core.config import Secret
from kubelib.api.meta import Key
from kubelib.api.times import parse_time
from kubelib.registry.base import User
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.authn import API_AUDIENCE

TYPE = "bootstrap.kubernetes.io/token"
GROUP = "system:bootstrappers"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class BootstrapTokens:
    """Knows the tokens in secrets; see `kubelib.server.authn.TokenAuthenticator`."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self._secrets = registries.cache_of(Secret)
        self._clock = registries.clock

    async def authenticate(
        self, token: str, audiences: Sequence[str] = ()
    ) -> tuple[User, tuple[str, ...]] | None:
        """Return the user of a token; it is for the API server alone."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        common = tuple(audience for audience in audiences if audience == API_AUDIENCE)
        if audiences and not common:
            return None
        identity, word = match.groups()
        document = self._secrets.get(Key("kube-system", f"bootstrap-token-{identity}"))
        if document is None or document.meta.deletion_timestamp:
            return None
        secret = document.view(Secret)
        if secret.type != TYPE or not hmac.compare_digest(
            _text(secret, "token-secret").encode(), word.encode()
        ):
            return None
        if _text(secret, "token-id") != identity or self._has_expired(secret):
            return None
        if _text(secret, "usage-bootstrap-authentication") != "true":
            return None
        extra = sorted({group for group in _text(secret, "auth-extra-groups").split(",") if group})
        if not all(_EXTRA_GROUP.fullmatch(group) for group in extra):
            return None
        groups = (GROUP, *extra, "system:authenticated")
        return User(f"system:bootstrap:{identity}", groups), common

    def _has_expired(self, secret: Secret) -> bool:
        text = _text(secret, "expiration")
        if not text:
            return False
        try:
            return parse_time(text) <= self._clock.now()
        except ValueError:
            return True


def _text(secret: Secret, name: str) -> str:
    try:
        return base64.b64decode(secret.data.get(name) or "").decode()
    except ValueError:
        return ""
