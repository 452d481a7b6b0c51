"""The API over HTTP, with the same verbs as in process."""

import copy
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from urllib.parse import urlencode

import anyio
import attrs

from kubelib.api import codec
from kubelib.api.authentication import TokenRequest
from kubelib.api.autoscaling import Scale
from kubelib.api.builtin import SCHEME
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document, Documents
from kubelib.api.errors import ServiceUnavailable, conflict
from kubelib.api.meta import Key, Object
from kubelib.api.policy import Eviction
from kubelib.api.scheme import Resource, Scheme
from kubelib.client.base import Answer, Unreachable
from kubelib.client.binder import HttpBinder
from kubelib.client.credentials import Credentials
from kubelib.client.figures import ClientFigures
from kubelib.client.kubeconfig import Connection
from kubelib.client.plugins import PluginFailed
from kubelib.client.servers import Servers
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.registry.base import (
    NO_PRECONDITIONS,
    WHOLE_CLUSTER,
    EventType,
    ObjectList,
    Patch,
    Preconditions,
    Propagation,
    Query,
    WatchEvent,
)

if TYPE_CHECKING:
    import httpx

R = TypeVar("R", bound=Object)

REMEMBERED = 4096
"""How many documents are remembered as they were read, for updates that keep what a class does not know."""
RETRIES = 5
PATIENCE: Mapping[str, float | None] = {"connect": 10.0, "read": 65.0, "write": 65.0, "pool": 65.0}
"""How many seconds may pass until a server is connected to, and from then on without anything coming or going; as httpx has it."""
SENDING = "http11.send_request_headers.started"
"""What httpcore tells its ``trace`` extension before the first byte of a request."""

_PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class HttpClient:
    """A `kubelib.client.base.Client` on a server. An async context manager."""

    def __init__(
        self,
        connection: Connection,
        *,
        scheme: Scheme = SCHEME,
        manager: str = "kubelib",
        transport: "httpx.AsyncBaseTransport | None" = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        import httpx

        from kubelib.client.exchanges import Exchanges, Through

        self._credentials = Credentials(connection, clock)
        self.scheme = Scheme(scheme)
        """The kinds that can be asked for: those of the scheme that was given, and those that are added here."""
        self._headers = {"user-agent": f"{manager}/0.1.0", "accept-encoding": "gzip, deflate"}
        if connection.token:
            self._headers["authorization"] = f"Bearer {connection.token}"
        self._servers = Servers(connection.servers)
        # Without a client of httpx around it: redirects, cookies and the merging of settings cost as much as the exchange itself.
        self._transport: httpx.AsyncBaseTransport
        self._carrier: Exchanges | Through
        if transport is None:
            self._transport = self._carrier = Exchanges(self._credentials.tls)
        else:
            self._transport, self._carrier = transport, Through(transport)
        self._read: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self.figures = ClientFigures()
        self.binder = HttpBinder(self)
        """Commits many bindings at once, at a server of ours."""
        self._may_write: Callable[[], None] | None = None

    @property
    def connection(self) -> Connection:
        """Where the servers are, who we are and whom we trust, as of the last look at the files that say so."""
        return self._credentials.connection

    def renew(self, certificate: bytes, key: bytes) -> None:
        """Show another client certificate (both are PEM) from now on."""
        if self._credentials.take(attrs.evolve(self.connection, cert_data=certificate, key_data=key)):
            self._use_credentials()

    async def know_ourselves(self) -> None:
        """Take in certificates and tokens that have changed, and let a program say who we are if nothing else does. Raises `Unreachable`."""
        credentials = self._credentials
        if credentials.may_change and credentials.look(anyio.current_time()):
            self._use_credentials()
        if credentials.plugin is not None:
            try:
                if await credentials.ask():
                    self._use_credentials()
            except PluginFailed as error:
                raise Unreachable(f"getting credentials: {error}") from None

    def _use_credentials(self) -> None:
        token = self.connection.token
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        else:
            self._headers.pop("authorization", None)
        self._carrier.renew(self._credentials.tls)

    def guarded(self, may_write: Callable[[], None]) -> "HttpClient":
        """Return this client, on the same connections, for somebody who must not write at all times.

        `may_write` is called right before a write goes out, each time that it is sent, and raises if it must not.
        """
        view = copy.copy(self)
        view._may_write = may_write
        view.binder = HttpBinder(view)
        return view

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    def resource(self, kind: type[R], /) -> "HttpRegistry[R]":
        """Return the registry of a kind."""
        if kind is Eviction:
            return HttpRegistry(self, self.scheme.of(Pod), kind, create="eviction")
        return HttpRegistry(self, self.scheme.of(kind), kind)

    async def create_token(self, account: Key, request: TokenRequest) -> TokenRequest:
        """Return a token of a service account; see `kubelib.client.base.SupportsTokens`."""
        path = f"/api/v1/namespaces/{account.namespace}/serviceaccounts/{account.name}/token"
        answer = await self.request("POST", path, body=codec.encode(request))
        return Document(answer.body).view(TokenRequest)

    async def scale(self, kind: type[Object], key: Key) -> Scale:
        """Return the scale of an object; see `kubelib.client.base.SupportsScales`."""
        path = self.resource(kind).path(key.namespace, key.name, "scale")
        return Document((await self.request("GET", path)).body).view(Scale)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        """Make a request. Raises ApiError for an answer that is a refusal, ServiceUnavailable if there is none.

        The latter is `Unreachable` where no server could be connected to. Where there are several servers, the next one is asked if one cannot be reached, and also if one goes away before it
        has answered what only reads. A write that was not answered may have been done: that is for the caller to find out.
        """
        await self.know_ourselves()
        headers = {**self._headers, "accept": accept}
        if body is not None:
            headers["content-type"] = content_type
        if query:
            path = f"{path}?{urlencode(query)}"
        for attempt in range(RETRIES):
            answer = await self._ask(method, path, body, headers)
            if answer.status == 429 and "retry-after" in answer.headers and attempt < RETRIES - 1:
                await anyio.sleep(float(answer.headers["retry-after"]))
                continue
            break
        if answer.status >= 400:
            if answer.status == 401:
                self._credentials.refused()
            raise codec.error_of_answer(answer.status, answer.body)
        return answer

    async def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        import httpx

        why, reached = "", False
        guarded = self._may_write is not None and method not in ("GET", "HEAD")
        trace = self._before_sending if guarded else None
        for url in self._servers.turns():
            try:
                if guarded:
                    await self._before_sending(SENDING, None)
                asking = self._carrier.ask(method, url, path, headers, body, PATIENCE, trace)
                answer = await self.figures.timed(method, url, asking)
                if answer.status == 503:
                    self._servers.failed(url)  # whoever tries again asks another
                return answer
            except httpx.HTTPError as error:
                why = f"{url}: {str(error) or type(error).__name__}"
                if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    continue
                reached = True
                if method not in ("GET", "HEAD"):
                    self._servers.failed(url)
                    break
        raise _no_answer(why, reached)

    async def _before_sending(self, event: str, _: Any) -> None:
        # Again when the connection is there, for opening one may have taken long.
        if event == SENDING and self._may_write is not None:
            self._may_write()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Make a request whose answer is read as it comes. Raises ApiError."""
        import httpx

        url, response = await self._open(method, path, query, accept)
        try:
            if response.status_code >= 400:
                if response.status_code == 401:
                    self._credentials.refused()
                raise codec.error_of_answer(response.status_code, await response.aread())
            yield response.aiter_bytes()
        except httpx.HTTPError as error:
            self._servers.failed(url)
            raise ServiceUnavailable(f"lost the server {url}: {str(error) or type(error).__name__}") from None
        finally:
            await response.aclose()

    async def _open(
        self, method: str, path: str, query: Mapping[str, str] | None, accept: str
    ) -> "tuple[str, httpx.Response]":
        import httpx

        await self.know_ourselves()
        why, reached = "", False
        for url in self._servers.turns():
            request = httpx.Request(
                method,
                f"{url}{path}",
                params=query or None,
                headers={**self._headers, "accept": accept},
                extensions={"timeout": {**PATIENCE, "read": None}},
            )
            try:
                response = await self._transport.handle_async_request(request)
                self.figures.answered(method, url, response.status_code)
                return url, response
            except httpx.HTTPError as error:
                self.figures.answered(method, url, None)
                why = f"{url}: {str(error) or type(error).__name__}"
                reached |= not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        raise _no_answer(why, reached)

    def remember(self, document: Document) -> None:
        """Keep a document as it was read."""
        meta = document.meta
        self._read[meta.uid, meta.resource_version] = document.raw
        if len(self._read) > REMEMBERED:
            self._read.popitem(last=False)

    def recall(self, uid: str, resource_version: str) -> Document | None:
        """Return a document as it was read, if it still is remembered."""
        raw = self._read.get((uid, resource_version))
        return Document(raw) if raw is not None else None


def _no_answer(why: str, reached: bool) -> ServiceUnavailable:
    return (ServiceUnavailable if reached else Unreachable)(f"cannot reach the server {why}")


class HttpRegistry(Generic[R]):
    """One kind's objects; see `kubelib.registry.base.Registry`."""

    def __init__(self, client: HttpClient, resource: Resource, cls: type[R], *, create: str = "") -> None:
        self._client = client
        self._resource = resource
        self._cls = cls
        self._create = create

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Return where something is."""
        resource = self._resource
        parts = ["/apis", resource.group] if resource.group else ["/api"]
        parts.append(resource.version)
        if resource.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(resource.plural)
        return "/".join(part for part in (*parts, name, subresource) if part)

    def _view(self, answer: Answer) -> R:
        document = Document(answer.body)
        self._client.remember(document)
        return document.view(self._cls)

    async def create(self, obj: R) -> R:
        """Store a new object."""
        if self._create:
            path = self.path(obj.metadata.namespace, obj.metadata.name, self._create)
            await self._client.request("POST", path, body=codec.encode(obj))
            return obj
        answer = await self._client.request("POST", self.path(obj.metadata.namespace), body=codec.encode(obj))
        if b'"kind":"Status"' in answer.body[:40]:
            return obj
        return self._view(answer)

    async def get(self, key: Key) -> R:
        """Return one object."""
        return self._view(await self._client.request("GET", self.path(key.namespace, key.name)))

    async def list(self, query: Query = WHOLE_CLUSTER, *, limit: int = 0, page: str = "") -> ObjectList[R]:
        """Return the matching objects."""
        parameters = _parameters(query)
        if limit:
            parameters["limit"] = str(limit)
        if page:
            parameters["continue"] = page
        answer = await self._client.request("GET", self.path(query.namespace), query=parameters)
        return _list(answer.body, self._cls, self._resource)

    async def update(self, obj: R, *, subresource: str = "") -> R:
        """Replace an object, keeping the fields that its class does not know."""
        key, meta = obj.key, obj.metadata
        known = self._client.recall(meta.uid, meta.resource_version)
        if known is None:
            known = Document((await self._client.request("GET", self.path(key.namespace, key.name))).body)
            if meta.resource_version and known.meta.resource_version != meta.resource_version:
                raise conflict(self._resource.group_resource, key.name)
        tree = codec.overlay(known.tree(), codec.to_tree(known.view(self._cls)), codec.to_tree(obj))
        if not meta.resource_version:
            tree["metadata"].pop("resourceVersion", None)
        path = self.path(key.namespace, key.name, subresource)
        return self._view(await self._client.request("PUT", path, body=codec.encode_json(tree)))

    async def patch(self, key: Key, patch: Patch, *, subresource: str = "") -> R:
        """Change parts of an object."""
        query = {}
        if patch.manager:
            query["fieldManager"] = patch.manager
        if patch.force:
            query["force"] = "true"
        answer = await self._client.request(
            "PATCH",
            self.path(key.namespace, key.name, subresource),
            query=query,
            body=codec.encode_json(patch.body),
            content_type=_PATCH_TYPES[patch.type],
        )
        return self._view(answer)

    async def delete(
        self,
        key: Key,
        *,
        preconditions: Preconditions = NO_PRECONDITIONS,
        grace: float | None = None,
        propagation: Propagation | None = None,
    ) -> R:
        """Delete an object, or mark it for deletion; return its last state."""
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace is not None:
            options["gracePeriodSeconds"] = int(grace)
        if propagation is not None:
            options["propagationPolicy"] = propagation
        wanted = {"uid": preconditions.uid, "resourceVersion": preconditions.resource_version}
        if any(wanted.values()):
            options["preconditions"] = {name: value for name, value in wanted.items() if value}
        path = self.path(key.namespace, key.name)
        # The last state is in the answer, or must have been asked for.
        before = None if self._resource.shows_deleted else await self._client.request("GET", path)
        answer = await self._client.request("DELETE", path, body=json.dumps(options).encode())
        if before is not None and answer.body.startswith(b'{"kind":"Status"'):
            answer = before
        return Document(answer.body).view(self._cls)

    @asynccontextmanager
    async def watch(
        self, query: Query = WHOLE_CLUSTER, *, since: str
    ) -> AsyncIterator[AsyncIterator[WatchEvent[R]]]:
        """Report changes after a resource version."""
        parameters = {
            **_parameters(query),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
        }
        async with self._client.stream("GET", self.path(query.namespace), query=parameters) as chunks:
            events = self._events(chunks)
            try:
                yield events
            finally:
                await events.aclose()  # type: ignore[attr-defined]

    async def _events(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[WatchEvent[R]]:
        rest = b""
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = _Event.decode(line)
                if event.type == "ERROR":
                    raise codec.error_of_answer(500, bytes(event.object))
                kind: EventType = event.type  # type: ignore[assignment]
                yield WatchEvent(kind, Document(bytes(event.object)), self._cls)


class _Event:
    """One line of a watch: its type, and its object undecoded."""

    _decoder: Any = None

    def __init__(self, type: str, object: bytes) -> None:
        self.type = type
        self.object = object

    @classmethod
    def decode(cls, line: bytes) -> "_Event":
        if cls._decoder is None:
            import msgspec

            shape = msgspec.defstruct("Event", [("type", str), ("object", msgspec.Raw)])
            cls._decoder = msgspec.json.Decoder(shape)
        decoded = cls._decoder.decode(line)
        return cls(decoded.type, bytes(decoded.object))


def _parameters(query: Query) -> dict[str, str]:
    parameters = {}
    if not query.labels.everything:
        parameters["labelSelector"] = str(query.labels)
    if not query.fields.everything:
        parameters["fieldSelector"] = str(query.fields)
    return parameters


def _list(body: bytes, cls: type[R], resource: Resource) -> ObjectList[R]:
    import msgspec

    shape = _list_shape()
    decoded = msgspec.json.decode(body, type=shape)
    documents = [Document(_typed(bytes(item), resource)) for item in decoded.items]
    meta = decoded.metadata
    return ObjectList(
        Documents(documents, cls),
        meta.get("resourceVersion", ""),
        meta.get("continue", ""),
        meta.get("remainingItemCount"),
    )


def _typed(raw: bytes, resource: Resource) -> bytes:
    """Return an item of a list with its kind, which servers other than ours leave out."""
    if raw.startswith(b'{"kind":'):
        return raw
    start = f'{{"kind":"{resource.kind}","apiVersion":"{resource.api_version}",'.encode()
    return start + raw[1:] if b'"apiVersion"' not in raw[:200] else raw


_shape: Any = None


def _list_shape() -> Any:
    global _shape
    if _shape is None:
        import msgspec

        _shape = msgspec.defstruct("Items", [("metadata", dict[str, Any]), ("items", list[msgspec.Raw])])
    return _shape
