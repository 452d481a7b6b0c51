"""Priority and fairness: who waits, who is refused, and who is not disturbed by either."""

import re
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from random import Random
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelib.api.errors import TooManyRequests
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import User
from kubelib.server.flow import FlowControl
from kubelib.server.flow.defaults import ensure_flow_objects
from kubelib.server.flow.queues import Level, LevelSettings, Pool, deal, hash_of
from kubelib.server.requestinfo import parse_request
from kubelib.sim import simulate
from kubelib.store import MemoryStore
from kubelib.testing.cluster import Cluster

GROUP = "/apis/flowcontrol.apiserver.k8s.io/v1"
PODS = parse_request("GET", "/api/v1/namespaces/default/pods")
GREEDY = User("greedy", ("system:authenticated",))
MODEST = User("modest", ("system:authenticated",))
NODE = User("system:node:n", ("system:nodes", "system:authenticated"))
MASTER = User("admin", ("system:masters", "system:authenticated"))


@pytest.fixture
def admin(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield client


async def built_in(registries: ResourceRegistries, concurrency: int = 600) -> FlowControl:
    await ensure_flow_objects(registries)
    return FlowControl(registries, concurrency=concurrency)


@pytest.mark.parametrize(
    ("user", "method", "path", "schema", "level"),
    [
        (MASTER, "GET", "/api/v1/pods", "exempt", "exempt"),
        (User("x", ("system:unauthenticated",)), "GET", "/healthz", "probes", "exempt"),
        (User("x", ("system:unauthenticated",)), "GET", "/version", "global-default", "global-default"),
        (NODE, "GET", "/api/v1/namespaces/a/pods", "system-nodes", "system"),
        (NODE, "PATCH", "/api/v1/nodes/n/status", "system-node-high", "node-high"),
        (
            NODE,
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n",
            "system-node-high",
            "node-high",
        ),
        (
            User("system:kube-scheduler"),
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/s",
            "system-leader-election",
            "leader-election",
        ),
        (User("system:kube-scheduler"), "GET", "/api/v1/pods", "kube-scheduler", "workload-high"),
        (
            User("system:serviceaccount:kube-system:dns"),
            "GET",
            "/api/v1/pods",
            "kube-system-service-accounts",
            "workload-high",
        ),
        (
            User("system:serviceaccount:a:b", ("system:serviceaccounts",)),
            "GET",
            "/api/v1/pods",
            "service-accounts",
            "workload-low",
        ),
        (MODEST, "GET", "/api/v1/pods", "global-default", "global-default"),
    ],
)
def test_requests_belong_where_kubernetes_puts_them(
    user: User, method: str, path: str, schema: str, level: str
) -> None:
    async def main() -> None:
        async with ResourceRegistries(MemoryStore()) as registries:
            await registries.bootstrap()
            flow = (await built_in(registries)).flow(user, parse_request(method, path))
            assert (flow.schema.name, flow.level.settings.name) == (schema, level)

    anyio.run(main)


def test_seats_are_divided_by_shares_and_add_up() -> None:
    async def main() -> None:
        async with ResourceRegistries(MemoryStore()) as registries:
            await registries.bootstrap()
            control = await built_in(registries)
            control.refresh()
            nominal = {name: level.nominal for name, level in control.levels.items()}
            # 245 shares: as kube-apiserver divides its 600 seats.
            assert nominal == {
                "exempt": 0, "system": 74, "node-high": 98, "leader-election": 25, "workload-high": 98, "workload-low": 245,
                "global-default": 49, "catch-all": 13,
            }  # fmt: skip
            assert control.pool.size == sum(level.lendable for level in control.levels.values())

    anyio.run(main)


def test_a_greedy_user_waits_and_neither_a_node_nor_another_user_does() -> None:
    """400 lists of one user, of five seats each; others who come later are served while nearly all of them still wait."""

    async def main() -> None:
        async with ResourceRegistries(MemoryStore()) as registries:
            await registries.bootstrap()
            control = await built_in(registries)
            done: Counter[str] = Counter()
            seen: dict[str, int] = {}

            async def serve(user: User, width: int, seconds: float) -> None:
                flow = control.flow(user, PODS)
                try:
                    if flow.level.try_take(width):
                        seat = control.seated(flow, width)
                    else:
                        seat = await control.wait(flow, width)
                except TooManyRequests:
                    done[f"{user.name} refused"] += 1
                    return
                await anyio.sleep(seconds)
                seat.give_back()
                done[user.name] += 1
                seen.setdefault(user.name, done["greedy"])

            async with anyio.create_task_group() as group:
                for _ in range(400):
                    group.start_soon(serve, GREEDY, 5, 1.0)
                await anyio.sleep(0.1)
                level = control.flow(GREEDY, PODS).level
                assert level.in_queue > 200
                assert level.executing <= level.limit / 5
                group.start_soon(serve, NODE, 1, 0.01)
                group.start_soon(serve, MODEST, 1, 0.01)
            assert done["modest"] == done["system:node:n"] == 1
            served_at_once = (49 + control.pool.size) // 5 + 1
            assert seen["system:node:n"] == 0
            # The other user shares the level, and is the next whom it serves.
            assert seen["modest"] <= served_at_once
            assert done["greedy"] + done["greedy refused"] == 400
            # Six queues of fifty are all that one flow can fill.
            assert done["greedy"] <= served_at_once + 300
            assert control.pool.used == control.pool.waiting == 0
            assert all(not found.in_use and not found.in_queue for found in control.levels.values())

    simulate(main, seed=1)


def test_seats_whose_clients_do_not_read_are_for_others_who_wait_and_not_for_more_of_their_own() -> None:
    async def main() -> None:
        async with ResourceRegistries(MemoryStore()) as registries:
            await registries.bootstrap()
            control = await built_in(registries)
            greedy, modest = control.flow(GREEDY, PODS), control.flow(MODEST, PODS)
            level = greedy.level
            assert modest.level is level
            held = []
            while level.try_take(1):
                held.append(control.seated(greedy, 1))
            for seat in held:
                seat.lags(True)
            got: list[str] = []

            async def wait(flow: Any) -> None:
                seat = await control.wait(flow)
                got.append(flow.name)
                seat.give_back()

            async with anyio.create_task_group() as group:
                group.start_soon(wait, greedy)
                await anyio.sleep(1)
                assert (got, level.in_queue) == ([], 1)
                # One that reads again has its seat for itself.
                held[0].lags(False)
                group.start_soon(wait, modest)
                await anyio.sleep(1)
                assert "modest" in got
                for seat in held:
                    seat.give_back()
            assert sorted(got) == ["greedy", "modest"]
            assert (level.in_use, level.executing, level.in_queue, control.pool.used) == (0, 0, 0, 0)

    simulate(main, seed=1)


def test_two_users_of_a_level_are_served_alike_however_many_requests_one_has() -> None:
    async def main() -> None:
        pool = Pool()
        settings = LevelSettings(name="l", shares=1, queues=64, hand=6, queue_length=50)
        level = Level(settings, pool, anyio.current_time)
        pool.configure([level], 2)
        order: list[str] = []

        async def serve(user: str) -> None:
            hand = deal(hash_of("s", user), 64, 6)
            waited = None if level.try_take(1) else await level.wait(1, "s", user, hand)
            await anyio.sleep(0.1)
            order.append(user)
            level.give(1, waited)

        async with anyio.create_task_group() as group:
            for _ in range(60):
                group.start_soon(serve, "many")
            await anyio.sleep(0.05)
            for _ in range(5):
                group.start_soon(serve, "few")
        # One of six queues is the other's: of what is served until its five are done, "few" gets at least a seventh.
        last = max(at for at, user in enumerate(order) if user == "few")
        assert order[: last + 1].count("many") <= 2 + 5 * 7
        assert level.in_use == pool.used == 0

    simulate(main, seed=1)


@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.booleans()), max_size=80),
    lendable=st.tuples(*[st.integers(0, 100)] * 3),
    borrowing=st.sampled_from([None, 0, 50]),
)
def test_levels_keep_what_they_do_not_lend_and_never_exceed_the_server(
    steps: list[tuple[int, int, bool]], lendable: tuple[int, int, int], borrowing: int | None
) -> None:
    pool = Pool()
    levels = [
        Level(
            LevelSettings(
                name=str(n), shares=10 * (n + 1), lendable_percent=part, borrowing_percent=borrowing
            ),
            pool,
            lambda: 0.0,
        )
        for n, part in enumerate(lendable)
    ]
    pool.configure(levels, 60)
    held: list[list[int]] = [[], [], []]
    for which, width, take in steps:
        level = levels[which]
        if take:
            own = level.in_use + width <= level.least
            if level.try_take(width):
                held[which].append(width)
            else:
                assert not own, "a level is refused what it does not lend"
        elif held[which]:
            level.give(held[which].pop())
        assert sum(level.in_use for level in levels) <= sum(level.nominal for level in levels)
        assert 0 <= pool.used <= pool.size
        for level in levels:
            assert level.most is None or level.in_use <= level.most


def test_hands_are_dealt_alike_each_time_and_without_repetition() -> None:
    random = Random(1)
    met: Counter[int] = Counter()
    for _ in range(2000):
        hashed = random.getrandbits(64)
        hand = deal(hashed, 64, 6)
        assert hand == deal(hashed, 64, 6)
        assert len(set(hand)) == 6
        assert all(0 <= card < 64 for card in hand)
        met.update(hand)
    assert min(met.values()) > 120
    assert deal(5, 1, 1) == (0,)


def test_who_waits_too_long_or_goes_away_gives_up_the_place() -> None:
    async def main() -> None:
        pool = Pool()
        settings = LevelSettings(name="l", shares=1, queues=1, hand=1, queue_length=2)
        level = Level(settings, pool, anyio.current_time)
        pool.configure([level], 1)
        assert level.try_take(1)
        with pytest.raises(TooManyRequests):
            await level.wait(1, "s", "u", (0,))
        assert level.tally("s").refused == {"time-out": 1}
        assert anyio.current_time() == 15

        async def gone() -> None:
            await anyio.sleep(1)

        with pytest.raises(TooManyRequests):
            await level.wait(1, "s", "u", (0,), gone)
        assert level.tally("s").refused["cancelled"] == 1
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(level.wait, 1, "s", "u", (0,))
            await anyio.sleep(0.1)
            with pytest.raises(TooManyRequests) as refused:
                await level.wait(1, "s", "u", (0,))
            assert refused.value.retry_after == 1
            assert level.tally("s").refused["queue-full"] == 1
            group.cancel_scope.cancel()
        assert level.in_queue == pool.waiting == 0
        level.give(1)
        assert level.in_use == 0

    simulate(main, seed=1)


def test_the_built_in_objects_are_there_shown_and_kept(admin: httpx.Client) -> None:
    schemas = {s["metadata"]["name"]: s for s in admin.get(f"{GROUP}/flowschemas").json()["items"]}
    levels = {
        p["metadata"]["name"] for p in admin.get(f"{GROUP}/prioritylevelconfigurations").json()["items"]
    }
    assert len(schemas) == 13
    assert levels == {
        "exempt", "system", "node-high", "leader-election", "workload-high", "workload-low", "global-default", "catch-all",
    }  # fmt: skip
    answer = admin.get("/api", headers={"impersonate-user": "jane", "impersonate-group": "system:nodes"})
    assert answer.headers["x-kubernetes-pf-flowschema-uid"] == schemas["system-nodes"]["metadata"]["uid"]
    assert answer.headers["x-kubernetes-pf-prioritylevel-uid"]


@pytest.mark.parametrize("name", ["exempt", "catch-all"])
@pytest.mark.parametrize(
    ("plural", "change"),
    [
        ("flowschemas", {"matchingPrecedence": 5}),
        ("prioritylevelconfigurations", {"limited": {"nominalConcurrencyShares": 7}}),
    ],
)
def test_what_is_mandatory_cannot_be_changed_and_returns(
    admin: httpx.Client, name: str, plural: str, change: dict[str, Any]
) -> None:
    path, patch = f"{GROUP}/{plural}/{name}", {"content-type": "application/merge-patch+json"}
    before = admin.get(path).raise_for_status().json()
    answer = admin.patch(path, json={"spec": change}, headers=patch)
    assert answer.status_code == 422
    but = " except the 'spec.exempt' field" if (name, plural[0]) == ("exempt", "p") else ""
    assert f"spec of '{name}'{but} must equal the fixed value" in answer.json()["message"]
    # Labels and annotations are everybody's.
    admin.patch(path, json={"metadata": {"labels": {"a": "b"}}}, headers=patch).raise_for_status()
    admin.delete(path).raise_for_status()
    deadline = time.monotonic() + 60
    while (answer := admin.get(path)).status_code == 404:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.json()["spec"] == before["spec"]
    assert answer.json()["metadata"]["uid"] != before["metadata"]["uid"]


def test_the_share_of_the_exempt_level_may_be_changed(admin: httpx.Client) -> None:
    path = f"{GROUP}/prioritylevelconfigurations/exempt"
    patch, share = {"content-type": "application/merge-patch+json"}, {"nominalConcurrencyShares": 10}
    changed = admin.patch(path, json={"spec": {"exempt": share}}, headers=patch).raise_for_status().json()
    assert changed["spec"]["exempt"] == {"nominalConcurrencyShares": 10, "lendablePercent": 0}


def test_a_schema_of_ones_own_is_heeded_at_once_and_refusals_say_when_to_come_again(
    admin: httpx.Client, kubelib_cluster: Cluster
) -> None:
    limited = {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}
    level = {
        "kind": "PriorityLevelConfiguration",
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": "none"},
        "spec": {"type": "Limited", "limited": limited},
    }
    rule = {
        "subjects": [{"kind": "User", "user": {"name": "eve"}}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    schema = {
        "kind": "FlowSchema",
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": "eve"},
        "spec": {"priorityLevelConfiguration": {"name": "none"}, "matchingPrecedence": 50, "rules": [rule]},
    }
    eve = {"impersonate-user": "eve"}
    assert admin.post(f"{GROUP}/flowschemas", json=schema).status_code == 201
    # Its level does not exist yet: the schema is not used.
    assert admin.get("/api", headers=eve).status_code == 200
    assert admin.post(f"{GROUP}/prioritylevelconfigurations", json=level).status_code == 201
    refused = admin.get("/api", headers=eve)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["reason"] == "TooManyRequests"
    assert admin.get("/api", headers={"impersonate-user": "bob"}).status_code == 200
    metrics = admin.get("/metrics").text
    labels = 'flow_schema="eve",priority_level="none",reason="concurrency-limit"'
    assert f"apiserver_flowcontrol_rejected_requests_total{{{labels}}} 1" in metrics
    dumped = admin.get("/debug/api_priority_and_fairness/dump_priority_levels").text
    assert "none, 0, true, false, 0, 0, 0, 1, 0, 0" in dumped.splitlines()
    assert admin.get("/debug/api_priority_and_fairness/dump_queues").text.count("workload-low, ") == 128
    assert admin.get("/debug/api_priority_and_fairness/dump_requests").status_code == 200
    assert admin.get("/debug/api_priority_and_fairness/other").status_code == 404


def fill(admin: httpx.Client) -> None:
    """Make ConfigMaps of 15 MB, and let readers read them."""
    filling = {"data": {"text": "x" * 500_000}}
    for number in range(30):
        body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": f"m{number}"}, **filling}
        assert admin.post("/api/v1/namespaces/default/configmaps", json=body).status_code == 201
    bind = {
        "kind": "ClusterRoleBinding",
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "Group", "name": "readers"}, {"kind": "Group", "name": "system:nodes"}],
    }
    assert admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", json=bind).status_code == 201


def asking(cluster: Cluster, path: str, user: str) -> socket.socket:
    """Ask for something as a user, over a connection of its own that takes little at a time."""
    host, port = cluster.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = (
        f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {cluster.token}\r\n"
        f"impersonate-user: {user}\r\nimpersonate-group: readers\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def by_level(admin: httpx.Client, metric: str) -> Counter[str]:
    """Return a metric's sum for each priority level."""
    found: Counter[str] = Counter()
    for line in admin.get("/metrics").text.splitlines():
        if line.startswith(metric + "{"):
            labels, _, value = line.partition("{")[2].rpartition("} ")
            found[re.findall('priority_level="([^"]*)"', labels)[0]] += int(float(value))
    return +found


def test_clients_that_never_read_hold_seats_of_their_own_level_only(
    admin: httpx.Client, kubelib_cluster: Cluster
) -> None:
    """Sixty connections ask for large lists and read nothing: a node and another user are served meanwhile."""
    fill(admin)
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(asking(kubelib_cluster, "/api/v1/configmaps", "sloth"))
        for user, groups in (("jane", "readers"), ("system:node:n", "system:nodes")):
            headers = {"impersonate-user": user, "impersonate-group": groups}
            for _ in range(20):
                assert (
                    admin.get("/api/v1/namespaces/default/configmaps/m1", headers=headers).status_code == 200
                )
        busy = by_level(admin, "apiserver_flowcontrol_current_executing_requests")
        assert busy["global-default"] >= 40
        assert busy["system"] == 0


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the system lets this process have: the test has both ends of each connection."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_neither_the_greedy_nor_the_slow_nor_the_idle_keep_others_from_being_served(
    admin: httpx.Client, kubelib_cluster: Cluster, many_files: None
) -> None:
    """A thousand large lists of one user, a reader of one byte at a time and 500 watches: another user notices nothing of them."""
    fill(admin)
    with ExitStack() as stack:
        slow = stack.enter_context(asking(kubelib_cluster, "/api/v1/configmaps", "slow"))
        for _ in range(500):
            idle = "/api/v1/configmaps?watch=true&labelSelector=a%3Db&resourceVersion=0"
            stack.enter_context(asking(kubelib_cluster, idle, "idle"))
        for _ in range(1000):
            stack.enter_context(asking(kubelib_cluster, "/api/v1/configmaps", "greedy"))
        kubelib_cluster.eventually(
            lambda: by_level(admin, "apiserver_flowcontrol_current_inqueue_requests")["global-default"] > 100,
            within=60,
        )
        jane = {"impersonate-user": "jane", "impersonate-group": "readers"}
        path = "/api/v1/namespaces/default/configmaps"
        answers: Counter[int] = Counter()
        for number in range(40):
            with suppress(OSError):  # after a minute it is too slow for the server, as it should be
                slow.recv(1)
            answers[admin.get(f"{path}/m{number % 30}", headers=jane).status_code] += 1
            answers[admin.get(f"{path}?limit=1", headers=jane).status_code] += 1
        assert answers == {200: 80}
        rejected = by_level(admin, "apiserver_flowcontrol_rejected_requests_total")
        assert rejected["global-default"] > 100
        assert rejected.keys() == {"global-default"}
