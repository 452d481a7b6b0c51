"""Objects that other API servers keep: which resources they have in namespaces, and who cannot be asked for them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from kubelib.api.apiregistration import APIService
from kubelib.api.codec import DecodeError, parse_json
from kubelib.api.errors import ApiError, NotFound
from kubelib.informers import SharedInformers

Request = Callable[[str, str, Mapping[str, str]], Awaitable[bytes]]
"""Makes a request of a method at a path with a query, without a body; returns the answer's, raises ApiError."""


@attrs.frozen
class RemoteResource:
    """A resource of which another server keeps objects in namespaces."""

    group: str
    version: str
    plural: str
    verbs: frozenset[str]

    def path(self, namespace: str) -> str:
        """Return where its objects in a namespace are."""
        return f"/apis/{self.group}/{self.version}/namespaces/{namespace}/{self.plural}"


@attrs.frozen
class Discovered:
    """What can be listed and deleted, and of which groups and versions that is not known."""

    resources: tuple[RemoteResource, ...] = ()
    failures: Mapping[str, str] = attrs.field(factory=dict)
    """Why, by group and version."""


class AggregatedContent:
    """What other servers keep in namespaces, asked for through the one that passes requests on.

    Without a way to make requests nothing is known of it but that it cannot be asked for.
    """

    def __init__(self, informers: SharedInformers, request: Request | None) -> None:
        self._cache = informers.of(APIService).cache
        self._request = request

    async def discover(self) -> Discovered:
        """Ask the servers that are said to be available what they have."""
        found: dict[tuple[str, str], RemoteResource] = {}
        failures: dict[str, str] = {}
        services = [document.view(APIService) for document in self._cache]
        for service in sorted(services, key=lambda one: -one.spec.version_priority):
            if service.spec.service is None:
                continue
            group, version = service.spec.group, service.spec.version
            name = f"{group}/{version}"
            if not any(c.type == "Available" and c.status == "True" for c in service.status.conditions):
                failures[name] = f"stale GroupVersion discovery: {name}"
                continue
            try:
                listed = await self._ask("GET", f"/apis/{name}")
            except ApiError as error:
                failures[name] = str(error)
                continue
            for resource in _resources(group, version, listed.get("resources") or ()):
                # What is served in several versions is there once.
                found.setdefault((group, resource.plural), resource)
        return Discovered(tuple(found.values()), failures)

    async def delete_all(self, resource: RemoteResource, namespace: str) -> None:
        """Ask for all objects in a namespace to be deleted. Raises ApiError."""
        how = {"propagationPolicy": "Background"}
        if "deletecollection" in resource.verbs:
            await self._ask("DELETE", resource.path(namespace), how)
            return
        for item in await self.items(resource, namespace):
            try:
                await self._ask("DELETE", f"{resource.path(namespace)}/{item['metadata']['name']}", how)
            except NotFound:
                continue

    async def items(self, resource: RemoteResource, namespace: str) -> list[Any]:
        """Return the objects that there are in a namespace. Raises ApiError."""
        return list((await self._ask("GET", resource.path(namespace))).get("items") or ())

    async def _ask(self, method: str, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        if self._request is None:
            return {}
        try:
            tree = parse_json(await self._request(method, path, query or {}))
        except DecodeError as error:
            raise ApiError(str(error)) from None
        return tree if isinstance(tree, dict) else {}


def _resources(group: str, version: str, entries: Any) -> list[RemoteResource]:
    """Return the resources of a list of them whose objects are in namespaces and can be listed and deleted."""
    found = []
    for entry in entries:
        name, verbs = str(entry.get("name")), frozenset(entry.get("verbs") or ())
        if entry.get("namespaced") and "/" not in name and {"delete", "list"} <= verbs:
            found.append(RemoteResource(group, version, name, verbs))
    return found
