"""sig-api-machinery: watches, pages, tables, discovery, unknown and repeated fields, the version."""

import base64
import gzip
import json
import re

import httpx
import pytest

from tests.conformance.conftest import APPLY, JSON_PATCH, MERGE, Api, Tree

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
POD: Tree = {"spec": {"containers": [{"name": "c", "image": "registry.example/pause:1"}]}}
TEMPLATE: Tree = {"metadata": {"labels": {"app": "a"}}, **POD}
DEPLOYMENT: Tree = {"spec": {"replicas": 0, "selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE}}


def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def a_map(name: str, data: dict[str, str] | None = None, **labels: str) -> Tree:
    return {"metadata": {"name": name, "labels": labels}, "data": data or {}}


# Watchers


def test_watchers_with_selectors_see_what_is_theirs(api: Api, namespace: str) -> None:
    path = maps(namespace)
    version = api.get(path)["metadata"]["resourceVersion"]
    with (
        api.watch(path, labelSelector="watch=a", resourceVersion=version) as a,
        api.watch(path, labelSelector="watch=b", resourceVersion=version) as b,
        api.watch(path, labelSelector="watch in (a,b)", resourceVersion=version) as both,
    ):
        api.create(path, a_map("one", watch="a"))
        api.create(path, a_map("two", watch="b"))
        api.patch(f"{path}/one", {"data": {"mutation": "1"}})
        api.delete(f"{path}/one")
        assert [kind for kind, _ in a.take(3)] == ["ADDED", "MODIFIED", "DELETED"]
        assert [(kind, tree["metadata"]["name"]) for kind, tree in b.take(1)] == [("ADDED", "two")]
        assert [kind for kind, _ in both.take(4)] == ["ADDED", "ADDED", "MODIFIED", "DELETED"]


def test_a_watch_starts_after_the_version_that_it_names(api: Api, namespace: str) -> None:
    path = maps(namespace)
    api.create(path, a_map("m"))
    first = api.patch(f"{path}/m", {"data": {"n": "1"}})
    api.patch(f"{path}/m", {"data": {"n": "2"}})
    api.delete(f"{path}/m")
    with api.watch(path, resourceVersion=first["metadata"]["resourceVersion"]) as events:
        (modified, tree), (deleted, _) = events.take(2)
    assert (modified, deleted) == ("MODIFIED", "DELETED") and tree["data"] == {"n": "2"}


def test_a_watch_restarts_where_the_last_one_ended(api: Api, namespace: str) -> None:
    path = maps(namespace)
    with api.watch(path, resourceVersion=api.get(path)["metadata"]["resourceVersion"]) as events:
        api.create(path, a_map("m"))
        _, tree = events.next()
    api.patch(f"{path}/m", {"data": {"n": "1"}})
    api.delete(f"{path}/m")
    with api.watch(path, resourceVersion=tree["metadata"]["resourceVersion"]) as events:
        assert [kind for kind, _ in events.take(2)] == ["MODIFIED", "DELETED"]


def test_a_changed_label_takes_an_object_out_of_a_watch_and_back(api: Api, namespace: str) -> None:
    path = maps(namespace)
    with api.watch(
        path, labelSelector="w=yes", resourceVersion=api.get(path)["metadata"]["resourceVersion"]
    ) as events:
        api.create(path, a_map("m", {"n": "0"}, w="yes"))
        api.patch(f"{path}/m", {"data": {"n": "1"}, "metadata": {"labels": {"w": "no"}}})
        api.patch(f"{path}/m", {"data": {"n": "2"}})
        api.patch(f"{path}/m", {"metadata": {"labels": {"w": "yes"}}})
        api.delete(f"{path}/m")
        seen = [(kind, tree["data"]["n"]) for kind, tree in events.take(4)]
    assert seen == [("ADDED", "0"), ("DELETED", "0"), ("ADDED", "2"), ("DELETED", "2")]


def test_all_watchers_see_all_events_in_one_order(api: Api, namespace: str) -> None:
    path = maps(namespace)
    start = api.get(path)["metadata"]["resourceVersion"]
    versions = [start]
    for number in range(10):
        versions.append(api.create(path, a_map(f"m-{number % 5}-{number}"))["metadata"]["resourceVersion"])
        if number % 3 == 2:
            api.delete(f"{path}/m-{number % 5}-{number}")
    orders = []
    for version in versions:
        with api.watch(path, resourceVersion=version, timeoutSeconds="1") as events:
            orders.append(
                [
                    tree["metadata"]["resourceVersion"]
                    for _, tree in events.take(3 + 10 - versions.index(version))
                ]
                if version == start
                else []
            )
        if len(orders) == 3:
            break
    assert orders[0] == sorted(orders[0], key=int)


def test_a_watch_without_a_version_begins_with_what_is_there(api: Api, namespace: str) -> None:
    path = maps(namespace)
    api.create(path, a_map("m"))
    for query in ({}, {"resourceVersion": "0"}):
        with api.watch(path, fieldSelector="metadata.name=m", **query) as events:
            kind, tree = events.next()
            assert (kind, tree["metadata"]["name"]) == ("ADDED", "m")


def test_a_watch_list_ends_its_beginning_with_a_bookmark(api: Api, namespace: str) -> None:
    path = maps(namespace)
    api.create(path, a_map("m"))
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    with api.watch(path, fieldSelector="metadata.name=m", **query) as events:
        (added, tree), (bookmark, end) = events.take(2)
        assert (added, tree["metadata"]["name"], bookmark) == ("ADDED", "m", "BOOKMARK")
        assert end["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert end["kind"] == "ConfigMap"
        api.patch(f"{path}/m", {"data": {"n": "1"}})
        kind, changed = events.next()
        assert kind == "MODIFIED"
        assert int(changed["metadata"]["resourceVersion"]) > int(end["metadata"]["resourceVersion"])


def test_the_old_paths_of_watches_still_work(api: Api, namespace: str) -> None:
    api.create(maps(namespace), a_map("m"))
    for path in (
        f"/api/v1/watch/namespaces/{namespace}/configmaps/m",
        f"{maps(namespace)}/?watch=1&fieldSelector=metadata.name=m",
    ):
        with api.http.stream("GET", path) as answer:
            event = json.loads(next(answer.iter_lines()))
        assert event["object"]["metadata"]["name"] == "m"


def test_a_watch_of_one_name_ends_when_it_was_asked_to(api: Api, namespace: str) -> None:
    path = maps(namespace)
    api.create(path, a_map("m"))
    with api.watch(path, fieldSelector="metadata.name=m", timeoutSeconds="1") as events:
        assert [kind for kind, _ in events.rest()] == ["ADDED"]


# Pages


def test_a_list_in_pages_is_one_list(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/podtemplates"
    for number in range(40):
        api.create(path, {"metadata": {"name": f"template-{number:04}"}, "template": TEMPLATE})
    names: list[str] = []
    token, versions = "", set()
    while True:
        page = api.get(path, limit="17", **({"continue": token} if token else {}))
        versions.add(page["metadata"]["resourceVersion"])
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            assert "remainingItemCount" not in page["metadata"]
            break
        assert page["metadata"]["remainingItemCount"] == 40 - len(names)
    assert names == [f"template-{number:04}" for number in range(40)] and len(versions) == 1
    whole = api.get(path, limit="100")
    assert len(whole["items"]) == 40 and "continue" not in whole["metadata"]


def test_a_page_of_a_list_that_has_changed_shows_what_was(api: Api, namespace: str) -> None:
    path = maps(namespace)
    for name in "abcd":
        api.create(path, a_map(name))
    first = api.get(path, limit="2", labelSelector="!gone")
    api.delete(f"{path}/d")
    api.create(path, a_map("e"))
    second = api.get(path, limit="10", **{"continue": first["metadata"]["continue"]})
    names = [item["metadata"]["name"] for item in [*first["items"], *second["items"]]]
    assert [name for name in names if len(name) == 1] == list("abcd")


def test_a_selected_page_does_not_count_what_is_left(api: Api, namespace: str) -> None:
    path = maps(namespace)
    for name in "abc":
        api.create(path, a_map(name, page="yes"))
    page = api.get(path, limit="1", labelSelector="page=yes")
    assert page["metadata"]["continue"] and "remainingItemCount" not in page["metadata"]


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("x", "it must be one that the server gave"),
        (encoded("[]"), "it must be one that the server gave"),
        (encoded("{}"), "server does not recognize this encoded version"),
        (encoded('{"v":"other","rv":1,"start":"a"}'), "server does not recognize this encoded version"),
        (
            encoded('{"v":"meta.k8s.io/v1","start":"a"}'),
            "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        ),
        (encoded('{"v":"meta.k8s.io/v1","rv":1}'), "encoded start key empty (version meta.k8s.io/v1)"),
        (
            encoded('{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}'),
            "it must be one that the server gave",
        ),
        (encoded('{"v":"meta.k8s.io/v1","rv":1,"start":7}'), "it must be one that the server gave"),
    ],
)
def test_a_token_that_is_none_is_refused(api: Api, token: str, why: str) -> None:
    for more in ({}, {"resourceVersion": "5"}):
        refused = api.get("/api/v1/configmaps", status=400, **{"continue": token, **more})
        assert refused["message"] == f"invalid continue token: continue key is not valid: {why}"


# Tables and metadata


def test_a_pod_is_shown_as_a_row(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    api.create(path, {"metadata": {"name": "p"}, **POD})
    table = api.get(f"{path}/p", headers={"accept": TABLE})
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert table["columnDefinitions"][0]["name"] == "Name" and len(table["columnDefinitions"]) > 2
    (row,) = table["rows"]
    assert row["cells"][0] == "p" and len(row["cells"]) == len(table["columnDefinitions"])
    assert row["object"]["kind"] == "PartialObjectMetadata" and row["object"]["metadata"]["name"] == "p"
    assert table["metadata"]["resourceVersion"]


def test_a_table_comes_in_pages(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/podtemplates"
    for number in range(5):
        api.create(path, {"metadata": {"name": f"t-{number}"}, "template": TEMPLATE})
    first = api.get(path, headers={"accept": TABLE}, limit="2")
    assert len(first["rows"]) == 2 and first["metadata"]["remainingItemCount"] == 3
    rest = api.get(path, headers={"accept": TABLE}, **{"continue": first["metadata"]["continue"]})
    assert len(rest["rows"]) == 3 and "continue" not in rest["metadata"]


def test_old_clients_are_shown_the_first_version_of_tables(api: Api, namespace: str) -> None:
    api.create(maps(namespace), a_map("m"))
    old = {"accept": TABLE.replace("v=v1", "v=v1beta1")}
    table = api.get(maps(namespace), headers=old)
    assert table["apiVersion"] == table["rows"][0]["object"]["apiVersion"] == "meta.k8s.io/v1beta1"
    with api.http.stream(
        "GET", f"{maps(namespace)}?watch=1&fieldSelector=metadata.name=m", headers=old
    ) as answer:
        assert json.loads(next(answer.iter_lines()))["object"]["apiVersion"] == "meta.k8s.io/v1beta1"
    alone = api.get(f"{maps(namespace)}/m", headers={"accept": PARTIAL.replace("v=v1", "v=v1beta1")})
    assert alone["apiVersion"] == "meta.k8s.io/v1beta1"


def test_nodes_are_shown_as_a_table(api: Api) -> None:
    api.create("/api/v1/nodes", {"metadata": {"name": "shown"}})
    table = api.get("/api/v1/nodes", headers={"accept": TABLE})
    assert len(table["columnDefinitions"]) >= 2 and table["rows"][0]["cells"][0] == "shown"
    assert table["columnDefinitions"][0]["format"] == "name"


def test_who_accepts_only_what_cannot_be_shown_is_told(api: Api) -> None:
    body = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    status = api.ask("POST", path, body, status=406, headers={"accept": TABLE})
    assert status["reason"] == "NotAcceptable"


def test_metadata_is_served_alone(api: Api, namespace: str) -> None:
    path = maps(namespace)
    api.create(path, a_map("m", {"a": "1"}, x="y"))
    alone = api.get(f"{path}/m", headers={"accept": PARTIAL})
    assert (alone["kind"], alone["apiVersion"]) == (
        "PartialObjectMetadata",
        "meta.k8s.io/v1",
    ) and "data" not in alone
    listed = api.get(path, headers={"accept": PARTIAL_LIST}, labelSelector="x=y")
    assert listed["kind"] == "PartialObjectMetadataList" and listed["items"][0]["metadata"]["name"] == "m"
    assert listed["items"][0]["kind"] == "PartialObjectMetadata"


# Discovery


def test_every_group_is_discovered_at_every_level(api: Api) -> None:
    groups = api.get("/apis")["groups"]
    assert {
        "apps",
        "batch",
        "policy",
        "autoscaling",
        "certificates.k8s.io",
        "events.k8s.io",
        "discovery.k8s.io",
    } <= {group["name"] for group in groups}
    for group in groups:
        path = f"/apis/{group['name']}"
        document = api.get(path)
        assert document["kind"] == "APIGroup" and document["apiVersion"] == "v1"
        assert document["preferredVersion"] in document["versions"] and document["name"] == group["name"]
        for version in document["versions"]:
            resources = api.get(f"/apis/{version['groupVersion']}")
            assert (
                resources["kind"] == "APIResourceList"
                and resources["groupVersion"] == version["groupVersion"]
            )
            assert resources["resources"]
    assert api.get("/api")["versions"] == ["v1"]
    assert "pods" in {resource["name"] for resource in api.get("/api/v1")["resources"]}


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_discovery_in_one_document_says_the_same(api: Api, version: str) -> None:
    accept = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    for root in ("/api", "/apis"):
        answer = api.http.get(root, headers={"accept": f"{accept},application/json;q=0.9"})
        assert answer.headers["content-type"] == accept
        document = answer.json()
        assert (
            document["kind"] == "APIGroupDiscoveryList"
            and document["apiVersion"] == f"apidiscovery.k8s.io/{version}"
        )
        for group in document["items"]:
            name = group["metadata"].get("name", "")
            for of_version in group["versions"]:
                path = f"{root}/{name}/{of_version['version']}" if name else f"{root}/{of_version['version']}"
                told = {resource["name"] for resource in api.get(path)["resources"]}
                found = set()
                for resource in of_version["resources"]:
                    found.add(resource["resource"])
                    found |= {
                        f"{resource['resource']}/{sub['subresource']}"
                        for sub in resource.get("subresources", ())
                    }
                assert told == found


def test_discovery_need_not_be_sent_twice(api: Api) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    for path, headers in (
        ("/apis", {"accept": accept}),
        ("/api", {"accept": accept}),
        ("/openapi/v2", {}),
        ("/openapi/v3/api/v1", {}),
    ):
        answer = api.http.get(path, headers=headers)
        tag = answer.headers["etag"]
        again = api.http.get(path, headers={**headers, "if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"") and again.headers["etag"] == tag
        assert "accept" in answer.headers["vary"].lower()
        other = api.http.get(path, headers={**headers, "if-none-match": '"other"'})
        assert other.status_code == 200


def test_the_index_of_openapi_names_every_version_with_its_hash(api: Api) -> None:
    paths = api.get("/openapi/v3")["paths"]
    url = paths["apis/apps/v1"]["serverRelativeURL"]
    assert re.fullmatch(r"/openapi/v3/apis/apps/v1\?hash=[0-9A-Fa-f]+", url)
    answer = api.http.get(url)
    assert answer.json()["openapi"].startswith("3.") and "immutable" in answer.headers["cache-control"]
    moved = api.http.get("/openapi/v3/apis/apps/v1?hash=0")
    assert moved.status_code == 301 and moved.headers["location"].endswith(url)


def test_the_version_is_told(api: Api) -> None:
    version = api.get("/version")
    assert version["major"] == "1" and re.fullmatch(r"\d+\+?", version["minor"])
    assert version["gitVersion"].startswith("v1.")


# Fields that are unknown or repeated


def test_unknown_fields_are_refused_or_warned_of_and_then_kept(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    body = {"metadata": {"name": "d"}, **DEPLOYMENT, "unknown": 1}
    body["spec"] = {**body["spec"], "other": 2}
    refused = api.create(path, body, fieldValidation="Strict", status=400)
    assert 'strict decoding error: unknown field "spec.other", unknown field "unknown"' in refused["message"]
    assert refused["reason"] == "BadRequest"
    answer = api.http.post(path, json=body)
    assert answer.status_code == 201
    assert {'299 - "unknown field \\"unknown\\""', '299 - "unknown field \\"spec.other\\""'} == set(
        answer.headers.get_list("warning", split_commas=True)
    )
    patch = {"spec": {"foo": "bar"}}
    assert (
        'unknown field "spec.foo"'
        in api.patch(f"{path}/d", patch, fieldValidation="Strict", status=422)["message"]
    )
    answer = api.http.patch(f"{path}/d?fieldValidation=Ignore", json=patch, headers={"content-type": MERGE})
    assert answer.status_code == 200 and "warning" not in answer.headers
    kept = api.get(f"{path}/d")
    assert (kept["unknown"], kept["spec"]["other"], kept["spec"]["foo"]) == (1, 2, "bar")


def test_repeated_fields_are_refused_in_every_kind_of_body(api: Api, namespace: str) -> None:
    path = maps(namespace)
    body = (
        '{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"m","name":"m"},"data":{"a":"1","a":"2"}}'
    )
    refused = api.create(path, body, fieldValidation="Strict", status=400)
    assert (
        'duplicate field "metadata.name"' in refused["message"]
        and 'duplicate field "data.a"' in refused["message"]
    )
    answer = api.http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 201 and answer.json()["data"] == {"a": "2"}
    assert 'duplicate field \\"data.a\\"' in answer.headers["warning"]
    patch = '{"data":{"b":"1","b":"2"}}'
    refused = api.patch(f"{path}/m", patch, fieldValidation="Strict", status=422)
    assert 'duplicate field "data.b"' in refused["message"]
    text = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: w}\ndata:\n  a: '1'\n  a: '2'\n"
    refused = api.ask("POST", path, text, kind="application/yaml", fieldValidation="Strict", status=400)
    assert 'key "a" already set in map' in refused["message"]
    answer = api.http.post(path, content=text, headers={"content-type": "application/yaml"})
    assert answer.status_code == 201 and 'key \\"a\\" already set in map' in answer.headers["warning"]
    refused = api.ask(
        "PATCH",
        f"{path}/z",
        text.replace("name: w", "name: z"),
        kind=APPLY,
        fieldManager="m",
        fieldValidation="Strict",
        status=400,
    )
    assert 'key "a" already set in map' in refused["message"]


def test_one_refusal_tells_of_unknown_and_of_repeated_fields(api: Api, namespace: str) -> None:
    whole = json.dumps({**DEPLOYMENT, "metadata": {"name": "d"}})
    body = whole.replace('"replicas": 0', '"unknownField": "x", "replicas": 2, "replicas": 3', 1)
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    refused = api.create(path, body, status=400, fieldValidation="Strict")
    told = 'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"'
    assert told in refused["message"]


def test_unknown_fields_in_metadata_count_too(api: Api, namespace: str) -> None:
    body = {"metadata": {"name": "m", "unknownMeta": "x"}, "data": {}}
    refused = api.create(maps(namespace), body, fieldValidation="Strict", status=400)
    assert 'unknown field "metadata.unknownMeta"' in refused["message"]


def test_a_json_patch_with_an_unknown_field_is_refused_when_strict(api: Api, namespace: str) -> None:
    api.create(maps(namespace), a_map("m"))
    patch = [{"op": "add", "path": "/foo", "value": "bar"}]
    refused = api.patch(f"{maps(namespace)}/m", patch, JSON_PATCH, fieldValidation="Strict", status=422)
    assert 'unknown field "foo"' in refused["message"]
    bad = [{"op": "add", "path": "/data", "value": {}, "foo": "bar"}]
    refused = api.patch(f"{maps(namespace)}/m", bad, JSON_PATCH, fieldValidation="Strict", status=422)
    assert 'json patch unknown field "[0].foo"' in refused["message"]


# Headers


def test_large_answers_are_compressed_for_who_takes_it(api: Api, namespace: str) -> None:
    for number in range(3):
        api.create(maps(namespace), a_map(f"m-{number}", {"a": "x" * 60_000}))
    answer = httpx.get(
        str(api.http.base_url.join(maps(namespace))),
        headers={"authorization": api.http.headers["authorization"], "accept-encoding": "gzip"},
    )
    assert answer.headers["content-encoding"] == "gzip" and len(answer.json()["items"]) >= 3
    with httpx.stream("GET", str(answer.url), headers={**api.http.headers, "accept-encoding": "gzip"}) as raw:
        assert len(gzip.decompress(b"".join(raw.iter_raw()))) > 180_000
    plain = api.http.get(maps(namespace), headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_methods_that_resources_do_not_have_are_not_allowed(api: Api, method: str) -> None:
    answer = api.http.request(method, "/api/v1/pods")
    assert answer.status_code == 405
    assert answer.json()["reason"] == "MethodNotAllowed"


def test_answers_are_nobodys_to_keep(api: Api) -> None:
    assert api.http.get("/api/v1/pods").headers["cache-control"] == "no-cache, private"
