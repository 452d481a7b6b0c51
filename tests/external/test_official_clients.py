"""What the documentation of the official Python client says that it can do, each against the fixture's server."""

import gc
import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml
from kubernetes import client as k8s
from kubernetes import dynamic, utils
from kubernetes.informer import SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from kubelib.testing import Cluster
from tests.server.definitions import definition

pytestmark = [
    # The client's own election and generated code use what Python has deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
WORKING = pytest.mark.kubelib(controllers=True, scheduler=True, fake_nodes=2)
NAMESPACE = "default"
GADGETS = definition(
    "gadgets",
    "Gadget",
    {"type": "object", "properties": {"size": {"type": "integer"}}},
    subresources={"status": {}},
)
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "d"}},
        "template": {
            "metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": "c", "image": "registry.example/c:1"}]},
        },
    },
}


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """The client leaves connections for the garbage collector to close: it does so here, unreported."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def api(kubelib_cluster: Cluster) -> Iterator[k8s.ApiClient]:
    with kubernetes.config.new_client_from_config(str(kubelib_cluster.kubeconfig)) as client:
        yield client


@pytest.fixture
def core(api: k8s.ApiClient) -> k8s.CoreV1Api:
    return k8s.CoreV1Api(api)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "registry.example/c:1"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_an_informer_mirrors_what_there_is(kubelib_cluster: Cluster, core: k8s.CoreV1Api) -> None:
    seen: list[tuple[str, str]] = []
    core.create_namespaced_config_map(
        NAMESPACE, {**config_map("before"), "metadata": {"name": "before", "labels": {"i": "1"}}}
    )
    informer = SharedInformer(core.list_namespaced_config_map, namespace=NAMESPACE, label_selector="i")
    for kind in ("ADDED", "MODIFIED", "DELETED"):
        informer.add_event_handler(kind, lambda found, kind=kind: seen.append((kind, found.metadata.name)))
    informer.start()
    try:
        kubelib_cluster.eventually(lambda: informer.cache.list_keys() == [f"{NAMESPACE}/before"])
        core.create_namespaced_config_map(
            NAMESPACE, {**config_map("x", a="1"), "metadata": {"name": "x", "labels": {"i": "1"}}}
        )
        kubelib_cluster.eventually(lambda: informer.cache.get_by_key(f"{NAMESPACE}/x"))
        core.patch_namespaced_config_map("x", NAMESPACE, {"data": {"a": "2"}})
        kubelib_cluster.eventually(lambda: informer.cache.get_by_key(f"{NAMESPACE}/x").data == {"a": "2"})
        # What no longer matches the selector is gone for those who watch by it.
        core.patch_namespaced_config_map("x", NAMESPACE, {"metadata": {"labels": {"i": None}}})
        kubelib_cluster.eventually(lambda: seen[-1] == ("DELETED", "x"))
        assert informer.cache.list_keys() == [f"{NAMESPACE}/before"]
    finally:
        informer.stop()
    assert seen == [("ADDED", "before"), ("ADDED", "x"), ("MODIFIED", "x"), ("DELETED", "x")]


@pytest.mark.parametrize("lock", [LeaseLock, ConfigMapLock])
def test_one_of_two_candidates_leads_until_it_is_silent(
    kubelib_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, lock: Any
) -> None:
    configuration = k8s.Configuration()
    kubernetes.config.load_kube_config(str(kubelib_cluster.kubeconfig), client_configuration=configuration)
    monkeypatch.setattr(k8s.Configuration, "_default", configuration)  # where the locks look for it

    def candidate(name: str) -> Any:
        config = electionconfig.Config(
            lock("leader", NAMESPACE, name), lease_duration=3, renew_deadline=2, retry_period=1,
            onstarted_leading=lambda: None, onstopped_leading=lambda: None,
        )  # fmt: skip
        config.lease_duration = 1  # shorter than it takes at first: nothing renews it here
        return leaderelection.LeaderElection(config)

    first, second = candidate("a"), candidate("b")
    assert first.try_acquire_or_renew()
    assert not second.try_acquire_or_renew()
    assert first.try_acquire_or_renew()
    kubelib_cluster.eventually(second.try_acquire_or_renew)
    assert not first.try_acquire_or_renew()


@WORKING
def test_files_and_dicts_are_created_and_applied(
    api: k8s.ApiClient, core: k8s.CoreV1Api, tmp_path: Path
) -> None:
    documents = [
        config_map("one", a="1"),
        {"apiVersion": "v1", "kind": "List", "items": [config_map("two"), DEPLOYMENT]},
    ]
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    utils.create_from_yaml(api, str(file))
    assert {"one", "two"} <= {m.metadata.name for m in core.list_namespaced_config_map(NAMESPACE).items}
    with pytest.raises(utils.FailToCreateError) as caught:
        utils.create_from_yaml(api, str(file))
    assert [error.status for error in caught.value.api_exceptions] == [409] * 3
    assert 'configmaps "one" already exists' in json.loads(caught.value.api_exceptions[0].body)["message"]
    utils.create_from_dict(api, config_map("four", a="1"), apply=True)
    utils.create_from_dict(api, config_map("four", a="2"), apply=True)
    applied = core.read_namespaced_config_map("four", NAMESPACE)
    assert applied.data == {"a": "2"}
    assert [e.operation for e in applied.metadata.managed_fields] == ["Apply"]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "three.yaml").write_text(yaml.safe_dump(config_map("three")))
    utils.create_from_directory(api, str(tmp_path / "more"))
    assert core.read_namespaced_config_map("three", NAMESPACE)


def test_the_dynamic_client_finds_and_changes_what_definitions_define(
    kubelib_cluster: Cluster, api: k8s.ApiClient
) -> None:
    client = dynamic.DynamicClient(api)
    definitions = client.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body=GADGETS)
    kubelib_cluster.eventually(
        lambda: any(
            c.type == "Established" and c.status == "True"
            for c in definitions.get(name="gadgets.example.com").status.conditions or ()
        )
    )
    client.resources.invalidate_cache()
    gadgets = client.resources.get(api_version="example.com/v1", kind="Gadget")
    assert gadgets.name == "gadgets"
    body = {
        "apiVersion": "example.com/v1",
        "kind": "Gadget",
        "metadata": {"name": "g", "labels": {"a": "b"}},
        "spec": {"size": 1},
    }
    made = gadgets.create(body=body, namespace=NAMESPACE)
    assert made.spec.size == 1
    for content_type, patch in (
        ("application/merge-patch+json", {"spec": {"size": 2}}),
        ("application/json-patch+json", [{"op": "replace", "path": "/spec/size", "value": 3}]),
    ):
        patched = gadgets.patch(name="g", body=patch, namespace=NAMESPACE, content_type=content_type)
    assert patched.spec.size == 3
    with pytest.raises(dynamic.exceptions.DynamicApiError, match="415"):
        gadgets.patch(
            name="g", body={}, namespace=NAMESPACE, content_type="application/strategic-merge-patch+json"
        )
    again = gadgets.get(name="g", namespace=NAMESPACE)
    replaced = gadgets.replace(body={**again.to_dict(), "spec": {"size": 4}}, namespace=NAMESPACE)
    assert replaced.spec.size == 4
    with pytest.raises(dynamic.exceptions.ConflictError):
        gadgets.replace(body=again.to_dict(), namespace=NAMESPACE)
    assert [g.metadata.name for g in gadgets.get(namespace=NAMESPACE, label_selector="a=b").items] == ["g"]
    assert gadgets.get(namespace=NAMESPACE, field_selector="metadata.name=other").items == []
    found = list(
        gadgets.watch(
            namespace=NAMESPACE, timeout=1, allow_watch_bookmarks=True, send_initial_events=True,
            resource_version_match="NotOlderThan",
        )
    )  # fmt: skip
    assert [event["type"] for event in found[:2]] == ["ADDED", "BOOKMARK"]
    gadgets.delete(name="g", namespace=NAMESPACE)
    with pytest.raises(dynamic.exceptions.NotFoundError):
        gadgets.get(name="g", namespace=NAMESPACE)
    with pytest.raises(dynamic.exceptions.UnprocessibleEntityError):
        gadgets.create(body={**body, "spec": {"size": "large"}}, namespace=NAMESPACE)


def test_custom_objects_have_status_and_scale(kubelib_cluster: Cluster, api: k8s.ApiClient) -> None:
    kubelib_cluster.apply(GADGETS)
    custom = k8s.CustomObjectsApi(api)
    where = ("example.com", "v1", NAMESPACE, "gadgets")
    body = {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"size": 1}}
    custom.create_namespaced_custom_object(*where, body)
    custom.patch_namespaced_custom_object(*where, "g", {"spec": {"size": 2}})
    assert custom.get_namespaced_custom_object(*where, "g")["spec"]["size"] == 2
    custom.patch_namespaced_custom_object_status(*where, "g", {"status": {"phase": "Fine"}})
    found = custom.get_namespaced_custom_object(*where, "g")
    assert found["status"] == {"phase": "Fine"}
    assert found["metadata"]["generation"] == 2
    everywhere = custom.list_custom_object_for_all_namespaces("example.com", "v1", "gadgets")
    assert [g["metadata"]["name"] for g in everywhere["items"]] == ["g"]
    custom.delete_collection_namespaced_custom_object(*where)
    assert custom.list_namespaced_custom_object(*where)["items"] == []


def test_a_watch_ends_when_asked_begins_where_asked_and_says_when_that_is_too_late(
    kubelib_cluster: Cluster, core: k8s.CoreV1Api
) -> None:
    watch = kubernetes.watch.Watch()
    began = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, config_map("x"))
    events = watch.stream(
        core.list_namespaced_config_map, NAMESPACE, resource_version=began, timeout_seconds=1
    )
    assert [(e["type"], e["object"].metadata.name) for e in events] == [("ADDED", "x")]
    assert int(watch.resource_version) > int(began)
    bookmarked = watch.stream(
        core.list_namespaced_config_map, NAMESPACE, timeout_seconds=1, allow_watch_bookmarks=True,
        send_initial_events=True, resource_version_match="NotOlderThan", resource_version="0",
    )  # fmt: skip
    kinds = [event["type"] for event in bookmarked]
    assert kinds[-1] == "BOOKMARK"
    assert set(kinds[:-1]) == {"ADDED"}
    with pytest.raises(k8s.ApiException) as caught:
        list(
            kubernetes.watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, resource_version="1x")
        )
    assert caught.value.status == 400


def test_pages_come_to_an_end(core: k8s.CoreV1Api) -> None:
    for number in range(5):
        core.create_namespaced_secret(
            NAMESPACE, {"metadata": {"name": f"s{number}"}, "stringData": {"a": "b"}}
        )
    names: list[str] = []
    token, left = "", []
    while True:
        page = core.list_namespaced_secret(NAMESPACE, limit=2, _continue=token)
        names += [secret.metadata.name for secret in page.items]
        left.append(page.metadata.remaining_item_count)
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"s{number}" for number in range(5)]
    assert left == [3, 1, None]
    with pytest.raises(k8s.ApiException) as caught:
        core.list_namespaced_secret(NAMESPACE, limit=2, _continue="nonsense")
    assert caught.value.status == 400


@WORKING
def test_deletes_propagate_as_asked(
    kubelib_cluster: Cluster, api: k8s.ApiClient, core: k8s.CoreV1Api
) -> None:
    apps = k8s.AppsV1Api(api)

    def made() -> None:
        apps.create_namespaced_deployment(NAMESPACE, DEPLOYMENT)
        kubelib_cluster.eventually(
            lambda: apps.read_namespaced_deployment("d", NAMESPACE).status.available_replicas == 2
        )

    def sets() -> list[Any]:
        return list(apps.list_namespaced_replica_set(NAMESPACE, label_selector="app=d").items)

    made()
    apps.delete_namespaced_deployment("d", NAMESPACE, propagation_policy="Orphan")
    kubelib_cluster.eventually(lambda: not apps.list_namespaced_deployment(NAMESPACE).items)
    [orphan] = kubelib_cluster.eventually(
        lambda: [s for s in sets() if not s.metadata.owner_references] and sets()
    )
    apps.delete_namespaced_replica_set(
        orphan.metadata.name, NAMESPACE, body=k8s.V1DeleteOptions(propagation_policy="Background")
    )
    kubelib_cluster.eventually(lambda: not core.list_namespaced_pod(NAMESPACE, label_selector="app=d").items)
    made()
    apps.delete_namespaced_deployment("d", NAMESPACE, propagation_policy="Foreground")
    kubelib_cluster.eventually(lambda: not apps.list_namespaced_deployment(NAMESPACE).items)
    assert sets() == []
    core.create_namespaced_config_map(NAMESPACE, config_map("x"))
    with pytest.raises(k8s.ApiException) as caught:
        core.delete_namespaced_config_map(
            "x", NAMESPACE, body=k8s.V1DeleteOptions(preconditions=k8s.V1Preconditions(uid="other"))
        )
    assert caught.value.status == 409


def test_writes_may_be_tried_and_checked_strictly(core: k8s.CoreV1Api) -> None:
    core.create_namespaced_config_map(NAMESPACE, config_map("x"), dry_run="All")
    with pytest.raises(k8s.ApiException) as caught:
        core.read_namespaced_config_map("x", NAMESPACE)
    assert caught.value.status == 404
    # The client knows the fields itself, but not those of a patch.
    core.create_namespaced_config_map(NAMESPACE, config_map("x"))
    with pytest.raises(k8s.ApiException) as caught:
        core.patch_namespaced_config_map("x", NAMESPACE, {"dta": {}}, field_validation="Strict")
    assert caught.value.status == 422
    assert 'unknown field "dta"' in json.loads(caught.value.body)["message"]
    _, _, headers = core.patch_namespaced_config_map_with_http_info(
        "x", NAMESPACE, {"dta": {}}, field_validation="Warn"
    )
    assert headers["Warning"] == '299 - "unknown field \\"dta\\""'
    made = core.create_namespaced_config_map(NAMESPACE, config_map("y", a="1"), field_manager="me")
    assert [entry.manager for entry in made.metadata.managed_fields] == ["me"]


def test_who_conflicts_tries_again(core: k8s.CoreV1Api) -> None:
    core.create_namespaced_config_map(NAMESPACE, config_map("x", count="0"))

    def count() -> None:
        found = core.read_namespaced_config_map("x", NAMESPACE)
        found.data["count"] = str(int(found.data["count"]) + 1)
        time.sleep(0.001)
        core.replace_namespaced_config_map("x", NAMESPACE, found)

    backoff = utils.retry.Backoff(steps=50, duration=0.005, factor=1.0, jitter=0.5)
    threads = [
        threading.Thread(target=utils.retry.retry_on_conflict, args=(count, backoff)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert core.read_namespaced_config_map("x", NAMESPACE).data == {"count": "6"}


@WORKING
def test_pods_are_evicted_bound_and_nodes_cordoned(
    kubelib_cluster: Cluster, api: k8s.ApiClient, core: k8s.CoreV1Api
) -> None:
    node = core.list_node().items[0].metadata.name
    core.patch_node(node, {"spec": {"unschedulable": True}})
    assert core.read_node(node).spec.unschedulable
    core.create_namespaced_pod(NAMESPACE, {**pod("p"), "spec": {**pod("p")["spec"], "schedulerName": "mine"}})
    target = k8s.V1ObjectReference(kind="Node", api_version="v1", name=node)
    binding = k8s.V1Binding(metadata=k8s.V1ObjectMeta(name="p"), target=target)
    core.create_namespaced_pod_binding("p", NAMESPACE, binding, _preload_content=False)
    kubelib_cluster.eventually(lambda: core.read_namespaced_pod("p", NAMESPACE).status.phase == "Running")
    budget = {
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}},
    }
    policy = k8s.PolicyV1Api(api)
    policy.create_namespaced_pod_disruption_budget(NAMESPACE, budget)
    core.patch_namespaced_pod("p", NAMESPACE, {"metadata": {"labels": {"app": "guarded"}}})
    kubelib_cluster.eventually(
        lambda: policy.read_namespaced_pod_disruption_budget("b", NAMESPACE).status.expected_pods == 1
    )
    eviction = k8s.V1Eviction(metadata=k8s.V1ObjectMeta(name="p", namespace=NAMESPACE))
    with pytest.raises(k8s.ApiException) as caught:
        core.create_namespaced_pod_eviction("p", NAMESPACE, eviction)
    assert (caught.value.status, json.loads(caught.value.body)["reason"]) == (429, "TooManyRequests")
    policy.delete_namespaced_pod_disruption_budget("b", NAMESPACE)
    core.create_namespaced_pod_eviction("p", NAMESPACE, eviction)
    kubelib_cluster.eventually(lambda: not core.list_namespaced_pod(NAMESPACE).items)


def test_who_one_is_and_what_one_may(kubelib_cluster: Cluster, api: k8s.ApiClient) -> None:
    me = k8s.AuthenticationV1Api(api).create_self_subject_review({})
    assert "system:masters" in me.status.user_info.groups
    access = k8s.AuthorizationV1Api(api)
    asked = {"spec": {"resourceAttributes": {"verb": "delete", "resource": "nodes"}}}
    assert access.create_self_subject_access_review(asked).status.allowed
    other = {"spec": {**asked["spec"], "user": "nobody"}}
    assert not access.create_subject_access_review(other).status.allowed
    rules = access.create_self_subject_rules_review({"spec": {"namespace": NAMESPACE}})
    assert any("*" in rule.verbs for rule in rules.status.resource_rules)
    kubelib_cluster.user("jane", groups=["devs"])
    as_jane = k8s.ApiClient(api.configuration)
    as_jane.default_headers.update({"Impersonate-User": "jane"})
    with pytest.raises(k8s.ApiException) as caught:
        k8s.CoreV1Api(as_jane).list_namespaced_secret(NAMESPACE)
    assert 'User "jane" cannot list resource "secrets"' in json.loads(caught.value.body)["message"]


def configured_by_token(cluster: Cluster, token: str) -> k8s.Configuration:
    authority = cluster.directory / "seen.crt"
    authority.write_bytes(cluster.ca)
    configuration = k8s.Configuration(host=cluster.https_url)
    configuration.ssl_ca_cert = str(authority)
    configuration.api_key = {"authorization": token}
    configuration.api_key_prefix = {"authorization": "Bearer"}
    return configuration


def in_the_cluster(cluster: Cluster, token: str) -> k8s.Configuration:
    directory = cluster.directory / "serviceaccount"
    directory.mkdir()
    (directory / "token").write_text(token)
    (directory / "ca.crt").write_bytes(cluster.ca)
    host, _, port = cluster.https_url.removeprefix("https://").partition(":")
    environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    configuration = k8s.Configuration()
    kubernetes.config.incluster_config.InClusterConfigLoader(
        token_filename=str(directory / "token"), cert_filename=str(directory / "ca.crt"), environ=environment
    ).load_and_set(configuration)
    return configuration


def by_a_program(cluster: Cluster, token: str) -> k8s.Configuration:
    status = {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "status": {"token": token},
    }
    program = cluster.directory / "credential"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(status)}\nEND\n")
    program.chmod(0o755)
    tree = yaml.safe_load(cluster.kubeconfig.read_text())
    call = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(program),
        "interactiveMode": "Never",
    }
    tree["users"][0]["user"] = {"exec": call}
    configuration = k8s.Configuration()
    kubernetes.config.load_kube_config_from_dict(tree, client_configuration=configuration)
    return configuration


@pytest.mark.parametrize("configured", [configured_by_token, in_the_cluster, by_a_program])
def test_service_accounts_come_in_by_every_way(
    kubelib_cluster: Cluster, core: k8s.CoreV1Api, configured: Callable[[Cluster, str], k8s.Configuration]
) -> None:
    core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": "robot"}})
    request = {"spec": {"audiences": [], "expirationSeconds": 600}}
    token = core.create_namespaced_service_account_token("robot", NAMESPACE, request).status.token
    with k8s.ApiClient(configured(kubelib_cluster, token)) as client:
        me = k8s.AuthenticationV1Api(client).create_self_subject_review({}).status.user_info
        assert me.username == f"system:serviceaccount:{NAMESPACE}:robot"
        with pytest.raises(k8s.ApiException) as caught:
            k8s.CoreV1Api(client).list_node()
        assert caught.value.status == 403


def test_calls_run_in_threads_and_answers_come_raw(core: k8s.CoreV1Api, api: k8s.ApiClient) -> None:
    threads = [core.list_namespaced_config_map(NAMESPACE, async_req=True) for _ in range(4)]
    assert {type(thread.get(20)) for thread in threads} == {k8s.V1ConfigMapList}
    raw = core.list_namespaced_config_map(NAMESPACE, _preload_content=False, _request_timeout=90)
    assert json.loads(raw.data)["kind"] == "ConfigMapList"
    with pytest.raises(k8s.ApiException) as caught:
        core.read_namespaced_pod_log("missing", NAMESPACE)
    assert caught.value.status == 404
    assert k8s.VersionApi(api).get_code().major == "1"
    assert "apps" in {group.name for group in k8s.ApisApi(api).get_api_versions().groups}
    assert k8s.WellKnownApi(api).get_service_account_issuer_open_id_configuration()


def test_events_are_told_in_both_groups(api: k8s.ApiClient, core: k8s.CoreV1Api) -> None:
    made = core.create_namespaced_config_map(NAMESPACE, config_map("x"))
    about = k8s.V1ObjectReference(kind="ConfigMap", name="x", namespace=NAMESPACE, uid=made.metadata.uid)
    event = {
        "metadata": {"generateName": "x-"}, "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Look", "reason": "Seen",
        "type": "Normal", "reportingController": "example.com/t", "reportingInstance": "t-1", "note": "hello",
        "regarding": api.sanitize_for_serialization(about),
    }  # fmt: skip
    k8s.EventsV1Api(api).create_namespaced_event(NAMESPACE, event)
    [found] = core.list_namespaced_event(NAMESPACE, field_selector="involvedObject.name=x,reason=Seen").items
    assert (found.message, found.involved_object.uid) == ("hello", made.metadata.uid)


def test_zeros_that_clients_insist_on_are_there_from_the_beginning(
    kubelib_cluster: Cluster, api: k8s.ApiClient
) -> None:
    kubelib_cluster.kubectl(
        "create", "priorityclass", "none", "--value=0"
    )  # in protocol buffers, which have no zeros
    assert k8s.SchedulingV1Api(api).read_priority_class("none").value == 0
    policy, autoscaling = k8s.PolicyV1Api(api), k8s.AutoscalingV1Api(api)
    budget = {"metadata": {"name": "a"}, "spec": {"minAvailable": 0, "selector": {}}}
    made = policy.create_namespaced_pod_disruption_budget("default", budget).status
    counted = (made.current_healthy, made.desired_healthy, made.disruptions_allowed, made.expected_pods)
    assert counted == (0, 0, 0, 0)
    spec = {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}}
    scaler = {"metadata": {"name": "a"}, "spec": spec}
    k8s.AutoscalingV2Api(api).create_namespaced_horizontal_pod_autoscaler("default", scaler)
    seen = autoscaling.read_namespaced_horizontal_pod_autoscaler("a", "default").status
    assert (seen.current_replicas, seen.desired_replicas) == (0, 0)
