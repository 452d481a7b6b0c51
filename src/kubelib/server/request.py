"""What a request is about: its path and method taken apart as kube-apiserver does, and what it says besides."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import attrs

from kubelib.api.errors import BadRequest
from kubelib.labels import SelectorError, parse_field_selector, parse_selector
from kubelib.registry.base import Query, User

if TYPE_CHECKING:
    from kubelib.server.aggregation.base import Remote
    from kubelib.server.audit.events import Record
    from kubelib.server.flow import Flow

Verb = Literal[
    "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection",
    "post", "put", "head", "options", "connect",
]  # fmt: skip

_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@attrs.frozen(cache_hash=True)
class RequestInfo:
    """A request for a resource, or for a path that is none (`resource` is then empty)."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    rest: str = ""
    """What follows a proxy subresource."""
    deprecated_watch: bool = False
    on_node: str = attrs.field(default="", eq=False)
    """The one node to which the fields that are asked for limit a list, a watch or a deletion of many."""
    kind: object = attrs.field(init=False, eq=False, repr=False)
    """The same for all requests that differ only in the name of the object: what holds whatever that is, is remembered by it."""

    @kind.default
    def _kind_of_request(self) -> object:
        path = "" if self.resource else self.path
        return _kind(
            self.verb, path, self.group, self.version, self.namespace, self.resource, self.subresource,
            bool(self.name),
        )  # fmt: skip

    @property
    def api_version(self) -> str:
        """``group/version``, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


@functools.lru_cache(maxsize=16384)
def _kind(*_: object) -> object:
    return object()


@functools.lru_cache(maxsize=16384)
def parse_request(method: str, path: str) -> RequestInfo:
    """Take a path apart. Watches are told from lists by their query, later."""
    parts = path.strip("/").split("/")
    match parts:
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            return RequestInfo(method.lower(), path)
    verb = _VERBS.get(method, method.lower())
    deprecated = rest[0] == "watch" and len(rest) > 1
    if deprecated:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
    resource, name, subresource, *more = [*rest, "", "", ""][: max(3, len(rest))]
    if resource == "namespaces":
        namespace = name
    if not name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    if deprecated:
        verb = "watch"
        deprecated = method in ("GET", "HEAD")
    return RequestInfo(
        verb,
        path,
        group,
        version,
        namespace,
        resource,
        subresource,
        name,
        "/".join(p for p in more if p),
        deprecated,
    )


def is_set(query: Mapping[str, str], name: str) -> bool:
    """Return a boolean query parameter: there, and neither ``false`` nor ``0``, as Kubernetes reads them."""
    value = query.get(name)
    return value is not None and value.lower() not in ("false", "0")


@attrs.define
class Request:
    """An authorized request."""

    info: RequestInfo
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    user: User
    watching: bool = False
    warnings: list[str] = attrs.Factory(list)
    remote: "Remote | None" = None
    """The other API server that answers, if it is not this one."""
    flow: "Flow | None" = None
    """Where it belongs among all requests; see `kubelib.server.flow`."""
    audit: "Record | None" = None
    """What the audit log notes of it; None if nothing is written."""
    query_string: bytes = b""
    """The query as it came, with values that are given several times."""
    repeated: list[str] = attrs.Factory(list)
    """What its body names twice, where that is YAML or a patch: said together with what is unknown."""
    authorize: Callable[[RequestInfo], None] | None = None
    """Raises Forbidden if who asks may not do something else that this request leads to."""
    allowed: float | None = None
    """The seconds in which who asks wants a change to be made, where those are fewer than the server allows."""
    begun: Callable[[], None] | None = None
    """Called when a watch has sent its beginning."""

    def header(self, name: str) -> str:
        """Return a header, empty if it is not there."""
        return self.headers.get(name.encode(), b"").decode("latin1")

    @property
    def media_type(self) -> str:
        """The type of the body, without parameters."""
        return _media_type(self.headers.get(b"content-type", b""))

    def flag(self, name: str) -> bool:
        """Return a boolean query parameter."""
        return is_set(self.query, name)

    def number(self, name: str) -> int | None:
        """Return a numeric query parameter. Raises BadRequest."""
        value = self.query.get(name)
        return parse_int(value) if value else None


_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII).fullmatch


def parse_int(text: str) -> int:
    """Return a number as Go reads it: digits, and no more than 64 bits. Raises BadRequest.

    >>> parse_int("-12")
    -12
    """
    if _INTEGER(text) is None:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(text) > 4000 or not -(2**63) <= (number := int(text)) < 2**63:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


@functools.lru_cache(maxsize=256)
def _media_type(content_type: bytes) -> str:
    return content_type.decode("latin1").partition(";")[0].strip().lower()


def query_of(request: Request) -> Query:
    """Return which objects a request is about. Raises BadRequest for a malformed selector."""
    return _query(
        request.info.namespace, request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
    )


@functools.lru_cache(maxsize=4096)
def _query(namespace: str, labels: str, fields: str) -> Query:
    try:
        return Query(namespace, parse_selector(labels), parse_field_selector(fields))
    except SelectorError as error:
        raise BadRequest(f'unable to parse "{labels}" as a label selector: {error}') from None
    except ValueError as error:
        raise BadRequest(str(error)) from None
