"""What the cluster of the fixture offers to tests, seen through clients that are not ours."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from kubernetes import client, config

from kubelib.api.core.config import ConfigMap
from kubelib.api.errors import Expired, Forbidden
from kubelib.api.meta import Key
from kubelib.registry.base import Query
from kubelib.runtime.lives import case, ends, lives, never_starts, ready_after
from kubelib.sim import Conflicting, Lossy
from kubelib.store import WatchLagged
from kubelib.testing import Cluster
from kubelib.testing.manifests import ManifestError, read_manifests
from kubelib.testing.objects import make_config_map

CONFIG_MAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "c"},
    "data": {"a": "1"},
}
NODES: dict[str, Any] = {"controllers": True, "scheduler": True, "fake_nodes": 2}
with_nodes = pytest.mark.kubelib(controllers=True, scheduler=True, fake_nodes=2)


def core(cluster: Cluster, kubeconfig: Path | None = None) -> client.CoreV1Api:
    return client.CoreV1Api(config.new_client_from_config(str(kubeconfig or cluster.kubeconfig)))


def http(cluster: Cluster, **arguments: Any) -> httpx.Client:
    headers = {"authorization": f"Bearer {cluster.token}"}
    return httpx.Client(base_url=cluster.url, headers=headers, trust_env=False, timeout=60, **arguments)


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}], **spec},
    }


# Life


def open_files() -> set[str]:
    """Return what the files, sockets and pipes are that this process has open."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{descriptor.name} {os.readlink(descriptor)}")
        except OSError:
            continue
    return found


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with Cluster(**NODES):  # what is imported or opened once for all stays
        pass
    threads, files = set(threading.enumerate()), open_files()
    temporary = []
    for options in ({}, NODES):
        with Cluster(**options) as cluster:
            temporary.append(cluster.directory)
            cluster.webhook(lambda review: {"allowed": True}, rules=[])
            with (
                cluster.faults(stale_reads=True),
                httpx.Client(trust_env=False, verify=False, timeout=60) as calls,
            ):
                assert calls.get(f"{cluster.https_url}/readyz").text == "ok"
    assert set(threading.enumerate()) <= threads
    assert open_files() == files
    assert not any(directory.exists() for directory in temporary)


def test_open_connections_and_watches_do_not_keep_a_cluster_from_stopping() -> None:
    with Cluster() as cluster, http(cluster) as calls:
        assert calls.get("/api/v1/namespaces").status_code == 200
        with calls.stream("GET", "/api/v1/namespaces?watch=true") as watch:
            assert watch.status_code == 200
            begun = time.monotonic()
            cluster.stop()
            assert time.monotonic() - begun < 120  # and not for as long as a watch may last
            cluster.stop = lambda: None  # type: ignore[method-assign]


def test_what_keeps_a_cluster_from_starting_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="there is no file"), Cluster(crds=[tmp_path / "missing.yaml"]):
        pass
    assert not any(t.name == "kubelib-test-cluster" for t in threading.enumerate())


async def test_a_cluster_serves_asynchronous_tests() -> None:
    async with Cluster() as cluster, cluster.http_client() as api:
        maps = api.resource(ConfigMap)
        await maps.create(make_config_map("c", a="1"))
        near = cluster.client.resource(ConfigMap)
        assert (await cluster.acall(near.get, Key("default", "c"))).data == {"a": "1"}


@pytest.mark.parametrize("certificate", [True, False])
def test_a_user_has_a_token_or_a_certificate(kubelib_cluster: Cluster, certificate: bool) -> None:
    reader = kubelib_cluster.user("reader", groups=["readers"], roles=["view"], certificate=certificate)
    assert ("client-certificate-data" in reader.kubeconfig.read_text()) is certificate
    assert core(kubelib_cluster, reader.kubeconfig).list_namespaced_pod("default").items == []
    who = client.AuthenticationV1Api(config.new_client_from_config(str(reader.kubeconfig)))
    me = who.create_self_subject_review(
        {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    )
    assert (me.status.user_info.username, me.status.user_info.groups[0]) == ("reader", "readers")


# The session's cluster


@pytest.mark.parametrize("attempt", range(3))
def test_a_restored_cluster_is_the_same_for_every_test(
    kubelib_restored_cluster: Cluster, attempt: int
) -> None:
    api = core(kubelib_restored_cluster)
    api.create_namespaced_config_map("default", CONFIG_MAP)
    assert len(api.list_namespaced_config_map("default").items) == 1


# Users


def test_a_user_may_do_what_its_roles_say(kubelib_cluster: Cluster) -> None:
    nobody = core(kubelib_cluster, kubelib_cluster.kubeconfig_for("nobody"))
    with pytest.raises(client.ApiException) as caught:
        nobody.list_namespaced_pod("default")
    assert caught.value.status == 403
    assert r"User \"nobody\" cannot list resource \"pods\"" in caught.value.body
    kubelib_cluster.user("nobody", roles=["view"], namespace="default")
    assert nobody.list_namespaced_pod("default").items == []
    with pytest.raises(client.ApiException):
        nobody.list_pod_for_all_namespaces()
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]
    writer = core(kubelib_cluster, kubelib_cluster.user("writer", rules=rules).kubeconfig)
    writer.create_namespaced_config_map("default", CONFIG_MAP)
    with pytest.raises(client.ApiException):
        writer.read_namespaced_config_map("c", "default")


def test_a_user_has_its_groups(kubelib_cluster: Cluster) -> None:
    one = kubelib_cluster.user("one", groups=["team-a"])
    kubelib_cluster.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "team-a"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "team-a"}],
        }
    )
    core(kubelib_cluster, one.kubeconfig).create_namespaced_config_map("default", CONFIG_MAP)


async def test_a_user_has_a_client_of_its_own(kubelib_cluster: Cluster) -> None:
    async with kubelib_cluster.user("viewer", roles=["view"]).http_client() as api:
        maps = api.resource(ConfigMap)
        assert list((await maps.list(Query("default"))).items) == []
        with pytest.raises(Forbidden):
            await maps.create(make_config_map("c"))


# Objects


def test_manifests_come_from_files_folders_text_and_trees(tmp_path: Path, kubelib_cluster: Cluster) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "a.yaml").write_text(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n---\n"
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s, namespace: team}}\n"
    )
    (tmp_path / "all" / "b.json").write_text('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"j"}}')
    (tmp_path / "all" / "README.md").write_text("not a manifest")
    kubelib_cluster.apply(tmp_path / "all")
    [applied] = kubelib_cluster.apply(CONFIG_MAP)
    assert applied["metadata"]["resourceVersion"]
    kubelib_cluster.apply("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: t\n", namespace="team")
    api = core(kubelib_cluster)
    assert [s.metadata.name for s in api.list_namespaced_secret("team").items] == ["s"]
    assert [c.metadata.name for c in api.list_namespaced_config_map("default").items] == ["c", "j"]
    assert [c.metadata.name for c in api.list_namespaced_config_map("team").items] == ["t"]


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1")
    with pytest.raises(ManifestError, match=r"bad\.yaml is not YAML"):
        read_manifests(bad)
    bad.write_text("just: words")
    with pytest.raises(ManifestError, match=r"bad\.yaml holds something that is not an object"):
        read_manifests(str(bad))


# Snapshots


def test_a_snapshot_brings_names_uids_and_versions_back(kubelib_cluster: Cluster) -> None:
    api = core(kubelib_cluster)
    kept = api.create_namespaced_config_map("default", CONFIG_MAP)
    listed = api.list_namespaced_config_map("default").metadata.resource_version
    snapshot = kubelib_cluster.snapshot()
    api.patch_namespaced_config_map("c", "default", {"data": {"a": "2"}})
    api.create_namespaced_config_map("default", {"metadata": {"name": "later"}})
    stale = api.read_namespaced_config_map("c", "default")
    kubelib_cluster.restore(snapshot)

    found = api.list_namespaced_config_map("default")
    assert [(c.metadata.name, c.metadata.uid) for c in found.items] == [("c", kept.metadata.uid)]
    assert found.items[0].metadata.resource_version == kept.metadata.resource_version
    # The version of lists goes on, so that no version means two things.
    assert int(found.metadata.resource_version) > int(stale.metadata.resource_version) > int(listed)
    stale.data = {"a": "3"}
    with pytest.raises(client.ApiException) as caught:
        api.replace_namespaced_config_map("c", "default", stale)
    assert caught.value.status == 409
    kept.data = {"a": "4"}
    assert api.replace_namespaced_config_map("c", "default", kept).data == {"a": "4"}


async def test_after_a_restore_watches_begin_anew(kubelib_cluster: Cluster) -> None:
    async with kubelib_cluster.http_client() as api:
        maps = api.resource(ConfigMap)
        await maps.create(make_config_map("c"))
        since = (await maps.list(Query("default"))).resource_version
        snapshot = kubelib_cluster.snapshot()
        with pytest.raises(Expired):
            async with maps.watch(Query("default"), since=since) as events:
                await anyio.to_thread.run_sync(kubelib_cluster.restore, snapshot)
                with anyio.fail_after(60):
                    await anext(events)
        with pytest.raises(Expired):
            async with maps.watch(Query("default"), since=since) as events:
                await anext(events)
        found = await maps.list(Query("default"))
        async with maps.watch(Query("default"), since=found.resource_version) as events:
            await maps.create(make_config_map("d"))
            with anyio.fail_after(60):
                event = await anext(events)
        assert (event.type, event.object.key.name) == ("ADDED", "d")


@with_nodes
def test_controllers_and_nodes_follow_a_restore(kubelib_cluster: Cluster) -> None:
    api = core(kubelib_cluster)
    snapshot = kubelib_cluster.snapshot()
    for _ in range(2):
        api.create_namespaced_pod("default", pod("p"))
        kubelib_cluster.eventually(lambda: api.read_namespaced_pod("p", "default").status.phase == "Running")
        kubelib_cluster.restore(snapshot)
        assert api.list_namespaced_pod("default").items == []


async def test_a_watch_of_the_store_ends_when_it_is_restored() -> None:
    from kubelib.store import MemoryStore, Put, Revision, RevisionCompacted

    async with MemoryStore() as store:
        await store.commit(Put("/a", b"1", Revision(0)))
        snapshot = store.snapshot()
        async with store.watch("/", since=Revision(1)) as watch:
            await store.commit(Put("/a", b"2", Revision(1)))
            assert len(await watch.take()) == 1
            assert store.restore(snapshot) == 3
            with pytest.raises(WatchLagged):
                await watch.take()
        entry = await store.get("/a")
        assert entry is not None
        assert (entry.value, entry.modified) == (b"1", 1)
        with pytest.raises(RevisionCompacted):
            await store.list("/", at=Revision(2))
        assert await store.commit(Put("/a", b"3", Revision(1))) == 4


# Rules of fake nodes

RULE = lives(
    case(pod="job-*", run_for=0.05),
    case(pod="bad-*", run_for=0.05, exit_code=3),
    case(never_starts("no such file"), image="broken:*"),
    case(ends(1, after=0.05), pod="twice", attempts=2),
    otherwise=ready_after(0.3),
)


@pytest.mark.kubelib(controllers=True, scheduler=True, fake_nodes=1, rule=RULE)
def test_pods_live_as_the_cases_of_a_rule_say(kubelib_cluster: Cluster) -> None:
    api = core(kubelib_cluster)
    begun = time.monotonic()
    for name in ("job-1", "bad-1", "web"):
        api.create_namespaced_pod("default", pod(name))
    api.create_namespaced_pod("default", pod("broken", containers=[{"name": "c", "image": "broken:1"}]))

    def status(name: str) -> Any:
        return api.read_namespaced_pod(name, "default").status

    kubelib_cluster.eventually(lambda: status("web").phase == "Running")
    assert time.monotonic() - begun >= 0.3
    kubelib_cluster.eventually(lambda: status("job-1").phase == "Succeeded")
    kubelib_cluster.eventually(lambda: status("bad-1").phase == "Failed")
    assert status("bad-1").container_statuses[0].state.terminated.exit_code == 3
    kubelib_cluster.eventually(lambda: "no such file" in str(status("broken").container_statuses[0].state))


def test_a_case_is_about_what_it_names() -> None:
    with pytest.raises(TypeError, match="say how containers live once"):
        case(ends(), pod="p", exit_code=1)
    with pytest.raises(TypeError, match="colour"):
        case(colour="red")


@with_nodes
def test_fake_nodes_answer_for_logs_and_commands(kubelib_cluster: Cluster) -> None:
    kubelib_cluster.set_rule(lives(case(pod="talks", output=[("stdout", "hello")])))
    api = core(kubelib_cluster)
    api.create_namespaced_pod("default", pod("talks"))
    kubelib_cluster.eventually(lambda: api.read_namespaced_pod("talks", "default").status.phase == "Running")
    assert api.read_namespaced_pod_log("talks", "default") == "hello\n"
    events = {e.reason for e in api.list_namespaced_event("default").items}
    assert {"Scheduled", "Started"} <= events


# The clock


def test_the_date_of_a_cluster_can_be_moved(kubelib_cluster: Cluster) -> None:
    api = core(kubelib_cluster)
    before = api.create_namespaced_config_map("default", CONFIG_MAP).metadata.creation_timestamp
    kubelib_cluster.clock.advance(days=400)
    after = api.create_namespaced_config_map(
        "default", {"metadata": {"name": "d"}}
    ).metadata.creation_timestamp
    assert (after - before).days == 400


def test_tokens_of_accounts_expire_by_the_date_of_the_cluster(kubelib_cluster: Cluster) -> None:
    api = core(kubelib_cluster)
    api.create_namespaced_service_account("default", {"metadata": {"name": "robot"}})
    request = {"spec": {"audiences": [], "expirationSeconds": 3600}}
    token = api.create_namespaced_service_account_token("robot", "default", request).status.token
    with httpx.Client(
        base_url=kubelib_cluster.url, headers={"authorization": f"Bearer {token}"}, timeout=60
    ) as robot:
        assert robot.get("/api/v1/pods").status_code == 403
        kubelib_cluster.clock.advance(hours=2)
        assert robot.get("/api/v1/pods").status_code == 401


# Faults


def test_errors_are_answered_at_their_rate_and_counted(kubelib_cluster: Cluster) -> None:
    with http(kubelib_cluster) as calls:
        with kubelib_cluster.faults(errors={429: 0.3, 500: 0.2, 503: 0.2}, seed=1) as fault:
            codes = [calls.get("/api/v1/namespaces").status_code for _ in range(60)]
        assert set(codes) == {200, 429, 500, 503}
        assert {code: codes.count(code) for code in (429, 500, 503)} == {
            code: fault.happened[str(code)] for code in (429, 500, 503)
        }
        assert calls.get("/api/v1/namespaces").status_code == 200


def test_a_fault_is_the_same_for_the_same_seed(kubelib_cluster: Cluster) -> None:
    def codes() -> list[int]:
        with kubelib_cluster.faults(errors={503: 0.5}, seed=7), http(kubelib_cluster) as calls:
            return [calls.get("/api/v1/namespaces").status_code for _ in range(20)]

    assert codes() == codes()


def test_an_error_is_a_status_and_says_when_to_try_again(kubelib_cluster: Cluster) -> None:
    busy = kubelib_cluster.faults(errors={429: 1}, only=lambda call: call.path.endswith("/pods"))
    with busy, http(kubelib_cluster) as calls:
        refused = calls.get("/api/v1/pods")
        assert calls.get("/api/v1/nodes").status_code == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["reason"] == "TooManyRequests"


def test_a_lost_answer_is_that_of_a_write_that_happened(kubelib_cluster: Cluster) -> None:
    with http(kubelib_cluster) as calls:
        with kubelib_cluster.faults(lost_answers=1):
            lost = calls.post("/api/v1/namespaces/default/configmaps", json=CONFIG_MAP)
        assert (lost.status_code, lost.json()["reason"]) == (504, "Timeout")
        assert calls.get("/api/v1/namespaces/default/configmaps/c").status_code == 200


def test_watches_are_cut_and_expire(kubelib_cluster: Cluster) -> None:
    with http(kubelib_cluster) as calls:
        with kubelib_cluster.faults(cut_watches=0.2), pytest.raises(httpx.RemoteProtocolError):
            calls.get("/api/v1/namespaces?watch=true")
        with kubelib_cluster.faults(expired_watches=1):
            gone = calls.get("/api/v1/namespaces?watch=true&resourceVersion=1")
        assert (gone.status_code, gone.json()["reason"]) == (410, "Expired")


def test_latency_makes_answers_late(kubelib_cluster: Cluster) -> None:
    with kubelib_cluster.faults(latency=0.05) as fault, http(kubelib_cluster) as calls:
        begun = time.monotonic()
        for _ in range(10):
            calls.get("/api/v1/namespaces")
    assert time.monotonic() - begun > 0.1
    assert fault.happened["latency"] == 10


@pytest.fixture
def stale(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    with http(kubelib_cluster) as calls:
        yield calls


MAPS = "/api/v1/namespaces/default/configmaps"


def test_stale_reads_show_the_past_until_they_catch_up(kubelib_cluster: Cluster, stale: httpx.Client) -> None:
    def names(query: str = "") -> list[str]:
        return [m["metadata"]["name"] for m in stale.get(MAPS + query).json()["items"]]

    stale.post(MAPS, json=CONFIG_MAP)
    with kubelib_cluster.faults(stale_reads=True):
        stale.post(MAPS, json={"metadata": {"name": "new"}})
        stale.patch(
            f"{MAPS}/c", json={"data": {"a": "2"}}, headers={"content-type": "application/merge-patch+json"}
        )
        assert names() == names("?limit=5") == ["c"]
        assert stale.get(f"{MAPS}/c").json()["data"] == {"a": "1"}
        assert stale.get(f"{MAPS}/new").status_code == 404
        # A write that rests on what was read meets the truth.
        old = stale.get(f"{MAPS}/c").json()
        assert stale.put(f"{MAPS}/c", json=old).status_code == 409
    assert names() == ["c", "new"]


@pytest.mark.kubelib(controllers=False)
async def test_near_clients_get_hardship_too(kubelib_cluster: Cluster) -> None:
    lossy = kubelib_cluster.client_with(Lossy, rate=1.0)
    rival = kubelib_cluster.client_with(Conflicting, every=1)

    async def tries() -> tuple[str, str]:
        made = await kubelib_cluster.client.resource(ConfigMap).create(make_config_map("c"))
        errors = []
        for bad in (lossy, rival):
            for _ in range(50):  # a quarter of all calls finds its way both there and back
                try:
                    await bad.resource(ConfigMap).update(made)
                except Exception as error:
                    errors.append(type(error).__name__)
                    break
        return errors[0], errors[1]

    first, second = kubelib_cluster.call(tries)
    assert first in ("ServiceUnavailable", "Timeout")
    assert second == "Conflict"


# Beside it


def test_components_run_in_the_cluster(kubelib_cluster: Cluster) -> None:
    from examples.controller.mirror import mirror_controller
    from kubelib.controllers import Manager
    from kubelib.informers import SharedInformers

    informers = SharedInformers(kubelib_cluster.client, random=kubelib_cluster.random)
    kubelib_cluster.run(Manager([informers, mirror_controller(informers)]))
    labelled = {**CONFIG_MAP, "metadata": {"name": "motd", "labels": {"mirror": "everywhere"}}}
    kubelib_cluster.apply(labelled)
    api = core(kubelib_cluster)
    kubelib_cluster.eventually(
        lambda: [m for m in api.list_namespaced_config_map("kube-public").items if m.metadata.name == "motd"]
    )


def test_a_component_that_fails_fails_the_test(tmp_path: Path) -> None:
    class Fails:
        name = "fails"

        async def run(self, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
            task_status.started()
            await anyio.sleep(0.01)
            raise RuntimeError("this controller is broken")

    with pytest.raises(RuntimeError, match="this controller is broken"), Cluster() as cluster:
        cluster.run(Fails())
        cluster.eventually(lambda: cluster.failed)


def test_kubectl_finds_the_cluster(kubelib_cluster: Cluster) -> None:
    from kubelib.testing.kubectl import KubectlFailed

    kubectl = kubelib_cluster.kubectl
    assert kubectl.path.name == "kubectl"
    assert kubectl("get", "namespaces", "-o", "name").splitlines()[0] == "namespace/default"
    kubectl("apply", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: k}\n")
    with pytest.raises(KubectlFailed, match="NotFound"):
        kubectl("get", "configmap", "missing")
