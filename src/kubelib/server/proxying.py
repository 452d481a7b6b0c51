"""The ``proxy`` subresource of Pods, Services and nodes: HTTP and WebSockets passed on to what the name says.

Pods and Services are ``name``, ``name:port`` or ``scheme:name:port``; the port of a Service may be a name.
"""

import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

import anyio
import attrs
from anyio.abc import ByteStream as Transport
from anyio.abc import TaskGroup
from anyio.streams.tls import TLSStream

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.core.service import Endpoints, Service
from kubelib.api.discovery import EndpointSlice
from kubelib.api.errors import ApiError, BadRequest, NotFound, ServiceUnavailable
from kubelib.api.meta import Key
from kubelib.labels import parse_selector
from kubelib.registry.base import Query
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.exchange import ByteStream, Inquiry, Reply, concurrently, end_to_end, exchange
from kubelib.server.forwarding import is_port
from kubelib.server.nodes import NodeProxy
from kubelib.server.responses import Receive, Response, Scope, Send, send_response

if TYPE_CHECKING:
    from kubelib.server.request import Request
    from kubelib.server.watching import Watches

_OURS = {b"authorization", b"host", b"accept-encoding"}
"""Headers that were for this server; the bodies of others are passed on as they are, so they are not asked to compress."""
KUBELET_PORT = 10250
DIAL_TIMEOUT = 30.0
BROADCAST = ipaddress.IPv4Address("255.255.255.255")


@attrs.frozen
class Target:
    """Where a proxied request goes."""

    host: str
    """What the Host header says."""
    open: Callable[[], AbstractAsyncContextManager[ByteStream]]


def split_name(text: str) -> tuple[str, str, str]:
    """Return scheme, name and port of ``[scheme:]name[:port]``. Raises ValueError.

    >>> split_name("https:web:8443"), split_name("web:http"), split_name("web")
    (('https', 'web', '8443'), ('', 'web', 'http'), ('', 'web', ''))
    """
    parts = text.split(":")
    match parts:
        case [name] if name:
            return "", name, ""
        case [name, port] if name:
            return "", name, port
        case ["" | "http" | "https" as scheme, name, port] if name:
            return scheme, name, port
    raise ValueError(text)


class _Adapted(Transport):
    """A `kubelib.server.exchange.ByteStream` as anyio's, for TLS."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._stream.receive()

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        return


@asynccontextmanager
async def _dial(host: str, port: int) -> AsyncIterator[ByteStream]:
    try:
        with anyio.fail_after(DIAL_TIMEOUT):
            stream = await anyio.connect_tcp(host, port)
    except (OSError, TimeoutError) as error:
        why = str(error) or "i/o timeout"
        raise ServiceUnavailable(
            f"error trying to reach service: dial tcp {host}:{port}: connect: {why}"
        ) from None
    async with stream:
        yield stream


@asynccontextmanager
async def encrypted(
    opened: AbstractAsyncContextManager[ByteStream], context: ssl.SSLContext, hostname: str | None = None
) -> AsyncIterator[ByteStream]:
    """Speak TLS over a connection."""
    async with opened as stream:
        try:
            with anyio.fail_after(DIAL_TIMEOUT):
                tls = await TLSStream.wrap(
                    _Adapted(stream),
                    hostname=hostname,
                    ssl_context=context,
                    server_side=False,
                    standard_compatible=False,
                )
        except TimeoutError:
            raise ServiceUnavailable("error trying to reach service: tls: i/o timeout") from None
        except (ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise ServiceUnavailable(f"error trying to reach service: tls: {error}") from None
        yield tls


def _of_anybody() -> ssl.SSLContext:
    """Return TLS without trust: as in Kubernetes nobody could say which certificate a Pod should have."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _require_proxyable(address: str) -> None:
    """Refuse addresses that are no Pod's or node's: those of this machine, and of what is beside it. Raises BadRequest."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise BadRequest("address not allowed") from None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    ip = mapped or parsed
    if ip.is_link_local or ip.is_unspecified or ip.is_multicast or ip.is_loopback or ip == BROADCAST:
        raise BadRequest("address not allowed")


class LeadsOn(Protocol):
    """What of an API server leads on to nodes, Pods and Services."""

    registries: ResourceRegistries
    nodes: NodeProxy | None
    watches: "Watches"


class Targets:
    """Finds where a proxied request goes."""

    def __init__(self, registries: ResourceRegistries, nodes: NodeProxy | None) -> None:
        self._registries = registries
        self._nodes = nodes

    async def find(self, request: "Request") -> Target:
        """Return where a request to a Pod or Service goes. Raises ApiError."""
        info = request.info
        try:
            scheme, name, port = split_name(info.name)
        except ValueError:
            raise BadRequest(f'invalid {info.resource[:-1]} request "{info.name}"') from None
        if info.resource == "pods":
            target = await self._pod(info.namespace, name, port)
        elif info.resource == "services":
            target = await self.service(info.namespace, name, port, of_pods=True)
        elif not is_port(port):
            raise BadRequest(f'invalid node request "{info.name}"')
        else:
            target = await self._node(name, int(port))
        if scheme == "https":
            return Target(target.host, lambda: encrypted(target.open(), _of_anybody()))
        return target

    async def _node(self, name: str, port: int) -> Target:
        node = (await self._registries.of(self._registries.scheme.of(Node)).get(Key("", name))).view(Node)
        addresses = {address.type: address.address for address in node.status.addresses}
        host = addresses.get("InternalIP") or addresses.get("ExternalIP") or ""
        _require_proxyable(host)
        return Target(f"{host}:{port}", lambda: _dial(host, port))

    async def _pod(self, namespace: str, name: str, port: str) -> Target:
        pod = (await self._registries.of(self._registries.scheme.of(Pod)).get(Key(namespace, name))).view(Pod)
        numbers = [str(p.container_port) for c in pod.spec.containers for p in c.ports[:1]]
        number = port or (numbers[0] if numbers else "80")
        if not is_port(number):
            raise BadRequest(f'invalid pod request "{name}:{port}"')
        if not self._is_behind_node(pod):
            _require_proxyable(pod.status.pod_ip)
        return self._to_pod(pod, int(number))

    def _is_behind_node(self, pod: Pod) -> bool:
        """Return whether the way to a Pod is by its node, which knows it by itself: its address then means nothing."""
        return self._nodes is not None and bool(pod.spec.node_name)

    def _to_pod(self, pod: Pod, port: int) -> Target:
        """Reach a Pod by way of its node, which knows how, if a node can be reached at all."""
        host, nodes = pod.status.pod_ip, self._nodes
        if nodes is None or not self._is_behind_node(pod):
            return Target(f"{host}:{port}", lambda: _dial(host, port))
        return Target(f"{host}:{port}", lambda: nodes.port_forward(pod, port))

    async def service(self, namespace: str, name: str, port: str, *, of_pods: bool = False) -> Target:
        """Return one of the endpoints of a Service's port; with `of_pods` only of those that are addresses of the Pods that they name:
        whoever writes endpoints could otherwise have the server call anything. Raises NotFound, ServiceUnavailable.
        """
        registries = self._registries
        service = (await registries.of(registries.scheme.of(Service)).get(Key(namespace, name))).view(Service)
        wanted = port
        if is_port(port):
            names = [p.name for p in service.spec.ports if p.port == int(port)]
            if not names:
                raise ServiceUnavailable(f'no service port {port} found for service "{name}"')
            wanted = names[0]
        found = [
            (address, number, self._owner(namespace, pod_name, address))
            for address, number, pod_name in self._endpoints(namespace, name, wanted)
        ]
        if of_pods:
            found = [endpoint for endpoint in found if endpoint[2] is not None]
        if not found:
            raise ServiceUnavailable(f'no endpoints available for service "{name}"')
        address, number, pod = found[registries.random.randrange(len(found))]
        if pod is not None and pod.status.pod_ip == address:
            return self._to_pod(pod, number)
        return Target(f"{address}:{number}", lambda: _dial(address, number))

    def _owner(self, namespace: str, name: str, address: str) -> Pod | None:
        """Return the Pod of a name, if it has the address."""
        pods = self._registries.of(self._registries.scheme.of(Pod)).cache
        document = pods.get(Key(namespace, name)) if name else None
        pod = document.view(Pod) if document is not None else None
        if pod is None or address not in (pod.status.pod_ip, *(own.ip for own in pod.status.pod_ips)):
            return None
        return pod

    def _endpoints(self, namespace: str, name: str, port: str) -> list[tuple[str, int, str]]:
        """Return address, port and Pod of what is ready behind a Service's port."""
        registries = self._registries
        query = Query(namespace, parse_selector(f"kubernetes.io/service-name={name}"))
        slices = registries.of(registries.scheme.of(EndpointSlice)).cache.select(query)
        found = [
            (endpoint.addresses[0], number.port, _pod_of(endpoint.target_ref, namespace))
            for document in slices
            for piece in (document.view(EndpointSlice),)
            for number in piece.ports
            if number.name == port and number.port
            for endpoint in piece.endpoints
            if endpoint.addresses and endpoint.conditions.ready is not False
        ]
        if found or slices:
            return found
        document = registries.of(registries.scheme.of(Endpoints)).cache.get(Key(namespace, name))
        if document is None:
            return []
        return [
            (address.ip, number.port, _pod_of(address.target_ref, namespace))
            for subset in document.view(Endpoints).subsets
            for number in subset.ports
            if number.name == port
            for address in subset.addresses
        ]


def _pod_of(reference: ObjectReference | None, namespace: str) -> str:
    """Return the name of the Pod of this namespace that an endpoint says that it is; empty if it is none."""
    if reference is None or reference.kind != "Pod" or reference.namespace not in ("", namespace):
        return ""
    return reference.name


def _split_path(scope: Scope) -> tuple[bytes, bytes]:
    """Return a request's path up to and with ``/proxy``, and what follows, as they came.

    Raises NotFound for one whose slashes are not where those of the path are by which the caller was authorized.
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    parts = (b"/" + raw.partition(b"?")[0].lstrip(b"/")).split(b"/")
    end = 7 if parts[3:4] == [b"namespaces"] else 5
    if unquote(parts[end].decode("latin1") if len(parts) > end else "") != "proxy":
        raise NotFound("the server could not find the requested resource")
    return b"/".join(parts[: end + 1]), b"/".join([b"", *parts[end + 1 :]]) if len(parts) > end + 1 else b""


async def answer_proxy(
    server: LeadsOn, request: "Request", scope: Scope, receive: Receive, send: Send
) -> None:
    """Pass a request on and its answer back. Raises ApiError before anything is sent."""
    info = request.info
    if info.group or info.resource not in ("pods", "services", "nodes"):
        raise NotFound("the server could not find the requested resource")
    prefix, path = _split_path(scope)
    query: bytes = scope["query_string"]
    if not path:
        location = prefix + b"/" + (b"?" + query if query else b"")
        await send_response(send, Response(b"", 301, b"text/plain", [(b"location", location)]))
        return
    headers = [
        (name, value)
        for name, value in end_to_end(list(scope["headers"]))
        if name not in _OURS and not name.startswith(b"impersonate-")
    ]
    client = scope.get("client")
    if client is not None:
        headers.append((b"x-forwarded-for", str(client[0]).encode()))
    headers.append((b"x-forwarded-uri", prefix + path))

    chunks, ended = request_body(receive)
    inquiry = Inquiry(scope["method"], path + (b"?" + query if query else b""), headers, chunks)
    begun = False
    try:
        with server.watches.stoppable():
            async with concurrently() as group:
                group.start_soon(leave_with_client, ended, receive, group)
                async with _ask(server, request, inquiry) as reply:
                    begun = True
                    await pass_back(reply, prefix, send, head=scope["method"] == "HEAD")
                group.cancel_scope.cancel()
    except ApiError:
        # The client sees from the missing rest that something went wrong: no status can be sent any more.
        if not begun:
            raise


async def _kubelet(server: LeadsOn, request: "Request") -> tuple[NodeProxy, str] | None:
    """Return the way to a kubelet, and the name of its node, if it is a kubelet that a request is for. Raises ApiError."""
    info = request.info
    if info.resource != "nodes":
        return None
    name, _, port = info.name.partition(":")
    await server.registries.of(server.registries.scheme.of(Node)).get(Key("", name))
    if port and port != str(KUBELET_PORT):
        if not is_port(port):
            raise BadRequest(f'invalid node request "{info.name}"')
        return None
    if server.nodes is None:
        raise ServiceUnavailable("this API server reaches no nodes")
    return server.nodes, name


@asynccontextmanager
async def _ask(server: LeadsOn, request: "Request", inquiry: Inquiry) -> AsyncIterator[Reply]:
    if (kubelet := await _kubelet(server, request)) is not None:
        nodes, name = kubelet
        async with nodes.ask(name, inquiry) as reply:
            yield reply
        return
    target = await Targets(server.registries, server.nodes).find(request)
    inquiry = attrs.evolve(inquiry, headers=[(b"host", target.host.encode()), *inquiry.headers])
    try:
        async with target.open() as stream, exchange(stream, inquiry) as reply:
            yield reply
    except NotFound as error:  # the port does not answer: for a proxy that is no missing object
        raise ServiceUnavailable(f"error trying to reach service: {error}") from None


def request_body(receive: Receive) -> tuple[AsyncIterator[bytes], anyio.Event]:
    """Return the body of a request as it comes, and an event for its end: from then on, `receive` only says that the client went."""
    ended = anyio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        while not ended.is_set():
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            if not message.get("more_body"):
                ended.set()
            if data := message.get("body"):
                yield data

    return chunks(), ended


async def leave_with_client(ended: anyio.Event, receive: Receive, group: TaskGroup) -> None:
    """Give up what a group does once the client has gone: nobody waits for the answer any more."""
    await ended.wait()
    while (await receive())["type"] != "http.disconnect":
        pass
    group.cancel_scope.cancel()


async def pass_back(reply: Reply, prefix: bytes, send: Send, *, head: bool) -> None:
    """Send an answer as it comes; what it redirects to is made to come back to the proxy at `prefix`."""
    headers = [
        (name, _relocated(value, prefix) if prefix and name.lower() == b"location" else value)
        for name, value in reply.headers
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if not head:
        async for data in reply.body:
            await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _relocated(location: bytes, prefix: bytes) -> bytes:
    """Return a redirection so that it comes back to the proxy."""
    split = urlsplit(location.decode("latin1"))
    if split.scheme or split.netloc or not split.path.startswith("/"):
        return location
    return prefix + location


async def answer_proxied_websocket(
    server: LeadsOn, request: "Request", scope: Scope, receive: Receive, send: Send
) -> None:
    """Pass a WebSocket on to a Pod, a Service or a node. Raises ApiError before the upgrade."""
    _, path = _split_path(scope)
    path = path or b"/"
    query: bytes = scope["query_string"]
    if (kubelet := await _kubelet(server, request)) is not None:
        nodes, name = kubelet
        there = {**scope, "path": unquote(path.decode("latin1")), "raw_path": path}
        await nodes.pass_websocket(name, there, receive, send)
        return
    target = await Targets(server.registries, server.nodes).find(request)
    where = path + (b"?" + query if query else b"")
    await pass_websocket(target, where, scope, receive, send)


async def pass_websocket(
    target: Target,
    where: bytes,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Pass a WebSocket on to `where` at a target, with further headers. Raises ApiError before the upgrade."""
    from wsproto import ConnectionType, WSConnection
    from wsproto import events as ws
    from wsproto.utilities import LocalProtocolError, RemoteProtocolError

    protocol = WSConnection(ConnectionType.CLIENT)

    async def outwards(stream: ByteStream) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            data, text = message.get("bytes"), message.get("text")
            await stream.send(
                protocol.send(ws.BytesMessage(data) if data is not None else ws.TextMessage(text or ""))
            )
        with contextlib.suppress(LocalProtocolError):
            await stream.send(protocol.send(ws.CloseConnection(code=1000)))

    async with target.open() as stream, concurrently() as group:
        upgrade = ws.Request(
            host=target.host,
            target=where.decode("latin1"),
            subprotocols=list(scope.get("subprotocols") or ()),
            extra_headers=list(headers),
        )
        await stream.send(protocol.send(upgrade))
        accepted = False
        while True:
            try:
                protocol.receive_data(await stream.receive())
                events = list(protocol.events())
            except (anyio.EndOfStream, anyio.BrokenResourceError, OSError, RemoteProtocolError):
                events = [ws.CloseConnection(code=1006)]
            for event in events:
                match event:
                    case ws.AcceptConnection():
                        accepted = True
                        await send({"type": "websocket.accept", "subprotocol": event.subprotocol})
                        group.start_soon(outwards, stream)
                    case ws.RejectConnection():
                        raise ServiceUnavailable(f"the service refused the upgrade with {event.status_code}")
                    case ws.BytesMessage():
                        await send({"type": "websocket.send", "bytes": bytes(event.data)})
                    case ws.TextMessage():
                        await send({"type": "websocket.send", "text": event.data})
                    case ws.Ping():
                        await stream.send(protocol.send(event.response()))
                    case ws.CloseConnection() if not accepted:
                        raise ServiceUnavailable("error trying to reach service: EOF")
                    case ws.CloseConnection():
                        await send({"type": "websocket.close", "code": 1000})
                        group.cancel_scope.cancel()
                        return
