"""Three API servers on one etcd behind haproxy: any of them may be killed, and nobody misses anything."""

import itertools
import math
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import anyio
import attrs
import pytest

from kubelib.api.coordination import Lease
from kubelib.api.core.config import ConfigMap
from kubelib.api.core.container import Container
from kubelib.api.core.pod import Pod, PodSpec
from kubelib.api.errors import AlreadyExists, ApiError, Expired, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.registry.base import Query
from tests.engines import PREFIXES, Etcd, ZooKeeper, free_ports, program
from tests.external.conftest import Kubectl, eventually, real_binary
from tests.external.processes import Daemon, kubelib

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ha"
HERE = Query(namespace="default")
LEASES = {"scheduler": "kube-scheduler", "controller-manager": "kube-controller-manager"}
# A leader that is not heard of is respected for five seconds, instead of fifteen, so that a test need not wait as long.
ELECTION = (
    *("--leader-elect-lease-duration", "5s", "--leader-elect-renew-deadline", "3500ms"),
    *("--leader-elect-retry-period", "500ms"),
)


class Masters:
    """Three API servers, haproxy before them, two schedulers and two controller managers."""

    def __init__(self, directory: Path, store: str) -> None:
        self.directory = directory
        self.engine = store.partition(":")[0]
        listen, *servers = (f"127.0.0.1:{port}" for port in free_ports(4))
        self.servers = [
            Daemon(
                directory, name, "apiserver", "--data-dir", str(directory / name), "--listen", address,
                "--public-address", ",".join((listen, *servers)), "--store", store, "--service-network", "127.98.0.0/16",
            )
            for name, address in zip("abc", servers, strict=True)
        ]  # fmt: skip
        self.environment = {
            **os.environ,
            "LISTEN": listen,
            **{f"SERVER_{name.upper()}": address for name, address in zip("abc", servers, strict=True)},
        }
        self.addresses = servers
        self.others: list[Daemon] = []
        self.haproxy: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "a" / "admin.kubeconfig"

    def start(self) -> None:
        first, *more = self.servers
        first.start()
        for server in more:
            out = str(self.directory / server.name)
            kubelib("credentials", "apiserver", "--data-dir", str(self.directory / "a"), "--out", out)
            server.start()
        with (self.directory / "haproxy.log").open("ab") as log:
            self.haproxy = subprocess.Popen(
                [program("haproxy", "haproxy"), "-f", str(EXAMPLE / "haproxy.cfg")],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        for kind in ("scheduler", "controller-manager"):
            for n in (1, 2):
                kubeconfig = self.directory / "a" / f"{kind}.kubeconfig"
                daemon = Daemon(
                    self.directory, f"{kind}-{n}", kind, "--kubeconfig", str(kubeconfig), *ELECTION
                )
                self.others.append(daemon.start(wait=n == 1))

    def stop(self) -> None:
        for daemon in (*self.others, *self.servers):
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.end()
        if self.haproxy is not None:
            self.haproxy.kill()
            self.haproxy.wait()


@pytest.fixture(scope="module", params=["etcd", "zookeeper"])
def masters(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Masters]:
    engine: Etcd | ZooKeeper = request.getfixturevalue(request.param)
    masters = Masters(tmp_path_factory.mktemp("masters"), engine.url(next(PREFIXES)))
    try:
        masters.start()
        yield masters
    finally:
        masters.stop()


async def write(client: HttpClient, worker: int, stop: anyio.Event, acknowledged: set[str]) -> None:
    """Create one object after the other; try again what was not answered, as clients do."""
    maps = client.resource(ConfigMap)
    for number in range(100_000):
        name = f"w{worker}-{number}"
        while True:
            if stop.is_set():
                return
            try:
                await maps.create(ConfigMap(metadata=ObjectMeta(name=name, namespace="default")))
            except AlreadyExists:
                break  # a request that was tried again: it had been carried out
            except ApiError:
                await anyio.sleep(0.05)
                continue
            break
        acknowledged.add(name)


async def follow(client: HttpClient, since: str, seen: list[str]) -> None:
    """Watch, and go on where the watch broke off, at whichever server answers."""
    maps = client.resource(ConfigMap)
    while True:
        try:
            async with maps.watch(HERE, since=since) as events:
                async for event in events:
                    since = event.object.metadata.resource_version
                    if event.type == "ADDED":
                        seen.append(event.object.metadata.name)
        except Expired:
            raise AssertionError("the watch lost its place") from None
        except ApiError:
            pass
        await anyio.sleep(0.05)


@pytest.mark.slow
async def test_killing_any_api_server_under_load_loses_no_write_and_no_event(
    masters: Masters, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    kubectl = Kubectl(real_binary("kubectl"), masters.kubeconfig, tmp_path / "cache")
    eventually(lambda: kubectl.run("get", "--raw", "/readyz").returncode == 0)
    endpoints = kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=kubernetes", "-o", "name")
    assert len(endpoints.split()) == 3, "each has a port of its own here"

    acknowledged: set[str] = set()
    seen: list[str] = []
    stop = anyio.Event()
    connection = load_connection([masters.kubeconfig])
    async with HttpClient(connection) as client, anyio.create_task_group() as group:
        begun = await client.resource(ConfigMap).list(HERE)
        known = {item.metadata.name for item in begun.items}
        group.start_soon(follow, client, begun.resource_version, seen)
        async with anyio.create_task_group() as writers:
            for worker in range(6):
                writers.start_soon(write, client, worker, stop, acknowledged)
            for server in masters.servers:
                await anyio.sleep(1)
                server.end(signal.SIGKILL)
                before = len(acknowledged)
                with anyio.fail_after(120):
                    while len(acknowledged) < before + 50:
                        await anyio.sleep(0.05)
                await anyio.to_thread.run_sync(server.start)
            stop.set()
        with anyio.fail_after(120):
            while True:
                try:
                    listed = await client.resource(ConfigMap).list(HERE)
                    break
                except ApiError:
                    await anyio.sleep(0.1)
        stored = {item.metadata.name for item in listed.items} - known
        with anyio.move_on_after(90):
            while not stored <= set(seen):
                await anyio.sleep(0.05)
        group.cancel_scope.cancel()
    lost, gaps, duplicates = len(acknowledged - stored), len(stored - set(seen)), len(seen) - len(set(seen))
    record_property(
        "figures",
        f"three API servers on {masters.engine}, {len(masters.servers)} killed one at a time under load: of {len(acknowledged)}"
        f" acknowledged writes {lost} lost; of {len(stored)} changes {gaps} missed and {duplicates} seen twice by a watch",
    )
    assert (lost, gaps, duplicates) == (0, 0, 0)
    assert set(seen) == stored, "nothing is seen that is not there"


@attrs.frozen
class Term:
    """From when until when a daemon could act as leader, in seconds since 1970, as its log tells."""

    identity: str
    start: float
    end: float


def terms_of(daemons: Sequence[Daemon], lease: str) -> list[Term]:
    """Return who led when. It ends when its component has stopped or, before that, when nothing of it was let out any more."""
    terms = []
    for daemon in daemons:
        began: dict[str, float] = {}
        for line in daemon.log.read_text().splitlines():
            stamp = r"(?P<at>[\d-]+ [\d:,]+) INFO \S+: (?P<who>\S+)"
            if found := re.match(rf"{stamp} became leader of kube-system/{lease}$", line):
                began[found["who"]] = seconds(found["at"])
            elif found := re.match(
                rf"{stamp} stopped leading kube-system/{lease}: .* ended (?P<ago>\S+) s", line
            ):
                end = seconds(found["at"]) - float(found["ago"])
                terms.append(Term(found["who"], began.pop(found["who"]), end))
        terms += [Term(who, start, math.inf) for who, start in began.items()]
    return sorted(terms, key=lambda term: term.start)


async def settled_terms(daemons: Sequence[Daemon], lease: str) -> list[Term]:
    """Return who led when, once somebody leads again and those before have noted that they do not."""
    with anyio.move_on_after(60):
        while True:
            terms = terms_of(daemons, lease)
            still = [term for term in terms if term.end == math.inf]
            if len(terms) > 1 and still == terms[-1:]:
                break
            await anyio.sleep(0.1)
    return terms_of(daemons, lease)


def seconds(stamp: str) -> float:
    return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp()


def overlaps(terms: Sequence[Term]) -> list[tuple[Term, Term]]:
    """Return those that led at the same time as one before them. Stamps are cut off to milliseconds."""
    pairs = itertools.combinations(terms, 2)
    return [(one, other) for one, other in pairs if other.start + 0.001 < one.end]


def test_terms_that_overlap_are_found() -> None:
    one, two, three = Term("a", 0, 10), Term("b", 10, 30), Term("c", 20, math.inf)
    assert overlaps([one, two]) == []
    assert overlaps([one, two, three]) == [(two, three)]


async def leader_of(client: HttpClient, lease: str, other_than: str = "") -> str:
    """Wait until somebody, or somebody else, holds a lease."""
    with anyio.fail_after(120):
        while True:
            try:
                found = await client.resource(Lease).get(Key("kube-system", lease))
            except NotFound:
                found = Lease()
            if found.spec.holder_identity not in (None, "", other_than):
                return found.spec.holder_identity or ""
            await anyio.sleep(0.05)


async def follow_leases(client: HttpClient, since: str, renewals: list[tuple[str, str, int]]) -> None:
    """Note each state of the leases that have a holder: the lease, who, and the how many'th leader that is."""
    leases = client.resource(Lease)
    while True:
        try:
            async with leases.watch(Query(namespace="kube-system"), since=since) as events:
                async for event in events:
                    lease = event.object
                    since = lease.metadata.resource_version
                    if event.type != "BOOKMARK" and lease.spec.holder_identity:
                        number = lease.spec.lease_transitions or 0
                        renewals.append((lease.metadata.name, lease.spec.holder_identity, number))
        except ApiError:
            await anyio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("masters", ["etcd"], indirect=True)
async def test_a_leader_that_was_stopped_beyond_its_lease_does_not_act_when_it_continues(
    masters: Masters, record_property: Callable[[str, object], None]
) -> None:
    renewals: list[tuple[str, str, int]] = []
    async with (
        HttpClient(load_connection([masters.kubeconfig])) as client,
        anyio.create_task_group() as group,
    ):
        begun = await client.resource(Lease).list(Query(namespace="kube-system"))
        group.start_soon(follow_leases, client, begun.resource_version, renewals)
        first = {lease: await leader_of(client, lease) for lease in LEASES.values()}
        stopped = [
            d
            for d in masters.others
            if d.process and any(f"_{d.process.pid}_" in who for who in first.values())
        ]
        assert len(stopped) == len(first)
        try:
            for daemon in stopped:
                daemon.send(signal.SIGSTOP)
            for lease, who in first.items():
                await leader_of(client, lease, other_than=who)
        finally:
            for daemon in stopped:
                daemon.send(signal.SIGCONT)
        with anyio.fail_after(120):  # the watch has seen it too
            while not all(
                any(name == lease and who != one for name, who, _ in renewals) for lease, one in first.items()
            ):
                await anyio.sleep(0.1)
        group.cancel_scope.cancel()
    for kind, lease in LEASES.items():
        both = [daemon for daemon in masters.others if daemon.name.startswith(kind)]
        terms = await settled_terms(both, lease)
        double = overlaps(terms)
        numbers = [number for name, _, number in renewals if name == lease]
        stale = sum(later < earlier for earlier, later in itertools.pairwise(numbers))
        record_property(
            "figures",
            f"two of {lease} on {masters.engine}, the leader stopped beyond its lease and continued: {len(terms)} terms,"
            f" {len(double)} double leaders, {stale} renewals of a lease that was lost",
        )
        assert len(terms) >= 2
        assert double == []
        assert stale == 0


@pytest.mark.slow
async def test_of_several_schedulers_and_managers_one_each_leads_and_hands_over_at_once(
    masters: Masters, record_property: Callable[[str, object], None]
) -> None:
    async with HttpClient(load_connection([masters.kubeconfig])) as client:
        for kind, lease in LEASES.items():
            first = await leader_of(client, lease)
            both = [daemon for daemon in masters.others if daemon.name.startswith(kind)]
            (leader,) = (d for d in both if d.process and f"_{d.process.pid}_" in first)
            with anyio.fail_after(120):  # who is still starting cannot follow at once
                while not all(" is ready " in daemon.log.read_text() for daemon in both):
                    await anyio.sleep(0.05)
            leader.end()
            await leader_of(client, lease, other_than=first)
            terms = await settled_terms(both, lease)
            double = overlaps(terms)
            # On a busy machine others may come and go, without being asked to: what counts is who followed the one that was ended.
            ended = max(term.end for term in terms if term.identity == first)
            gap = (
                min(term.start for term in terms if term.start >= ended - 0.001 and term.identity != first)
                - ended
            )
            record_property(
                "figures",
                f"two of {lease} on {masters.engine}, API servers killed and the leader ended: {len(terms)} terms,"
                f" {len(double)} double leaders, {gap:.2f} s without a leader at the end of one",
            )
            assert len(terms) >= 2
            assert double == []


def pod_named(name: str) -> Pod:
    command = ("sh", "-c", f"echo I am {name}; exec sleep 1000")
    container = Container(name="main", image="process", command=command)
    spec = PodSpec(containers=(container,), termination_grace_period_seconds=1)
    return Pod(metadata=ObjectMeta(name=name, namespace="default"), spec=spec)


async def runs(client: HttpClient, name: str) -> None:
    """Create a Pod and wait until it runs and tells its name."""
    pods = client.resource(Pod)
    with anyio.fail_after(120):
        while True:
            try:
                await pods.create(pod_named(name))
            except AlreadyExists:
                break
            except ApiError:  # the namespace may have no account for it yet
                await anyio.sleep(0.1)
        while (await pods.get(Key("default", name))).status.phase != "Running":
            await anyio.sleep(0.1)
        said = await client.request("GET", f"/api/v1/namespaces/default/pods/{name}/log", accept="*/*")
    assert said.body == f"I am {name}\n".encode()


@pytest.mark.slow
async def test_who_knows_all_servers_needs_no_load_balancer(masters: Masters) -> None:
    assert masters.haproxy is not None
    masters.haproxy.kill()
    masters.haproxy.wait()
    connection = load_connection([masters.kubeconfig])
    assert connection.others == tuple(f"https://{address}" for address in masters.addresses)
    leases = Query(namespace="kube-system")
    out = masters.directory / "node"
    kubelib("credentials", "node", "node", "--data-dir", str(masters.directory / "a"), "--out", str(out))
    node = Daemon(
        masters.directory, "kubelet", "kubelet", "node", "--kubeconfig", str(out / "kubeconfig"),
        "--data-dir", str(out / "data"), "--port", "0", "--pod-network", "127.239.0.0/16",
    )  # fmt: skip
    masters.others.append(node.start())
    async with HttpClient(connection) as client:
        await runs(client, "first")
        for server in masters.servers[:2]:
            server.end(signal.SIGKILL)
            began = {
                lease.metadata.name: lease for lease in (await client.resource(Lease).list(leases)).items
            }
            await client.resource(ConfigMap).create(
                ConfigMap(metadata=ObjectMeta(name=f"without-{server.name}", namespace="default"))
            )
            with anyio.fail_after(120):  # those that lead find another server too, and stay leaders
                for name in ("kube-scheduler", "kube-controller-manager"):
                    key = Key("kube-system", name)
                    while await client.resource(Lease).get(key) == began[name]:
                        await anyio.sleep(0.2)
            await runs(client, f"without-{server.name}")  # and so does the node
        names = ["first", *(f"without-{server.name}" for server in masters.servers[:2])]
        for name in names:
            pod = await client.resource(Pod).get(Key("default", name))
            assert pod.status.container_statuses[0].restart_count == 0
            await client.resource(Pod).delete(pod.key)
        with anyio.fail_after(120):
            while (await client.resource(Pod).list(HERE)).items:
                await anyio.sleep(0.1)
