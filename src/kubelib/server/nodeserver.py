"""What a node answers to the API server: logs and streams of its containers, under the paths of Kubernetes' kubelet.

Everybody may ask for health; for everything else the caller shows a certificate of the cluster, and is allowed to use the
subresource of the node that the path stands for: ``nodes/stats``, ``nodes/metrics``, ``nodes/pods``, ``nodes/configz``, and
``nodes/proxy``, which alone is enough for the last two and for all else (or the caller is the API server itself).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs

import anyio

from kubelib.api.codec import encode_json
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, BadRequest, Forbidden, InternalError, NotFound, Unauthorized
from kubelib.exposition import CONTENT_TYPE
from kubelib.registry.base import User
from kubelib.server.channels import channel_protocol
from kubelib.server.forwarding import TUNNEL, forwarding_protocol, ports_of, serve_forwarding
from kubelib.server.nodes import LogOptions, NodeFigures, NodeProxy
from kubelib.server.responses import Receive, Response, Scope, Send, error_response, send_response
from kubelib.server.streams import STDIN, refuse_upgrade, send_log, serve_command, wanted_channels
from kubelib.server.upgrades import EXTENSION

log = logging.getLogger("kubelib.server")

Query = Mapping[str, list[str]]
Allowed = Callable[[User, str], Awaitable[bool]]
"""Whether a user may use a subresource of the node: ``proxy``, ``stats``, ``metrics``, ``pods``, ``configz``."""


class NodeServer:
    """An ASGI application."""

    def __init__(
        self,
        nodes: NodeProxy,
        *,
        pod: Callable[[str, str], Pod | None],
        pods: Callable[[], bytes],
        allowed: Allowed,
        figures: NodeFigures | None = None,
    ) -> None:
        self._figures = figures
        self._nodes = nodes
        self._pod_of = pod
        self._pods = pods
        self._allowed = allowed
        self._open: set[anyio.CancelScope] = set()

    def stop(self) -> None:
        """End all streams: the node is about to stop."""
        for scope in list(self._open):
            scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()  # the connect message
            try:
                if EXTENSION in scope.get("extensions", {}):
                    raise BadRequest("unable to upgrade: nodes are reached over WebSockets")
                await self._upgrade(scope, receive, send)
            except ApiError as error:
                await refuse_upgrade(send, error, scope)

    async def _authorize(self, scope: Scope, *subresources: str) -> None:
        """Let those pass who may use one of the subresources. Raises Unauthorized, Forbidden."""
        user: User | None = scope.get("state", {}).get("user")
        if user is None:
            raise Unauthorized("Unauthorized")
        for subresource in subresources:
            if await self._allowed(user, subresource):
                return
        listed = " ".join(subresources)
        raise Forbidden(f"Forbidden (user={user.name}, verb=get, resource=nodes, subresource(s)=[{listed}])")

    async def _measured(self, scope: Scope, parts: list[str], query: Query) -> Response:
        """Answer what is asked of the node's figures. Raises NotFound."""
        match parts:
            case ["stats", *_]:
                await self._authorize(scope, "stats")
            case ["metrics", *_]:
                await self._authorize(scope, "metrics")
            case _:
                await self._authorize(scope, "configz", "proxy")
        if self._figures is not None:
            match parts:
                case ["stats", "summary"]:
                    only = _flag(query, "only_cpu_and_memory")
                    return Response(await self._figures.summary(only_cpu_and_memory=only))
                case ["metrics"]:
                    return Response(await self._figures.metrics("own"), content_type=CONTENT_TYPE)
                case ["metrics", "resource" | "cadvisor" | "probes" as which]:
                    return Response(await self._figures.metrics(which), content_type=CONTENT_TYPE)
                case ["configz"]:
                    return Response(self._figures.configuration())
        raise NotFound("the node could not find the requested resource")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode("latin1"), keep_blank_values=True)
        try:
            match parts := scope["path"].strip("/").split("/"):
                case ["healthz", *_]:
                    response = Response(b"ok", content_type=b"text/plain; charset=utf-8")
                case ["pods" | "runningpods"]:
                    await self._authorize(scope, "pods", "proxy")
                    response = Response(self._pods())
                case ["stats" | "metrics" | "configz", *_]:
                    response = await self._measured(scope, parts, query)
                case ["containerLogs", namespace, name, container]:
                    await self._authorize(scope, "proxy")
                    pod = self._pod(namespace, name)
                    opened = self._nodes.logs(pod, container, _log_options(query))
                    with anyio.CancelScope() as running:
                        self._open.add(running)
                        try:
                            await send_log(opened, receive, send)
                        finally:
                            self._open.discard(running)
                    return
                case _:
                    await self._authorize(scope, "proxy")
                    raise NotFound("the node could not find the requested resource")
        except ApiError as error:
            response = error_response(error)
        except anyio.get_cancelled_exc_class():
            raise
        except Exception:
            log.exception("%s failed", scope["path"])
            response = error_response(InternalError("Internal error occurred: the node's log says more"))
        await send_response(send, response, head=scope["method"] == "HEAD")

    def _pod(self, namespace: str, name: str) -> Pod:
        pod = self._pod_of(namespace, name)
        if pod is None:
            raise NotFound(f'pod "{name}" not found in namespace "{namespace}" on this node')
        return pod

    async def _upgrade(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._authorize(scope, "proxy")
        query = parse_qs(scope["query_string"].decode("latin1"), keep_blank_values=True)
        tty = _flag(query, "tty")
        with anyio.CancelScope() as running:
            self._open.add(running)
            try:
                match scope["path"].strip("/").split("/"):
                    case ["exec", namespace, name, container]:
                        pod, command = self._pod(namespace, name), query.get("command") or []
                        if not command:
                            raise BadRequest("you must specify at least 1 container command")
                        protocol, wanted = channel_protocol(scope), _wanted(query)
                        opened = self._nodes.exec(pod, container, command, stdin=STDIN in wanted, tty=tty)
                        await serve_command(opened, protocol, wanted, receive, send, outlives=not tty)
                    case ["attach", namespace, name, container]:
                        pod, protocol = self._pod(namespace, name), channel_protocol(scope)
                        wanted = _wanted(query)
                        opened = self._nodes.attach(pod, container, stdin=STDIN in wanted, tty=tty)
                        await serve_command(opened, protocol, wanted, receive, send)
                    case ["portForward", namespace, name]:
                        pod, protocol = self._pod(namespace, name), forwarding_protocol(scope)
                        ports = [] if protocol.name == TUNNEL else ports_of(query.get("port") or [])
                        await serve_forwarding(
                            protocol, lambda port: self._nodes.port_forward(pod, port), ports, receive, send
                        )
                    case _:
                        raise NotFound("the node could not find the requested resource")
            finally:
                self._open.discard(running)


def _flag(query: Query, name: str) -> bool:
    return (query.get(name) or ["0"])[0] in ("1", "true")


def _wanted(query: Query) -> frozenset[int]:
    """Return the channels that a kubelet is asked for. Raises BadRequest for none."""
    return wanted_channels(
        stdin=_flag(query, "input"),
        stdout=_flag(query, "output"),
        stderr=_flag(query, "error"),
        tty=_flag(query, "tty"),
    )


def _log_options(query: Query) -> LogOptions:
    def number(name: str) -> int | None:
        text = (query.get(name) or [""])[0]
        try:
            return int(text) if text else None
        except ValueError:
            raise BadRequest(f'"{name}" must be a number, not "{text}"') from None

    return LogOptions(
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        timestamps=_flag(query, "timestamps"),
        tail_lines=number("tailLines"),
        since_seconds=number("sinceSeconds"),
        since_time=(query.get("sinceTime") or [""])[0],
        limit_bytes=number("limitBytes"),
    )


def pod_list(documents: list[bytes]) -> bytes:
    """Return a PodList of encoded Pods."""
    head = encode_json({"kind": "PodList", "apiVersion": "v1", "metadata": {}})[:-1]
    return head + b',"items":[' + b",".join(documents) + b"]}"
