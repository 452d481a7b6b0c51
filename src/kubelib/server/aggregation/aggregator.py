"""Aggregation as a whole: which server answers, the way there, and one discovery for all."""

from typing import TYPE_CHECKING, Any

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.server.aggregation.availability import Availability, version_document
from kubelib.server.aggregation.base import FrontProxy, Remote
from kubelib.server.aggregation.extension import Extension
from kubelib.server.aggregation.openapi import Description, document, merged_index, merged_v2
from kubelib.server.aggregation.passing import Passage
from kubelib.server.aggregation.registrations import GroupVersion, Registrations
from kubelib.server.proxying import Targets
from kubelib.server.responses import Response

if TYPE_CHECKING:
    from kubelib.registry.registries import ResourceRegistries
    from kubelib.server.nodes import NodeProxy
    from kubelib.server.watching import Watches


class Aggregator:
    """Knows for which groups and versions other servers answer; `run` keeps that true."""

    name = "aggregator"

    def __init__(
        self,
        registries: "ResourceRegistries",
        nodes: "NodeProxy | None",
        watches: "Watches",
        front_proxy: FrontProxy | None = None,
    ) -> None:
        """Let other servers answer, reached by way of `nodes` if there is one; their streams end with `watches`."""
        self._scheme = registries.scheme
        self._registrations = Registrations(registries)
        self.passage = Passage(Targets(registries, nodes), watches, front_proxy)
        self._availability = Availability(registries, self._registrations, self.passage)
        self._openapi: dict[str, tuple[object, Response]] = {}

    def add(self, extension: Extension) -> None:
        """Let an extension answer for its group and version; before `run`, which registers it."""
        self._registrations.add(extension)

    def extension(self, path: str) -> Extension | None:
        """Return the extension that answers for a path, None where none does."""
        extensions = self._registrations.extensions
        if not extensions or not path.startswith("/apis/"):
            return None
        _, _, group, version, *_ = [*path.split("/", 4), "", ""]
        key = (group, version)
        return extensions.get(key) if key not in self._registrations.remotes else None

    @property
    def generation(self) -> object:
        """Changes with everything that discovery says."""
        return self._scheme.generation, self._registrations.generation, self._availability.generation

    def remote(self, path: str) -> Remote | None:
        """Return the server that answers for a path, None for this one."""
        remotes = self._registrations.remotes
        if not remotes:
            return None
        path = path.removeprefix("/openapi/v3")
        if not path.startswith("/apis/"):
            return None
        _, _, group, version, *_ = [*path.split("/", 4), "", ""]
        return remotes.get((group, version))

    def groups(self) -> dict[str, list[str]]:
        """Return all groups with their versions, in the order of their priorities."""
        return self._registrations.groups()

    def documents(self) -> dict[GroupVersion, dict[str, Any]]:
        """Return what other servers and extensions serve, as entries of aggregated discovery."""
        own = {
            key: version_document(*key, {"resources": extension.resources()})
            for key, extension in self._registrations.extensions.items()
        }
        return own | {
            key: self._availability.documents.get(key)
            or {"version": key[1], "freshness": "Stale", "resources": []}
            for key in self._registrations.remotes
        }

    def openapi(self, version: str, accept: str) -> Response | None:
        """Return a document about all groups; None where this server's own says all."""
        described = {
            remote: self._availability.descriptions.get(key) or Description()
            for key, remote in self._registrations.remotes.items()
        }
        if not described or version not in ("v2", "v3"):
            return None
        kind = "v2+protobuf" if version == "v2" and "proto-openapi" in accept else version
        made = self._openapi.get(kind)
        if made is None or made[0] != self.generation:
            from kubelib.api.openapi import openapi_v2, openapi_v3_index

            if version == "v3":
                body = merged_index(openapi_v3_index(self._scheme), described)
            else:
                body = merged_v2(openapi_v2(self._scheme), (one.v2 for one in described.values()))
            made = self._openapi[kind] = (self.generation, document(kind, body))
        response = made[1]
        return attrs.evolve(response, headers=list(response.headers))

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Register what this server serves, and watch over the others. Started when all of its own are registered."""
        if not self._registrations.enabled:
            task_status.started()
            await anyio.sleep_forever()
        await self._registrations.register_own()
        await self._availability.say_local()
        task_status.started()
        await self._availability.run()
