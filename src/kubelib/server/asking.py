"""What a request asks for, read from its line alone: before it is known who asks, and whether they may."""

from urllib.parse import parse_qs

import attrs

from kubelib.registry.paging import starts_with_all
from kubelib.server.connecting import COMMANDS
from kubelib.server.request import Request, is_set
from kubelib.server.requestinfo import RequestInfo, parse_request
from kubelib.server.responses import Scope

LASTING = COMMANDS | {"log", "proxy"}
NODE_NAME = "spec.nodeName"


def asked(scope: Scope) -> tuple[RequestInfo, dict[str, str], bool]:
    """Return what a request is about, its parameters, and whether it watches. Raises ApiError."""
    info = parse_request("GET" if scope["type"] == "websocket" else scope["method"], scope["path"])
    query = _query(scope["query_string"])
    watching = info.deprecated_watch
    if info.verb == "list" and query:
        watching = watching or is_set(query, "watch")
    if query and info.verb in ("list", "deletecollection") and (selector := query.get("fieldSelector")):
        info = _limited(info, selector)
    if watching:
        info = attrs.evolve(info, verb="watch")
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


def _limited(info: RequestInfo, selector: str) -> RequestInfo:
    """Return what a request for many is about: those of one name or one node may be allowed by a rule for that."""
    from kubelib.api.names import is_path_segment
    from kubelib.labels import parse_field_selector

    by_name = info.verb == "list" and "metadata.name=" in selector
    if not by_name and NODE_NAME not in selector:
        return info
    try:
        fields = parse_field_selector(selector)
    except ValueError:  # refused when it is used
        return info
    name = (by_name and fields.exact("metadata.name")) or ""
    if not name or is_path_segment(name):
        name = info.name
    return attrs.evolve(info, name=name, on_node=fields.exact(NODE_NAME) or "")
