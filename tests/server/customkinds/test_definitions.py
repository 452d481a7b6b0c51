"""Custom kinds are served when the answer to their definition is there, and withdrawn with it."""

import base64
import json
import threading

from tests.hooks import CA
from tests.server.customkinds.schemas import COLORED
from tests.server.definitions import CRDS, OPEN, Api, Tree, definition, paths_of, thing


def test_a_kind_is_served_when_the_answer_to_its_definition_is_there(
    api: Api, names: tuple[str, str]
) -> None:
    path = api.define(definition(*names, COLORED))
    created = api.made(
        "POST", path, json=thing(names[1], "a", {"color": "red", "unknown": 1, "nothing": None})
    )
    assert created["spec"] == {"color": "red", "replicas": 3, "nothing": None, "nested": {"deep": True}}
    assert created["metadata"]["generation"] == 1
    assert api.made("GET", f"{path}/a") == created
    listed = api.made("GET", path)
    assert (listed["kind"], listed["items"]) == (f"{names[1]}List", [created])


def test_discovery_and_openapi_show_a_kind_and_forget_it(api: Api, names: tuple[str, str]) -> None:
    tree = definition(*names, COLORED, names={"shortNames": [f"g{names[0][6:-1]}"], "categories": ["all"]})
    aggregated = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}

    def seen() -> tuple[bool, bool, bool, str]:
        groups = api.made("GET", "/apis", headers=aggregated)["items"]
        found = [
            r for g in groups for v in g["versions"] for r in v["resources"] if r["resource"] == names[0]
        ]
        listed = api.client.get("/apis/example.com/v1")
        openapi = api.client.get("/openapi/v2")
        return (
            bool(found),
            listed.is_success and names[0] in listed.text,
            f"com.example.v1.{names[1]}" in openapi.json()["definitions"],
            openapi.headers["etag"],
        )

    before = seen()
    api.define(tree)
    during = seen()
    index = api.made("GET", "/openapi/v3")["paths"]["apis/example.com/v1"]["serverRelativeURL"]
    schema = api.made("GET", index)["components"]["schemas"][f"com.example.v1.{names[1]}"]
    assert schema["properties"]["spec"]["properties"]["color"]["description"] == "The colour."
    assert schema["x-kubernetes-group-version-kind"] == [
        {"group": "example.com", "kind": names[1], "version": "v1"}
    ]
    api.undefine(tree)
    _gone(api, tree)
    after = seen()
    assert [before[:3], during[:3], after[:3]] == [(False,) * 3, (True,) * 3, (False,) * 3]
    assert before[3] != during[3] != after[3]


def _gone(api: Api, tree: Tree) -> None:
    for _ in range(200):
        if api.client.get(f"{CRDS}/{tree['metadata']['name']}").status_code == 404:
            return
        threading.Event().wait(0.02)
    raise AssertionError("the definition is still there")


def test_names_that_are_taken_are_refused_and_given_when_they_are_free(api: Api) -> None:
    first = definition("firsts", "Shared", names={"shortNames": ["sh"]})
    second = definition("seconds", "Shared", names={"listKind": "SecondList", "shortNames": ["sh"]})
    api.define(first)
    created = api.made("POST", CRDS, json=second)
    conditions = {
        c["type"]: (c["status"], c["reason"], c["message"]) for c in created["status"]["conditions"]
    }
    assert conditions == {
        "NamesAccepted": ("False", "KindConflict", '"Shared" is already in use'),
        "Established": ("False", "NotAccepted", "not all names are accepted"),
    }
    assert "shortNames" not in created["status"]["acceptedNames"]
    api.refused("GET", paths_of(second)[0], 404)
    api.undefine(first)
    _gone(api, first)
    for _ in range(100):
        if api.client.get(paths_of(second)[0]).is_success:
            break
        threading.Event().wait(0.02)
    assert api.made("GET", f"{CRDS}/seconds.example.com")["status"]["acceptedNames"]["kind"] == "Shared"


def test_with_a_definition_its_objects_go_and_watches_end(api: Api, names: tuple[str, str]) -> None:
    tree = definition(*names)
    path = api.define(tree)
    api.made("POST", path, json=thing(names[1], "a", {}))
    held = thing(names[1], "held", {})
    held["metadata"]["finalizers"] = ["example.com/held"]
    api.made("POST", path, json=held)
    seen: list[Tree] = []

    def watch() -> None:
        with api.client.stream("GET", f"{path}?watch=1", timeout=60) as stream:
            started.set()
            seen.extend(json.loads(line) for line in stream.iter_lines())

    started = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    started.wait(10)
    group = api.made("GET", "/apis/example.com/v1")["resources"]
    [shown] = [resource for resource in group if resource["name"] == names[0]]
    assert shown["verbs"] == [
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "create",
        "update",
        "watch",
    ]
    deleted = api.made("DELETE", f"{CRDS}/{tree['metadata']['name']}")
    assert deleted["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    for _ in range(200):
        if "deletionTimestamp" in api.made("GET", f"{path}/held")["metadata"]:
            break
        threading.Event().wait(0.02)
    status = api.refused("POST", path, 405, json=thing(names[1], "late", {}))
    assert status["message"] == "create not allowed while custom resource definition is terminating"
    group = api.made("GET", "/apis/example.com/v1")["resources"]
    [shown] = [resource for resource in group if resource["name"] == names[0]]
    assert shown["verbs"] == ["delete", "deletecollection", "get", "list", "watch"]
    assert api.client.get(f"{path}/a").status_code == 404
    patch = {"content-type": "application/merge-patch+json"}
    api.made("PATCH", f"{path}/held", json={"metadata": {"finalizers": None}}, headers=patch)
    _gone(api, tree)
    thread.join(20)
    assert not thread.is_alive()
    assert [e["object"]["metadata"]["name"] for e in seen if e["type"] == "DELETED"] == ["a", "held"]
    api.refused("GET", path, 404)
    api.define(tree)
    assert api.made("GET", path)["items"] == []


def test_kinds_named_like_built_in_ones_have_none_of_their_rules(api: Api) -> None:
    for plural, kind in (
        ("pods", "Pod"),
        ("deployments", "Deployment"),
        ("services", "Service"),
        ("roles", "Role"),
    ):
        tree = definition(plural, kind, group="mine.example.com", subresources={"status": {}})
        path = api.define(tree)
        body = {**thing(kind, "a", {"own": True}), "apiVersion": "mine.example.com/v1"}
        created = api.made("POST", path, json=body)
        assert (created["spec"], "status" in created) == ({"own": True}, False)
        assert api.made("DELETE", f"{path}/a")["status"] == "Success"


def test_definitions_are_deleted_together_and_their_status_can_be_written(api: Api) -> None:
    trees = [definition(f"many{number}s", f"Many{number}") for number in range(3)]
    for tree in trees:
        tree["metadata"]["labels"] = {"many": "yes"}
        api.define(tree)
    where = f"{CRDS}/{trees[0]['metadata']['name']}"
    current = api.made("GET", f"{where}/status")
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from a test"}
    current["status"]["conditions"].append(condition)
    written = api.made("PUT", f"{where}/status", json=current)
    assert [c["type"] for c in written["status"]["conditions"]] == [
        "NamesAccepted",
        "Established",
        "StatusUpdate",
    ]
    api.made("DELETE", f"{CRDS}?labelSelector=many=yes")
    for tree in trees:
        _gone(api, tree)


def test_documents_of_groups_that_there_are_not_are_not_found(api: Api) -> None:
    api.refused("GET", "/openapi/v3/apis/nothing.example.com/v1", 404)
    api.refused("GET", "/apis/nothing.example.com/v1/things", 404)


def test_a_definition_takes_nothing_from_the_built_in_kinds(api: Api) -> None:
    approved = {"api-approved.kubernetes.io": "unapproved, for a test"}
    for plural, kind in (("ingresses", "Ingress"), ("others", "Other")):
        tree = definition(plural, kind, group="networking.k8s.io")
        refused = api.refused("POST", CRDS, 422, json=tree)
        assert "protected groups must have approval annotation" in refused["message"]
        tree["metadata"]["annotations"] = approved
        created = api.made("POST", CRDS, json=tree)
        conditions = {c["type"]: (c["status"], c["reason"]) for c in created["status"]["conditions"]}
        assert conditions["KubernetesAPIApprovalPolicyConformant"] == ("False", "UnapprovedAnnotation")
        backend = {"service": {"name": "x", "port": {"number": 1}}}
        ingress = {
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": f"for-{plural}"}, "spec": {"defaultBackend": backend},
        }  # fmt: skip
        api.made("POST", "/apis/networking.k8s.io/v1/namespaces/default/ingresses", json=ingress)
        api.undefine(tree)
        _gone(api, tree)
        assert api.made("GET", f"/apis/networking.k8s.io/v1/namespaces/default/ingresses/for-{plural}")
    api.refused("GET", "/apis/networking.k8s.io/v1/namespaces/default/others", 404)


def test_a_kind_has_the_paths_and_verbs_of_its_scope_and_subresources_only(
    api: Api, names: tuple[str, str]
) -> None:
    path, kind = api.define(definition(*names, OPEN)), f"{names[0]}.example.com"
    cluster = api.define(
        definition(f"all{names[0]}", f"All{names[1]}", OPEN, scope="Cluster", subresources={"status": {}})
    )
    flat, spaced = path.replace("namespaces/default/", ""), cluster.replace("/v1/", "/v1/namespaces/default/")
    api.made("POST", path, json=thing(names[1], "a"))
    for method, where in (
        ("POST", flat),
        ("DELETE", flat),
        ("GET", f"{flat}/a"),
        ("GET", spaced),
        ("POST", spaced),
    ):
        assert api.refused(method, where, 404, json={}) == {}
    assert [item["metadata"]["name"] for item in api.made("GET", flat)["items"]] == ["a"]
    refusals = [
        ("GET", f"{path}/a/status", 404, f'{kind} "a" not found', {"name": "a", "group": "example.com", "kind": names[0]}),
        ("DELETE", f"{cluster}/a/status", 405, f'delete is not supported on resources of kind "all{kind}"', {"group": "example.com", "kind": f"all{names[0]}"}),
        ("PUT", path, 400, "name must be provided", None),
    ]  # fmt: skip
    for method, where, code, message, details in refusals:
        status = api.refused(method, where, code, json={})
        assert (status["message"], status.get("details")) == (message, details)
    # What is posted to the path of an object is created, under the name that it has itself.
    assert api.made("POST", f"{path}/c", json=thing(names[1], "b"))["metadata"]["name"] == "b"
    # Kinds that are built in have routes instead: what there is none for is not found, or not allowed.
    api.refused("GET", "/api/v1/pods/a", 404)
    api.refused("POST", "/api/v1/pods", 405, json={})


def test_a_definition_whose_webhook_could_not_be_trusted_is_not_served(
    api: Api, names: tuple[str, str]
) -> None:
    def conversion(bundle: bytes) -> Tree:
        config = {
            "service": {"namespace": "default", "name": "a"},
            "caBundle": base64.b64encode(bundle).decode(),
        }
        webhook = {"clientConfig": config, "conversionReviewVersions": ["v1"]}
        return {"spec": {"conversion": {"strategy": "Webhook", "webhook": webhook}}}

    def established(tree: Tree) -> tuple[str, str]:
        return next(
            (c["status"], c["reason"]) for c in tree["status"]["conditions"] if c["type"] == "Established"
        )

    tree = definition(*names, OPEN)
    tree["spec"] |= conversion(b"none")["spec"]
    where = f"{CRDS}/{tree['metadata']['name']}"
    assert established(api.made("POST", CRDS, json=tree)) == ("False", "InvalidCABundle")
    api.refused("GET", paths_of(tree)[0], 404)
    merge = {"content-type": "application/merge-patch+json"}
    mended = api.made("PATCH", where, content=json.dumps(conversion(CA)), headers=merge)
    assert established(mended) == ("True", "InitialNamesAccepted")
    api.made("GET", paths_of(tree)[0])
    status = api.refused("PATCH", where, 422, content=json.dumps(conversion(b"none")), headers=merge)
    assert [(cause["field"], cause["message"]) for cause in status["details"]["causes"]] == [
        (
            "spec.conversion.webhookClientConfig.caBundle",
            "Invalid value: []byte{0x6e, 0x6f, 0x6e, 0x65}: unable to load root certificates: unable to parse bytes as PEM block",
        )
    ]
