"""Whether other API servers can be asked: the condition Available of APIServices, and what they say that they serve.

The reasons and messages are those of ``kube-aggregator``'s availability controllers.
"""

import contextlib
import logging
from typing import Any

import anyio
import attrs
from anyio.abc import TaskGroup

from kubelib.api.apiregistration import APIService
from kubelib.api.codec import DecodeError, parse_json
from kubelib.api.core.service import Endpoints, Service
from kubelib.api.discovery import EndpointSlice
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, ServiceUnavailable
from kubelib.api.meta import Key
from kubelib.api.scheme import UnknownKind
from kubelib.api.times import format_time
from kubelib.labels import parse_selector
from kubelib.registry.base import Query, User
from kubelib.registry.registries import ResourceRegistries
from kubelib.registry.webhooks.services import ServiceResolver
from kubelib.server.aggregation.base import AVAILABLE, Remote, identity_headers
from kubelib.server.aggregation.openapi import Description, hash_in, part_of
from kubelib.server.aggregation.passing import Passage
from kubelib.server.aggregation.registrations import AGGREGATOR, GroupVersion, Registrations
from kubelib.server.exchange import Inquiry, nothing

log = logging.getLogger("kubelib.server")

PERIOD = 30.0
"""Seconds between checks of a server that answers."""
FIRST_RETRY = 1.0
"""Seconds until one that does not is asked again; doubled up to `PERIOD`."""
CHECK_TIMEOUT = 5.0
BURST = 0.05
"""Seconds that changes are gathered."""
MAX_DOCUMENT = 8 * 1024 * 1024
_CHECKER = User("system:kube-aggregator", ("system:masters",))


@attrs.frozen
class Verdict:
    """Whether a server can be asked, and why it is said so."""

    status: str
    reason: str
    message: str


LOCAL = Verdict("True", "Local", "Local APIServices are always available")
PASSED = Verdict("True", "Passed", "all checks passed")


@attrs.define
class _State:
    """What is known of one server."""

    seen: object = None
    """What the last check was based on: another check is due when it changes."""
    due: float = 0.0
    wait: float = FIRST_RETRY
    running: bool = False


class Availability:
    """Keeps the conditions of APIServices true, for as long as it runs."""

    def __init__(
        self, registries: ResourceRegistries, registrations: Registrations, passage: Passage
    ) -> None:
        self._registries = registries
        self._registrations = registrations
        self._passage = passage
        self._resolver = ServiceResolver(registries)
        self._states: dict[str, _State] = {}
        self._news = anyio.Event()
        self.documents: dict[GroupVersion, dict[str, Any]] = {}
        """What each server says that it serves, as an entry of aggregated discovery."""
        self.descriptions: dict[GroupVersion, Description] = {}
        """What each server says of its kinds in OpenAPI."""
        self.generation = 0
        """Counts the changes of `documents` and `descriptions`."""

    def _changed(self) -> None:
        self._news.set()

    def _endpoints_changed(self) -> None:
        if self._registrations.remotes:
            self._news.set()

    async def run(self) -> None:
        """Check whoever is due, until cancelled."""
        self._registrations.on_change(self._changed)
        for kind in (Service, EndpointSlice, Endpoints):
            self._registries.cache_of(kind).on_change(self._endpoints_changed)
        with contextlib.suppress(UnknownKind):
            custom = self._registries.scheme.kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
            self._registries.of(custom).cache.on_change(self._changed)
        async with anyio.create_task_group() as group:
            while True:
                self._news = anyio.Event()
                await self._registrations.register_own()
                await self.say_local()
                soonest = self._check_due(group)
                with anyio.move_on_after(soonest - anyio.current_time()):
                    await self._news.wait()
                await anyio.sleep(BURST)

    async def say_local(self) -> None:
        """Say of this server's own that they are available."""
        async with anyio.create_task_group() as group:
            for document in self._registries.cache_of(APIService).all():
                if document.view(APIService).spec.service is None and _verdict_of(document) != LOCAL:
                    group.start_soon(self._say, document.meta.name, LOCAL)

    def _check_due(self, group: TaskGroup) -> float:
        """Begin the checks that are due; return when the next one will be."""
        remotes = {remote.name: remote for remote in self._registrations.remotes.values()}
        for name in [name for name in self._states if name not in remotes]:
            del self._states[name]
        for known in (self.documents, self.descriptions):
            for key in [key for key in known if key not in self._registrations.remotes]:
                del known[key]
        soonest = float("inf")
        for remote in remotes.values():
            state = self._states.setdefault(remote.name, _State())
            basis = self._basis(remote)
            if not state.running and (state.due <= anyio.current_time() or state.seen != basis):
                state.seen, state.running = basis, True
                group.start_soon(self._check, remote, state)
            if not state.running:
                soonest = min(soonest, state.due)
        return soonest

    def _basis(self, remote: Remote) -> object:
        service = self._registries.cache_of(Service).get(Key(remote.namespace, remote.service))
        version = service.meta.resource_version if service is not None else ""
        return attrs.evolve(remote, available=False), version, self._addresses(remote)

    def _addresses(self, remote: Remote) -> tuple[tuple[str, int], ...]:
        document = self._registries.cache_of(Service).get(Key(remote.namespace, remote.service))
        if document is None:
            return ()
        ports = document.view(Service).spec.ports
        names = [port.name for port in ports if port.port == remote.port][:1]
        return tuple(
            address
            for name in names
            for address in self._resolver.endpoints(remote.namespace, remote.service, name)
        )

    async def _check(self, remote: Remote, state: _State) -> None:
        try:
            verdict = self._reachable(remote) or await self._answers(remote)
            await self._say(remote.name, verdict)
        except Exception:
            log.exception("checking the APIService %s failed", remote.name)
            verdict = Verdict("False", "", "")
        state.running = False
        if verdict.status == "True":
            state.wait = FIRST_RETRY
            state.due = anyio.current_time() + PERIOD
        else:
            state.due = anyio.current_time() + state.wait
            state.wait = min(PERIOD, state.wait * 2)
        self._news.set()

    def _reachable(self, remote: Remote) -> Verdict | None:
        """Return why a server cannot even be asked, None if it can."""
        where = f'service/{remote.service} in "{remote.namespace}"'
        key = Key(remote.namespace, remote.service)
        document = self._registries.cache_of(Service).get(key)
        if document is None:
            return Verdict("False", "ServiceNotFound", f"{where} is not present")
        spec = document.view(Service).spec
        if spec.type == "ExternalName":
            return None
        named = [port.name for port in spec.ports if port.port == remote.port]
        if not named:
            return Verdict("False", "ServicePortError", f"{where} is not listening on port {remote.port}")
        if self._addresses(remote):
            return None
        query = Query(remote.namespace, parse_selector(f"kubernetes.io/service-name={remote.service}"))
        known = self._registries.cache_of(EndpointSlice).select(query)
        if not known and self._registries.cache_of(Endpoints).get(key) is None:
            return Verdict("False", "EndpointsNotFound", f"cannot find endpointslices for {where}")
        return Verdict(
            "False",
            "MissingEndpoints",
            f'endpointslices for {where} have no addresses with port name "{named[0]}"',
        )

    async def _answers(self, remote: Remote) -> Verdict:
        """Ask a server what it serves, which is also how it shows that it does."""
        url = f"https://{remote.host}:{remote.port}{remote.path}"
        try:
            with anyio.fail_after(CHECK_TIMEOUT):
                status, body = await self._get(remote, remote.path)
            if not 200 <= status < 300:
                raise ServiceUnavailable(f"bad status from {url}: {status}")
            self._learn(remote, version_document(remote.group, remote.version, parse_json(body)))
            await self._describe(remote)
        except TimeoutError:
            why = f'Get "{url}": context deadline exceeded'
        except ApiError as error:
            why = error.message
        except (DecodeError, TypeError, ValueError, AttributeError, KeyError) as error:
            why = f"{url} answers no list of resources: {error}"
        else:
            return PASSED
        if (known := self.documents.get((remote.group, remote.version))) is not None:
            self._learn(remote, {**known, "freshness": "Stale"})
        return Verdict("False", "FailedDiscoveryCheck", f"failing or missing response from {url}: {why}")

    def _learn(self, remote: Remote, document: dict[str, Any]) -> None:
        key = (remote.group, remote.version)
        if self.documents.get(key) != document:
            self.documents[key] = document
            self.generation += 1

    async def _describe(self, remote: Remote) -> None:
        """Learn what a server says of its kinds. One that says nothing is no worse for it."""
        v2: dict[str, Any] = {}
        try:
            with anyio.fail_after(CHECK_TIMEOUT):
                status, body = await self._get(remote, "/openapi/v3")
                version = hash_in(parse_json(body), remote.path.strip("/")) if status == 200 else ""
                known = self.descriptions.get((remote.group, remote.version))
                if known is not None and version and known.hash == version:
                    return
                status, body = await self._get(remote, "/openapi/v2")
                if status == 200:
                    v2 = part_of(parse_json(body), remote.path)
        except (TimeoutError, ApiError, DecodeError, RecursionError) as error:
            log.info("the APIService %s is not described: %s", remote.name, error)
            return
        self.descriptions[remote.group, remote.version] = Description(version, v2)
        self.generation += 1

    async def _get(self, remote: Remote, path: str) -> tuple[int, bytes]:
        headers = [(b"accept", b"application/json"), *identity_headers(_CHECKER)]
        body = bytearray()
        async with self._passage.ask(remote, Inquiry("GET", path.encode(), headers, nothing())) as reply:
            async for chunk in reply.body:
                body += chunk
                if len(body) > MAX_DOCUMENT:
                    raise ServiceUnavailable(f"the answer is longer than {MAX_DOCUMENT} bytes")
            return reply.status, bytes(body)

    async def _say(self, name: str, verdict: Verdict) -> None:
        """Write a condition, if it is not what the APIService says already."""
        registry = self._registries.of(self._registrations.resource)
        document = registry.cache.get(Key("", name))
        if document is None or _verdict_of(document) == verdict:
            return
        tree = document.tree()
        others = [c for c in (tree.get("status") or {}).get("conditions") or () if c["type"] != AVAILABLE]
        condition = {"type": AVAILABLE, **attrs.asdict(verdict)}
        before = _verdict_of(document)
        if before is not None and before.status == verdict.status:
            condition["lastTransitionTime"] = _transition_of(document)
        else:
            condition["lastTransitionTime"] = format_time(self._registries.clock.now())
        tree["status"] = {"conditions": [*others, condition]}
        try:
            await registry.update(document.key, tree, subresource="status", options=AGGREGATOR)
        except ApiError as error:
            log.info("the condition of the APIService %s is not written: %s", name, error)


def _verdict_of(document: Document) -> Verdict | None:
    for condition in document.view(APIService).status.conditions:
        if condition.type == AVAILABLE:
            return Verdict(condition.status, condition.reason, condition.message)
    return None


def _transition_of(document: Document) -> Any:
    conditions = document.tree()["status"]["conditions"]
    return next((c.get("lastTransitionTime") for c in conditions if c["type"] == AVAILABLE), None)


def version_document(group: str, version: str, found: Any) -> dict[str, Any]:
    """Return the entry of aggregated discovery that an ``APIResourceList`` stands for."""
    resources: dict[str, dict[str, Any]] = {}
    parts: list[tuple[str, dict[str, Any]]] = []
    for entry in found["resources"]:
        name, _, part = str(entry["name"]).partition("/")
        kind = {
            "group": entry.get("group") or group,
            "version": entry.get("version") or version,
            "kind": str(entry.get("kind") or ""),
        }
        verbs = [str(verb) for verb in entry.get("verbs") or ()]
        if part:
            parts.append((name, {"subresource": part, "responseKind": kind, "verbs": verbs}))
            continue
        resources[name] = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
            "singularResource": str(entry.get("singularName") or ""),
            "verbs": verbs,
        }
        for field in ("shortNames", "categories"):
            if entry.get(field):
                resources[name][field] = [str(text) for text in entry[field]]
    for name, entry in parts:
        if name in resources:
            resources[name].setdefault("subresources", []).append(entry)
    return {"version": version, "freshness": "Current", "resources": list(resources.values())}
