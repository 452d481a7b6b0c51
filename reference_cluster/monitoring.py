"""The HTTPS server of a daemon: its health for everybody, its figures for those who may read ``/metrics``.

As Kubernetes' daemons do, it asks the API server who shows a token (TokenReview) and what a caller may (SubjectAccessReview); a client
certificate of the cluster is known at sight.
"""

import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from kubelib.api.authentication import TokenReview, TokenReviewSpec
from kubelib.api.authorization import NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec
from kubelib.api.errors import ApiError, Forbidden, InternalError, MethodNotAllowed, NotFound, Unauthorized
from kubelib.client.http import HttpClient
from kubelib.clock import Clock
from kubelib.controllers.election import LeaderElection
from kubelib.exposition import CONTENT_TYPE, Sample, family
from kubelib.registry.base import User
from kubelib.server.listener import bind, serve
from kubelib.server.process import process_figures
from kubelib.server.responses import (
    Receive,
    Response,
    Scope,
    Send,
    by_name,
    error_response,
    send_response,
)
from kubelib.server.tls import Tls
from kubelib.server.version import build_info
from reference_cluster.join import write_self_signed

log = logging.getLogger("kubelib")

HEALTH = ("/healthz", "/livez", "/readyz")
METRICS = "/metrics"
REMEMBERED = 10.0
"""Seconds that the API server's answer about a caller is used again."""


def daemon_families(client: HttpClient, election: LeaderElection | None) -> Iterator[list[str]]:
    """Return what every daemon shows: what it is, whether it leads, what it has asked, and its process."""
    yield build_info()
    if election is not None:
        yield family(
            "leader_election_master_status",
            "gauge",
            "[ALPHA] Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates"
            " master. 'name' is the string used to identify the lease. Please make sure to group by name.",
            [Sample(int(election.leader), {"name": election.lease})],
        )
    yield from client.figures.families()
    yield from process_figures()


class MonitoringServer:
    """An ASGI application."""

    def __init__(self, client: HttpClient, figures: Callable[[], bytes]) -> None:
        self._tokens = client.resource(TokenReview)
        self._reviews = client.resource(SubjectAccessReview)
        self._figures = figures
        self._known: dict[tuple[str, User | None], tuple[User | bool, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # nothing here is spoken over WebSockets
            return
        try:
            response = await self._answer(scope)
        except ApiError as error:
            response = error_response(error)
        except anyio.get_cancelled_exc_class():
            raise
        except Exception:
            log.exception("%s failed", scope["path"])
            response = error_response(InternalError("Internal error occurred: the daemon's log says more"))
        await send_response(send, response, head=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope) -> Response:
        path = scope["path"]
        if path in HEALTH:
            return Response(b"ok", content_type=b"text/plain; charset=utf-8")
        user = await self._caller(scope)
        if not await self._allowed(user, path):
            raise Forbidden(f'User "{user.name}" cannot get path "{path}"')
        if path != METRICS:
            raise NotFound("the server could not find the requested resource")
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        return Response(self._figures(), content_type=CONTENT_TYPE)

    async def _caller(self, scope: Scope) -> User:
        certified: User | None = scope.get("state", {}).get("user")
        if certified is not None:
            return certified
        header = by_name(scope).get(b"authorization", b"").decode("latin1")
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Unauthorized("Unauthorized")
        known = self._recall(token, None)
        if isinstance(known, User):
            return known
        status = (await self._tokens.create(TokenReview(spec=TokenReviewSpec(token=token)))).status
        if not status.authenticated:
            raise Unauthorized("Unauthorized")
        user = User(status.user.username, tuple(status.user.groups), status.user.uid)
        self._remember(token, None, user)
        return user

    async def _allowed(self, user: User, path: str) -> bool:
        if "system:masters" in user.groups:
            return True
        known = self._recall(path, user)
        if isinstance(known, bool):
            return known
        spec = SubjectAccessReviewSpec(
            user=user.name,
            groups=user.groups,
            non_resource_attributes=NonResourceAttributes(path=path, verb="get"),
        )
        allowed = (await self._reviews.create(SubjectAccessReview(spec=spec))).status.allowed
        self._remember(path, user, allowed)
        return allowed

    def _recall(self, what: str, user: User | None) -> User | bool | None:
        known = self._known.get((what, user))
        return known[0] if known is not None and known[1] > anyio.current_time() else None

    def _remember(self, what: str, user: User | None, answer: User | bool) -> None:
        if len(self._known) > 1000:
            self._known.clear()
        self._known[what, user] = answer, anyio.current_time() + REMEMBERED


@asynccontextmanager
async def monitored(
    name: str, client: HttpClient, figures: Callable[[], bytes], address: tuple[str, int] | None, clock: Clock
) -> AsyncIterator[str]:
    """Serve figures while the context is open, with a certificate made for it; yields where, empty without an address."""
    if address is None:
        yield ""
        return
    listening = bind(*address, option="--secure-port")
    with tempfile.TemporaryDirectory(prefix="kubelib-") as folder:
        directory = Path(folder)
        cert, key, ca = directory / "tls.crt", directory / "tls.key", directory / "ca.crt"
        try:
            write_self_signed(cert, key, (name, address[0]), clock)
            ca.write_bytes(client.connection.ca_data)
            tls = Tls(cert, key, ca if client.connection.ca_data else None)
            async with serve(MonitoringServer(client, figures), listening, tls) as port:
                yield f"https://{address[0]}:{port}{METRICS}"
        finally:
            listening.close()
