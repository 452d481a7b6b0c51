"""What a request is about: its path and method taken apart as kube-apiserver does."""

import functools
from typing import Literal

import attrs

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
