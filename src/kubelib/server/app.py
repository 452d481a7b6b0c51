"""The API server as an ASGI application: authenticate, authorize, route, answer."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import anyio

from kubelib.api.errors import (
    ApiError,
    BadRequest,
    InternalError,
    RequestEntityTooLarge,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
    Unauthorized,
)
from kubelib.api.scheme import UnknownKind
from kubelib.clock import new_uids
from kubelib.registry.base import User
from kubelib.registry.registries import ResourceRegistries
from kubelib.server import health
from kubelib.server.access import AccessFigures
from kubelib.server.aggregation import Aggregator, FrontProxy
from kubelib.server.asking import asked, from_beginning, lasts
from kubelib.server.auditid import AUDIT_ID, HEADER, STATUS, identified, identify
from kubelib.server.authn import Authenticator, bearer_token
from kubelib.server.authn.impersonation import asks_to_impersonate, requested
from kubelib.server.authn.legacytokens import Tracking
from kubelib.server.authn.requestheader import RequestHeaders
from kubelib.server.authn.subprotocol import offers_token, take_token
from kubelib.server.authz import Authorizer, forbidden, is_public
from kubelib.server.authz.escalation import EscalationCheck
from kubelib.server.authz.modes import authorizer_of, role_based
from kubelib.server.conditional import unless_known
from kubelib.server.connecting import COMMANDS, CONNECTING, admit_connection
from kubelib.server.deadlines import Deadlines
from kubelib.server.encodings import in_wanted_form
from kubelib.server.figures import RequestFigures
from kubelib.server.flow import FlowControl, Seat
from kubelib.server.flow.base import DEFAULT_CONCURRENCY, LONGEST_WAIT, PART_OF_TIME
from kubelib.server.nodes import NodeProxy
from kubelib.server.options import time_allowed
from kubelib.server.plain import PlainPaths, require_accepted
from kubelib.server.request import Request
from kubelib.server.requestinfo import RequestInfo
from kubelib.server.responses import (
    READER,
    Reader,
    Receive,
    Response,
    Scope,
    Send,
    by_name,
    error_response,
    send_response,
)
from kubelib.server.reviews import Reviews
from kubelib.server.verbs import ResourceVerbs
from kubelib.server.watching import Watches

if TYPE_CHECKING:
    from kubelib.server.audit import Auditor
    from kubelib.server.audit.events import Record
    from kubelib.server.authn.tokens import TokenSigner
    from kubelib.store.metering import StoreFigures

log = logging.getLogger("kubelib.server")

MAX_BODY = 3 * 1024 * 1024
REQUEST_TIMEOUT = 60.0
MAX_IN_FLIGHT = 800

COUNTED = "kubelib.counted"
"""Where the scope of a request that lasts has where it is counted."""
AUDIT = "kubelib.audit"
"""Where the scope of a request has what the audit log notes of it."""


class ApiServer:
    """The Kubernetes REST API over registries."""

    def __init__(
        self,
        registries: ResourceRegistries,
        *,
        authenticator: Authenticator | None = None,
        authorizer: Authorizer | None = None,
        nodes: NodeProxy | None = None,
        address: str = "127.0.0.1:6443",
        tokens: "TokenSigner | None" = None,
        fair: bool = True,
        concurrency: int = DEFAULT_CONCURRENCY,
        request_timeout: float = REQUEST_TIMEOUT,
        auditor: "Auditor | None" = None,
        front_proxy: FrontProxy | None = None,
        request_headers: RequestHeaders | None = None,
        storage: "StoreFigures | None" = None,
    ) -> None:
        """Make a server; what is to run beside it, `components` names.

        `nodes` leads to the nodes' own servers, `address` is where clients find this one. With `fair`, requests share
        `concurrency` seats (see `kubelib.server.flow`); without, they are served as they come, up to `MAX_IN_FLIGHT` at a
        time. A write may take `request_timeout` seconds. `front_proxy` is how the server shows other API servers for whom
        it asks, `request_headers` who may show it the same. ``/metrics`` shows the figures of `storage`.
        """
        self.registries = registries
        self.authenticator = authenticator or Authenticator()
        if authorizer is None:
            authorizer = authorizer_of(registries)
        rbac = self.rbac = role_based(authorizer)
        self.authorizer: Authorizer = authorizer
        self.nodes = nodes
        self.tokens = tokens
        """Signs the tokens of service accounts; its public key is published."""
        if tokens is not None:
            registries.tokens = tokens
        self._tracking = Tracking(registries) if tokens is not None else None
        self.address = address
        self.request_headers = request_headers
        self.watches = Watches(registries)
        self.aggregator = Aggregator(registries, nodes, self.watches, front_proxy)
        """Other API servers that answer for some groups."""
        self.ready: Callable[[], Awaitable[bool]] | None = None
        self._verbs = ResourceVerbs(registries)
        registries.allows = self._allows
        registries.decides = self._decides
        if rbac is not None:
            registries.admission.add(EscalationCheck(rbac))
        self._reviews = Reviews(registries, self.authorizer, self.authenticator, rbac)
        self.flow = FlowControl(registries, concurrency=concurrency) if fair else None
        self.auditor = auditor
        self.storage = storage
        self.request_timeout = request_timeout
        self._deadlines = Deadlines(request_timeout)
        self._identities = new_uids(registries.random)
        self._in_flight = 0
        self.stopping = False
        """Whether it is about to stop."""
        self.figures = RequestFigures(registries.scheme)
        self.access = AccessFigures()
        self._plain = PlainPaths(self)

    def _allows(
        self, user: User, verb: str, group: str, resource: str, subresource: str, namespace: str, name: str
    ) -> bool:
        """Answer what plug-ins of admission ask: whether a user may do something else as well."""
        info = RequestInfo(verb, "", group, "", namespace, resource, subresource, name)
        return self.authorizer.decide(user, info).allowed

    @property
    def components(self) -> "list[FlowControl | Auditor | Aggregator | Tracking]":
        """What is to run as long as the server does: each a `kubelib.informers.Component`."""
        parts = (self.auditor, self.flow, self.aggregator, self._tracking)
        return [part for part in parts if part is not None]

    def _decides(
        self,
        user: User,
        verb: str,
        path: str,
        group: str,
        resource: str,
        subresource: str,
        namespace: str,
        name: str,
    ) -> tuple[bool, str]:
        """Answer what expressions of admission ask their authorizer."""
        info = RequestInfo(verb, path, group, "", namespace, resource, subresource, name)
        decision = self.authorizer.decide(user, info)
        return decision.allowed, decision.reason

    def stop_watches(self) -> None:
        """End all watches and streams: the server is about to stop, and not ready any more."""
        self.stopping = True
        self.watches.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            return
        headers = by_name(scope)
        identify(scope, headers, self._identities)
        clock = self.figures.clock()
        began = clock()
        try:
            if scope["type"] == "http":
                await self._http(scope, headers, receive, send, clock)
            else:
                await self._websocket(scope, receive, identified(scope, send))
        finally:
            if (counted := scope.get(COUNTED)) is not None:
                self.figures.end(counted, scope.get(STATUS), clock() - began)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        from kubelib.server.streams import answer_websocket

        try:
            await answer_websocket(self, scope, receive, send)
        except Exception as error:
            if self.auditor is not None and (record := scope.get(AUDIT)) is not None:
                self.auditor.panicked(record, error)
            raise
        finally:
            if self.auditor is not None and (record := scope.get(AUDIT)) is not None:
                self.auditor.complete(record, None)

    async def _http(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        receive: Receive,
        send: Send,
        clock: Callable[[], float],
    ) -> None:
        method: str = scope["method"]
        seat: Seat | None = None
        request: Request | None = None
        reader: Reader | None = scope.get("state", {}).get(READER)
        began = clock()
        try:
            response: Response | None = None
            try:
                request = await self.open_request(scope, headers, clock, began)
                if self.flow is not None and not lasts(request.info):
                    seat = await self._seat(request, receive, clock, began)
                    if reader is not None:
                        reader.lags = seat.lags
                response = await self._answer(request, seat, scope, receive, send)
            except ApiError as error:
                response = error_response(error)
            except anyio.get_cancelled_exc_class():
                raise
            except Exception as error:
                log.exception("%s %s failed", method, scope["path"])
                response = error_response(
                    InternalError("Internal error occurred: the server's log says more")
                )
                if self.auditor is not None and (record := scope.get(AUDIT)) is not None:
                    self.auditor.panicked(record, error)
            if self.auditor is not None and (record := scope.get(AUDIT)) is not None:
                self.auditor.complete(record, response)
            if response is None:
                return
            if COUNTED in scope:
                scope[STATUS] = response.status
            else:
                now = clock()
                self.figures.note(request, method, response, now - began)
                if seat is not None:
                    seat.served(now)
            if request is not None and request.flow is not None:
                response.headers += request.flow.headers
            response = in_wanted_form(response, scope, headers, self.registries.scheme)
            response.headers.append((HEADER, scope[AUDIT_ID]))
            takes_gzip = b"gzip" in headers.get(b"accept-encoding", b"")
            await send_response(send, response, head=method == "HEAD", gzip=takes_gzip)
        finally:
            if seat is not None:
                seat.give_back()
                if reader is not None:
                    reader.lags = None

    async def _answer(
        self, request: Request, seat: Seat | None, scope: Scope, receive: Receive, send: Send
    ) -> Response | None:
        """Answer a request that has its seat; None if the answer was sent as it came. Raises ApiError."""
        info = request.info
        if request.remote is not None:
            if request.watching:
                self._begun(scope, seat)()
            send = identified(scope, send)
            return await self.aggregator.passage.answer(request.remote, request, scope, receive, send)
        if (extension := self.aggregator.extension(info.path)) is not None:
            return await extension.answer(request)
        if request.watching:
            request.begun = self._begun(scope, seat)
            await self.watches.answer(request, receive, identified(scope, send))
            return None
        if info.subresource and await self._streamed(request, scope, receive, send):
            return None
        return await self._bounded(request, receive, scope)

    async def _streamed(self, request: Request, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer a request for a subresource that is sent as it comes; false if this is none. Raises ApiError."""
        info = request.info
        if info.subresource == "log" and scope["method"] == "GET":
            from kubelib.server.streams import answer_log

            await answer_log(self, request, receive, identified(scope, send))
            return True
        if info.subresource in COMMANDS and info.verb == "create":
            from kubelib.server.streams import require_upgrade

            await require_upgrade(self, request)
        if info.subresource == "proxy":
            from kubelib.server.proxying import answer_proxy

            await answer_proxy(self, request, scope, receive, identified(scope, send))
            return True
        return False

    async def _seat(
        self, request: Request, receive: Receive, clock: Callable[[], float], began: float
    ) -> Seat:
        """Wait for the turn of a request that has begun at a time of the clock. Raises TooManyRequests."""
        assert self.flow is not None
        info = request.info
        flow = request.flow = self.flow.flow(request.user, info)
        width = 1
        if info.verb == "list" or (request.watching and from_beginning(request)):
            width = self.flow.width(flow, info, request.query)
        if flow.level.try_take(width):
            seat = self.flow.seated(flow, width)
            seat.since = began
            return seat
        gone = None
        if info.verb in ("get", "list", "watch"):

            async def gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass

        time = request.allowed or self.request_timeout
        seat = await self.flow.wait(flow, width, gone, patience=min(time * PART_OF_TIME, LONGEST_WAIT))
        seat.since = clock()
        return seat

    def _begun(self, scope: Scope, seat: Seat | None) -> Callable[[], None]:
        """Return what is called once a watch has sent its beginning: from then on it costs little."""
        record = scope.get(AUDIT) if self.auditor is not None else None

        def begun() -> None:
            if seat is not None:
                seat.served(self.figures.clock()(), watching=True)
                seat.give_back()
            if record is not None and self.auditor is not None:
                self.auditor.started(record)

        return begun

    async def open_request(
        self, scope: Scope, headers: dict[bytes, bytes], clock: Callable[[], float], began: float
    ) -> Request:
        """Authenticate and authorize a request that has begun at a time of the clock, and take it apart. Raises ApiError."""
        info, query, watching = asked(scope)
        allowed: float | None = None
        if query and (timeout := query.get("timeout")) and not watching and not lasts(info):
            allowed = time_allowed(timeout)
        record: Record | None = None
        try:
            user = await self._authenticated(info, scope, headers)
        except Unauthorized:
            self.access.refused("error" if _shows_token(headers) else "failure", clock() - began)
            raise
        self.access.authenticated(user.name, clock() - began)
        if self.auditor is not None:
            record = scope[AUDIT] = self.auditor.begin(user, info, scope, headers)
        if asks_to_impersonate(headers):
            try:
                user = self._impersonated(user, scope["headers"], record)
            except ApiError:
                self.access.undecided += 1
                raise
        if info.resource or not is_public(info.path):
            decision = self.authorizer.decide(user, info)
            if record is not None:
                record.annotate("authorization.k8s.io/decision", decision.word)
                record.annotate("authorization.k8s.io/reason", decision.reason)
            if not decision.allowed:
                self.access.forbidden(decision)
                raise forbidden(user, info, decision.reason)
        request = Request(info, query, headers, user, watching)
        if allowed is not None and allowed < self.request_timeout:
            request.allowed = allowed
        request.query_string = scope["query_string"]
        request.audit = record
        request.authorize = partial(self._require_allowed, user)
        request.remote = self.aggregator.remote(scope["path"])
        if (watching or lasts(info)) and request.remote is None:
            scope[COUNTED] = self.figures.begin(request)
        if info.subresource in CONNECTING and request.remote is None:
            await admit_connection(self.registries, request, scope["query_string"])
        return request

    async def _authenticated(self, info: RequestInfo, scope: Scope, headers: dict[bytes, bytes]) -> User:
        """Return who asks. Raises Unauthorized, which the audit log notes."""
        state = scope.get("state", {})
        certified: User | None = state.get("user")
        if self.request_headers is not None and state.get("front_proxy"):
            certified = self.request_headers.user_of(scope["headers"]) or certified
        if certified is not None and scope["type"] == "http":
            return certified
        try:
            authorization = headers.get(b"authorization", b"").decode("latin1")
            if scope["type"] == "websocket" and (token := take_token(scope)) and not authorization:
                authorization = f"Bearer {token}"
            return await self.authenticator.authenticate(certified, authorization)
        except Unauthorized as error:
            if self.auditor is not None:
                record = self.auditor.begin(None, info, scope, headers)
                if record is not None:
                    self.auditor.refused(record, error.message)
            raise

    def _impersonated(self, user: User, headers: list[tuple[bytes, bytes]], record: "Record | None") -> User:
        wanted = requested(headers)
        if wanted is None:
            return user
        for info in wanted.needed:
            self._require_allowed(user, info)
        if record is not None:
            record.impersonated = wanted.user
        return wanted.user

    def _require_allowed(self, user: User, info: RequestInfo) -> None:
        decision = self.authorizer.decide(user, info)
        if not decision.allowed:
            raise forbidden(user, info, decision.reason)

    async def _bounded(self, request: Request, receive: Receive, scope: Scope) -> Response:
        if self.flow is None and self._in_flight >= MAX_IN_FLIGHT:
            raise TooManyRequests("the server has too many requests in flight: try again", retry_after=1)
        self._in_flight += 1
        writes = request.info.verb not in ("get", "list")
        self.figures.in_flight[writes] += 1
        try:
            if request.info.verb in ("get", "list") and request.info.resource:
                return await self._verbs.read(request)
            with self._deadlines.deadline() if request.allowed is None else anyio.fail_after(request.allowed):
                body = await _read_body(receive)
                if request.audit is not None:
                    request.audit.received_body, request.audit.media = (
                        body,
                        request.media_type or "application/json",
                    )
                return await self._route(request, body)
        except ApiError as error:
            if request.warnings:
                error.warnings = request.warnings  # type: ignore[attr-defined]
            raise
        except TimeoutError:
            raise Timeout("Timeout: request did not complete within the allotted timeout") from None
        except UnknownKind:
            return self._plain.unknown(request.info.path)
        except RecursionError:
            raise BadRequest("the document is nested too deeply") from None
        finally:
            self._in_flight -= 1
            self.figures.in_flight[writes] -= 1

    async def _route(self, request: Request, body: bytes) -> Response:
        info = request.info
        if info.resource:
            if self._reviews.answers(info):
                return await self._reviews.answer(request, body)
            return await self._verbs.write(request, body)
        response = await self._plain.answer(request)
        if info.verb not in ("get", "head") and response.status != 404:
            from kubelib.api.errors import MethodNotAllowed

            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        if response.status != 404:
            require_accepted(info.path, request.header("accept"))
        return unless_known(response, request.headers)

    async def checks(self, which: str) -> dict[str, bool]:
        """Return what is healthy, by the name of the check, for ``healthz``, ``livez`` or ``readyz``."""
        found = await health.checks(self, which)
        for name, healthy in found.items():
            self.figures.checked(which, name, healthy=healthy)
        return found


def _shows_token(headers: dict[bytes, bytes]) -> bool:
    """Return whether a request that was refused had a token, which is not good then."""
    return bool(bearer_token(headers.get(b"authorization", b"").decode("latin1"))) or offers_token(headers)


async def _read_body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ServiceUnavailable("the client went away")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY:
            raise RequestEntityTooLarge(f"Request entity too large: limit is {MAX_BODY}")
        chunks.append(chunk)
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
