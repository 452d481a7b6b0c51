"""Watches over HTTP: events that are ready go out in one write, bookmarks say how far a quiet watch has got."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from kubelib.api.codec import encode_json
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, Expired, MethodNotAllowed, NotAcceptable, NotFound, Timeout
from kubelib.api.scheme import Resource, UnknownKind
from kubelib.registry.base import DocumentEvent, Query
from kubelib.registry.registries import ResourceRegistries
from kubelib.registry.watchers import WatchEnded, Watcher
from kubelib.server import table
from kubelib.server.asking import initial_events
from kubelib.server.encodings import accepted_form, in_frames
from kubelib.server.options import require_list_options, require_table_options
from kubelib.server.request import Request, query_of
from kubelib.server.responses import STREAMED, Accepted, Receive, Send, warning_header
from kubelib.server.turns import Rounds, Stream

BOOKMARK_RETRY = 0.1
BOOKMARK_EVERY = 60.0
BOOKMARK_BEFORE_END = 2.0
"""Seconds before its end that a watch says how far it has got, so that the next one begins there."""
SHORTEST = 1800.0
"""How long a watch lasts at least that does not say."""


class Watches:
    """The watches of a server, so that they can be ended together."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self._registries = registries
        self._rounds = Rounds()
        self._running: set[anyio.CancelScope] = set()
        self.shortest = SHORTEST
        """Watches that do not say last so long, or up to twice as long: so clients do not all come back at once."""

    @property
    def running(self) -> int:
        """How many watches are open."""
        return len(self._running)

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Let `stop` end what happens in the context, as it ends watches."""
        with anyio.CancelScope() as scope:
            self._running.add(scope)
            try:
                yield
            finally:
                self._running.discard(scope)

    def stop(self) -> None:
        """End them all."""
        for scope in list(self._running):
            scope.cancel()

    async def answer(self, request: Request, receive: Receive, send: Send) -> None:
        """Answer a watch request until it ends. Raises ApiError before anything is sent."""
        resource = self._watchable(request)
        registry = self._registries.of(resource)
        query = _query_of(request, resource)
        initial = initial_events(request)
        require_list_options(request.query, watching=True)
        accepted = accepted_form(request, resource)
        if resource.warning:
            from kubelib.server.verbs import note_deprecated

            note_deprecated(request, resource)
        if accepted.media_type == "application/yaml":
            raise NotAcceptable(
                "only the following media types are accepted: application/json;stream=watch,"
                " application/vnd.kubernetes.protobuf;stream=watch"
            )
        if accepted.protobuf_only:
            send = in_frames(send, self._registries.scheme)
        seconds = request.number("timeoutSeconds")
        random = self._registries.random
        lasting = float(seconds) if seconds else random.uniform(self.shortest, 2 * self.shortest)
        bookmarks = request.flag("allowWatchBookmarks")
        since = request.query.get("resourceVersion", "")
        begun = False
        lagged: ApiError | None = None
        if accepted.transform == "Table":
            require_table_options(request.query)
        writer = _Writer(resource, accepted, request, self._registries)
        with anyio.CancelScope() as scope:
            self._running.add(scope)
            try:
                async with registry.watch(query, since=since, initial_events=initial) as watch:
                    needed = _Needed()
                    plain = not accepted.transform
                    stream = Stream(watch, writer.lines, self._rounds, needed.set, plain=plain)
                    await _start(send, resource, request, None if accepted.protobuf_only else stream)
                    begun = True
                    async with anyio.create_task_group() as group:
                        group.start_soon(_until_disconnected, receive, group.cancel_scope)
                        # One timer for all that the watch lasts, and none for each event.
                        end = anyio.current_time() + lasting
                        if initial:
                            await self._initial(watch, writer, send, bookmarks)
                        elif watch.behind:
                            body = writer.lines(await watch.take())
                            await send({"type": "http.response.body", "body": body, "more_body": True})
                        if request.begun is not None:
                            request.begun()
                        if bookmarks:
                            group.start_soon(_bookmarks, watch, writer, stream, send, end)
                        try:
                            with anyio.CancelScope(deadline=end):
                                await _send_all(watch, writer, stream, needed, send)
                        except ApiError as error:
                            lagged = error  # raised below: a task group would wrap it
                        finally:
                            stream.close()
                        group.cancel_scope.cancel()
                    if lagged is not None:
                        raise lagged
            except ApiError as error:
                if not begun:
                    if not isinstance(error, Expired | Timeout):
                        raise
                    await _start(send, resource, request, None)
                line = b'{"type":"ERROR","object":%s}\n' % encode_json(error.status())
                await send({"type": "http.response.body", "body": line, "more_body": True})
            finally:
                self._running.discard(scope)
        with anyio.CancelScope(shield=True), anyio.move_on_after(1):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _watchable(self, request: Request) -> Resource:
        """Return the resource that is to be watched. Raises NotFound, MethodNotAllowed."""
        info = request.info
        try:
            resource = self._registries.scheme.path(info.group, info.version, info.resource)
        except UnknownKind:
            raise NotFound("the server could not find the requested resource") from None
        if info.namespace and not resource.namespaced and info.resource != "namespaces":
            raise NotFound("the server could not find the requested resource")
        if info.subresource:
            # Only objects as a whole are watched: who may watch a part of them would see the rest.
            raise NotFound("the server could not find the requested resource")
        if "watch" not in resource.verbs:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        return resource

    @staticmethod
    async def _initial(watch: Watcher, writer: "_Writer", send: Send, bookmarks: bool) -> None:
        """Send the present as events, and say when that is all of it."""
        version = str(watch.started_at)
        body = writer.lines(watch.take_nowait())
        if bookmarks:
            body += writer.bookmark(version, {"k8s.io/initial-events-end": "true"})
        if body:
            await send({"type": "http.response.body", "body": body, "more_body": True})


def _query_of(request: Request, resource: Resource) -> Query:
    query = query_of(request)
    if request.info.deprecated_watch and request.info.name:
        from kubelib.labels import parse_field_selector

        query = Query(
            query.namespace, query.labels, parse_field_selector(f"metadata.name={request.info.name}")
        )
    return query if resource.namespaced else Query("", query.labels, query.fields)


class _Needed:
    """Says that a task is needed; it may be said again and again."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = anyio.Event()


async def _send_all(watch: Watcher, writer: "_Writer", stream: Stream, needed: _Needed, send: Send) -> None:
    """Send what a stream cannot send by itself, until the watch has come to its end. Raises Expired."""
    stream.open()
    while True:
        await needed.wait()
        if stream.failure is not None:
            raise stream.failure
        stream.sending = True
        try:
            events = await watch.take()
        except WatchEnded:
            return
        await send({"type": "http.response.body", "body": writer.lines(events), "more_body": True})
        stream.sending = False
        stream.open()


async def _start(send: Send, resource: Resource, request: Request, stream: Stream | None) -> None:
    kind = b"application/json"
    headers = [
        (b"content-type", kind),
        (b"cache-control", b"no-cache, private"),
        (b"transfer-encoding", b"chunked"),
        *warning_header([resource.warning] if resource.warning else []),
        *(request.flow.headers if request.flow is not None else ()),
    ]
    start: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": headers}
    if stream is not None:
        start[STREAMED] = stream.use
    await send(start)
    await send({"type": "http.response.body", "body": b"", "more_body": True})


async def _bookmarks(watch: Watcher, writer: "_Writer", stream: Stream, send: Send, end: float) -> None:
    """Say up to which version the client has seen everything: from time to time, whether or not much happens, and before the end."""
    last = end - BOOKMARK_BEFORE_END
    while (due := min((now := anyio.current_time()) + BOOKMARK_EVERY, last)) > now:
        await anyio.sleep_until(due)
        while stream.sending or watch.behind:  # a version may be said only when all up to it has been sent
            await anyio.sleep(BOOKMARK_RETRY)
        body = writer.bookmark(watch.resource_version)
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_disconnected(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


class _Writer:
    """Turns events into lines in the form that the client takes."""

    def __init__(
        self, resource: Resource, accepted: Accepted, request: Request, registries: ResourceRegistries
    ) -> None:
        self._resource = resource
        self._transform, self._version = accepted.transform, accepted.version
        self._include = request.query.get("includeObject", "Metadata")
        self._registries = registries
        self.started = False

    def lines(self, events: tuple[DocumentEvent, ...]) -> bytes:
        """Return the lines of events."""
        if not events:
            return b""
        if not self._transform:
            return b"".join([event.line for event in events])
        return b"".join(
            b'{"type":"%s","object":%s}\n' % (event.type.encode(), self._object(event.document))
            for event in events
        )

    def _object(self, document: Document) -> bytes:
        if self._transform == "Table":
            columns, self.started = not self.started, True
            return table.table(
                [document],
                self._resource,
                self._registries.clock.now(),
                include=self._include,
                metadata={"resourceVersion": document.meta.resource_version},
                columns=columns,
                version=self._version,
            )
        return table.partial_metadata(document, self._version)

    def bookmark(self, version: str, annotations: dict[str, str] | None = None) -> bytes:
        """Return a bookmark."""
        metadata: dict[str, object] = {"resourceVersion": version, "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        resource = self._resource
        kind, api_version = resource.kind, resource.api_version
        if self._transform == "PartialObjectMetadata":
            kind, api_version = "PartialObjectMetadata", f"{table.META}/{self._version}"
        bare: dict[str, Any] = {"kind": kind, "apiVersion": api_version, "metadata": metadata}
        if self._transform == "Table":
            bare = {
                "kind": "Table",
                "apiVersion": f"{table.META}/{self._version}",
                "metadata": metadata,
                "columnDefinitions": [],
                "rows": [{"cells": [], "object": bare}] if annotations else [],
            }
        return b'{"type":"BOOKMARK","object":%s}\n' % encode_json(bare)
