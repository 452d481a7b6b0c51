"""sig-api-machinery and sig-auth where the API is extended: custom kinds, policies, requests for certificates."""

import time
from typing import Any

import pytest

from tests.conformance.conftest import APPLY, JSON_PATCH, MERGE, STRATEGIC, Api, Tree
from tests.conformance.kinds import REQUEST

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCHEMA: Tree = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "cronSpec": {"type": "string", "pattern": "^(\\*|[0-9 ])+$"},
                "replicas": {"type": "integer", "minimum": 0, "default": 1},
                "ports": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                    "items": {"type": "object", "required": ["port"], "properties": {
                        "port": {"type": "integer"}, "name": {"type": "string"}}},
                },
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}  # fmt: skip


def definition(plural: str, group: str = "stable.example.com", **version: Any) -> Tree:
    kind = plural.removesuffix("s").capitalize()
    served = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
        "additionalPrinterColumns": [{"name": "Cron", "type": "string", "jsonPath": ".spec.cronSpec"}],
        **version,
    }  # fmt: skip
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [served]}
    return {"metadata": {"name": f"{plural}.{group}"}, "spec": spec}


def established(api: Api, name: str) -> None:
    def conditions() -> dict[str, str]:
        tree = api.get(f"{DEFINITIONS}/{name}")
        return {c["type"]: c["status"] for c in (tree.get("status") or {}).get("conditions") or ()}

    api.eventually(lambda: conditions().get("Established") == "True")


@pytest.fixture(scope="module")
def tabs(api: Api) -> str:
    """The path of a custom kind, Tab, in the namespace default."""
    api.create(DEFINITIONS, definition("tabs"))
    established(api, "tabs.stable.example.com")
    path = "/apis/stable.example.com/v1/namespaces/default/tabs"
    api.eventually(lambda: api.http.get(path).status_code == 200)
    return path


def tab(name: str, **spec: Any) -> Tree:
    return {"apiVersion": "stable.example.com/v1", "kind": "Tab", "metadata": {"name": name}, "spec": spec}


def test_definitions_run_through_their_life(api: Api) -> None:
    name = "lives.stable.example.com"
    made = api.create(DEFINITIONS, definition("lives"))
    established(api, name)
    assert name in [item["metadata"]["name"] for item in api.get(DEFINITIONS)["items"]]
    assert api.get(f"{DEFINITIONS}/{name}/status")["status"]["acceptedNames"]["plural"] == "lives"
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "m"}
    current = api.get(f"{DEFINITIONS}/{name}/status")
    current["status"]["conditions"].append(condition)
    assert "StatusUpdate" in [
        c["type"] for c in api.put(f"{DEFINITIONS}/{name}/status", current)["status"]["conditions"]
    ]
    patched = api.patch(f"{DEFINITIONS}/{name}/status", {"metadata": {"annotations": {"a": "b"}}})
    assert patched["metadata"]["annotations"]["a"] == "b"
    api.delete(f"{DEFINITIONS}/{name}")
    api.gone(f"{DEFINITIONS}/{name}")
    assert made["metadata"]["uid"]
    api.eventually(
        lambda: api.http.get("/apis/stable.example.com/v1/namespaces/default/lives").status_code == 404
    )


def test_a_custom_kind_is_discovered(api: Api, tabs: str) -> None:
    assert "stable.example.com" in [group["name"] for group in api.get("/apis")["groups"]]
    assert api.get("/apis/stable.example.com")["preferredVersion"]["version"] == "v1"
    resources = {r["name"]: r for r in api.get("/apis/stable.example.com/v1")["resources"]}
    assert set(resources) == {"tabs", "tabs/status", "tabs/scale"} and resources["tabs"]["kind"] == "Tab"
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = api.get("/apis", headers={"accept": accept})["items"]
    (group,) = [g for g in groups if g["metadata"]["name"] == "stable.example.com"]
    assert [r["resource"] for r in group["versions"][0]["resources"]] == ["tabs"]
    assert "apis/stable.example.com/v1" in api.get("/openapi/v3")["paths"]


def test_custom_objects_are_watched(api: Api, tabs: str) -> None:
    version = api.get(tabs)["metadata"]["resourceVersion"]
    with api.watch(tabs, resourceVersion=version) as events:
        api.create(tabs, tab("a", cronSpec="* *"))
        api.patch(f"{tabs}/a", {"spec": {"replicas": 3}})
        api.delete(f"{tabs}/a")
        assert [kind for kind, _ in events.take(3)] == ["ADDED", "MODIFIED", "DELETED"]


def test_custom_objects_have_defaults_rules_and_no_unknown_fields(api: Api, tabs: str) -> None:
    made = api.create(tabs, {**tab("d", cronSpec="* *"), "surplus": 1})
    assert made["spec"] == {"cronSpec": "* *", "replicas": 1} and "surplus" not in made
    assert made["metadata"]["generation"] == 1
    refused = api.create(tabs, tab("e", cronSpec="never"), status=422)
    assert 'spec.cronSpec: Invalid value: "never": spec.cronSpec in body should match' in refused["message"]
    refused = api.create(tabs, {**tab("e"), "surplus": 1}, fieldValidation="Strict", status=400)
    assert 'strict decoding error: unknown field "surplus"' in refused["message"]
    refused = api.create(tabs, tab("e", replicas="many"), status=422)
    assert "spec.replicas: Invalid value" in refused["message"]
    refused = api.patch(f"{tabs}/d", {"spec": {"replicas": 2}}, STRATEGIC, status=415)
    assert refused["reason"] == "UnsupportedMediaType"
    assert (
        api.patch(f"{tabs}/d", [{"op": "add", "path": "/spec/replicas", "value": 4}], JSON_PATCH)["spec"][
            "replicas"
        ]
        == 4
    )
    api.delete(f"{tabs}/d")


def test_custom_objects_have_a_status_and_a_scale(api: Api, tabs: str) -> None:
    api.create(tabs, tab("s", replicas=2))
    patched = api.patch(f"{tabs}/s/status", {"spec": {"replicas": 9}, "status": {"replicas": 2}}, MERGE)
    assert (patched["spec"]["replicas"], patched["status"]) == (2, {"replicas": 2})
    assert api.get(f"{tabs}/s")["metadata"]["generation"] == 1
    scale = api.get(f"{tabs}/s/scale")
    assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["replicas"]) == ("Scale", 2, 2)
    assert api.patch(f"{tabs}/s/scale", {"spec": {"replicas": 5}}, MERGE)["spec"]["replicas"] == 5
    assert api.get(f"{tabs}/s")["metadata"]["generation"] == 2
    api.delete(f"{tabs}/s")


def test_custom_objects_are_applied_by_the_keys_of_their_schema(api: Api, tabs: str) -> None:
    api.apply(f"{tabs}/p", tab("p", ports=[{"port": 1, "name": "a"}]), "one", status=201)
    both = api.apply(f"{tabs}/p", tab("p", ports=[{"port": 2, "name": "b"}]), "two")
    assert [port["port"] for port in both["spec"]["ports"]] == [1, 2]
    refused = api.apply(f"{tabs}/p", tab("p", ports=[{"port": 1, "name": "x"}]), "two", status=409)
    assert refused["details"]["causes"][0]["field"] == ".spec.ports[port=1].name"
    scale = {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "p"},
        "spec": {"replicas": 7},
    }
    # The default belongs to nobody that is known.
    assert api.apply(f"{tabs}/p/scale", scale, "scaler", force="true")["spec"]["replicas"] == 7
    fields = {e["manager"]: e["fieldsV1"] for e in api.get(f"{tabs}/p")["metadata"]["managedFields"]}
    assert fields["scaler"] == {"f:spec": {"f:replicas": {}}}
    text = "apiVersion: stable.example.com/v1\nkind: Tab\nmetadata: {name: q}\nspec: {replicas: 1, replicas: 2}\n"
    refused = api.ask(
        "PATCH", f"{tabs}/q", text, kind=APPLY, fieldManager="m", fieldValidation="Strict", status=400
    )
    assert 'key "replicas" already set in map' in refused["message"]
    api.delete(f"{tabs}/p")


def test_custom_objects_are_shown_in_the_columns_of_their_definition(api: Api, tabs: str) -> None:
    api.create(tabs, tab("c", cronSpec="* *"))
    table = api.get(tabs, headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Cron"]
    assert table["rows"][0]["cells"] == ["c", "* *"]
    api.delete(tabs)
    assert api.get(tabs)["items"] == []


# Policies


def test_a_policy_refuses_what_its_expression_does_not_allow(api: Api, namespace: str) -> None:
    root = "/apis/admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"],
    }
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "variables": [{"name": "replicas", "expression": "object.spec.replicas"}],
        "validations": [
            {
                "expression": "variables.replicas > 1",
                "messageExpression": "'wants more than ' + string(variables.replicas)",
            }
        ],
    }
    api.create(f"{root}/validatingadmissionpolicies", {"metadata": {"name": "more"}, "spec": spec})
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    binding = {
        "policyName": "more",
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": selector},
    }
    api.create(f"{root}/validatingadmissionpolicybindings", {"metadata": {"name": "more"}, "spec": binding})
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}

    def deployment(name: str, replicas: int) -> Tree:
        labels = {"matchLabels": {"app": "a"}}
        return {
            "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": labels, "template": template},
        }

    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    deadline = time.monotonic() + 60
    while (answer := api.http.post(f"{path}?dryRun=All", json=deployment("few", 1))).status_code == 201:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.status_code == 422 and answer.json()["reason"] == "Invalid"
    assert (
        "ValidatingAdmissionPolicy 'more' with binding 'more' denied request: wants more than 1"
        in answer.json()["message"]
    )
    api.create(path, deployment("many", 2))
    wrong = {**spec, "validations": [{"expression": "object.spec.replicas >"}]}
    refused = api.create(
        f"{root}/validatingadmissionpolicies", {"metadata": {"name": "wrong"}, "spec": wrong}, status=422
    )
    assert (
        "spec.validations[0].expression: Invalid value" in refused["message"]
        and "compilation failed" in refused["message"]
    )


@pytest.mark.parametrize("kind", ["validating", "mutating"])
def test_a_condition_of_a_webhook_must_compile(api: Api, kind: str) -> None:
    path = f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations"
    hook = {
        "name": "check.example.com", "clientConfig": {"url": "https://127.0.0.1:9/"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "rules": [],
        "matchConditions": [{"name": "one", "expression": "object.metadata.name != 'skip-me'"}],
    }  # fmt: skip
    made = api.create(path, {"metadata": {"name": "c"}, "webhooks": [hook]})
    assert made["webhooks"][0]["matchConditions"] == hook["matchConditions"]
    hook["matchConditions"] = [{"name": "one", "expression": "... not cel"}]
    refused = api.create(path, {"metadata": {"name": "d"}, "webhooks": [hook]}, status=422)
    assert "compilation failed" in refused["message"]
    api.delete(f"{path}/c")


# Requests for certificates


def test_a_request_for_a_certificate_runs_through_its_life(api: Api) -> None:
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    spec = {
        "request": REQUEST,
        "signerName": "example.com/nobody",
        "usages": ["client auth"],
        "expirationSeconds": 3600,
    }
    made = api.create(path, {"metadata": {"name": "r"}, "spec": spec})
    assert made["spec"]["username"] and "system:masters" in made["spec"]["groups"]
    refused = api.patch(f"{path}/r", {"spec": {"usages": ["server auth"]}})
    assert refused["spec"]["usages"] == ["client auth"]
    condition = {"type": "Approved", "status": "True", "reason": "E2E", "message": "set from a test"}
    current = api.get(f"{path}/r/approval")
    current["status"] = {"conditions": [condition]}
    approved = api.put(f"{path}/r/approval", current)
    assert approved["status"]["conditions"][0]["type"] == "Approved"
    denied = {"status": {"conditions": [condition, {**condition, "type": "Denied"}]}}
    assert (
        "Approved and Denied conditions are mutually exclusive"
        in api.patch(f"{path}/r/approval", denied, status=422)["message"]
    )
    patched = api.patch(f"{path}/r/status", {"status": {"certificate": "bm9uZQ=="}}, MERGE, status=422)
    assert "must contain at least one CERTIFICATE PEM block" in patched["message"]
    assert [
        r["metadata"]["name"]
        for r in api.get(path, fieldSelector="spec.signerName=example.com/nobody")["items"]
    ] == ["r"]
    api.delete(path)
    assert api.get(path)["items"] == []
