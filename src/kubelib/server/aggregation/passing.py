"""Passing requests on to the servers that answer for a group: over TLS, with who asks, and the answer back as it comes."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from kubelib.api.errors import ApiError, NotFound, ServiceUnavailable
from kubelib.filestate import FileStates, states_of
from kubelib.registry.base import User
from kubelib.server.aggregation.base import FrontProxy, Remote, identity_headers
from kubelib.server.auditid import AUDIT_ID, HEADER
from kubelib.server.exchange import Inquiry, Reply, concurrently, end_to_end, exchange
from kubelib.server.proxying import (
    Target,
    Targets,
    encrypted,
    leave_with_client,
    pass_back,
    pass_websocket,
    request_body,
)
from kubelib.server.responses import PLAIN, UNSNIFFED, Headers, Receive, Response, Scope, Send

if TYPE_CHECKING:
    from kubelib.server.request import Request
    from kubelib.server.watching import Watches

HEAD_TIMEOUT = 60.0
"""Seconds until an answer must have begun, except for watches."""
_OURS = (HEADER, b"authorization", b"host", b"x-remote-user", b"x-remote-uid", b"x-remote-group")
_OUR_PREFIXES = (b"impersonate-", b"x-remote-extra-")


class Passage:
    """The way to other API servers."""

    def __init__(self, targets: Targets, watches: "Watches", front_proxy: FrontProxy | None) -> None:
        self._targets = targets
        self._watches = watches
        self._front_proxy = front_proxy
        self._contexts: dict[tuple[bytes, bool], tuple[FileStates, ssl.SSLContext]] = {}

    def _context(self, remote: Remote) -> ssl.SSLContext:
        key = (remote.ca, remote.insecure)
        known = self._contexts.get(key)
        state = states_of((self._front_proxy.cert, self._front_proxy.key)) if self._front_proxy else ()
        if known is not None and known[0] == state:
            return known[1]
        try:
            context = remote.context(self._front_proxy)
        except OSError:
            if known is None:
                raise
            return known[1]  # the files are just being written
        if len(self._contexts) > 64:
            self._contexts.clear()
        self._contexts[key] = (state, context)
        return context

    async def target(self, remote: Remote) -> Target:
        """Return where a server is, now. Raises ServiceUnavailable."""
        try:
            target = await self._targets.service(remote.namespace, remote.service, str(remote.port))
        except NotFound as error:
            raise ServiceUnavailable(error.message) from None
        context = self._context(remote)
        return Target(remote.host, lambda: encrypted(target.open(), context, remote.host))

    @asynccontextmanager
    async def ask(self, remote: Remote, inquiry: Inquiry) -> AsyncIterator[Reply]:
        """Ask a server. Raises ServiceUnavailable."""
        target = await self.target(remote)
        headers = [(b"host", remote.host.encode()), *inquiry.headers]
        try:
            async with (
                target.open() as stream,
                exchange(stream, Inquiry(inquiry.method, inquiry.target, headers, inquiry.body)) as reply,
            ):
                yield reply
        except NotFound as error:  # a node that knows no such Pod
            raise ServiceUnavailable(f"error trying to reach service: {error}") from None

    async def answer(
        self, remote: Remote, request: "Request", scope: Scope, receive: Receive, send: Send
    ) -> Response | None:
        """Pass a request on and its answer back. What goes wrong on the way is said in plain text, as Kubernetes does.

        Returns what the client is to be told instead, if nothing has been sent.
        """
        if not remote.available:
            return refusal("service unavailable")
        chunks, ended = request_body(receive)
        inquiry = Inquiry(scope["method"], _target(scope), self._headers(scope, request.user), chunks)
        begun = False

        try:
            with self._watches.stoppable():
                async with concurrently() as group:
                    group.start_soon(leave_with_client, ended, receive, group)
                    with anyio.CancelScope(
                        deadline=anyio.current_time() + HEAD_TIMEOUT if not request.watching else float("inf")
                    ) as until_begun:
                        async with self.ask(remote, inquiry) as reply:
                            until_begun.deadline = float("inf")
                            begun = True
                            await pass_back(reply, b"", send, head=scope["method"] == "HEAD")
                    if until_begun.cancelled_caught:
                        raise ServiceUnavailable("error trying to reach service: it does not answer")
                    group.cancel_scope.cancel()
        except ApiError as error:
            # Once an answer has begun, the client sees from the missing rest that something went wrong.
            if not begun:
                return refusal(error.message)
        return None

    def _headers(self, scope: Scope, user: User) -> Headers:
        headers = [
            (name, value)
            for name, value in end_to_end(list(scope["headers"]))
            if name not in _OURS and not name.startswith(_OUR_PREFIXES)
        ]
        client = scope.get("client")
        if client is not None:
            headers.append((b"x-forwarded-for", str(client[0]).encode()))
        headers.append((HEADER, scope[AUDIT_ID]))
        return headers + identity_headers(user)

    async def answer_websocket(
        self, remote: Remote, request: "Request", scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass a WebSocket on. Raises ServiceUnavailable before the upgrade."""
        if not remote.available:
            raise ServiceUnavailable("service unavailable")
        target = await self.target(remote)
        with self._watches.stoppable():
            await pass_websocket(
                target, _target(scope), scope, receive, send, headers=identity_headers(request.user)
            )


def _target(scope: Scope) -> bytes:
    raw: bytes = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
    query: bytes = scope["query_string"]
    return raw + (b"?" + query if query else b"")


def refusal(why: str) -> Response:
    """Return the answer that a server cannot be asked."""
    return Response(why.encode() + b"\n", 503, PLAIN, list(UNSNIFFED))
