"""The API server as an ASGI application: authenticate, authorize, route, answer."""

import logging
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import anyio

from kubelib.api.codec import encode_json
from kubelib.api.errors import (
    ApiError,
    BadRequest,
    InternalError,
    NotFound,
    RequestEntityTooLarge,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
)
from kubelib.api.scheme import UnknownKind
from kubelib.registry.base import User
from kubelib.registry.registries import ResourceRegistries
from kubelib.server import discovery
from kubelib.server.authn import Authenticator
from kubelib.server.authz import Authorizer, forbidden, is_public
from kubelib.server.authz.rbac import RbacAuthorizer
from kubelib.server.nodes import NodeProxy
from kubelib.server.request import RequestInfo, parse_request
from kubelib.server.responses import (
    YAML,
    Receive,
    Response,
    Scope,
    Send,
    error_response,
    negotiate,
    send_response,
    to_yaml,
)
from kubelib.server.reviews import Reviews
from kubelib.server.verbs import Request, ResourceVerbs, is_set
from kubelib.server.watching import Watches

log = logging.getLogger("kubelib.server")

MAX_BODY = 3 * 1024 * 1024
REQUEST_TIMEOUT = 60.0
MAX_IN_FLIGHT = 800
GIT_VERSION = "v1.37.0+kubelib"


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
    ) -> None:
        self.registries = registries
        self.authenticator = authenticator or Authenticator()
        self.authorizer: Authorizer = authorizer or RbacAuthorizer(registries)
        self.nodes = nodes
        self.address = address
        self.ready: Callable[[], Awaitable[bool]] | None = None
        self.watches = Watches(registries)
        self._verbs = ResourceVerbs(registries)
        self._reviews = Reviews(registries, self.authorizer)
        self._in_flight = 0
        self.answered: dict[tuple[str, int], int] = {}
        """How many requests were answered, by method and status."""
        self._documents: dict[tuple[str, str], tuple[int, Response]] = {}

    def stop_watches(self) -> None:
        """End all watches and streams: the server is about to stop."""
        self.watches.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            from kubelib.server.streams import answer_websocket

            await answer_websocket(self, scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        headers = dict(scope["headers"])
        try:
            request = await self.open_request(scope, headers)
            if request.watching:
                await self.watches.answer(request, receive, send)
                return
            if request.info.resource and request.info.subresource == "log" and method == "GET":
                from kubelib.server.streams import answer_log

                await answer_log(self, request, receive, send)
                return
            response = await self._bounded(request, receive)
        except ApiError as error:
            response = error_response(error)
        except anyio.get_cancelled_exc_class():
            raise
        except Exception:
            log.exception("%s %s failed", method, scope["path"])
            response = error_response(InternalError("Internal error occurred: the server's log says more"))
        answered = (method, response.status)
        self.answered[answered] = self.answered.get(answered, 0) + 1
        if (
            (accepted := headers.get(b"accept"))
            and b"yaml" in accepted
            and response.content_type == b"application/json"
        ):
            with_yaml = (
                response.status >= 400
                or negotiate(accepted.decode("latin1")).media_type == "application/yaml"
            )
            if with_yaml and accepted.strip().startswith(b"application/yaml"):
                response.body, response.content_type = to_yaml(response.body), YAML
        if len(response.body) > 128 * 1024 and b"gzip" in headers.get(b"accept-encoding", b""):
            import zlib

            compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
            response.body = compressor.compress(response.body) + compressor.flush()
            response.headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
        await send_response(send, response, head=method == "HEAD")

    async def open_request(self, scope: Scope, headers: dict[bytes, bytes]) -> Request:
        """Authenticate and authorize a request, and take it apart. Raises ApiError."""
        path = scope["path"]
        info = parse_request("GET" if scope["type"] == "websocket" else scope["method"], path)
        query = _query(scope["query_string"])
        watching = info.deprecated_watch or (info.verb == "list" and is_set(query, "watch"))
        if info.verb == "list" and (query.get("fieldSelector") or "").startswith("metadata.name="):
            info = _named(info, query["fieldSelector"])
        if watching:
            info = _as_watch(info)
        if info.subresource in ("exec", "attach", "portforward"):
            info = _as_create(info)
        user = await self.authenticator.authenticate(
            scope.get("state", {}).get("user"), headers.get(b"authorization", b"").decode("latin1")
        )
        user = self._impersonated(user, scope["headers"])
        if not is_public(info.path) and not self.authorizer.allows(user, info):
            raise forbidden(user, info)
        return Request(info, query, headers, user, watching)

    def _impersonated(self, user: User, headers: list[tuple[bytes, bytes]]) -> User:
        name = ""
        groups: list[str] = []
        for header, value in headers:
            if header == b"impersonate-user":
                name = value.decode("latin1")
            elif header == b"impersonate-group":
                groups.append(value.decode("latin1"))
        if not name:
            return user
        wanted = [RequestInfo("impersonate", "", resource="users", version="v1", name=name)]
        wanted += [
            RequestInfo("impersonate", "", resource="groups", version="v1", name=group) for group in groups
        ]
        for info in wanted:
            if not self.authorizer.allows(user, info):
                raise forbidden(user, info)
        return User(name, (*groups, "system:authenticated"))

    async def _bounded(self, request: Request, receive: Receive) -> Response:
        if self._in_flight >= MAX_IN_FLIGHT:
            raise TooManyRequests("the server has too many requests in flight: try again", retry_after=1)
        self._in_flight += 1
        try:
            if request.info.verb in ("get", "list") and request.info.resource:
                return await self._verbs.read(request)
            with anyio.fail_after(REQUEST_TIMEOUT):
                body = await _read_body(receive)
                return await self._route(request, body)
        except TimeoutError:
            raise Timeout("the request was not finished in time: it may have had an effect") from None
        except UnknownKind:
            raise NotFound("the server could not find the requested resource") from None
        except RecursionError:
            raise BadRequest("the document is nested too deeply") from None
        finally:
            self._in_flight -= 1

    async def _route(self, request: Request, body: bytes) -> Response:
        info = request.info
        if info.resource:
            if self._reviews.answers(info):
                return await self._reviews.answer(request, body)
            return await self._verbs.write(request, body)
        if info.verb not in ("get", "head"):
            from kubelib.api.errors import MethodNotAllowed

            raise MethodNotAllowed(f"{info.path} can only be read")
        return await self._plain(request)

    async def _plain(self, request: Request) -> Response:
        """Answer a path that is no resource."""
        path = request.info.path.rstrip("/") or "/"
        scheme = self.registries.scheme
        accept = request.header("accept")
        parts = path.strip("/").split("/")
        match parts:
            case ["version"]:
                return Response(encode_json(_version()))
            case ["healthz" | "livez" | "readyz", *check]:
                return await self._health(parts[0], check, request)
            case ["metrics"]:
                from kubelib.server.metrics import render

                return Response(render(self), content_type=b"text/plain; version=0.0.4; charset=utf-8")
            case ["api"] | ["apis"]:
                for version in ("v2", "v2beta1"):
                    if f"g=apidiscovery.k8s.io;v={version}" in accept.replace(" ", "") or (
                        "as=APIGroupDiscoveryList" in accept
                        and f"v={version};" in accept.replace(" ", "") + ";"
                    ):
                        media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                        return self._cached(
                            (path, version),
                            lambda v=version, m=media: Response(  # type: ignore[misc]
                                discovery.aggregated(scheme, core=parts[0] == "api", version=v),
                                content_type=m.encode(),
                            ),
                        )
                if parts[0] == "api":
                    return Response(discovery.core_versions(self.address))
                return self._cached((path, ""), lambda: Response(discovery.group_list(scheme)))
            case ["api", version]:
                return self._found(discovery.resource_list(scheme, "", version))
            case ["apis", group]:
                return self._found(discovery.group_document(scheme, group))
            case ["apis", group, version]:
                return self._found(discovery.resource_list(scheme, group, version))
            case ["openapi", version, *rest]:
                from kubelib.server.openapi import answer

                return answer(scheme, version, "/".join(rest), accept)
            case [""]:
                paths = [
                    "/api",
                    "/api/v1",
                    "/apis",
                    "/healthz",
                    "/livez",
                    "/metrics",
                    "/openapi/v2",
                    "/openapi/v3",
                    "/readyz",
                    "/version",
                ]
                return Response(encode_json({"paths": paths}))
        raise NotFound("the server could not find the requested resource")

    def _cached(self, key: tuple[str, str], make: Callable[[], Response]) -> Response:
        size = len(self.registries.scheme)
        cached = self._documents.get(key)
        if cached is None or cached[0] != size:
            cached = self._documents[key] = (size, make())
        response = cached[1]
        return Response(response.body, content_type=response.content_type)

    @staticmethod
    def _found(body: bytes | None) -> Response:
        if body is None:
            raise NotFound("the server could not find the requested resource")
        return Response(body)

    async def _health(self, which: str, check: list[str], request: Request) -> Response:
        checks = {"ping": True, "store": True}
        try:
            await self.registries.store.revision()
        except Exception:
            checks["store"] = False
        if which == "readyz" and self.ready is not None:
            checks["components"] = await self.ready()
        if check:
            if check[0] not in checks:
                raise NotFound("the server could not find the requested resource")
            checks = {check[0]: checks[check[0]]}
        healthy = all(checks.values())
        text = "ok" if healthy else "unhealthy"
        if "verbose" in request.query or not healthy:
            lines = [
                f"[{'+' if good else '-'}]{name} {'ok' if good else 'failed'}"
                for name, good in checks.items()
            ]
            text = "\n".join([*lines, f"{which} check {'passed' if healthy else 'failed'}\n"])
        return Response(text.encode(), 200 if healthy else 500, b"text/plain; charset=utf-8")


def _version() -> dict[str, str]:
    import platform

    return {
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
    }


_NO_QUERY: dict[str, str] = {}


def _query(raw: bytes) -> dict[str, str]:
    if not raw:
        return _NO_QUERY
    return {
        name: values[0] for name, values in parse_qs(raw.decode("latin1"), keep_blank_values=True).items()
    }


def _as_watch(info: RequestInfo) -> RequestInfo:
    import attrs

    return attrs.evolve(info, verb="watch")


def _as_create(info: RequestInfo) -> RequestInfo:
    import attrs

    return attrs.evolve(info, verb="create")


def _named(info: RequestInfo, selector: str) -> RequestInfo:
    """A list of one name may be allowed by a rule for that name."""
    import attrs

    name = selector.removeprefix("metadata.name=")
    return info if "," in name else attrs.evolve(info, name=name)


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
