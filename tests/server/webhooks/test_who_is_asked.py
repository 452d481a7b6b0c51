"""Which requests an admission webhook is asked about, and what it sees of them."""

from copy import deepcopy

import pytest

from kubelib.api.errors import ApiError, BadRequest, Forbidden, InternalError, Invalid
from kubelib.api.meta import Key
from kubelib.registry.base import Patch, Query, User, WriteOptions
from tests.hooks import hook
from tests.server.webhooks.asking import (
    BUNDLE,
    DEPLOYMENT,
    MUTATING,
    VALIDATING,
    Api,
    Tree,
    agree,
    answering,
    asked,
    config_map,
    patch,
    rule,
    store_with,
)


async def test_a_webhook_sees_the_whole_request(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen)
        created = await api.create(config_map())
        maps = api.of("ConfigMap")
        changed = {**created, "data": {"a": "2"}}
        await maps.update(Key("default", "x"), deepcopy(changed), options=api.options())
        await maps.delete(Key("default", "x"), grace=0, propagation="Background", options=api.options())
    create, update, delete = asked(seen)
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    resource = {"group": "", "version": "v1", "resource": "configmaps"}
    assert {name: create[name] for name in create.keys() - {"uid", "object", "options"}} == {
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "name": "x",
        "namespace": "default",
        "operation": "CREATE",
        "userInfo": {
            "username": "jane",
            "uid": "42",
            "groups": ["devs", "system:authenticated"],
            "extra": {"scopes": ["a", "b"]},
        },
        "oldObject": None,
        "dryRun": False,
    }
    assert create["object"]["data"] == {"a": "1"}
    assert create["options"] == {
        "kind": "CreateOptions",
        "apiVersion": "meta.k8s.io/v1",
        "fieldManager": "tests",
    }
    assert (update["operation"], update["object"]["data"], update["oldObject"]["data"]) == (
        "UPDATE",
        {"a": "2"},
        {"a": "1"},
    )
    assert (delete["operation"], delete["object"], delete["oldObject"]["data"]) == (
        "DELETE",
        None,
        {"a": "2"},
    )
    assert delete["options"] == {
        "kind": "DeleteOptions",
        "apiVersion": "meta.k8s.io/v1",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Background",
    }
    assert len({request["uid"] for request in (create, update, delete)}) == 3


async def test_each_object_of_a_collection_is_asked_about(api: Api) -> None:
    def keep_b(request: Tree) -> Tree:
        return {"allowed": request["oldObject"]["metadata"]["name"] != "b"}

    async with hook(answering(keep_b)) as seen:
        for name in "abc":
            await api.create(config_map(name))
        await api.configure(VALIDATING, seen, rules=[rule("configmaps", operations=("DELETE",))])
        with pytest.raises(ApiError, match="denied the request without explanation"):
            await api.of("ConfigMap").delete_collection(Query("default"), options=api.options())
    assert api.of("ConfigMap").cache.get(Key("default", "b")) is not None
    assert not any("name" in request for request in asked(seen))


async def test_who_changes_a_new_object_does_not_know_its_identity_yet(api: Api) -> None:
    tree = config_map()
    tree["metadata"] = {"generateName": "made-", "namespace": "default"}
    async with hook(answering(agree)) as first, hook(answering(agree)) as second:
        await api.configure(MUTATING, first)
        await api.configure(VALIDATING, second)
        made = (await api.create(tree))["metadata"]
        named = await api.create(config_map())
    (changing, known), (judging, _) = asked(first), asked(second)
    parts = {"name", "uid", "creationTimestamp", "generation"}
    assert "name" not in changing
    assert not parts & changing["object"]["metadata"].keys()
    assert (known["name"], known["object"]["metadata"]["name"]) == ("x", "x")
    assert judging["name"] == made["name"] != ""
    assert {part: judging["object"]["metadata"].get(part) for part in parts} == {
        part: made.get(part) for part in parts
    }
    assert named["metadata"]["uid"] and named["metadata"]["creationTimestamp"]


RULES = [
    (rule("configmaps"), True),
    (rule("*"), True),
    (rule("*/*"), True),
    (rule("configmaps/*"), True),
    (rule("configmaps/status"), False),
    (rule("pods"), False),
    (rule("configmaps", group="*", version="*"), True),
    (rule("configmaps", group="apps"), False),
    (rule("configmaps", version="v2"), False),
    (rule("configmaps", operations=("CREATE", "DELETE")), True),
    (rule("configmaps", operations=("UPDATE",)), False),
    ({**rule("configmaps"), "scope": "Namespaced"}, True),
    ({**rule("configmaps"), "scope": "Cluster"}, False),
]


@pytest.mark.parametrize(("rules", "is_asked"), RULES)
async def test_rules_say_who_is_asked(api: Api, rules: Tree, is_asked: bool) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen, rules=[rules])
        await api.create(config_map())
    assert bool(seen.requests) == is_asked


async def test_nobody_is_asked_about_the_configurations_themselves(api: Api) -> None:
    """A webhook that refuses everything must not keep its own configuration from being taken away."""
    async with hook(answering(lambda request: {"allowed": False})) as seen:
        everything = {**rule("*/*", group="*", version="*"), "scope": "*"}
        await api.configure(VALIDATING, seen, name="a", rules=[everything])
        await api.configure(MUTATING, seen, name="b", rules=[everything])
        with pytest.raises(ApiError):
            await api.create(config_map())
        for kind, name in ((VALIDATING, "a"), (MUTATING, "b")):
            version = "admissionregistration.k8s.io/v1"
            await api.of(kind, version).delete(Key("", name), options=api.options())
        await api.create(config_map())
    assert len(seen.requests) == 1


async def test_selectors_look_at_the_namespace_and_at_both_objects(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        labelled = {"matchLabels": {"team": "a"}}
        await api.configure(VALIDATING, seen, name="objects", objectSelector=labelled)
        made = await api.create(config_map("with", labels={"team": "a"}))
        await api.create(config_map("without"))
        made["metadata"]["labels"] = {}
        await api.of("ConfigMap").update(Key("default", "with"), made, options=api.options())
        assert [(request["operation"], request["name"]) for request in asked(seen)] == [
            ("CREATE", "with"),
            ("UPDATE", "with"),  # it was selected before
        ]
        seen.requests.clear()
        version = "admissionregistration.k8s.io/v1"
        await api.of(VALIDATING, version).delete(Key("", "objects"))
        rules = [rule("configmaps", "namespaces")]
        await api.configure(VALIDATING, seen, name="namespaces", namespaceSelector=labelled, rules=rules)
        await api.create(config_map("a"))
        space = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n", "labels": {"team": "a"}}}
        await api.create(space)
        await api.create({**config_map("b"), "metadata": {"name": "b", "namespace": "n"}})
    assert [(r["resource"]["resource"], r["name"], r["namespace"]) for r in asked(seen)] == [
        ("namespaces", "n", "n"),
        ("configmaps", "b", "n"),
    ]


async def test_equivalent_forms_of_a_resource_count_unless_the_policy_is_exact(api: Api) -> None:
    autoscaler = {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v1",
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "targetCPUUtilizationPercentage": 50,
        },
    }

    def raise_maximum(request: Tree) -> Tree:
        return patch({"op": "replace", "path": "/spec/maxReplicas", "value": 9})

    async with hook(answering(raise_maximum)) as loose, hook(answering(agree)) as exact:
        v2 = [rule("horizontalpodautoscalers", group="autoscaling", version="v2")]
        await api.configure(MUTATING, loose, rules=v2)
        await api.configure(VALIDATING, exact, rules=v2, matchPolicy="Exact")
        made = await api.create(autoscaler)
    [request] = asked(loose)
    assert request["kind"]["version"] == request["resource"]["version"] == "v2"
    assert request["requestKind"]["version"] == request["requestResource"]["version"] == "v1"
    assert request["object"]["apiVersion"] == "autoscaling/v2"
    assert request["object"]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    assert (made["apiVersion"], made["spec"]["maxReplicas"]) == ("autoscaling/v1", 9)
    assert not exact.requests


async def test_the_requested_form_is_preferred(api: Api) -> None:
    event = {
        "kind": "Event",
        "apiVersion": "events.k8s.io/v1",
        "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "action": "Look",
        "reason": "Because",
        "type": "Normal",
        "reportingController": "t/t",
        "reportingInstance": "t",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    }
    async with hook(answering(agree)) as seen:
        rules = [rule("events", group="events.k8s.io"), rule("events")]
        await api.configure(VALIDATING, seen, rules=rules)
        await api.create(event)
    [request] = asked(seen)
    assert request["resource"]["group"] == "events.k8s.io"
    assert request["object"]["regarding"]["name"] == "p"


async def test_subresources_are_asked_about_as_such(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        scales = [rule("deployments/scale", "deployments/status", group="apps"), rule("pods/eviction")]
        await api.configure(VALIDATING, seen, rules=scales)
        made = await api.create(DEPLOYMENT)
        deployments, key = api.of("Deployment", "apps/v1"), Key("default", "d")
        await deployments.patch(
            key, Patch("merge", {"spec": {"replicas": 5}}), subresource="scale", options=api.options()
        )
        made["status"] = {"replicas": 1}
        made["metadata"].pop("resourceVersion")
        await deployments.update(key, made, subresource="status", options=api.options())
    scale, status = asked(seen)
    assert scale["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert scale["resource"] == {"group": "apps", "version": "v1", "resource": "deployments"}
    assert (scale["subResource"], scale["requestSubResource"]) == ("scale", "scale")
    assert (scale["oldObject"]["spec"], scale["object"]["spec"]) == ({"replicas": 1}, {"replicas": 5})
    assert (status["subResource"], status["kind"]["kind"]) == ("status", "Deployment")


async def test_a_validating_webhook_sees_no_object_that_is_invalid_anyway(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen)
        with pytest.raises(Invalid):
            await api.create(config_map("not valid!"))
    assert not seen.requests


@pytest.mark.parametrize("kind", [MUTATING, VALIDATING])
async def test_side_effects_refuse_a_dry_run(api: Api, kind: str) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(kind, seen, sideEffects="NoneOnDryRun")
        await api.create(config_map(), dry_run=True)
        assert asked(seen)[0]["dryRun"] is True
        assert asked(seen)[0]["options"]["dryRun"] == ["All"]
        # What v1 no longer allows may still be stored from before.
        await store_with(api, kind, sideEffects="Some")
        with pytest.raises(BadRequest) as refused:
            await api.create(config_map(), dry_run=True)
        assert refused.value.message == 'admission webhook "c.example.com" does not support dry run'
        await api.create(config_map())


async def test_changes_of_the_configuration_hold_at_once(api: Api) -> None:
    async with hook(answering(lambda request: {"allowed": False})) as seen:
        version = "admissionregistration.k8s.io/v1"
        for _ in range(3):
            await api.create(config_map(), dry_run=True)
            await api.configure(VALIDATING, seen)
            with pytest.raises(ApiError):
                await api.create(config_map(), dry_run=True)
            await api.of(VALIDATING, version).delete(Key("", "c"))


async def test_a_service_is_asked_at_its_endpoints(api: Api) -> None:
    meta = {"name": "web", "namespace": "default"}
    async with hook(answering(agree), "web.default.svc") as seen:
        service = {"namespace": "default", "name": "web", "path": "/mutate", "port": 8443}
        client = {"service": service, "caBundle": BUNDLE}
        await api.configure(MUTATING, "", clientConfig=client)
        url = r'Post "https://web.default.svc:8443/mutate\?timeout=10s": '
        with pytest.raises(InternalError, match=url + 'service "web" not found'):
            await api.create(config_map())
        ports = [{"port": 8443, "targetPort": seen.port}]
        await api.create({"kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": {"ports": ports}})
        with pytest.raises(InternalError, match=url + 'no endpoints available for service "web"'):
            await api.create(config_map())
        subset = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": seen.port}]}
        endpoints = {"kind": "Endpoints", "apiVersion": "v1", "metadata": meta, "subsets": [subset]}
        await api.create(endpoints)
        await api.create(config_map())
    [request] = seen.requests
    assert request.headers["host"] == "web.default.svc:8443"
    assert request.target == "/mutate?timeout=10s"


async def test_a_webhook_that_cannot_select_a_namespace_is_not_passed_over(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen, namespaceSelector={"matchLabels": {"a": "b"}})
        with pytest.raises(ApiError, match='namespaces "none" not found'):
            await api.create({**config_map(), "metadata": {"name": "x", "namespace": "none"}})


async def test_match_conditions_say_who_is_asked(api: Api) -> None:
    conditions = [
        {"name": "not-jane", "expression": "request.userInfo.username != 'jane'"},
    ]
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen, matchConditions=conditions)
        await api.create(config_map("a"))
        other = WriteOptions(user=User("joe"))
        tree = config_map("b")
        await api.of("ConfigMap").create(tree, namespace="default", options=other)
    assert [request["name"] for request in asked(seen)] == ["b"]


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_a_condition_without_a_value_counts_by_the_failure_policy(api: Api, policy: str) -> None:
    conditions = [{"name": "none", "expression": "object.data.missing == 'x'"}]
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen, matchConditions=conditions, failurePolicy=policy)
        if policy == "Ignore":
            await api.create(config_map())
        else:
            with pytest.raises(Forbidden, match="no such key: missing"):
                await api.create(config_map())
    assert not seen.requests
