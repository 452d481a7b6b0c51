"""The group ``metrics.k8s.io``: what nodes and Pods use now, as metrics-server answers it; what ``kubectl top`` asks.

Nodes are asked for ``/metrics/resource`` when somebody wants to know, never in the background. What is used of the processor is
the difference of two answers; the first time a node is asked twice.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from kubelib.api.codec import encode_json
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, BadRequest, MethodNotAllowed, NotFound
from kubelib.api.meta import Key
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.labels import SelectorError, parse_field_selector, parse_selector
from kubelib.registry.base import Query
from kubelib.server.exchange import Inquiry, nothing
from kubelib.server.responses import Response

if TYPE_CHECKING:
    from kubelib.server.app import ApiServer
    from kubelib.server.request import Request

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
RESOLUTION = 5.0
"""Seconds for which an answer of a node is used again."""
FIRST_WINDOW = 1.0
"""Seconds between the two questions to a node of which nothing is known."""
LONGEST_WINDOW = 300.0
NODE_TIMEOUT = 10.0
_LINE = re.compile(r"([a-z_]+)(?:\{([^}]*)\})? (\S+)(?: (\d+))?")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

Name = tuple[str, str, str]
"""Namespace, Pod and container; three empty texts for the node itself."""


@attrs.frozen
class Point:
    """What a node said at one moment."""

    asked: float
    """By the loop's time."""
    when: datetime
    cpu: Mapping[Name, float]
    memory: Mapping[Name, float]
    started: Mapping[Name, float]


@attrs.define
class _Known:
    latest: Point | None = None
    earlier: Point | None = None
    lock: anyio.Lock = attrs.Factory(anyio.Lock)


def samples(text: str) -> Iterable[tuple[str, dict[str, str], float]]:
    """Yield name, labels and value of each line of Prometheus' text form that has a sample."""
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is not None:
            yield match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])


def point_of(text: str, asked: float, when: datetime) -> Point:
    """Return what the answer ``/metrics/resource`` of a node says."""
    found: dict[str, dict[Name, float]] = {}
    for metric, labels, value in samples(text):
        name = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("container", ""))
        found.setdefault(metric, {})[name] = value
    kinds = ("node_cpu_usage_seconds_total", "container_cpu_usage_seconds_total")
    memory = ("node_memory_working_set_bytes", "container_memory_working_set_bytes")
    return Point(
        asked,
        when,
        {name: value for kind in kinds for name, value in found.get(kind, {}).items()},
        {name: value for kind in memory for name, value in found.get(kind, {}).items()},
        found.get("container_start_time_seconds", {}),
    )


def usage(name: Name, latest: Point, earlier: Point | None) -> Tree | None:
    """Return what something uses, None if that cannot be said yet."""
    if name not in latest.cpu or name not in latest.memory:
        return None
    before = earlier.cpu.get(name) if earlier is not None else None
    if earlier is not None and before is not None and before <= latest.cpu[name]:
        rate = (latest.cpu[name] - before) / max(latest.asked - earlier.asked, 1e-3)
    elif name in latest.started:
        # It was not there, or was another, the last time: since its start, then.
        rate = latest.cpu[name] / max(latest.when.timestamp() - latest.started[name], 1.0)
    else:
        return None
    return {"cpu": f"{round(rate * 1e9)}n", "memory": f"{int(latest.memory[name]) // 1024}Ki"}


class ResourceMetrics:
    """A `kubelib.server.aggregation.Extension`."""

    group, version = GROUP, VERSION

    def __init__(self, server: "ApiServer", clock: Clock = SYSTEM_CLOCK) -> None:
        self._server = server
        self._clock = clock
        self._nodes: dict[str, _Known] = {}

    def resources(self) -> list[Tree]:
        """Return the entries of its ``APIResourceList``."""
        verbs = ["get", "list"]
        return [
            {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": verbs},
            {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": verbs},
        ]

    async def answer(self, request: "Request") -> Response:
        """Answer a request. Raises ApiError."""
        info = request.info
        if not info.resource:
            listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}"}
            return Response(encode_json({**listed, "resources": self.resources()}))
        if info.resource not in ("nodes", "pods") or info.subresource:
            raise NotFound("the server could not find the requested resource")
        if request.watching or info.verb not in ("get", "list"):
            raise MethodNotAllowed(
                f"{info.verb} is not supported on resources of kind {info.resource}.{GROUP}"
            )
        of_nodes = info.resource == "nodes"
        found = await (self._of_nodes(request) if of_nodes else self._of_pods(request))
        kind = "NodeMetrics" if of_nodes else "PodMetrics"
        if info.name and info.verb == "get":
            if not found:
                raise NotFound(f'{kind.lower()}.{GROUP} "{info.name}" not found')
            tree: Tree = found[0]
        else:
            version = f"{GROUP}/{VERSION}"
            tree = {"kind": f"{kind}List", "apiVersion": version, "metadata": {}, "items": found}
        if "as=Table" in request.header("accept"):
            tree = _table(found)
        return Response(encode_json(tree))

    def _chosen(self, kind: type[Node] | type[Pod], request: "Request") -> list[Document]:
        info, query = request.info, request.query
        cache = self._server.registries.cache_of(kind)
        if info.name and info.verb == "get":
            document = cache.get(Key(info.namespace, info.name))
            return [document] if document is not None else []
        try:
            labels = parse_selector(query.get("labelSelector", ""))
            fields = parse_field_selector(query.get("fieldSelector", ""))
        except SelectorError as error:
            raise BadRequest(str(error)) from None
        return sorted(cache.select(Query(info.namespace, labels, fields)), key=lambda d: d.key)

    async def _of_nodes(self, request: "Request") -> list[Tree]:
        found: list[Tree] = []
        documents = self._chosen(Node, request)
        points = await self._points({document.meta.name for document in documents})
        for document in documents:
            known = points.get(document.meta.name)
            used = usage(("", "", ""), *known) if known is not None else None
            if known is not None and used is not None:
                found.append({**_head("NodeMetrics", document, *known), "usage": used})
        return found

    async def _of_pods(self, request: "Request") -> list[Tree]:
        found: list[Tree] = []
        documents = self._chosen(Pod, request)
        nodes = {name for document in documents if (name := document.view(Pod).spec.node_name)}
        points = await self._points(nodes)
        for document in documents:
            pod = document.view(Pod)
            known = points.get(pod.spec.node_name)
            if known is None:
                continue
            containers = [
                {"name": c.name, "usage": used}
                for c in (*pod.spec.containers, *pod.spec.init_containers)
                if (used := usage((pod.metadata.namespace, pod.metadata.name, c.name), *known)) is not None
            ]
            if containers:
                found.append({**_head("PodMetrics", document, *known), "containers": containers})
        return found

    async def _points(self, nodes: set[str]) -> dict[str, tuple[Point, Point | None]]:
        """Return the last two answers of nodes; those that do not answer are left out."""
        found: dict[str, tuple[Point, Point | None]] = {}
        known_nodes = {document.meta.name for document in self._server.registries.cache_of(Node).all()}
        self._nodes = {name: known for name, known in self._nodes.items() if name in known_nodes}

        async def ask(name: str) -> None:
            known = self._nodes.setdefault(name, _Known())
            try:
                with anyio.fail_after(NODE_TIMEOUT):
                    async with known.lock:
                        await self._refresh(name, known)
            except (ApiError, OSError, TimeoutError):
                return
            if known.latest is not None:
                found[name] = (known.latest, known.earlier)

        async with anyio.create_task_group() as group:
            for name in sorted(nodes & known_nodes):
                group.start_soon(ask, name)
        return found

    async def _refresh(self, name: str, known: _Known) -> None:
        now = anyio.current_time()
        if known.latest is not None and now - known.latest.asked < RESOLUTION:
            return
        if known.latest is None or now - known.latest.asked > LONGEST_WINDOW:
            known.latest = await self._ask(name)
            await anyio.sleep(FIRST_WINDOW)
        latest = await self._ask(name)
        known.earlier, known.latest = known.latest, latest

    async def _ask(self, name: str) -> Point:
        """Ask a node. Raises ApiError, OSError."""
        assert self._server.nodes is not None
        inquiry = Inquiry("GET", b"/metrics/resource", [(b"accept", b"text/plain")], nothing())
        async with self._server.nodes.ask(name, inquiry) as reply:
            text = b"".join([chunk async for chunk in reply.body])
            if reply.status != 200:
                raise NotFound(f"node {name} has no metrics: {text[:200]!r}")
        return point_of(text.decode(errors="replace"), anyio.current_time(), self._clock.now())


def _head(kind: str, document: Document, latest: Point, earlier: Point | None) -> Tree:
    meta = document.meta
    metadata: dict[str, Any] = {"name": meta.name, "creationTimestamp": format_time(latest.when)}
    if meta.namespace:
        metadata["namespace"] = meta.namespace
    if meta.labels:
        metadata["labels"] = dict(meta.labels)
    window = latest.asked - earlier.asked if earlier is not None else FIRST_WINDOW
    return {
        "kind": kind,
        "apiVersion": f"{GROUP}/{VERSION}",
        "metadata": metadata,
        "timestamp": format_time(latest.when),
        "window": f"{window:.3f}s",
    }


def _table(found: list[Tree]) -> Tree:
    """Return the table in which ``kubectl get`` shows metrics."""

    def total(tree: Tree, what: str) -> str:
        parts = [tree] if "usage" in tree else tree["containers"]
        unit = {"cpu": "n", "memory": "Ki"}[what]
        return f"{sum(int(part['usage'][what].removesuffix(unit)) for part in parts)}{unit}"

    columns = [
        {"name": "Name", "type": "string", "format": "name", "description": "Name of the resource", "priority": 0},
        *({"name": name, "type": "string", "format": "", "description": "", "priority": 0} for name in ("cpu", "memory", "Window")),
    ]  # fmt: skip
    rows = [
        {
            "cells": [
                tree["metadata"]["name"],
                total(tree, "cpu"),
                total(tree, "memory"),
                tree["window"],
            ],
            "object": {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": tree["metadata"],
            },
        }
        for tree in found
    ]
    return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns, "rows": rows}  # fmt: skip
