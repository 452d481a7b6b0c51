"""``kubelib demo``: examples that are started, used, broken, and seen to recover."""

import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from reference_cluster.cli import shapes
from reference_cluster.cli.guestbook import DemoFailed, Guestbook


@click.group(epilog="Example: kubelib demo guestbook --kubeconfig ./cluster/admin.kubeconfig")
def demo() -> None:
    """Run an example and check that it works."""


@demo.command(epilog="Example: kubelib demo guestbook --kubeconfig ./cluster/admin.kubeconfig")
@click.option(
    "--kubeconfig", metavar="FILE", help="The cluster to use (default: $KUBECONFIG, then ~/.kube/config)."
)
@click.option("--namespace", "-n", default="default", show_default=True, help="Where to put it.")
@shapes.choice(
    "--runtime",
    ["process", "docker", "podman"],
    "What the cluster's nodes run: on an engine the guestbook is made of Redis images.",
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


def guestbook_on(runtime: str, client: Any, namespace: str) -> Guestbook:
    """Return the demonstration for clusters whose nodes run this."""
    if runtime == "process":
        return Guestbook(client, namespace)
    from reference_cluster.cli.redisguestbook import RedisGuestbook

    return RedisGuestbook(client, namespace, runtime)


@demo.command(epilog="Example: kubelib demo contention --nodes 1000 --pods 3000 --kills 20")
@shapes.number("--nodes", 1000, "How many nodes, which exist only as objects.", least=1)
@shapes.number("--pods", 3000, "How many Pods.", least=1)
@shapes.number("--kills", 8, "How often a scheduler is killed.")
@shapes.number("--servers", 1, "How many API servers; several need --store.", least=1)
@shapes.number("--server-kills", 0, "How often an API server is killed.")
@shapes.text("--store", "URL", "An empty store for it, such as etcd://127.0.0.1:2379/demo.")
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
@shapes.number("--nodes", 5, "How many nodes it grows to.", least=2, most=50)
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
