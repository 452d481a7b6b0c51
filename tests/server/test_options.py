"""What a request's query may say, alone and together: lists, watches, writes and deletes, with Kubernetes' refusals."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml

from kubelib.testing.cluster import Cluster, ClusterOptions

MAPS = "/api/v1/namespaces/default/configmaps"
WATCH = f"{MAPS}?watch=1&timeoutSeconds=1"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {cluster.token}"}
    with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
        yield client


def create(client: httpx.Client, name: str, **labels: str) -> dict[str, Any]:
    answer = client.post(MAPS, json={"metadata": {"name": name, "labels": labels}})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.parametrize(
    ("query", "kind", "field", "reason", "detail"),
    [
        (f"{MAPS}?resourceVersionMatch=Exact", "List", "resourceVersionMatch", "Forbidden", "unless resourceVersion"),
        (f"{MAPS}?resourceVersionMatch=Newest&resourceVersion=1", "List", "resourceVersionMatch", "NotSupported", '"Exact"'),
        (f"{MAPS}?resourceVersionMatch=Exact&resourceVersion=0", "List", "resourceVersionMatch", "Forbidden", 'Version "0"'),
        (f"{MAPS}?resourceVersionMatch=Exact&resourceVersion=1&continue=a", "List", "resourceVersionMatch", "Forbidden", "continue"),
        (f"{MAPS}?sendInitialEvents=true", "List", "sendInitialEvents", "Forbidden", "forbidden for list"),
        (f"{WATCH}&sendInitialEvents=true", "List", "resourceVersionMatch", "Forbidden", "requires setting"),
        (f"{WATCH}&sendInitialEvents=false", "List", "resourceVersionMatch", "Forbidden", "requires setting"),
        (f"{WATCH}&resourceVersionMatch=NotOlderThan", "List", "resourceVersionMatch", "Forbidden", "unless sendInitialEvents"),
        (f"POST {MAPS}?dryRun=Some", "Create", "dryRun", "NotSupported", '"All"'),
        (f"POST {MAPS}?fieldValidation=Loose", "Create", "fieldValidation", "NotSupported", '"Ignore", "Strict", "Warn"'),
        (f"POST {MAPS}?fieldManager={'m' * 129}", "Create", "fieldManager", "TooLong", "128 bytes"),
        (f"POST {MAPS}?fieldManager=a%0Ab", "Create", "fieldManager", "Invalid", "U+000A"),
        (f"PATCH {MAPS}/a?force=true", "Patch", "force", "Forbidden", "non-apply patch"),
        (f"DELETE {MAPS}/a?propagationPolicy=Never", "Delete", "propagationPolicy", "NotSupported", '"Orphan"'),
        (f"DELETE {MAPS}/a?propagationPolicy=Orphan&orphanDependents=true", "Delete", "propagationPolicy", "Invalid", "both set"),
        (f"DELETE {MAPS}/a?dryRun=Some", "Delete", "dryRun", "NotSupported", '"All"'),
    ],
)  # fmt: skip
def test_options_that_contradict_each_other_are_invalid(
    client: httpx.Client, query: str, kind: str, field: str, reason: str, detail: str
) -> None:
    method, _, url = query.rpartition(" ")
    body = {"metadata": {"name": "a"}} if method in ("POST", "PATCH") else None
    content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
    answer = client.request(
        method or "GET",
        url,
        content=json.dumps(body) if body else None,
        headers={"content-type": content_type},
    )
    status = answer.json()
    assert (answer.status_code, status["reason"]) == (422, "Invalid")
    assert status["message"].startswith(f'{kind}Options.meta.k8s.io "" is invalid: {field}: ')
    assert status["details"]["group"] == "meta.k8s.io"
    (cause,) = status["details"]["causes"]
    assert (cause["field"], cause["reason"]) == (field, f"FieldValue{reason}")
    assert detail in cause["message"]


def test_an_apply_names_its_manager(client: httpx.Client) -> None:
    answer = client.patch(f"{MAPS}/a", content="{}", headers={"content-type": "application/apply-patch+yaml"})
    assert answer.status_code == 422
    assert "fieldManager: Required value: is required for apply patch" in answer.text


def test_an_unknown_part_of_a_table_is_refused(client: httpx.Client) -> None:
    headers = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    answer = client.get(f"{MAPS}?includeObject=All", headers=headers)
    assert answer.status_code == 400
    assert "Unable to convert to Table as requested" in answer.json()["message"]


def test_a_timeout_is_a_duration(client: httpx.Client) -> None:
    assert client.get(f"{MAPS}?timeout=1m30s").status_code == 200
    assert client.get(f"{MAPS}?timeout=0").status_code == 200
    wrong = "invalid timeout specified in the request URL - time: "
    for method, path in (
        ("GET", MAPS), ("GET", f"{MAPS}/a"), ("DELETE", f"{MAPS}/a"), ("POST", MAPS), ("GET", "/version"), ("GET", "/apis/apps/v1"),
        ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews"),
    ):  # fmt: skip
        answer = client.request(method, f"{path}?timeout=soon", json={} if method == "POST" else None)
        assert (answer.status_code, answer.json()["message"]) == (400, f'{wrong}invalid duration "soon"')
    answer = client.get(f"{MAPS}?timeout=5")
    assert (answer.status_code, answer.json()["message"]) == (400, f'{wrong}missing unit in duration "5"')


def test_the_timeout_of_a_watch_is_not_looked_at(client: httpx.Client) -> None:
    assert client.get(f"{WATCH}&timeout=soon").status_code == 200
    answer = client.get("/api/v1/namespaces/default/pods/x/log?timeout=soon")
    assert (answer.status_code, answer.json()["message"]) == (404, 'pods "x" not found')


@pytest.mark.parametrize(
    "body",
    [
        {"gracePeriodSeconds": "soon"},
        {"preconditions": "x"},
        {"dryRun": 1},
        {"kind": "Pod", "apiVersion": "v1"},
    ],
)
def test_options_of_a_delete_that_make_no_sense_are_refused(
    client: httpx.Client, body: dict[str, Any]
) -> None:
    create(client, "kept")
    answer = client.request("DELETE", f"{MAPS}/kept", json=body)
    assert answer.status_code == 400
    assert client.delete(f"{MAPS}/kept").status_code == 200


def test_deletes_take_preconditions_and_dry_runs(client: httpx.Client) -> None:
    made = create(client, "careful")["metadata"]
    for wrong in ({"uid": "other"}, {"resourceVersion": "1"}):
        answer = client.request("DELETE", f"{MAPS}/careful", json={"preconditions": wrong})
        assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
        assert "in the precondition" in answer.json()["message"]
    assert client.request("DELETE", f"{MAPS}/careful", json={"dryRun": ["All"]}).status_code == 200
    assert client.delete(f"{MAPS}/careful?dryRun=All").status_code == 200
    right = {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}
    deleted = client.request("DELETE", f"{MAPS}/careful", json={"preconditions": right})
    assert deleted.json()["details"] == {"name": "careful", "kind": "configmaps", "uid": made["uid"]}
    assert client.get(f"{MAPS}/careful").status_code == 404


def test_a_negative_grace_period_is_one_second(client: httpx.Client) -> None:
    pods = "/api/v1/namespaces/default/pods"
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}
    assert client.post(pods, json=pod).status_code == 201
    deleted = client.delete(f"{pods}/p?gracePeriodSeconds=-1").json()
    assert deleted["metadata"]["deletionGracePeriodSeconds"] == 1
    client.delete(f"{pods}/p?gracePeriodSeconds=0")


def test_a_collection_is_deleted_by_selector_and_returned(client: httpx.Client) -> None:
    for name, tier in (("c1", "x"), ("c2", "x"), ("c3", "y")):
        create(client, name, tier=tier)
    dry = client.delete(f"{MAPS}?labelSelector=tier%3Dx&dryRun=All").json()
    assert [item["metadata"]["name"] for item in dry["items"]] == ["c1", "c2"]
    client.request("DELETE", f"{MAPS}?labelSelector=tier%3Dx", json={"dryRun": ["All"]})
    deleted = client.delete(f"{MAPS}?labelSelector=tier%3Dx").json()
    assert deleted["kind"] == "ConfigMapList"
    assert [item["metadata"]["name"] for item in deleted["items"]] == ["c1", "c2"]
    left = client.get(f"{MAPS}?labelSelector=tier").json()["items"]
    assert [item["metadata"]["name"] for item in left] == ["c3"]
    client.delete(f"{MAPS}/c3")


def test_fields_that_a_body_names_twice_are_warned_of(client: httpx.Client) -> None:
    text = '{"metadata":{"name":"twice"},"data":{"a":"1","a":"2"},"datum":1}'
    headers = {"content-type": "application/json"}
    made = client.post(MAPS, content=text, headers=headers)
    assert made.headers.get_list("warning") == [
        '299 - "duplicate field \\"data.a\\""',
        '299 - "unknown field \\"datum\\""',
    ]
    assert made.json()["data"] == {"a": "2"}
    put = client.put(f"{MAPS}/twice?fieldValidation=Strict", content=text, headers=headers)
    assert put.status_code == 400
    assert "duplicate field" in put.text
    ignored = client.put(f"{MAPS}/twice?fieldValidation=Ignore", content=text, headers=headers)
    assert (ignored.status_code, ignored.headers.get("warning")) == (200, None)
    client.delete(f"{MAPS}/twice")


def test_pages_are_of_one_revision_and_go_on_from_the_present_once_that_has_gone(
    client: httpx.Client, cluster: Cluster
) -> None:
    for name in ("p1", "p2", "p3", "p4"):
        create(client, name, page="yes")
    query = f"{MAPS}?labelSelector=page&limit=2"
    first = client.get(query).json()
    token = first["metadata"]["continue"]
    client.delete(f"{MAPS}/p3")
    create(client, "p5", page="yes")

    def names(answer: httpx.Response) -> list[str]:
        return [item["metadata"]["name"] for item in answer.json()["items"]]

    second = client.get(f"{query}&continue={token}")
    assert names(second) == ["p3", "p4"], "not the list that was begun"
    assert second.json()["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]

    cluster.call(_compact, cluster)
    expired = client.get(f"{query}&continue={token}")
    status = expired.json()
    assert (expired.status_code, status["reason"], status["code"]) == (410, "Expired", 410)
    rest = client.get(f"{query}&continue={quote(status['metadata']['continue'])}")
    assert names(rest) == ["p4", "p5"]
    assert rest.json()["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    exact = client.get(f"{MAPS}?resourceVersion=1&resourceVersionMatch=Exact")
    assert (exact.status_code, exact.json()["reason"]) == (410, "Expired")
    client.delete(f"{MAPS}?labelSelector=page")


async def _compact(cluster: Cluster) -> None:
    store = cluster.client._registries.store
    await store.compact(await store.revision())


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_what_is_selected_comes_whole_however_it_is_cut(client: httpx.Client, limit: int) -> None:
    for namespace in ("one", "one-more"):
        client.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
        for name in ("x", "y"):
            labels = {"cut": "yes" if (namespace, name) != ("one", "y") else "no"}
            client.post(
                f"/api/v1/namespaces/{namespace}/configmaps",
                json={"metadata": {"name": name, "labels": labels}},
            )
    found, token = [], ""
    while True:
        page = client.get(
            "/api/v1/configmaps", params={"labelSelector": "cut=yes", "limit": limit, "continue": token}
        ).json()
        assert len(page["items"]) <= limit
        assert "remainingItemCount" not in page["metadata"]
        found += [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert sorted(found) == [("one", "x"), ("one-more", "x"), ("one-more", "y")]


def test_a_version_that_has_not_come_yet_is_waited_for_and_then_refused(client: httpx.Client) -> None:
    answer = client.get(f"{MAPS}?resourceVersion=999999&resourceVersionMatch=NotOlderThan")
    status = answer.json()
    assert (answer.status_code, status["reason"]) == (504, "Timeout")
    assert status["message"].startswith("Timeout: Too large resource version: 999999, current: ")
    assert status["details"] == {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    assert answer.headers["retry-after"] == "1"


def test_one_name_is_listed_and_watched_by_field(client: httpx.Client) -> None:
    create(client, "only")
    create(client, "other")
    listed = client.get(f"{MAPS}?fieldSelector=metadata.name%3Donly").json()["items"]
    assert [item["metadata"]["name"] for item in listed] == ["only"]
    for url in (
        f"{WATCH}&fieldSelector=metadata.name%3Donly",
        "/api/v1/watch/namespaces/default/configmaps/only?timeoutSeconds=1",
    ):
        events = [json.loads(line) for line in client.get(url).text.splitlines()]
        assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [("ADDED", "only")]
    client.delete(f"{MAPS}/only")
    client.delete(f"{MAPS}/other")


def test_a_watch_shows_objects_come_into_and_go_out_of_its_selector(client: httpx.Client) -> None:
    since = create(client, "moving", side="left")["metadata"]["resourceVersion"]
    patch = {"content-type": "application/merge-patch+json"}
    for side in ("right", "right", "left"):
        body = json.dumps({"metadata": {"labels": {"side": side}}, "data": {"n": str(len(side))}})
        client.patch(f"{MAPS}/moving", content=body, headers=patch)
    client.patch(f"{MAPS}/moving", content='{"data":{"n":"0"}}', headers=patch)
    client.delete(f"{MAPS}/moving")

    def types(selector: str, accept: str = "application/json") -> list[str]:
        url = f"{WATCH}&resourceVersion={since}&labelSelector={quote(selector)}"
        lines = client.get(url, headers={"accept": accept}).text.splitlines()
        return [json.loads(line)["type"] for line in lines]

    assert types("side=left") == ["DELETED", "ADDED", "MODIFIED", "DELETED"]
    assert types("side=right") == ["ADDED", "DELETED"]
    for form in ("Table", "PartialObjectMetadata"):
        assert types("side=right", f"application/json;as={form};g=meta.k8s.io;v=v1") == ["ADDED", "DELETED"]


def test_methods_that_a_path_does_not_have_are_not_allowed(client: httpx.Client) -> None:
    for method, path in (
        ("PUT", MAPS), ("PATCH", MAPS), ("POST", f"{MAPS}/a"), ("OPTIONS", MAPS), ("TRACE", MAPS), ("POST", "/version"),
        ("DELETE", "/api/v1"), ("PUT", "/openapi/v2"), ("POST", "/api/v1/watch/namespaces/default/configmaps"),
        ("POST", "/api/v1/watch/namespaces/default/configmaps/a"), ("DELETE", "/api/v1/watch/nodes/a"),
    ):  # fmt: skip
        answer = client.request(method, path, json={"metadata": {"name": "a"}} if method != "TRACE" else None)
        assert (answer.status_code, answer.json()["reason"]) == (405, "MethodNotAllowed"), (method, path)
        assert answer.json()["message"] == "the server does not allow this method on the requested resource"


DISCOVERED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
STREAMED = ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
V2, V3 = (f"application/com.github.proto-openapi.spec.{version}.v1.0+protobuf" for version in ("v2", "v3"))


@pytest.mark.parametrize(
    ("path", "accept", "media"),
    [
        *((f"/openapi/v3/{rest}", V3, V3) for rest in ("apis/apps/v1", "version")),
        ("/openapi/v3/apis/apps/v1", V3.replace(".v1.0", "@v1.0"), V3),
        ("/openapi/v3/apis/apps/v1", f"{V3};q=0.5, application/json", "application/json"),
        ("/openapi/v3/apis/apps/v1", f"{V3}, application/json", V3),
        ("/openapi/v3/apis/apps/v1", V2, ""),
        ("/openapi/v3/apis/apps/v1", "text/plain", ""),
        ("/openapi/v3/apis/apps/v1", "text/html, */*;q=0.1", "application/json"),
        ("/openapi/v3", V3, "application/json"),
        ("/openapi/v2", V2.replace(".v1.0", "@v1.0"), V2),
        ("/openapi/v2", V2, V2),
        ("/openapi/v2", V3, ""),
        ("/openapi/v2", "application/*", "application/json"),
    ],
)
def test_openapi_is_served_in_the_form_that_is_asked_for(
    client: httpx.Client, path: str, accept: str, media: str
) -> None:
    answer = client.get(path, headers={"accept": accept})
    if media:
        assert (answer.status_code, answer.headers["content-type"]) == (200, media)
        assert answer.content[:1] == (b"{" if media == "application/json" else b"\x0a")
    else:
        assert (answer.status_code, answer.content) == (406, b"")
    assert answer.headers["vary"].startswith("Accept")


@pytest.mark.parametrize(
    ("path", "accept", "forms"),
    [
        *((path, "application", DISCOVERED) for path in ("/api", "/api/", "/api/v1", "/apis/apps", "/apis/apps/v1", "/apis")),
        *((path, "application/yaml", "") for path in ("/api", "/apis", "/apis/apps/v1", "/healthz", "/metrics")),
        ("/apis", "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json", ""),
        ("/version", "application/yaml", "application/json"),
        ("/version", "text/html, */*;q=0.1", ""),
        ("/.well-known/openid-configuration", "text/plain", "application/json"),
        ("/openid/v1/jwks", "application/json", "application/jwk-set+json"),
        ("/openid/v1/jwks", "application/jwk-set+json", ""),
        ("/healthz", "image/png", ""),
    ],
)  # fmt: skip
def test_what_is_no_resource_is_refused_to_who_takes_none_of_its_forms(
    client: httpx.Client, path: str, accept: str, forms: str
) -> None:
    answer = client.get(path, headers={"accept": accept})
    assert answer.status_code == (406 if forms else 200)
    if forms:
        status = yaml.safe_load(answer.text)
        assert status["reason"] == "NotAcceptable"
        assert status["message"] == (
            f"only the following media types are accepted: {forms}"
            if path == "/apis"
            else f"406: Not Acceptable\n\nAvailable representations: {forms}"
        )


@pytest.mark.parametrize("accept", ["text/html", "application/*", "application", "text/html, image/*;q=0.8"])
@pytest.mark.parametrize(
    ("method", "path", "before", "after"),
    [
        ("GET", f"{MAPS}/missing", "", ""),
        ("GET", MAPS, "", STREAMED),
        ("GET", WATCH, "", STREAMED),
        ("GET", "/api/v1/namespaces/default/pods/missing/log", "text/plain, ", ""),
        ("POST", MAPS, "", ""),
        ("DELETE", MAPS, "", ""),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "", ""),
    ],
)  # fmt: skip
def test_objects_are_refused_to_who_takes_none_of_their_forms(
    client: httpx.Client, accept: str, method: str, path: str, before: str, after: str
) -> None:
    refused = client.request(method, path, headers={"accept": accept}).json()
    assert (refused["code"], refused["reason"]) == (406, "NotAcceptable")
    assert (
        refused["message"] == f"406: Not Acceptable\n\nAvailable representations: {before}{DISCOVERED}{after}"
    )


def test_logs_are_no_form_of_their_own(client: httpx.Client) -> None:
    refused = client.get(
        "/api/v1/namespaces/default/pods/missing/log", headers={"accept": "text/plain"}
    ).json()
    assert (refused["code"], refused["message"]) == (
        406,
        f"only the following media types are accepted: {DISCOVERED}",
    )


def test_lists_of_any_version_come_whole_but_for_events(client: httpx.Client) -> None:
    for name in ("one", "two"):
        event = {
            "metadata": {"name": name},
            "involvedObject": {"namespace": "default"},
            "source": {"component": "t"},
        }
        assert client.post("/api/v1/namespaces/default/events", json=event).status_code == 201
        client.post(MAPS, json={"metadata": {"name": f"whole-{name}"}})
    for match in ("", "&resourceVersionMatch=NotOlderThan"):
        whole = client.get(f"{MAPS}?limit=1&resourceVersion=0{match}").json()
        assert {"whole-one", "whole-two"} <= {item["metadata"]["name"] for item in whole["items"]}
        assert "continue" not in whole["metadata"]
    for path in ("/api/v1/events?limit=1&resourceVersion=0", f"{MAPS}?limit=1"):
        page = client.get(path).json()
        assert len(page["items"]) == 1
        rest = client.get(f"{path}&continue={page['metadata']['continue']}").json()
        assert len(rest["items"]) == 1


@pytest.mark.parametrize("query", ["", "?watch=1&timeoutSeconds=1"])
def test_kinds_of_the_whole_cluster_are_in_no_namespace(client: httpx.Client, query: str) -> None:
    assert client.get(f"/api/v1/namespaces/default/nodes{query}").status_code == 404


def test_heads_have_the_headers_of_gets_and_no_body(client: httpx.Client) -> None:
    for path in ("/version", "/healthz", MAPS):
        head, get = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == get.headers["content-type"]


def test_large_answers_are_compressed_for_those_who_take_it(client: httpx.Client) -> None:
    body = {"metadata": {"name": "large"}, "data": {"k": "v" * 200_000}}
    assert client.post(MAPS, json=body).status_code == 201
    packed = client.get(f"{MAPS}/large")
    plain = client.get(f"{MAPS}/large", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    assert "content-encoding" not in client.get(f"{MAPS}/missing").headers
    client.delete(f"{MAPS}/large")


def test_whoever_uses_a_deprecated_kind_is_told(client: httpx.Client) -> None:
    endpoints = "/api/v1/namespaces/default/endpoints"
    told = ['299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"']
    for answer in (
        client.get(endpoints),
        client.get(f"{endpoints}?watch=1&timeoutSeconds=1"),
        client.post(endpoints, json={"metadata": {"name": "old"}}),
        client.get(f"{endpoints}/old"),
        client.post(endpoints, json={"metadata": {"name": "old"}}),
        client.delete(f"{endpoints}/old"),
    ):
        assert answer.headers.get_list("warning") == told, answer.request
    assert "warning" not in client.get(MAPS).headers


def test_some_kinds_are_replaced_only_by_who_says_which_version(client: httpx.Client) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    made = client.put(f"{leases}/mine", json={"metadata": {"name": "mine"}, "spec": {}})
    assert made.status_code == 201
    blind = client.put(
        f"{leases}/mine", json={"metadata": {"name": "mine"}, "spec": {"holderIdentity": "me"}}
    )
    status = blind.json()
    assert (blind.status_code, status["details"]["causes"][0]["field"]) == (422, "metadata.resourceVersion")
    assert status["message"] == (
        'leases.coordination.k8s.io "mine" is invalid: metadata.resourceVersion: Invalid value: 0:'
        " must be specified for an update"
    )
    document = made.json()
    document["spec"]["holderIdentity"] = "me"
    assert client.put(f"{leases}/mine", json=document).status_code == 200
    assert client.put(f"{leases}/mine", json=document).status_code == 409
    assert client.put(MAPS + "/free", json={"metadata": {"name": "free"}}).status_code == 404
    create(client, "free")
    assert client.put(MAPS + "/free", json={"metadata": {"name": "free"}}).status_code == 200
    client.delete(f"{MAPS}/free")


def test_what_is_empty_is_as_if_it_were_not_there(client: httpx.Client) -> None:
    services, pods = "/api/v1/namespaces/default/services", "/api/v1/namespaces/default/pods"
    port = {"port": 80, "protocol": "", "name": "", "nodePort": 0, "targetPort": 0}
    spec = {"type": "", "clusterIP": "", "sessionAffinity": "", "selector": {}, "ports": [port]}
    made = client.post(services, json={"metadata": {"name": "empty", "labels": {}}, "spec": spec})
    assert made.status_code == 201, made.text
    service = made.json()
    assert (service["spec"]["type"], service["spec"]["sessionAffinity"]) == ("ClusterIP", "None")
    assert service["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert "selector" not in service["spec"] and "labels" not in service["metadata"]
    (entry,) = service["metadata"]["managedFields"]
    assert {"f:selector", "f:clusterIP"}.isdisjoint(
        entry["fieldsV1"]["f:spec"]
    ) and "f:metadata" not in entry["fieldsV1"]
    merge = {"content-type": "application/merge-patch+json"}
    there = {"metadata": {"labels": {"a": "b"}}, "spec": {"selector": {"a": "b"}}}
    gone = {"metadata": {"labels": {"a": None}}, "spec": {"selector": {"a": None}}}
    assert client.patch(f"{services}/empty", json=there, headers=merge).json()["spec"]["selector"] == {
        "a": "b"
    }
    emptied = client.patch(f"{services}/empty", json=gone, headers=merge).json()
    assert "selector" not in emptied["spec"] and "labels" not in emptied["metadata"]
    probe = {"tcpSocket": {"port": 80}, "timeoutSeconds": 0, "periodSeconds": 0, "successThreshold": 0}
    container = {"name": "c", "image": "i", "imagePullPolicy": "", "livenessProbe": probe}
    body = {"metadata": {"name": "empty"}, "spec": {"restartPolicy": "", "containers": [container]}}
    pod = client.post(pods, json=body).json()
    assert (pod["spec"]["restartPolicy"], pod["spec"]["containers"][0]["livenessProbe"]["periodSeconds"]) == (
        "Always",
        10,
    )
    data = {"metadata": {"name": "empty"}, "data": {"a": ""}}
    assert client.post(MAPS, json=data).json()["data"] == {"a": ""}
    emptied = client.put(f"{MAPS}/empty", json={**data, "data": {}}).json()
    assert "data" not in emptied
    for path in (services, pods, MAPS):
        client.delete(f"{path}/empty?gracePeriodSeconds=0")


def test_version_zero_is_whichever_version_there_is(client: httpx.Client) -> None:
    zero = {"metadata": {"name": "zero", "resourceVersion": "0"}}
    made = client.post(MAPS, json=zero)
    assert made.status_code == 201, made.text
    changed = client.put(f"{MAPS}/zero", json={**zero, "data": {"a": "1"}})
    assert (changed.status_code, changed.json()["data"]) == (200, {"a": "1"})
    merge = {"content-type": "application/merge-patch+json"}
    assert client.patch(f"{MAPS}/zero", json=zero, headers=merge).status_code == 200
    old = {"metadata": {"name": "zero", "resourceVersion": made.json()["metadata"]["resourceVersion"]}}
    assert client.patch(f"{MAPS}/zero", json=old, headers=merge).status_code == 409
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    assert client.post(leases, json=zero).status_code == 201
    for refused in (
        client.put(f"{leases}/zero", json=zero),
        client.patch(f"{leases}/zero", json=zero, headers=merge),
    ):
        assert (refused.status_code, refused.json()["details"]["causes"][0]["field"]) == (
            422,
            "metadata.resourceVersion",
        )
    scale = {"metadata": {"name": "zero", "resourceVersion": "0"}, "spec": {"replicas": 0}}
    path = "/api/v1/namespaces/default/replicationcontrollers"
    pods = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert client.post(path, json={**zero, "spec": {"replicas": 0, "template": pods}}).status_code == 201
    assert client.put(f"{path}/zero/scale", json=scale).status_code == 200
    for made_here in (f"{MAPS}/zero", f"{leases}/zero", f"{path}/zero"):
        client.delete(made_here)


def test_components_are_looked_at_when_somebody_asks(client: httpx.Client) -> None:
    statuses = "/api/v1/componentstatuses"
    listed = client.get(statuses)
    assert [item["metadata"]["name"] for item in listed.json()["items"]] == ["etcd-0"]
    assert "ComponentStatus is deprecated" in listed.headers["warning"]
    assert client.get(f"{statuses}/etcd-0").json()["conditions"] == [
        {"type": "Healthy", "status": "True", "message": "ok"}
    ]
    lease = {
        "metadata": {"name": "kube-scheduler"},
        "spec": {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "renewTime": "2020-01-01T00:00:00.000000Z",
        },
    }
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
    assert client.post(leases, json=lease).status_code == 201
    table = {"accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
    rows = [row["cells"] for row in client.get(statuses, headers=table).json()["rows"]]
    assert rows[0] == ["etcd-0", "Healthy", "ok", ""]
    assert rows[1][:3] == ["scheduler", "Unhealthy", ""]
    assert "me has not renewed its lease since 2020" in rows[1][3]
    assert client.get(f"{statuses}/nobody").status_code == 404
    assert client.get(f"{statuses}?watch=1").status_code == 405
    assert client.delete(f"{statuses}/etcd-0").status_code == 405
    client.delete(f"{leases}/kube-scheduler")
