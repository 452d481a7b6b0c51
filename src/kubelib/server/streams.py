"""Logs, and the WebSocket streams of exec, attach and port-forward.

The channels of a command are 0 stdin, 1 stdout, 2 stderr, 3 the final status, 4 resize; in v5 of the protocol, 255 followed by
a channel's number closes that channel.
"""

import base64
import logging
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qs

import anyio

from kubelib.api.codec import DecodeError, encode_json, parse_json
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, BadRequest, InternalError, NotFound, ServiceUnavailable, invalid
from kubelib.api.meta import Key
from kubelib.api.protobuf import unframed
from kubelib.api.times import parse_time
from kubelib.api.validation import problems
from kubelib.server.channels import ChannelProtocol, channel_protocol
from kubelib.server.commandends import exit_status, run_out
from kubelib.server.connecting import COMMANDS
from kubelib.server.encodings import PROTOBUF_WATCH, accepted_form
from kubelib.server.nodes import LogOptions, NodeProxy, Stream
from kubelib.server.responses import Receive, Scope, Send, by_name, unless_gone
from kubelib.server.upgrades import EXTENSION

if TYPE_CHECKING:
    from kubelib.server.app import ApiServer
    from kubelib.server.request import Request
    from kubelib.server.spdycommands import SpdyCommand

log = logging.getLogger("kubelib.server")

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


async def _pod(server: "ApiServer", request: "Request") -> tuple[Document, Pod]:
    info = request.info
    if (info.group, info.resource) != ("", "pods"):
        raise NotFound("the server could not find the requested resource")
    registry = server.registries.of(server.registries.scheme.of(Pod))
    document = await registry.get(Key(info.namespace, info.name))
    return document, document.view(Pod)


def _container(pod: Pod, wanted: str) -> str:
    """Return which container is meant. Raises BadRequest."""
    names = [c.name for c in pod.spec.containers]
    every = [
        *names,
        *(c.name for c in pod.spec.init_containers),
        *(c.name for c in pod.spec.ephemeral_containers),
    ]
    name = pod.metadata.name
    if wanted:
        if wanted not in every:
            raise BadRequest(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(names) == 1:
        return names[0]
    chosen = pod.metadata.annotations.get("kubectl.kubernetes.io/default-container")
    if chosen in names:
        return chosen
    raise BadRequest(f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]")


def _nodes(server: "ApiServer", pod: Pod) -> NodeProxy:
    if server.nodes is None:
        raise ServiceUnavailable("this API server reaches no nodes")
    if not pod.spec.node_name:
        raise BadRequest(f"pod {pod.metadata.name} does not have a host assigned")
    return server.nodes


async def require_upgrade(server: "ApiServer", request: "Request") -> NoReturn:
    """Refuse exec, attach and port-forward over plain HTTP: what is wrong with the rest of the request is said first.

    Raises NotFound for no such Pod, ServiceUnavailable, and BadRequest.
    """
    _, pod = await _pod(server, request)
    if request.info.subresource != "portforward":
        _container(pod, request.query.get("container", ""))
    _nodes(server, pod)
    raise BadRequest("Upgrade request required")


def log_options(request: "Request") -> LogOptions:
    """Return which part of a log is asked for. Raises BadRequest for what cannot be read, Invalid for what makes no sense."""
    query = request.query
    tail, since, limit = (request.number(name) for name in ("tailLines", "sinceSeconds", "limitBytes"))
    since_time = query.get("sinceTime", "")
    if since_time:
        try:
            parse_time(since_time)
        except ValueError as error:
            raise BadRequest(f"sinceTime: {error}") from None
    wrong = [] if tail is None else problems.non_negative("tailLines", tail)
    if limit is not None and limit < 1:
        wrong.append(problems.invalid("limitBytes", limit, "must be greater than 0"))
    if since is not None and since_time:
        wrong.append(
            problems.forbidden("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified")
        )
    elif since is not None and since < 1:
        wrong.append(problems.invalid("sinceSeconds", since, "must be greater than 0"))
    if "stream" in query:
        # One of a container's streams alone is chosen only with PodLogsQuerySplitStreams, an alpha feature that is off.
        wrong.append(problems.forbidden("stream", "may not be specified"))
    if wrong:
        raise invalid("PodLogOptions", "", request.info.name, wrong)
    return LogOptions(
        follow=request.flag("follow"),
        previous=request.flag("previous"),
        timestamps=request.flag("timestamps"),
        tail_lines=tail,
        insecure=request.flag("insecureSkipTLSVerifyBackend"),
        since_seconds=since,
        since_time=since_time,
        limit_bytes=limit,
    )


async def answer_log(server: "ApiServer", request: "Request", receive: Receive, send: Send) -> None:
    """Send a container's log. Raises ApiError before anything is sent."""
    accepted_form(request, server.registries.scheme.of(Pod))
    options = log_options(request)
    _, pod = await _pod(server, request)
    container = _container(pod, request.query.get("container", ""))
    with server.watches.stoppable():
        await send_log(_nodes(server, pod).logs(pod, container, options), receive, send)


async def send_log(
    opened: AbstractAsyncContextManager[AsyncIterator[bytes]], receive: Receive, send: Send
) -> None:
    """Send a log as it comes, until it ends or the client goes. Raises ApiError before anything is sent."""
    async with opened as chunks:
        headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-cache, private")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            async with anyio.create_task_group() as group:

                async def end_when_gone() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    group.cancel_scope.cancel()

                group.start_soon(end_when_gone)
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                group.cancel_scope.cancel()
        finally:
            # Also when the server stops: the client learns that the log has ended.
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def answer_websocket(server: "ApiServer", scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a WebSocket upgrade: exec, attach, port-forward, a proxy; a log or a watch, line by line."""
    await receive()  # the connect message
    try:
        clock = server.figures.clock()
        request = await server.open_request(scope, by_name(scope), clock, clock())
        over_spdy = EXTENSION in scope.get("extensions", {})
        if over_spdy and (request.remote is not None or request.info.subresource not in COMMANDS):
            raise BadRequest(
                "unable to upgrade: SPDY is spoken for commands, attaching and port-forwarding only"
            )
        if await _passed_on(server, request, scope, receive, send):
            return
        _, pod = await _pod(server, request)
        if request.info.subresource not in COMMANDS:
            raise NotFound("the server could not find the requested resource")
        query = parse_qs(scope["query_string"].decode("latin1"), keep_blank_values=True)
        if request.info.subresource == "portforward":
            await _forward(server, pod, scope, query.get("ports") or [], receive, send)
            return
        container = _container(pod, (query.get("container") or [""])[0])
        command = query.get("command") or []
        if request.info.subresource == "exec" and not command:
            raise BadRequest("you must specify at least 1 container command")
        nodes = _nodes(server, pod)
        tty = request.flag("tty")
        wanted = wanted_channels(
            **{flag: request.flag(flag) for flag in ("stdin", "stdout", "stderr", "tty")}
        )
        stdin = STDIN in wanted
        command_over_spdy: SpdyCommand | None = None
        if over_spdy:
            from kubelib.server import spdycommands

            name = spdycommands.command_protocol(scope)
            expected = spdycommands.expected_streams(
                name, stdin=stdin, stdout=STDOUT in wanted, stderr=STDERR in wanted, tty=tty
            )
            command_over_spdy = spdycommands.SpdyCommand(name, expected, receive, send)
        else:
            protocol = channel_protocol(scope)
        if request.info.subresource == "exec":
            opened = nodes.exec(pod, container, command, stdin=stdin, tty=tty)
        else:
            opened = nodes.attach(pod, container, stdin=stdin, tty=tty)
    except ApiError as error:
        await refuse_upgrade(send, error, scope)
        return
    outlives = request.info.subresource == "exec" and not tty
    with server.watches.stoppable():
        if command_over_spdy is not None:
            await command_over_spdy.serve(opened, outlives=outlives)
        else:
            await serve_command(opened, protocol, wanted, receive, send, outlives=outlives)


async def _passed_on(
    server: "ApiServer", request: "Request", scope: Scope, receive: Receive, send: Send
) -> bool:
    """Answer a WebSocket that is no command in a Pod: at another server, as lines, or through a proxy. Raises ApiError."""
    if request.remote is not None:
        await server.aggregator.passage.answer_websocket(request.remote, request, scope, receive, send)
    elif request.watching:
        await server.watches.answer(request, *lines_over_websocket(scope, receive, send, text=True))
    elif request.info.subresource == "log":
        await answer_log(server, request, *lines_over_websocket(scope, receive, send, text=False))
    elif request.info.subresource == "proxy":
        from kubelib.server.proxying import answer_proxied_websocket

        await answer_proxied_websocket(server, request, scope, receive, send)
    else:
        return False
    return True


def wanted_channels(*, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> frozenset[int]:
    """Return which of a command's channels a request asks for. Raises BadRequest for none.

    A terminal has one output: what the command says on its standard error comes on the standard output.
    """
    asked = {STDIN: stdin, STDOUT: stdout, STDERR: stderr and not tty}
    if not any(asked.values()):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    return frozenset(channel for channel, there in asked.items() if there)


_READING = ("binary.k8s.io", "base64.binary.k8s.io")
"""The protocols in which Kubernetes sends what only flows to the client."""


def lines_over_websocket(scope: Scope, receive: Receive, send: Send, *, text: bool) -> tuple[Receive, Send]:
    """Return `receive` and `send` for what answers over HTTP, so that it answers over a WebSocket.

    With `text` each line is a message of its own, as watches are sent, or each event in protocol buffers; otherwise the bytes go as they
    come. Raises BadRequest for protocols that are not spoken.
    """
    framed = False
    offered = tuple(scope.get("subprotocols") or ())
    chosen = next((name for name in offered if name in _READING), "")
    if offered and not chosen and not text:
        raise BadRequest(f"unable to upgrade: the server offers {', '.join(_READING)}")
    send = unless_gone(send)

    async def receive_from_client() -> MutableMapping[str, Any]:
        message = await receive()
        return {"type": "http.disconnect"} if message["type"] == "websocket.disconnect" else message

    async def send_to_client(message: MutableMapping[str, Any]) -> None:
        nonlocal framed
        if message["type"] == "http.response.start":
            framed = (b"content-type", PROTOBUF_WATCH) in message["headers"]
            await send({"type": "websocket.accept", "subprotocol": chosen or None})
            return
        body: bytes = message.get("body", b"")
        if framed:
            for event in unframed(body):
                await send({"type": "websocket.send", "bytes": event})
        elif text:
            for line in body.splitlines():
                await send({"type": "websocket.send", "text": line.decode()})
        elif body and "base64" in chosen:
            await send({"type": "websocket.send", "text": base64.b64encode(body).decode()})
        elif body:
            await send({"type": "websocket.send", "bytes": body})
        if not message.get("more_body"):
            await send({"type": "websocket.close", "code": 1000})

    return receive_from_client, send_to_client


async def _forward(
    server: "ApiServer", pod: Pod, scope: Scope, ports: list[str], receive: Receive, send: Send
) -> None:
    """Forward ports of a Pod. Raises ApiError before the upgrade."""
    from kubelib.server.forwarding import IN_STREAMS, forwarding_protocol, ports_of, serve_forwarding

    protocol = forwarding_protocol(scope)
    if protocol.name not in IN_STREAMS and not ports:
        raise BadRequest('query parameter "ports" is required')
    nodes = _nodes(server, pod)
    if pod.status.phase != "Running":
        raise BadRequest(f"pod {pod.metadata.name} is not running: its phase is {pod.status.phase}")
    numbers = ports_of(ports) if ports else []
    with server.watches.stoppable():
        await serve_forwarding(protocol, lambda port: nodes.port_forward(pod, port), numbers, receive, send)


async def serve_command(
    opened: AbstractAsyncContextManager[Stream],
    protocol: ChannelProtocol,
    wanted: frozenset[int],
    receive: Receive,
    send: Send,
    *,
    outlives: bool = False,
) -> None:
    """Accept the upgrade and carry those of a command's streams that are wanted until it ends.

    If the client goes before, the command is ended; one that `outlives` its client may `run_out`.
    """
    send = unless_gone(send)
    await send(protocol.accept())
    try:
        async with opened as stream:
            code = await _relay(stream, protocol, wanted, receive, send)
            if code is None:
                if outlives:
                    await run_out(stream)
                return
            status = exit_status(code)
    except ApiError as error:
        status = error.status()
    except anyio.get_cancelled_exc_class():
        raise
    except Exception as error:
        log.exception("a command's streams failed")
        status = InternalError(f"Internal error occurred: {error}").status()
    if protocol.ends_with_status:
        await send(protocol.message(STATUS, encode_json(status)))
    elif status["status"] != "Success":
        await send(protocol.message(STATUS, status["message"].encode()))
    await send({"type": "websocket.close", "code": 1000})


async def refuse_upgrade(send: Send, error: ApiError, scope: Scope) -> None:
    """Answer an upgrade with an error."""
    if "websocket.http.response" in scope.get("extensions", {}):
        body = encode_json(error.status()) + b"\n"
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "websocket.http.response.start", "status": error.code, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
    else:
        await send({"type": "websocket.close", "code": 1008})


async def _relay(
    stream: Stream, protocol: ChannelProtocol, wanted: frozenset[int], receive: Receive, send: Send
) -> int | None:
    """Carry bytes both ways until the command has ended; return its exit code, None if the client has gone before."""
    ended = False
    async with anyio.create_task_group() as group:

        async def inwards() -> None:
            while True:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    group.cancel_scope.cancel()
                    return
                channel, data = protocol.read(message)
                if channel != STDIN or STDIN in wanted:
                    await _accept(stream, channel, data)

        group.start_soon(inwards)
        while True:
            try:
                name, data = await stream.receive()
            except anyio.EndOfStream:
                break
            channel = STDOUT if name == "stdout" else STDERR
            if channel in wanted:
                await send(protocol.message(channel, data))
        ended = True
        group.cancel_scope.cancel()
    return await stream.wait() if ended else None


async def _accept(stream: Stream, channel: int, data: bytes) -> None:
    if channel == STDIN and data:
        await stream.send(data)
    elif channel == CLOSE and data[:1] == bytes([STDIN]):
        await stream.close_stdin()
    elif channel == RESIZE:
        try:
            size: Any = parse_json(data)
            await stream.resize(int(size["Width"]), int(size["Height"]))
        except (DecodeError, KeyError, OverflowError, TypeError, ValueError):
            return
