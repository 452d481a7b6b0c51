"""The proxy subresource, to a server of the test's own behind a Service, and logs and watches over WebSockets."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import httpx
import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from kubelib.api.protobuf import decode_protobuf
from kubelib.server.authn.subprotocol import PREFIX
from kubelib.server.exchange import Inquiry, exchange_with
from kubelib.server.proxying import split_name
from kubelib.testing.cluster import Cluster, ClusterOptions

SERVICE = "/api/v1/namespaces/default/services"
PODS = "/api/v1/namespaces/default/pods"


class Backend(BaseHTTPRequestHandler):
    """Answers with what it was asked; speaks WebSocket on /ws."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._echo()
            return
        size = int(self.headers.get("Content-Length") or 0)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = b""
        if chunked:
            while length := int(self.rfile.readline(), 16):
                body += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(size)
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/elsewhere?x=1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/broken":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            self.close_connection = True
            return
        if self.path == "/garbage":
            self.wfile.write(b"what?\r\n\r\n")
            self.close_connection = True
            return
        answer = json.dumps(
            {
                "method": self.command,
                "path": self.path,
                "body": body.decode(),
                "headers": dict(self.headers.items()),
            }
        ).encode()
        self.send_response(418 if self.path == "/teapot" else 200)
        self.send_header("X-Backend", "yes")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _answer

    def _echo(self) -> None:
        """Accept an upgrade, say each message twice, end at the word bye."""
        self.close_connection = True
        if self.path == "/refused":
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        protocol = WSConnection(ConnectionType.SERVER)
        lines = [f"GET {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers.items())]
        protocol.receive_data(("\r\n".join(lines) + "\r\n\r\n").encode())
        while True:
            for event in protocol.events():
                if isinstance(event, Request):
                    chosen = next(iter(event.subprotocols), None)
                    self.wfile.write(protocol.send(AcceptConnection(subprotocol=chosen)))
                elif isinstance(event, TextMessage):
                    self.wfile.write(protocol.send(TextMessage(event.data * 2)))
                    if event.data == "bye":
                        self.wfile.write(protocol.send(CloseConnection(code=1000)))
                        return
                elif isinstance(event, BytesMessage):
                    self.wfile.write(protocol.send(BytesMessage(bytes(event.data) * 2)))
                elif isinstance(event, CloseConnection):
                    return
            data = self.connection.recv(65536)
            if not data:
                return
            protocol.receive_data(data)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: Cluster, backend: int) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {cluster.token}"}
    with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
        ports = [{"name": "http", "port": 80}, {"name": "other", "port": 81}]
        for name in ("web", "empty"):
            answer = client.post(SERVICE, json={"metadata": {"name": name}, "spec": {"ports": ports}})
            assert answer.status_code == 201, answer.text
        assert client.post("/api/v1/nodes", json={"metadata": {"name": "n"}}).status_code == 201
        for name, address in (("web-a", "127.0.0.1"), ("local", "127.0.0.1"), ("six", "::1")):
            pod = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
            assert client.post(PODS, json=pod).status_code == 201
            status = {"status": {"podIP": address, "podIPs": [{"ip": address}]}}
            merge = {"content-type": "application/merge-patch+json"}
            patched = client.patch(f"{PODS}/{name}/status", json=status, headers=merge)
            assert patched.status_code == 200, patched.text
        piece = {
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": backend}],
            "endpoints": [
                {"addresses": ["127.0.0.1"], "targetRef": {"kind": "Pod", "name": "web-a"}},
                {"addresses": ["127.0.0.99"], "conditions": {"ready": False}},
            ],
        }
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        assert client.post(slices, json=piece).status_code == 201
        for name, address, target in (
            ("nobody", "127.0.0.1", None),
            ("another", "127.0.0.1", {"kind": "Pod", "name": "web-a", "namespace": "kube-system"}),
            ("liar", "127.0.0.99", {"kind": "Pod", "name": "web-a"}),
            ("node", "127.0.0.1", {"kind": "Node", "name": "web-a"}),
        ):
            answer = client.post(SERVICE, json={"metadata": {"name": name}, "spec": {"ports": ports}})
            assert answer.status_code == 201, answer.text
            piece = {
                "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": backend}],
                "endpoints": [{"addresses": [address], **({"targetRef": target} if target else {})}],
            }
            assert client.post(slices, json=piece).status_code == 201
        yield client


@pytest.mark.parametrize("name", ["web:http", "web:80", "http:web:80"])
def test_a_service_is_reached_by_port_name_and_number(client: httpx.Client, name: str) -> None:
    path = f"{SERVICE}/{name}/proxy/a%20b/c?x=1&y=%2F"
    got = client.get(path, headers={"x-mine": "1", "impersonate-user": ""})
    assert (got.status_code, got.headers["x-backend"]) == (200, "yes")
    asked = got.json()
    assert (asked["method"], asked["path"]) == ("GET", "/a%20b/c?x=1&y=%2F")
    assert asked["headers"]["x-mine"] == "1"
    assert asked["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert "authorization" not in {header.lower() for header in asked["headers"]}


def test_every_method_and_its_body_are_passed_on(client: httpx.Client) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        asked = client.request(method, f"{SERVICE}/web:http/proxy/x", content=b"body " * 1000).json()
        assert (asked["method"], asked["body"]) == (method, "body " * 1000)
    streamed = client.post(f"{SERVICE}/web:http/proxy/x", content=iter([b"one ", b"two"])).json()
    assert streamed["body"] == "one two"
    head = client.head(f"{SERVICE}/web:http/proxy/x")
    assert (head.headers["x-backend"], head.content) == ("yes", b"")


def test_answers_are_passed_back_as_they_are(client: httpx.Client) -> None:
    assert client.get(f"{SERVICE}/web:http/proxy/teapot").status_code == 418
    moved = client.get(f"{SERVICE}/web:http/proxy/moved")
    assert moved.headers["location"] == f"{SERVICE}/web:http/proxy/elsewhere?x=1"
    bare = client.get(f"{SERVICE}/web:http/proxy?x=1")
    assert (bare.status_code, bare.headers["location"]) == (301, f"{SERVICE}/web:http/proxy/?x=1")


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        (f"{SERVICE}/missing/proxy/", 404, 'services "missing" not found'),
        (f"{SERVICE}/empty:http/proxy/", 503, 'no endpoints available for service "empty"'),
        (f"{SERVICE}/web:other/proxy/", 503, 'no endpoints available for service "web"'),
        (f"{SERVICE}/web:82/proxy/", 503, 'no service port 82 found for service "web"'),
        (f"{SERVICE}/ftp:web:80/proxy/", 400, "invalid service request"),
        (f"{SERVICE}/https:web:80/proxy/", 503, "tls"),
        (f"{SERVICE}/web:http/proxy/garbage", 503, "error trying to reach service"),
        ("/api/v1/namespaces/default/pods/missing/proxy/", 404, 'pods "missing" not found'),
        ("/api/v1/nodes/missing/proxy/", 404, 'nodes "missing" not found'),
        ("/apis/apps/v1/namespaces/default/deployments/x/proxy/", 404, "could not find"),
        (f"{SERVICE}/web:²/proxy/", 503, 'no endpoints available for service "web"'),
        (f"{SERVICE}/web:{'9' * 5000}/proxy/", 503, 'no endpoints available for service "web"'),
        (f"{PODS}/web-a:²/proxy/", 400, "invalid pod request"),
        ("/api/v1/nodes/n:²/proxy/", 400, "invalid node request"),
    ],
)
def test_what_cannot_be_reached_is_a_status(client: httpx.Client, path: str, code: int, message: str) -> None:
    got = client.get(path)
    assert got.status_code == code
    assert message in got.json()["message"]


@pytest.mark.parametrize("name", ["nobody", "another", "liar", "node"])
def test_a_service_leads_to_the_addresses_of_its_pods_only(
    cluster: Cluster, client: httpx.Client, name: str
) -> None:
    """Whoever writes endpoints could have the server call whatever it reaches."""
    got = client.get(f"{SERVICE}/{name}:http/proxy/")
    assert (got.status_code, got.json()["message"]) == (
        503,
        f'no endpoints available for service "{name}"',
    )
    socket = Socket(cluster, f"{SERVICE}/{name}:http/proxy/ws")
    socket.close()
    assert socket.code == 503


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:127.0.0.1"])
def test_pods_and_nodes_at_the_server_s_own_addresses_are_not_called(
    cluster: Cluster, client: httpx.Client, backend: int, address: str
) -> None:
    for name in ("local", "six"):
        got = client.get(f"{PODS}/{name}:{backend}/proxy/")
        assert (got.status_code, got.json()["message"]) == (400, "address not allowed")
    merge = {"content-type": "application/merge-patch+json"}
    status = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
    assert client.patch("/api/v1/nodes/n/status", json=status, headers=merge).status_code == 200
    got = client.get(f"/api/v1/nodes/n:{backend}/proxy/")
    assert (got.status_code, got.json()["message"]) == (400, "address not allowed")


def test_what_was_authorized_is_what_is_passed_on(cluster: Cluster, client: httpx.Client) -> None:
    """A slash that is written as %2F is one for authorization: it must be one for the way as well, or there is none."""
    for path in (
        "/api/v1/namespaces/default%2Fservices%2Fweb:http%2Fproxy%2Fa",
        "/api/v1/namespaces/default/services/web:http%2Fproxy/a",
        "/api%2Fv1%2Fnodes%2Fn%2Fproxy%2Fa",
        "/api/v1/nodes/n%2Fproxy/a",
    ):
        assert client.get(path).status_code == 404, path
    got = client.get(f"{cluster.url}/{SERVICE}/web:http/proxy/a")
    assert (got.status_code, got.json()["path"]) == (200, "/a")


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(f"{SERVICE}/web:http/proxy/broken")


def test_who_may_not_use_the_proxy_is_refused(cluster: Cluster, client: httpx.Client) -> None:
    got = client.get(f"{SERVICE}/web:http/proxy/", headers={"impersonate-user": "nobody"})
    assert got.status_code == 403
    assert httpx.get(f"{cluster.url}{SERVICE}/web:http/proxy/").status_code in (401, 403)


def test_a_pod_without_an_address_cannot_be_reached(client: httpx.Client) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert client.post("/api/v1/namespaces/default/pods", json=pod).status_code == 201
    got = client.get("/api/v1/namespaces/default/pods/p:80/proxy/")
    assert (got.status_code, got.json()["message"]) == (400, "address not allowed")


def test_names_of_proxies_are_taken_apart() -> None:
    assert split_name(":web:80") == ("", "web", "80")
    for wrong in ("", ":80", "a:b:c:d", "ftp:a:1"):
        with pytest.raises(ValueError, match=f"^{wrong}$"):
            split_name(wrong)


# WebSockets


class Socket:
    """A WebSocket by hand."""

    def __init__(
        self, cluster: Cluster, path: str, *subprotocols: str, authorized: bool = True, accept: str = ""
    ) -> None:
        import socket

        host = cluster.url.removeprefix("http://")
        name, _, port = host.partition(":")
        self.socket = socket.create_connection((name, int(port)), timeout=60)
        self.protocol = WSConnection(ConnectionType.CLIENT)
        upgrade = Request(
            host=host,
            target=path,
            subprotocols=list(subprotocols),
            extra_headers=[
                *([(b"authorization", f"Bearer {cluster.token}".encode())] if authorized else []),
                *([(b"accept", accept.encode())] if accept else []),
            ],
        )
        self.socket.sendall(self.protocol.send(upgrade))
        self.code, self.refusal = 101, b""
        event = self.next()
        if isinstance(event, RejectConnection):
            self.code = event.status_code
            while isinstance(event := self.next(), RejectData):
                self.refusal += event.data
                if event.body_finished:
                    break
        else:
            assert isinstance(event, AcceptConnection)
            self.subprotocol = event.subprotocol

    def next(self) -> Any:
        while True:
            for event in self.protocol.events():
                return event
            data = self.socket.recv(65536)
            self.protocol.receive_data(data or None)

    def say(self, text: str) -> None:
        self.socket.sendall(self.protocol.send(TextMessage(text)))

    def close(self) -> None:
        self.socket.close()


def test_a_browser_may_have_its_token_among_its_subprotocols(cluster: Cluster) -> None:
    def offer(*subprotocols: str) -> Socket:
        return Socket(cluster, f"{SERVICE}/web:http/proxy/ws", *subprotocols, authorized=False)

    encoded = base64.urlsafe_b64encode(cluster.token.encode()).decode().rstrip("=")
    socket = offer("mine", PREFIX + encoded)
    assert socket.subprotocol == "mine"
    socket.close()
    for refused in (
        (PREFIX + encoded,),
        ("mine", f"{PREFIX}bm9ib2R5"),
        ("mine", f"{PREFIX}***"),
        ("mine", PREFIX),
    ):
        socket = offer(*refused)
        assert socket.code == 401
        socket.close()
    socket = offer("mine")
    assert socket.code == 403
    socket.close()


def test_websockets_are_passed_on_both_ways(cluster: Cluster, client: httpx.Client) -> None:
    socket = Socket(cluster, f"{SERVICE}/web:http/proxy/ws", "mine")
    assert socket.subprotocol == "mine"
    socket.say("ab")
    assert socket.next().data == "abab"
    socket.socket.sendall(socket.protocol.send(BytesMessage(b"\x00\x01")))
    assert bytes(socket.next().data) == b"\x00\x01\x00\x01"
    socket.say("bye")
    assert socket.next().data == "byebye"
    assert isinstance(socket.next(), CloseConnection)
    socket.close()


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        (f"{SERVICE}/web:http/proxy/refused", 503, "refused the upgrade with 403"),
        (f"{SERVICE}/missing/proxy/", 404, "not found"),
        ("/api/v1/namespaces/default/pods/p/exec?container=c", 400, "at least 1 container command"),
        ("/api/v1/namespaces/default/pods/p/exec?container=z&command=ls", 400, "container z is not valid"),
        ("/api/v1/namespaces/default/pods/p/attach", 503, "reaches no nodes"),
        ("/api/v1/namespaces/default/pods/missing/portforward", 404, "not found"),
        ("/api/v1/namespaces/default/configmaps", 404, "could not find"),
        ("/api/v1/nodes/n/proxy/exec/default/p/c", 503, "reaches no nodes"),
        ("/api/v1/nodes/n:80000/proxy/", 400, "invalid node request"),
    ],
)
def test_an_upgrade_that_cannot_be_is_refused_with_a_status(
    cluster: Cluster, client: httpx.Client, path: str, code: int, message: str
) -> None:
    client.post(
        "/api/v1/namespaces/default/pods",
        json={"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    )
    socket = Socket(cluster, path)
    socket.close()
    assert socket.code == code
    assert message in json.loads(socket.refusal)["message"]


def test_a_watch_over_a_websocket_is_a_message_for_each_event(cluster: Cluster, client: httpx.Client) -> None:
    socket = Socket(
        cluster, f"{SERVICE}?watch=true&timeoutSeconds=1&labelSelector=side%3Dleft&resourceVersion=0"
    )
    body = {"metadata": {"name": "new", "labels": {"side": "left"}}, "spec": {"ports": [{"port": 1}]}}
    assert client.post(SERVICE, json=body).status_code == 201
    event = json.loads(socket.next().data)
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "new")
    assert isinstance(socket.next(), CloseConnection)
    socket.close()
    expired = Socket(cluster, f"{SERVICE}?watch=true&resourceVersion=x")
    expired.close()
    assert (expired.code, json.loads(expired.refusal)["reason"]) == (400, "BadRequest")


def test_a_watch_in_protocol_buffers_over_a_websocket_is_a_message_for_each_event_too(
    cluster: Cluster, client: httpx.Client
) -> None:
    for name in ("one", "two"):
        body = {"metadata": {"name": name, "labels": {"side": "other"}}, "spec": {"ports": [{"port": 1}]}}
        assert client.post(SERVICE, json=body).status_code == 201
    for accept in ("application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf;stream=watch"):
        socket = Socket(
            cluster, f"{SERVICE}?watch=true&timeoutSeconds=1&labelSelector=side%3Dother", accept=accept
        )
        for name in ("one", "two"):
            message = socket.next()
            assert isinstance(message, BytesMessage)
            assert message.data.startswith(b"\x0a\x05ADDED\x12")  # without its length before it
            api_version, kind, raw = decode_protobuf(bytes(message.data)[message.data.index(b"k8s\x00") :])
            assert (api_version, kind) == ("v1", "Service")
            assert name.encode() in raw
        assert isinstance(socket.next(), CloseConnection)
        socket.close()


# In process


async def test_an_application_in_the_process_is_asked_as_over_a_wire() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        start = [(b"x-path", scope["path"].encode()), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 201, "headers": start})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": scope["state"]["user"].encode()})

    async def chunks() -> Any:
        yield b"a"
        yield b"b"

    inquiry = Inquiry("POST", b"/a%20b?c", [], chunks())
    with anyio.fail_after(60):
        async with exchange_with(application, inquiry, {"user": "me"}) as reply:
            assert (reply.status, reply.headers) == (201, [(b"x-path", b"/a b")])
            assert b"".join([part async for part in reply.body]) == b"abme"
