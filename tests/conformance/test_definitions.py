"""sig-api-machinery, of definitions and webhooks: schemas that are published, pruned and left open; old pages of lists."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kubelib.store import Revision
from kubelib.testing.cluster import Cluster
from kubelib.testing.webhooks import configuration, denied, mutated, on
from tests.conformance.conftest import APPLY, Api, Tree
from tests.conformance.test_extension import DEFINITIONS, established

OPEN: Tree = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
GROUP = "sources.example.com"


def definition(plural: str, schema: Tree, *versions: str) -> Tree:
    kind = plural.removesuffix("s").capitalize()
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    served = [
        {"name": name, "served": True, "storage": name == versions[0], "schema": {"openAPIV3Schema": schema}}
        for name in versions
    ]
    spec = {"group": GROUP, "scope": "Cluster", "names": names, "versions": served}
    return {"metadata": {"name": f"{plural}.{GROUP}"}, "spec": spec}


def made(kind: str, name: str, version: str = "v1", **rest: Any) -> Tree:
    return {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": {"name": name}, **rest}


@pytest.fixture
def define(api: Api) -> Iterator[Any]:
    """Define a kind; return the path of its first version."""
    names = []

    def define(plural: str, schema: Tree, *versions: str) -> str:
        tree = definition(plural, schema, *(versions or ("v1",)))
        api.create(DEFINITIONS, tree)
        names.append(tree["metadata"]["name"])
        established(api, names[-1])
        return f"/apis/{GROUP}/{(versions or ('v1',))[0]}/{plural}"

    yield define
    for name in names:
        api.delete(f"{DEFINITIONS}/{name}")


def published(api: Api, kind: str) -> set[str]:
    """Return in which versions both OpenAPI documents have a kind."""
    prefix = "com.example.sources."
    second = {
        name.removeprefix(prefix)
        for name in api.get("/openapi/v2")["definitions"]
        if name.startswith(prefix) and name.endswith(f".{kind}")
    }
    third = set()
    for path, where in api.get("/openapi/v3")["paths"].items():
        if path.startswith(f"apis/{GROUP}/"):
            schemas = api.get(where["serverRelativeURL"])["components"]["schemas"]
            third |= {name.removeprefix(prefix) for name in schemas if name.endswith(f".{kind}")}
    assert second == third
    return {name.partition(".")[0] for name in second}


def test_the_published_schemas_follow_the_versions_of_a_definition(api: Api, define: Any) -> None:
    define("shelfs", {"type": "object", "properties": {"spec": {"type": "object"}}}, "v1", "v2", "v3")
    path = f"{DEFINITIONS}/shelfs.{GROUP}"
    api.eventually(lambda: published(api, "Shelf") == {"v1", "v2", "v3"})
    current = api.get(path)
    current["spec"]["versions"][2]["served"] = False
    api.put(path, current)
    api.eventually(lambda: published(api, "Shelf") == {"v1", "v2"})
    renamed = [{"op": "test", "path": "/spec/versions/1/name", "value": "v2"}]
    renamed.append({"op": "replace", "path": "/spec/versions/1/name", "value": "v4"})
    api.patch(path, renamed, "application/json-patch+json")
    api.eventually(lambda: published(api, "Shelf") == {"v1", "v4"})


@pytest.mark.parametrize(
    "schema",
    [
        OPEN,
        {"type": "object", "properties": {"spec": OPEN}},
        {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {"a": OPEN, "known": {"type": "string"}},
                    "x-kubernetes-preserve-unknown-fields": True,
                }
            },
        },
    ],
    ids=["everywhere", "in a field", "in an embedded object"],
)
def test_open_schemas_are_published_and_take_everything(api: Api, define: Any, schema: Tree) -> None:
    path = define("boxs", schema)
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Box", "metadata": {"name": "b"}}
    body |= {"spec": {"a": {"b": [1]}, "dummy": "x"}}
    assert api.create(path, body, fieldValidation="Strict")["spec"] == body["spec"]
    body["spec"] = {"a": {"b": [2]}, "other": {"x": None, "y": 1}}
    applied = api.apply(f"{path}/b", body, force="true", fieldValidation="Strict")
    assert applied["spec"]["other"]["y"] == 1 and applied["spec"]["a"] == {"b": [2]}
    api.eventually(lambda: published(api, "Box") == {"v1"})
    found = api.get("/openapi/v2")["definitions"]["com.example.sources.v1.Box"]
    assert found["x-kubernetes-group-version-kind"] == [{"group": GROUP, "kind": "Box", "version": "v1"}]


def test_a_repeated_key_is_told_with_its_line(api: Api, define: Any) -> None:
    path = define("drawers", {"type": "object", "properties": {"spec": OPEN}})
    body = "\n".join(
        [f"apiVersion: {GROUP}/v1", "kind: Drawer", "metadata: {name: d}", "spec:", "  foo: a", "  foo: b"]
    )
    query = {"fieldManager": "m", "fieldValidation": "Strict"}
    refused = api.patch(f"{path}/d", body, APPLY, status=400, **query)
    assert 'line 6: key "foo" already set in map' in refused["message"]


def test_what_a_webhook_adds_is_pruned_by_the_schema(api: Api, define: Any, cluster: Cluster) -> None:
    data = {"type": "object", "properties": {"start": {"type": "string"}, "stage-1": {"type": "string"}}}
    path = define("crates", {"type": "object", "properties": {"data": data}})

    def stages(review: Tree) -> Tree:
        return mutated(review, lambda tree: tree["data"].update({"stage-1": "yes", "stage-2": "yes"}))

    cluster.webhook(
        stages, name="stages.example.com", mutating=True, rules=[on("crates", "CREATE", group=GROUP)]
    )
    body = made("Crate", "c", data={"start": "yes"})
    assert api.create(path, body)["data"] == {"start": "yes", "stage-1": "yes"}


@pytest.mark.parametrize("mutating", [True, False])
def test_webhooks_are_listed_and_removed_by_their_label(
    api: Api, cluster: Cluster, namespace: str, mutating: bool
) -> None:
    plural = "mutatingwebhookconfigurations" if mutating else "validatingwebhookconfigurations"
    path = f"/apis/admissionregistration.k8s.io/v1/{plural}"
    label = {"labels": {"listed": str(mutating)}}

    def review(review: Tree) -> Tree:
        if not mutating:
            return denied("not like this")
        return mutated(review, lambda tree: tree.setdefault("data", {}).update(seen="yes"))

    served = cluster.serve_webhook(review, path=f"/listed-{mutating}")
    for number in range(10):
        tree = configuration(
            served,
            name=f"n{number}.example.com",
            mutating=mutating,
            rules=[on("configmaps", "CREATE")],
            namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        )
        tree["metadata"] |= label
        api.create(path, tree)
    assert len(api.get(path, labelSelector=f"listed={mutating}")["items"]) == 10
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    body = {"metadata": {"name": "m"}, "data": {}}
    if mutating:
        assert api.create(maps, body)["data"] == {"seen": "yes"}
        api.delete(f"{maps}/m")
    else:
        assert "not like this" in api.create(maps, body, status=403)["message"]
    api.delete(path, labelSelector=f"listed={mutating}")
    assert api.get(path, labelSelector=f"listed={mutating}")["items"] == []
    assert "seen" not in (api.create(maps, body).get("data") or {})


def test_a_list_goes_on_where_it_was_when_its_version_is_forgotten(
    api: Api, cluster: Cluster, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for number in range(12):
        api.create(path, {"metadata": {"name": f"m-{number:02}"}})
    first = api.get(path, limit="4")["metadata"]
    api.delete(f"{path}/m-11")

    async def forget() -> None:
        store = cluster.registries.store
        await store.compact(Revision(await store.revision() + 1))

    cluster.call(forget)
    refused = api.get(path, limit="4", **{"continue": first["continue"]}, status=410)
    assert refused["reason"] == "Expired"
    token = refused["metadata"]["continue"]
    names, versions = [], set()
    while token:
        page = api.get(path, limit="4", **{"continue": token})
        names += [item["metadata"]["name"] for item in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue", "")
    assert names == [f"m-{number:02}" for number in range(4, 11)]
    assert len(versions) == 1 and first["resourceVersion"] not in versions, json.dumps(sorted(versions))


def test_a_webhook_refuses_all_that_is_done_to_custom_objects(
    api: Api, define: Any, cluster: Cluster
) -> None:
    path = define("lids", {"type": "object", "properties": {"data": OPEN}})

    def review(review: Tree) -> Tree:
        request = review["request"]
        tree = request["oldObject"] if request["operation"] == "DELETE" else request["object"]
        offends = tree["data"].get("webhook-e2e-test") == "webhook-disallow"
        return denied("the custom resource contains unwanted data") if offends else {"allowed": True}

    rules = [on("lids", "CREATE", "UPDATE", "DELETE", group=GROUP)]
    webhook = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/lids.example.com"
    cluster.webhook(review, name="lids.example.com", rules=rules)
    unwanted = made("Lid", "l", data={"webhook-e2e-test": "webhook-disallow"})
    told = (
        'admission webhook "lids.example.com" denied the request: the custom resource contains unwanted data'
    )
    assert api.create(path, unwanted, status=403)["message"] == told
    api.create(path, {**unwanted, "data": {"webhook-e2e-test": "fine"}})
    assert api.patch(f"{path}/l", {"data": unwanted["data"]}, status=403)["message"] == told
    kept = api.get(webhook)
    api.delete(webhook)
    api.patch(f"{path}/l", {"data": unwanted["data"]})
    kept["metadata"] = {"name": kept["metadata"]["name"]}
    api.create(webhook.rpartition("/")[0], kept)
    assert api.delete(f"{path}/l", status=403)["message"] == told
    api.patch(f"{path}/l", {"data": {"webhook-e2e-test": "fine"}})
    api.delete(f"{path}/l")


def test_a_webhook_refuses_definitions(api: Api, cluster: Cluster) -> None:
    rule = on("customresourcedefinitions", "CREATE", group="apiextensions.k8s.io")
    selector = {"matchLabels": {"unwanted": "yes"}}
    cluster.webhook(
        lambda review: denied("no more kinds"),
        name="kinds.example.com",
        rules=[rule],
        objectSelector=selector,
    )
    tree = definition("jars", OPEN, "v1")
    tree["metadata"]["labels"] = {"unwanted": "yes"}
    assert "no more kinds" in api.create(DEFINITIONS, tree, status=403)["message"]
    api.get(f"{DEFINITIONS}/jars.{GROUP}", status=404)


def test_a_list_of_objects_stored_in_two_versions_is_in_one(api: Api, define: Any, cluster: Cluster) -> None:
    def convert(review: Tree) -> Tree:
        converted = []
        for tree in review["request"]["objects"]:
            if review["request"]["desiredAPIVersion"].endswith("/v2"):
                tree["host"], _, tree["port"] = tree.pop("hostPort").partition(":")
            else:
                tree["hostPort"] = f"{tree.pop('host')}:{tree.pop('port')}"
            converted.append({**tree, "apiVersion": review["request"]["desiredAPIVersion"]})
        return {"convertedObjects": converted, "result": {"status": "Success"}}

    # Both versions have all fields: what the webhook moves is not pruned.
    strings = {name: {"type": "string"} for name in ("hostPort", "host", "port")}
    define("knobs", {"type": "object", "properties": strings}, "v1", "v2")
    where = f"{DEFINITIONS}/knobs.{GROUP}"
    client = cluster.serve_webhook(convert, path="/knobs").client_config
    webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
    api.patch(where, {"spec": {"conversion": {"strategy": "Webhook", "webhook": webhook}}})
    first, second = (f"/apis/{GROUP}/{version}/knobs" for version in ("v1", "v2"))
    api.create(first, made("Knob", "a", hostPort="here:80"))
    current = api.get(where)
    for version in current["spec"]["versions"]:
        version["storage"] = version["name"] == "v2"
    api.put(where, current)
    api.create(second, made("Knob", "b", "v2", host="there", port="90"))
    listed = [(item["apiVersion"], item["host"], item["port"]) for item in api.get(second)["items"]]
    assert listed == [(f"{GROUP}/v2", "here", "80"), (f"{GROUP}/v2", "there", "90")]
    assert [item["hostPort"] for item in api.get(first)["items"]] == ["here:80", "there:90"]


def test_defaults_come_from_the_definition_of_now_and_stay_where_they_were_stored(
    api: Api, define: Any
) -> None:
    path = define(
        "pegs", {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    )
    where = f"{DEFINITIONS}/pegs.{GROUP}"
    schema = "/spec/versions/0/schema/openAPIV3Schema/properties"
    api.create(path, made("Peg", "one"))
    added = [{"op": "add", "path": f"{schema}/a/default", "value": "A"}]
    api.patch(where, added, "application/json-patch+json")
    api.eventually(lambda: api.get(f"{path}/one").get("a") == "A")
    assert api.create(path, made("Peg", "two"))["a"] == "A"
    changed = [
        {"op": "remove", "path": f"{schema}/a/default"},
        {"op": "add", "path": f"{schema}/b/default", "value": "B"},
    ]
    api.patch(where, changed, "application/json-patch+json")
    api.eventually(lambda: api.get(f"{path}/two").get("b") == "B")
    two = api.get(f"{path}/two")
    assert (two["a"], two["b"]) == ("A", "B")
