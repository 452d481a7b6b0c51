"""``kubelib demo``: examples that are started, used, broken, and seen to recover."""

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

T = TypeVar("T")
EXAMPLES = Path(__file__).parent.parent / "examples"
PATIENCE = 60.0


class DemoFailed(click.ClickException):
    """Something that the example shows did not happen."""


@click.group(epilog="Example: kubelib demo guestbook --kubeconfig ./cluster/admin.kubeconfig")
def demo() -> None:
    """Run an example and check that it works."""


@demo.command(epilog="Example: kubelib demo guestbook --kubeconfig ./cluster/admin.kubeconfig")
@click.option(
    "--kubeconfig", metavar="FILE", help="The cluster to use (default: $KUBECONFIG, then ~/.kube/config)."
)
@click.option("--namespace", "-n", default="default", show_default=True, help="Where to put it.")
@click.option(
    "--runtime",
    type=click.Choice(["process", "docker", "podman"]),
    default="process",
    show_default=True,
    help="What the cluster's nodes run: on an engine the guestbook is made of Redis images.",
)
@click.pass_context
def guestbook(ctx: click.Context, kubeconfig: str | None, namespace: str, runtime: str) -> None:
    """Start the guestbook, sign it, kill parts of it, and see that no entry is lost.

    A master store, two replicas that follow it and three frontends, each tier found through its Service.
    """
    import anyio

    from kubelib.api.errors import ApiError
    from kubelib.client.http import HttpClient
    from kubelib.client.kubeconfig import KubeconfigError, kubeconfig_paths, load_connection
    from kubelib.runtime.base import RuntimeFailure

    try:
        connection = load_connection(
            kubeconfig_paths(kubeconfig or ctx.obj["kubeconfig"]), ctx.obj["context"]
        )

        async def main() -> None:
            async with HttpClient(connection, manager="kubelib-demo") as client:
                await guestbook_on(runtime, client, namespace).run()

        anyio.run(main)
    except (KubeconfigError, ApiError, RuntimeFailure) as error:
        raise click.ClickException(str(error)) from None


def guestbook_on(runtime: str, client: Any, namespace: str) -> "Guestbook":
    """Return the demonstration for clusters whose nodes run this."""
    if runtime == "process":
        return Guestbook(client, namespace)
    from reference_cluster.cli.redisdemo import RedisGuestbook

    return RedisGuestbook(client, namespace, runtime)


@demo.command(epilog="Example: kubelib demo contention --nodes 1000 --pods 3000 --kills 20")
@click.option(
    "--nodes",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="How many nodes, which exist only as objects.",
)
@click.option("--pods", type=click.IntRange(1), default=3000, show_default=True, help="How many Pods.")
@click.option(
    "--kills", type=click.IntRange(0), default=8, show_default=True, help="How often a scheduler is killed."
)
@click.option(
    "--servers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many API servers; several need --store.",
)
@click.option(
    "--server-kills",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How often an API server is killed.",
)
@click.option(
    "--store", default="", metavar="URL", help="An empty store for it, such as etcd://127.0.0.1:2379/demo."
)
@click.option(
    "--seed", default=1, show_default=True, help="What sizes of Pods and moments of kills are drawn from."
)
def contention(
    nodes: int, pods: int, kills: int, servers: int, server_kills: int, store: str, seed: int
) -> None:
    """Let schedulers of different architectures bind Pods to the same nodes, kill them, and count what went wrong.

    Four are processes of their own that are killed with SIGKILL and started again, as are API servers; a fifth binds Pods one by one by what it
    saw a while ago. Fails if any node is overcommitted, or any Pod lost or bound twice.
    """
    import tempfile

    import anyio

    from reference_cluster.contention import Settings, contend

    began = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - began:5.1f}s  {text}")

    with tempfile.TemporaryDirectory(prefix="kubelib-") as directory:
        settings = Settings(
            nodes=nodes,
            pods=pods,
            kills=kills,
            servers=servers,
            server_kills=server_kills,
            store=store,
            seed=seed,
        )
        try:
            verdict = anyio.run(contend, Path(directory), settings, say)
        except ValueError as error:
            raise DemoFailed(str(error)) from None
    for line in verdict.lines():
        click.echo(line)
    if not verdict.clean:
        raise DemoFailed("schedulers that run at once must lose nothing")


@demo.command(epilog="Example: kubelib demo elastic --nodes 5")
@click.option(
    "--nodes",
    type=click.IntRange(2, 50),
    default=5,
    show_default=True,
    help="How many nodes it grows to.",
)
def elastic(nodes: int) -> None:
    """Let a local cluster grow from one node to several for a burst of Pods, and shrink back.

    It runs in this process, on child processes and in a directory of its own, and leaves nothing behind.
    """
    began = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - began:5.1f}s  {text}")

    say(f"starting a cluster of 1 to {nodes} nodes, each with 1 cpu")
    import tempfile

    import anyio

    from reference_cluster.burst import BurstFailed, burst

    with tempfile.TemporaryDirectory(prefix="kubelib-") as directory:
        try:
            anyio.run(until_signalled, partial(burst, Path(directory) / "cluster", nodes, say))
        except BurstFailed as error:
            raise DemoFailed(str(error)) from None


async def until_signalled(work: Callable[[], Awaitable[object]]) -> None:
    """Do some work, and leave off in order when SIGINT or SIGTERM comes. Raises `click.Abort` then."""
    import anyio

    done = False
    failure: Exception | None = None
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:

            async def listen() -> None:
                async for _ in signals:
                    group.cancel_scope.cancel()

            group.start_soon(listen)
            try:
                await work()
                done = True
            except Exception as error:
                failure = error
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if not done:
        raise click.Abort


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
