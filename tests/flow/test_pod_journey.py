"""The journey of a Pod through the whole cluster: each hop noted where it happens, and shown in the README as it is."""

import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import Connection
from kubelib.client.local import LocalClient, LocalRegistry
from kubelib.informers.informer import Informer
from kubelib.registry.base import ADMIN
from kubelib.registry.binding import Binder
from kubelib.registry.cache import ResourceCache
from kubelib.registry.generic import GenericRegistry
from kubelib.registry.registries import ResourceRegistries
from kubelib.runtime.agent import NodeAgent
from kubelib.runtime.fake import FakeRuntime
from kubelib.runtime.settings import NodeSettings
from kubelib.runtime.worker import PodWorker
from kubelib.sched.queue import SchedulingQueue
from kubelib.sched.scheduler import Scheduler
from kubelib.server import ApiServer
from kubelib.server.authn import Authenticator, StaticTokens
from kubelib.server.listener import bind, serve
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_pod

ROOT = Path(__file__).resolve().parents[2]


class Journey:
    """Notes what is told of one Pod, the first time at each place, in the order in which it happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.hops: dict[str, str] = {}

    def note(self, hop: str, what: str | None) -> None:
        if what is not None and hop not in self.hops:
            self.hops[hop] = what

    def at(self, owner: type, method: str, hop: str, tell: Callable[..., str | None]) -> None:
        """Note calls of a method; `tell` says what was asked, or None if it is about something else."""
        original = getattr(owner, method)

        def observed(*args: Any, **kwargs: Any) -> Any:
            self.note(hop, tell(*args, **kwargs))
            return original(*args, **kwargs)

        self._monkeypatch.setattr(owner, method, observed)

    @property
    def lines(self) -> list[str]:
        width = max(map(len, self.hops))
        return [f"{hop:{width}}   {what}" for hop, what in self.hops.items()]


@asynccontextmanager
async def whole_cluster(root: Path) -> AsyncIterator[HttpClient]:
    """Run an API server, a scheduler and two nodes; yield a client that reaches the server over TCP."""
    listening = bind("127.0.0.1", 0)
    try:
        async with (
            MemoryStore() as store,
            ResourceRegistries(store) as registries,
            FakeRuntime(random=Random(1)) as first,
            FakeRuntime(random=Random(1)) as second,
            anyio.create_task_group() as group,
        ):
            await registries.bootstrap()
            near = LocalClient(registries)
            await group.start(Scheduler(near, random=Random(2)).run)
            for name, runtime in (("node-1", first), ("node-2", second)):
                agent = NodeAgent(near, runtime, NodeSettings(name=name), root / name, random=Random(3))
                await group.start(agent.run)
            app = ApiServer(registries, authenticator=Authenticator([StaticTokens({"secret": ADMIN})]))
            async with (
                serve(app, listening, None, stop=app.stop_watches) as port,
                HttpClient(Connection(server=f"http://127.0.0.1:{port}", token="secret")) as client,
            ):
                yield client
            group.cancel_scope.cancel()
    finally:
        listening.close()


async def test_a_pod_travels_as_the_readme_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    journey = Journey(monkeypatch)
    key = Key("default", "web")

    def posted(app: ApiServer, scope: Any, receive: Any, send: Any) -> str | None:
        return f"{scope['method']} {scope['path']}" if scope["type"] == "http" else None

    def created(registry: GenericRegistry, tree: Any, **options: Any) -> str | None:
        return f"create {registry.resource.kind} {options['namespace']}/{tree['metadata']['name']}"

    def committed(store: MemoryStore, *operations: Any) -> str | None:
        [path] = [operation.key for operation in operations if operation.key.endswith(str(key))] or [""]
        return (
            f"commit {path} with {len(operations) - 1} check, expecting revision {operations[0].expect}"
            if path
            else None
        )

    def applied(cache: ResourceCache, where: Key, change: Any) -> str | None:
        verb = "created" if change.previous is None else "changed"
        return f"{where} {verb}, at the next revision" if where == key else None

    def noticed(informer: Informer[Any], kind: str, document: Any) -> str | None:
        return f"{kind} {document.key}" if document.key == key else None

    def queued(queue: SchedulingQueue, pod: Any) -> str | None:
        return f"{pod.key} waits for a node"

    def claimed(binder: Binder, transaction: Any) -> str | None:
        return f"claim {transaction.claims[0].node} for {transaction.claims[0].pod}"

    def seen(worker: PodWorker, pod: Pod) -> str | None:
        return f"{pod.key} is bound to {worker.agent.settings.name}"

    def started(runtime: FakeRuntime, sandbox: str, container: Any) -> str | None:
        return f"start container {container.name}, attempt {container.attempt}"

    def reported(registry: Any, where: Key, patch: Any, *, subresource: str = "") -> str | None:
        status = patch.body["status"] if subresource == "status" and where == key else {"phase": ""}
        return f"{status['phase']}, at {status['podIP']}" if status["phase"] == "Running" else None

    async with whole_cluster(tmp_path) as client:
        journey.at(ApiServer, "__call__", "client → server", posted)
        journey.at(GenericRegistry, "create", "server → registry", created)
        journey.at(MemoryStore, "commit", "registry → store", committed)
        journey.at(ResourceCache, "apply", "store → watch cache", applied)
        journey.at(Informer, "apply", "watch cache → informer", noticed)
        journey.at(SchedulingQueue, "add", "informer → scheduler", queued)
        journey.at(Binder, "commit", "scheduler → transaction", claimed)
        journey.at(PodWorker, "see", "transaction → node agent", seen)
        journey.at(FakeRuntime, "start_container", "node agent → runtime", started)
        journey.at(LocalRegistry, "patch", "runtime → status", reported)
        await client.resource(Pod).create(make_pod("web"))
        with anyio.fail_after(10):
            while (await client.resource(Pod).get(key)).status.phase != "Running":
                await anyio.sleep(0.01)

    sys.stdout.write("\n".join(journey.lines) + "\n")
    found = re.search(r"```text\n(client → server.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    assert "\n".join(journey.lines) == found[1].rstrip("\n")
