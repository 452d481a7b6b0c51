"""Who contends: API servers and schedulers as processes that may be killed, and a scheduler of the kind that others have written."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from socket import socket
from typing import TypeVar

import anyio
import attrs

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Binding, Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    InternalError,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
)
from kubelib.api.meta import ObjectMeta
from kubelib.api.quantity import parse_quantity
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from reference_cluster.datadir import open_data_directory
from reference_cluster.pki import copy_authorities

T = TypeVar("T")

SCHEDULERS: Mapping[str, tuple[str, ...]] = {
    "packing": ("--architecture", "monolithic", "--policy", "most-allocated"),
    "two-paths": ("--architecture", "multipath", "--policy", "default", "--batch-policy", "random"),
    "offers": ("--architecture", "two-level", "--policy", "least-allocated", "--batch-policy", "most-allocated"),
    "omega": (
        "--architecture", "shared-state", "--schedulers", "2", "--policy", "most-allocated", "--detection", "coarse",
    ),
}  # fmt: skip
"""The four schedulers, by the names that their Pods ask for. Half of them want the same nodes, the fullest that will do."""
STRANGER = "stranger"
"""The name that Pods ask for which `Stranger` binds."""
AGAIN = 0.1
"""Seconds after which a request is tried again that no server has answered."""


class Process:
    """A daemon that is started, killed and started again."""

    def __init__(self, directory: Path, name: str, *arguments: str) -> None:
        self._log = directory / f"{name}.log"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `ready` says when it works."""
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "reference_cluster", *self._arguments]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    async def ready(self) -> None:
        """Wait until it says so. Raises RuntimeError if it ends instead."""
        assert self._process is not None
        while " is ready " not in self._log.read_text():
            if self._process.poll() is not None:
                raise RuntimeError(f"kubelib {self._arguments[0]} ended: {self._log.read_text()}")
            await anyio.sleep(0.05)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Cell:
    """API servers on one store, and schedulers, all of them processes."""

    def __init__(self, directory: Path, store: str, count: int) -> None:
        """One server keeps what there is in `directory`, unless a `store` is named; several share one."""
        self._directory = directory
        names = ["apiserver", *(f"apiserver-{number}" for number in range(2, count + 1))]
        self._addresses = dict(zip(names, _free_addresses(count), strict=True))
        shared = ("--store", store, "--service-network", "127.97.0.0/16") if store else ()
        self.servers = {
            name: Process(
                directory, name, "apiserver", "--data-dir", str(self._home(name)), "--listen", address,
                "--public-address", ",".join(_from(address, self._addresses.values())), *shared,
                "--disable-admission-plugins", "ServiceAccount,TaintNodesByCondition",
            )
            for name, address in self._addresses.items()
        }  # fmt: skip
        self.schedulers = {
            name: Process(
                directory, name, "scheduler", "--scheduler-name", name, *options,
                # Each asks another server first.
                "--kubeconfig", str(self._home(names[number % count]) / "scheduler.kubeconfig"),
            )
            for number, (name, options) in enumerate(SCHEDULERS.items())
        }  # fmt: skip
        self._counted: dict[str, dict[str, int]] = {}

    def _home(self, server: str) -> Path:
        return self._directory / ("master" if server == "apiserver" else server)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[HttpClient]:
        """Run all of them while the context is open; yields a client that finds each server."""
        try:
            first, *others = self.servers
            self.servers[first].start()
            await self.servers[first].ready()
            for name in others:
                with open_data_directory(self._home(name)) as made:
                    copy_authorities(self._home(first) / "pki", made.pki)
                self.servers[name].start()
            for name in others:
                await self.servers[name].ready()
            for scheduler in self.schedulers.values():
                scheduler.start()
            async with HttpClient(load_connection([self._home(first) / "admin.kubeconfig"])) as client:
                yield client
        finally:
            for process in (*self.schedulers.values(), *self.servers.values()):
                process.kill()

    async def kill(self, name: str) -> None:
        """Kill a scheduler or a server, and start it again at once. What a server had counted is noted before."""
        if name in self.servers:
            await self._count(name)
        process = self.servers.get(name) or self.schedulers[name]
        process.kill()
        process.start()

    async def transactions(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many transactions had which outcome, by scheduler, at servers now and before they were killed."""
        for name in self.servers:
            await self._count(name)
        return self._counted

    async def _count(self, name: str) -> None:
        connection = load_connection([self._home(name) / "admin.kubeconfig"])
        alone = attrs.evolve(connection, server=f"https://{self._addresses[name]}", others=())
        async with HttpClient(alone) as client:
            try:
                text = (await client.request("GET", "/metrics", accept="*/*")).body.decode()
            except ApiError:
                return  # it has been killed a moment ago
        for scheduler, counts in transactions_in(text).items():
            known = self._counted.setdefault(scheduler, {})
            for outcome, count in counts.items():
                known[outcome] = known.get(outcome, 0) + count


class Stranger:
    """A scheduler as anybody may have written it: it binds Pods one by one, by what it has seen when it last looked.

    Like kube-scheduler it posts Bindings and takes what it has bound for placed before it sees it. Unlike that it looks at the cluster
    once for many decisions, so that others fill its favourite nodes meanwhile: those that are fullest.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self.bound = 0
        self.refused = 0
        """How many of its Bindings came too late: the node was full."""

    async def run(self) -> None:
        """Bind the Pods that ask for it, until cancelled."""
        nodes = await answered(self._client.resource(Node).list)
        room = {
            node.metadata.name: parse_quantity(node.status.allocatable["cpu"]).milli() for node in nodes.items
        }
        while True:
            pods = (await answered(self._client.resource(Pod).list)).items
            taken = dict.fromkeys(room, 0)
            for pod in pods:
                if pod.spec.node_name:
                    taken[pod.spec.node_name] += cpu_of(pod)
            for pod in pods:
                if pod.spec.scheduler_name == STRANGER and not pod.spec.node_name:
                    fits = [name for name in room if taken[name] + cpu_of(pod) <= room[name]]
                    if fits:
                        chosen = max(fits, key=lambda name: (taken[name], name))
                        taken[chosen] += cpu_of(pod)
                        await self._bind(pod, chosen)
            await anyio.sleep(AGAIN)

    async def _bind(self, pod: Pod, node: str) -> None:
        meta = ObjectMeta(name=pod.metadata.name, namespace=pod.metadata.namespace, uid=pod.metadata.uid)
        target = ObjectReference(api_version="v1", kind="Node", name=node)
        try:
            await self._client.resource(Binding).create(Binding(metadata=meta, target=target))
            self.bound += 1
        except Conflict:
            self.refused += 1
        except ApiError:
            return  # no answer: the next look at the cluster tells what became of it


async def answered(request: Callable[[], Awaitable[T]]) -> T:
    """Return the answer to a request that may be made twice; try again while no server answers."""
    while True:
        try:
            return await request()
        except (ServiceUnavailable, Timeout, InternalError, TooManyRequests):
            await anyio.sleep(AGAIN)


async def created(request: Callable[[], Awaitable[object]]) -> None:
    """Create something; try again while no server answers, which may have done it all the same."""
    try:
        await answered(request)
    except AlreadyExists:
        return


def cpu_of(pod: Pod) -> int:
    """Return how many thousandths of a processor a Pod asks for."""
    return sum(parse_quantity(c.resources.requests["cpu"]).milli() for c in pod.spec.containers)


def transactions_in(text: str) -> dict[str, dict[str, int]]:
    """Return how many transactions had which outcome, by scheduler, as a server's figures tell."""
    found: dict[str, dict[str, int]] = {}
    for labels, count in re.findall(r"^kubelib_transactions_total\{(.*)\} (\d+)$", text, re.MULTILINE):
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        found.setdefault(named["scheduler"] or "single bindings", {})[named["outcome"]] = int(count)
    return found


def _from(first: str, all_: Iterable[str]) -> list[str]:
    return [first, *(one for one in all_ if one != first)]


def _free_addresses(count: int) -> list[str]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
