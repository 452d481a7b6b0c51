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
_CONNECT = {"exec", "attach", "portforward", "proxy"}


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

    @property
    def api_version(self) -> str:
        """``group/version``, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


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
    if subresource in _CONNECT:
        verb = {"get": "get", "create": "create"}.get(verb, verb)
    if deprecated:
        verb = "watch"
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
