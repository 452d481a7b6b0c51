"""Admission of connections: plug-ins see who wants into a Pod, or through the server to something, before it is opened.

As in Kubernetes, the verb is ``connect`` and the document the options of the subresource: ``PodExecOptions`` and its like.
"""

from typing import Any
from urllib.parse import parse_qs

from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.api.paths import options_kind
from kubelib.api.scheme import Tree, UnknownKind
from kubelib.registry.base import WriteOptions
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.request import Request

COMMANDS = frozenset({"exec", "attach", "portforward"})
"""What a client does with a Pod through a connection that leaves HTTP."""
CONNECTING = COMMANDS | {"proxy"}
_FLAGS = ("stdin", "stdout", "stderr", "tty")


async def admit_connection(registries: ResourceRegistries, request: Request, query_string: bytes) -> None:
    """Ask the plug-ins of admission for a connection. Raises what they raise, and NotFound for no such resource."""
    info = request.info
    try:
        resource = registries.scheme.path(info.group, info.version, info.resource)
    except UnknownKind:
        raise NotFound("the server could not find the requested resource") from None
    kind = options_kind(resource.kind, info.subresource)
    if info.subresource not in resource.subresources or not kind:
        raise NotFound("the server could not find the requested resource")
    if not registries.admission.concerns("connect", resource, info.subresource):
        return
    options = _options(kind, request, query_string)
    registry = registries.of(resource)
    key = Key(info.namespace if resource.namespaced else "", info.name)
    asked = WriteOptions(user=request.user, warn=request.warnings.append)
    await registry.admit("connect", key, options, None, asked, info.subresource)


def _options(kind: str, request: Request, query_string: bytes) -> Tree:
    tree: dict[str, Any] = {"kind": kind, "apiVersion": "v1"}
    query = parse_qs(query_string.decode("latin1"), keep_blank_values=True)
    match kind:
        case "PodExecOptions" | "PodAttachOptions":
            tree |= {name: True for name in _FLAGS if request.flag(name)}
            if container := request.query.get("container"):
                tree["container"] = container
            if kind == "PodExecOptions":
                tree["command"] = query.get("command") or []
        case "PodPortForwardOptions":
            ports = [port for text in query.get("ports") or () for port in text.split(",")]
            tree["ports"] = [int(port) for port in ports if port.isdecimal() and len(port) < 6]
        case _:
            tree["path"] = request.info.rest or request.query.get("path", "")
    return tree
