"""Tokens of the service accounts of a node's Pods: asked for when first shown, and renewed long before they expire."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random

import attrs

from kubelib.api.authentication import BoundObjectReference, TokenRequest, TokenRequestSpec
from kubelib.api.core.pod import Pod
from kubelib.api.core.projections import ServiceAccountTokenProjection
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key
from kubelib.clock import Clock
from kubelib.runtime.environment import ConfigMissing

Issue = Callable[[Key, TokenRequest], Awaitable[TokenRequest]]
"""Asks the API server for a token of the service account at a key."""

DEFAULT_SECONDS = 3600
OLDEST = timedelta(hours=24)
"""No token is shown for longer than this, however long it is good for."""
JITTER = 10.0
"""Seconds by which a renewal may come earlier, so that not all of a node's come at once."""


@attrs.frozen
class _Token:
    text: str
    renew: datetime
    expires: datetime


class PodTokens:
    """Holds the tokens that the Pods of one node are shown.

    As in the kubelet, a token is renewed once four fifths of its life have passed, and daily; while the API server cannot be
    reached, the one at hand goes on being shown as long as it is good.
    """

    def __init__(self, issue: Issue, *, clock: Clock, random: Random) -> None:
        self._issue = issue
        self._clock = clock
        self._random = random
        self._tokens: dict[tuple[str, str, int], _Token] = {}

    async def token(self, pod: Pod, projection: ServiceAccountTokenProjection) -> str:
        """Return a token bound to a Pod. Raises `ConfigMissing` if there is none to be had."""
        seconds = projection.expiration_seconds or DEFAULT_SECONDS
        name = (pod.metadata.uid, projection.audience, seconds)
        current = self._tokens.get(name)
        now = self._clock.now()
        if current is not None and now < current.renew:
            return current.text
        try:
            current = self._tokens[name] = await self._fetch(pod, projection.audience, seconds, now)
        except ApiError as error:
            if current is None or now >= current.expires:
                raise ConfigMissing(f"failed to fetch token: {error}") from None
        return current.text

    async def _fetch(self, pod: Pod, audience: str, seconds: int, now: datetime) -> _Token:
        meta = pod.metadata
        request = TokenRequest(
            spec=TokenRequestSpec(
                audiences=(audience,) if audience else (),
                expiration_seconds=seconds,
                bound_object_ref=BoundObjectReference(
                    kind="Pod", api_version="v1", name=meta.name, uid=meta.uid
                ),
            )
        )
        answer = await self._issue(Key(meta.namespace, pod.spec.service_account_name or "default"), request)
        expires = answer.status.expiration_timestamp
        if not answer.status.token or expires is None:
            raise ConfigMissing("failed to fetch token: the server's answer has none")
        age = min((expires - now) * 0.8, OLDEST)
        return _Token(
            answer.status.token, now + age - timedelta(seconds=self._random.random() * JITTER), expires
        )

    def forget(self, uid: str) -> None:
        """Drop the tokens of a Pod that is gone."""
        for name in [name for name in self._tokens if name[0] == uid]:
            del self._tokens[name]
