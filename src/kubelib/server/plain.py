"""The paths that are no resources: version, health, figures, discovery, descriptions, and what is behind them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from kubelib.api.codec import encode_json
from kubelib.api.errors import NotAcceptable, NotFound
from kubelib.exposition import CONTENT_TYPE
from kubelib.server import discovery, health
from kubelib.server.conditional import tagged
from kubelib.server.request import Request
from kubelib.server.responses import FORMS, Response, none_accepted, page_not_found, require_produced
from kubelib.server.version import build_version

if TYPE_CHECKING:
    from kubelib.server.app import ApiServer

DUMPS = ("dump_priority_levels", "dump_queues", "dump_requests")

_PRODUCED: dict[str, tuple[str, ...]] = {
    "api": FORMS,
    "apis": FORMS,
    "version": ("application/json",),
    ".well-known": ("application/json",),
    "openid": ("application/jwk-set+json",),
}
"""In which forms there is what is below a path; the others take no notice of what a client accepts."""


def require_accepted(path: str, accept: str) -> None:
    """Refuse a client that takes none of the forms in which there is what it asks for. Raises NotAcceptable."""
    produced = _PRODUCED.get(path.split("/")[1])
    if produced is None:
        return
    try:
        require_produced(accept, produced)
    except NotAcceptable:
        if path.rstrip("/") == "/apis":
            raise none_accepted() from None
        raise


def _indented(tree: Any) -> Response:
    """Return what kube-apiserver writes for people, whoever asks."""
    return Response(msgspec.json.format(encode_json(tree), indent=2), is_document=False)


def _paths(
    groups: Mapping[str, Sequence[str]], checks: Mapping[str, Iterable[str]], *, with_flow: bool
) -> list[str]:
    """Return the paths that the index lists, sorted: those of all groups among them, whoever answers for them."""
    versions = {f"/apis/{group}": names for group, names in groups.items() if group}
    paths = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        *versions,
        *(f"{path}/{version}" for path, names in versions.items() for version in names),
        *(f"/debug/api_priority_and_fairness/{name}" for name in DUMPS if with_flow),
        *(f"/{which}" for which in checks),
        *(f"/{which}/{check}" for which, names in checks.items() for check in names),
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/version",
    ]
    return sorted(paths)


class PlainPaths:
    """Answers them for an API server."""

    def __init__(self, server: "ApiServer") -> None:
        self._server = server
        self._documents: dict[tuple[str, str], tuple[object, Response]] = {}

    async def answer(self, request: Request) -> Response:
        """Answer a request of such a path. Raises NotFound below the API's own groups."""
        server, scheme = self._server, self._server.registries.scheme
        path = request.info.path.rstrip("/") or "/"
        accept = request.header("accept")
        parts = path.strip("/").split("/")
        match parts:
            case ["version"]:
                return _indented(build_version())
            case ["healthz" | "livez" | "readyz", *check]:
                return health.answer(
                    parts[0], "/".join(check), await server.checks(parts[0]), request.query_string
                )
            case ["metrics"]:
                from kubelib.server.metrics import render

                return Response(render(server), content_type=CONTENT_TYPE)
            case ["metrics", "slis"]:
                from kubelib.server.metrics import health_figures

                return Response(await health_figures(server), content_type=CONTENT_TYPE)
            case ["api"] | ["apis"]:
                return self._groups(path, accept)
            case ["api", version]:
                return self._found(request, discovery.resource_list(scheme, "", version))
            case ["apis", group]:
                return self._found(
                    request, discovery.group_document(scheme, group, server.aggregator.groups())
                )
            case ["apis", group, version]:
                return self._found(request, discovery.resource_list(scheme, group, version))
            case ["openid", "v1", "jwks"] if server.tokens is not None:
                return Response(server.tokens.jwks(), content_type=b"application/jwk-set+json")
            case [".well-known", "openid-configuration"] if server.tokens is not None:
                return Response(server.tokens.configuration(server.address))
            case ["openapi", version, *rest]:
                from kubelib.server.openapi import answer

                if not rest and (merged := server.aggregator.openapi(version, accept)) is not None:
                    return merged
                return answer(scheme, version, "/".join(rest), accept, request.query)
            case ["debug", "api_priority_and_fairness", what] if server.flow is not None:
                from kubelib.server.flow.debug import dump

                table = dump(server.flow, what)
                if table is None:
                    raise NotFound("the server could not find the requested resource")
                return Response(table, content_type=b"text/plain; charset=utf-8")
            case [""]:
                groups = server.aggregator.groups()
                checks = {which: await health.checks(server, which) for which in health.KINDS}
                return _indented({"paths": _paths(groups, checks, with_flow=server.flow is not None)})
        return self.unknown(request.info.path)

    def _groups(self, path: str, accept: str) -> Response:
        """Return which groups and versions there are below ``/api`` or ``/apis``, in the form that was asked for."""
        core = path == "/api"
        version, media = discovery.wanted_form(accept)
        if version:
            return self._cached((path, version), lambda: tagged(self._aggregated(core, version), media))
        server = self._server
        if core:
            return Response(discovery.core_versions(server.address))
        return self._cached(
            (path, ""),
            lambda: tagged(discovery.group_list(server.registries.scheme, server.aggregator.groups())),
        )

    def _aggregated(self, core: bool, version: str) -> bytes:
        aggregator = self._server.aggregator
        return discovery.aggregated(
            self._server.registries.scheme,
            core=core,
            version=version,
            groups=aggregator.groups(),
            remote=aggregator.documents(),
        )

    def _cached(self, key: tuple[str, str], make: Callable[[], Response]) -> Response:
        generation = self._server.aggregator.generation
        cached = self._documents.get(key)
        if cached is None or cached[0] != generation:
            cached = self._documents[key] = (generation, make())
        response = cached[1]
        return attrs.evolve(response, headers=list(response.headers))

    def _found(self, request: Request, body: bytes | None) -> Response:
        return self.unknown(request.info.path) if body is None else Response(body)

    def unknown(self, path: str) -> Response:
        """Answer a path that nobody serves: as kube-apiserver does, in a line of text but for paths below the API's own groups.

        Raises NotFound for those.
        """
        first, group, *_ = [*path.strip("/").split("/"), ""]
        known = any(
            resource.group == group and resource.builtin for resource in self._server.registries.scheme
        )
        if first in ("api", "version") or (first == "apis" and group and known):
            raise NotFound("the server could not find the requested resource")
        return page_not_found()
