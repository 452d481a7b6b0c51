"""``kubelib demo guestbook``: the guestbook whose programs are in a ConfigMap."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

EXAMPLES = Path(__file__).parent.parent / "examples"
PATIENCE = 60.0
"""Seconds that each step may take."""


class DemoFailed(click.ClickException):
    """Something that the example shows did not happen."""


class Guestbook:
    """The steps of the demonstration."""

    directory = EXAMPLES / "guestbook"
    config = "guestbook-code"
    """The ConfigMap with the programs; empty: none."""
    programs: tuple[str, ...] = ("store.py", "frontend.py")
    service = "guestbook-frontend"
    path = "/entries"
    """Where a frontend has the entries."""

    def __init__(self, client: Any, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print a step as it happens."""
        click.echo(f"{time.monotonic() - self._began:5.1f}s  {text}")

    async def run(self) -> None:
        """Carry out all steps. Raises `DemoFailed`."""
        self.say("applying the manifests: 3 Services, 3 ReplicationControllers, the programs in a ConfigMap")
        await self.apply()
        for tier, wanted in (("master", 1), ("replica", 2), ("frontend", 3)):
            await self.until(partial(self.ready, tier, wanted), f"the {tier}s to be ready")
            self.say(f"{wanted} of {wanted} {tier} Pods ready")
        address = await self.frontend()
        self.say(f"the frontend Service answers at {address}")
        entries = [f"entry {number}" for number in range(1, 6)]
        before = await self.read(address)
        for entry in entries:
            await self.until(partial(self.post, address, entry), "the frontend to take an entry")
        self.say(f"posted {len(entries)} entries through the frontends to the master")
        wanted_entries = [*before, *entries]
        await self.expect(address, wanted_entries)
        self.say("read them back from the replicas")
        for tier, count in (("replica", 2), ("frontend", 3)):
            killed = await self.kill(tier)
            self.say(f"killed the {tier} Pod {killed}")
            await self.until(partial(self.replaced, tier, count, killed), "a new Pod")
            self.say(f"its ReplicationController has put another in its place: {count} of {count} ready")
            await self.expect(address, wanted_entries)
            self.say(f"all {len(wanted_entries)} entries are there")
        await self.until(lambda: self.post(address, "after the failures"), "the frontend to take an entry")
        await self.expect(address, [*wanted_entries, "after the failures"])
        self.say("a new entry arrives as well: nothing was lost")

    async def apply(self) -> None:
        """Create what is not there, and bring what is there up to date."""
        import yaml

        documents = list(yaml.safe_load_all((self.directory / "guestbook.yaml").read_text()))
        if self.config:
            programs = {name: (self.directory / name).read_text() for name in self.programs}
            metadata = {"name": self.config}
            documents.insert(
                0, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": programs}
            )
        for document in documents:
            await self.put(document)

    async def put(self, document: dict[str, Any]) -> None:
        """Create one object, or replace its spec."""
        from kubelib.api.errors import AlreadyExists

        plural = {
            "ConfigMap": "configmaps",
            "Service": "services",
            "ReplicationController": "replicationcontrollers",
        }
        path = f"/api/v1/namespaces/{self.namespace}/{plural[document['kind']]}"
        body = json.dumps(document).encode()
        try:
            await self.client.request("POST", path, body=body)
        except AlreadyExists:
            await self.client.request(
                "PATCH",
                f"{path}/{document['metadata']['name']}",
                body=body,
                content_type="application/merge-patch+json",
            )

    @staticmethod
    def selector(tier: str) -> str:
        """Return what the Pods of a tier have in common."""
        return f"app=guestbook,tier={tier}"

    async def pods(self, tier: str) -> list[Any]:
        """Return the Pods of a tier that are not going."""
        from kubelib.api.core.pod import Pod
        from kubelib.labels import parse_selector
        from kubelib.registry.base import Query

        query = Query(self.namespace, parse_selector(self.selector(tier)))
        found = await self.client.resource(Pod).list(query)
        return [pod for pod in found.items if pod.metadata.deletion_timestamp is None]

    async def ready(self, tier: str, wanted: int) -> bool:
        """Return whether a tier is complete."""
        pods = await self.pods(tier)
        return (
            sum(any(c.type == "Ready" and c.status == "True" for c in p.status.conditions) for p in pods)
            >= wanted
        )

    async def replaced(self, tier: str, wanted: int, killed: str) -> bool:
        """Return whether a tier is complete again, without the Pod that was killed."""
        pods = await self.pods(tier)
        return all(pod.metadata.name != killed for pod in pods) and await self.ready(tier, wanted)

    async def kill(self, tier: str) -> str:
        """Delete a Pod of a tier without grace; return its name."""
        from kubelib.api.core.pod import Pod

        pod = (await self.pods(tier))[0]
        await self.client.resource(Pod).delete(pod.key, grace=0)
        return str(pod.metadata.name)

    async def frontend(self) -> str:
        """Return the URL of the frontend Service, once it answers."""
        from kubelib.api.core.service import Service
        from kubelib.api.meta import Key

        service = await self.client.resource(Service).get(Key(self.namespace, self.service))
        address = f"http://{service.spec.cluster_ip}:{service.spec.ports[0].port}"
        await self.until(lambda: self.answers(address), f"{address} to answer")
        return address

    async def answers(self, address: str) -> bool:
        """Return whether the frontends reach the replicas."""
        return await self.http(address + self.path) is not None

    async def read(self, address: str) -> list[str]:
        """Return the entries as a frontend shows them."""
        body = await self.http(address + self.path)
        return self.entries(body) if body is not None else []

    @staticmethod
    def entries(body: bytes) -> list[str]:
        """Return the entries in a frontend's answer."""
        entries: list[str] = json.loads(body)
        return entries

    async def post(self, address: str, entry: str) -> bool:
        """Post an entry; return whether it was acknowledged."""
        return await self.http(address + self.path, entry.encode()) is not None

    async def http(self, url: str, data: bytes | None = None) -> bytes | None:
        """Make a request to the guestbook; None if it was not answered well."""
        import anyio.to_thread

        def ask() -> bytes | None:
            request = urllib.request.Request(url, data=data, headers={"Content-Type": "text/plain"})
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    body: bytes = answer.read()
                    return body
            except (OSError, urllib.error.URLError):
                return None

        return await anyio.to_thread.run_sync(ask)

    async def expect(self, address: str, entries: list[str]) -> None:
        """Require that, soon, all replicas show these entries."""

        async def check() -> bool:
            for _ in range(4):  # the replicas take turns
                if await self.read(address) != entries:
                    return False
            return True

        await self.until(check, f"{len(entries)} entries to be shown")

    @staticmethod
    async def until(check: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait until something is so. Raises `DemoFailed`."""
        import anyio

        with anyio.move_on_after(PATIENCE):
            while not await check():
                await anyio.sleep(0.1)
            return
        raise DemoFailed(f"waited {PATIENCE:.0f} s for {what} in vain")
