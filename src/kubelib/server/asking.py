"""What a request asks for, read from its line alone: before it is known who asks, and whether they may."""

import functools
from urllib.parse import parse_qs

import attrs

from kubelib.registry.paging import starts_with_all
from kubelib.server.connecting import COMMANDS
from kubelib.server.request import Request, is_set
from kubelib.server.requestinfo import RequestInfo, parse_request
from kubelib.server.responses import Scope

LASTING = COMMANDS | {"log", "proxy"}
NODE_NAME = "spec.nodeName"
_OF_MANY = ("list", "watch", "deletecollection")


def asked(scope: Scope) -> tuple[RequestInfo, dict[str, str], bool]:
    """Return what a request is about, its parameters, and whether it watches. Raises ApiError."""
    info = parse_request("GET" if scope["type"] == "websocket" else scope["method"], scope["path"])
    query = _query(scope["query_string"])
    watching = info.deprecated_watch
    selector = ""
    if query and info.verb in _OF_MANY:
        watching = watching or (info.verb == "list" and is_set(query, "watch"))
        selector = query.get("fieldSelector", "")
    if watching or selector:
        info = _refined(info, selector, watching)
    elif info.subresource in COMMANDS and info.verb == "get":
        info = attrs.evolve(info, verb="create")
    return info, query, watching


def lasts(info: RequestInfo) -> bool:
    """Return whether a request is one of those that last, and take no seat: logs, proxies, commands, forwarded ports."""
    return info.subresource in LASTING and info.resource in ("pods", "services", "nodes")


def from_beginning(request: Request) -> bool:
    """Return whether a watch begins with all that there is."""
    return starts_with_all(request.query.get("resourceVersion", ""), initial_events(request))


def initial_events(request: Request) -> bool | None:
    """Return whether a watch is to begin with all that there is; None where it does not say."""
    return request.flag("sendInitialEvents") if "sendInitialEvents" in request.query else None


_NO_QUERY: dict[str, str] = {}


def _query(raw: bytes) -> dict[str, str]:
    if not raw:
        return _NO_QUERY
    return {
        name: values[0] for name, values in parse_qs(raw.decode("latin1"), keep_blank_values=True).items()
    }


@functools.lru_cache(maxsize=4096)
def _refined(info: RequestInfo, selector: str, watching: bool) -> RequestInfo:
    """Return what a request for many is about, as its parameters say: it may watch, and ask for those of one name or one node."""
    name, on_node = _limits(info, selector)
    verb = "watch" if watching else info.verb
    return attrs.evolve(info, verb=verb, name=name, on_node=on_node)


def _limits(info: RequestInfo, selector: str) -> tuple[str, str]:
    """Return the one name and the one node that a field selector leaves: those may be allowed by a rule for them."""
    from kubelib.api.names import is_path_segment
    from kubelib.labels import parse_field_selector

    by_name = info.verb == "list" and "metadata.name=" in selector
    if not by_name and NODE_NAME not in selector:
        return info.name, ""
    try:
        fields = parse_field_selector(selector)
    except ValueError:  # refused when it is used
        return info.name, ""
    name = (by_name and fields.exact("metadata.name")) or ""
    return info.name if is_path_segment(name) else name or info.name, fields.exact(NODE_NAME) or ""
