"""What clients send wrongly is answered as Kubernetes answers it, and never with 500."""

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kubelib.server.responses import warning_header
from kubelib.testing.cluster import Cluster, ClusterOptions

Send = Callable[..., tuple[int, dict[str, object]]]
PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    directory: Path = tmp_path_factory.mktemp("cluster")
    with Cluster(directory, ClusterOptions()) as cluster:

        def request(
            method: str, path: str, body: bytes | str | None = None, kind: str = "application/json"
        ) -> tuple[int, dict[str, object]]:
            connection = http.client.HTTPConnection(urlsplit(cluster.url).netloc, timeout=60)
            headers = {"Authorization": f"Bearer {cluster.token}", "Content-Type": kind}
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            return answer.status, json.loads(data)

        yield request
        assert request("GET", "/api/v1/namespaces")[0] == 200, "the server did not survive"


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "message"),
    [
        ("POST", MAPS, "{", 400, ""),
        ("POST", MAPS, "[1]", 400, "cannot unmarshal array"),
        ("POST", MAPS, '{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}', 400, "unknown conversion"),
        (
            "POST",
            MAPS,
            '{"kind":"ConfigMap","apiVersion":"v2","metadata":{"name":"a"}}',
            400,
            "is registered for version",
        ),
        (
            "POST",
            MAPS,
            '{"metadata":{"name":"a","namespace":"other"}}',
            400,
            "namespace of the provided object does not match",
        ),
        ("POST", MAPS, '{"metadata":{"name":"Bad_Name"}}', 422, "lowercase RFC 1123 subdomain"),
        ("POST", MAPS, '{"metadata":{"name":"a","labels":{"-":"b"}}}', 422, "metadata.labels"),
        ("POST", MAPS, '{"metadata":{}}', 422, "name or generateName is required"),
        ("POST", MAPS, '{"metadata":{"name":"a"},"data":{"x":5}}', 400, "cannot be handled as a ConfigMap"),
        (
            "POST",
            MAPS + "?fieldValidation=Strict",
            '{"metadata":{"name":"a"},"datum":{}}',
            400,
            'unknown field \\"datum\\"',
        ),
        (
            "POST",
            MAPS + "?fieldValidation=Strict",
            '{"metadata":{"name":"a"},"data":{"x":"1","x":"2"}}',
            400,
            "duplicate field",
        ),
        ("POST", MAPS + "?dryRun=Some", '{"metadata":{"name":"a"}}', 422, "dryRun"),
        ("POST", "/api/v1/namespaces/missing/configmaps", '{"metadata":{"name":"a"}}', 404, "not found"),
        (
            "POST",
            PODS,
            '{"metadata":{"name":"a"},"spec":{"containers":[]}}',
            422,
            "spec.containers: Required value",
        ),
        (
            "POST",
            PODS,
            '{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"lots"}}}]}}',
            422,
            "quantities must match the regular expression",
        ),
        ("GET", PODS + "?labelSelector=a%3Db%3Dc", None, 400, "unable to parse"),
        ("GET", PODS + "?fieldSelector=spec.nonsense%3Da", None, 400, "field label not supported"),
        ("GET", PODS + "?limit=many", None, 400, "invalid syntax"),
        ("GET", PODS + "?limit=%C2%B2", None, 400, "invalid syntax"),
        ("GET", PODS + "?limit=%D9%A3", None, 400, "invalid syntax"),
        ("GET", PODS + "?limit=1_000", None, 400, "invalid syntax"),
        ("GET", PODS + "?limit=9223372036854775808", None, 400, "value out of range"),
        ("GET", PODS + "?limit=" + "9" * 5000, None, 400, "value out of range"),
        ("DELETE", MAPS + "/missing?gracePeriodSeconds=" + "9" * 20, None, 400, "value out of range"),
        ("GET", PODS + "/x/status/more", None, 404, "could not find the requested resource"),
        (
            "GET",
            "/api/v1/watch/namespaces/default/secrets/x/status",
            None,
            404,
            "could not find the requested resource",
        ),
        (
            "GET",
            "/api/v1/watch/namespaces/default/pods/x/exec",
            None,
            404,
            "could not find the requested resource",
        ),
        ("GET", PODS + "?limit=1&continue=nonsense", None, 400, "continue key is not valid"),
        ("GET", PODS + "?resourceVersion=x", None, 400, "resourceVersion"),
        ("GET", PODS + "?resourceVersion=0&resourceVersionMatch=Exact", None, 422, "forbidden"),
        ("GET", PODS + "?watch=true&timeoutSeconds=x", None, 400, "invalid syntax"),
        ("GET", "/api/v1/nonsense", None, 404, "could not find the requested resource"),
        ("GET", "/apis/apps/v9", None, 404, "could not find the requested resource"),
        ("PUT", PODS, "{}", 405, "does not allow this method"),
        ("DELETE", MAPS + "/missing", None, 404, 'configmaps \\"missing\\" not found'),
    ],
)
def test_a_request_that_is_wrong_is_refused_with_a_status(
    send: Send, method: str, path: str, body: str | None, code: int, message: str
) -> None:
    status, answer = send(method, path, body)
    assert (status, answer["kind"], answer["code"]) == (code, "Status", code)
    assert message in json.dumps(answer["message"])


@pytest.mark.parametrize(
    ("path", "label", "message"),
    [
        ("/api/v1/pods", "spec.x", "field label not supported: spec.x"),
        (
            "/api/v1/configmaps",
            "data.x",
            '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (
            "/apis/networking.k8s.io/v1/ingresses",
            "foo.bar",
            '"foo.bar" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("/apis/batch/v1/jobs", "foo.bar", 'field label "foo.bar" not supported for batchv1.Job'),
        (
            "/apis/resource.k8s.io/v1/resourceslices",
            "spec.pool.name",
            "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: spec.pool.name",
        ),
        ("/api/v1/nodes", "metadata.namespace", "field label not supported: metadata.namespace"),
        ("/api/v1/namespaces", "metadata.namespace", "field label not supported: metadata.namespace"),
    ],
)
@pytest.mark.parametrize("watch", ["", "&watch=true&timeoutSeconds=1"])
def test_a_field_that_cannot_be_selected_by_is_refused_in_the_words_for_its_kind(
    send: Send, path: str, label: str, message: str, watch: str
) -> None:
    status, answer = send("GET", f"{path}?fieldSelector={label}%3Da{watch}", None)
    assert (status, answer["reason"], answer["message"]) == (400, "BadRequest", message)


def test_kinds_without_fields_of_their_own_take_the_namespace_also_if_they_have_none(send: Send) -> None:
    status, answer = send(
        "GET", "/apis/storage.k8s.io/v1/storageclasses?fieldSelector=metadata.namespace%3Da", None
    )
    assert (status, answer["items"]) == (200, [])


def test_a_body_that_is_too_large_is_refused(send: Send) -> None:
    status, _ = send("POST", MAPS, json.dumps({"metadata": {"name": "a"}, "data": {"x": "y" * 3_200_000}}))
    assert status == 413


def test_a_document_that_is_nested_too_deeply_is_refused(send: Send) -> None:
    for depth in (900, 5_000, 100_000):
        status, _ = send("POST", MAPS, '{"metadata":{"name":"a"},"x":' + "[" * depth + "]" * depth + "}")
        assert status in (201, 400)


def test_a_body_in_an_unknown_form_is_refused(send: Send) -> None:
    assert send("POST", MAPS, "<a/>", "text/xml")[0] == 415
    assert send("PATCH", MAPS + "/a", "{}", "application/json")[0] == 415
    for garbage in (b"", b"k8s\x00", b"k8s\x00\xff\xff\xff", b"k8s\x00" + bytes(range(256))):
        assert send("POST", MAPS, garbage, "application/vnd.kubernetes.protobuf")[0] in (400, 422)


def test_a_write_based_on_an_old_version_conflicts(send: Send) -> None:
    _, first = send("POST", MAPS, '{"metadata":{"name":"versions"},"data":{"a":"1"}}')
    send("PATCH", MAPS + "/versions", '{"data":{"a":"2"}}', "application/merge-patch+json")
    status, answer = send("PUT", MAPS + "/versions", json.dumps(first))
    assert (status, answer["reason"]) == (409, "Conflict")
    assert "the object has been modified" in str(answer["message"])


def test_patches_that_are_wrong_are_refused(send: Send) -> None:
    send("POST", MAPS, '{"metadata":{"name":"patched"},"data":{"a":"1"}}')
    json_patch = "application/json-patch+json"
    assert send("PATCH", MAPS + "/patched", "{}", json_patch)[0] == 400
    assert (
        send("PATCH", MAPS + "/patched", '[{"op":"test","path":"/data/a","value":"2"}]', json_patch)[0] == 422
    )
    assert send("PATCH", MAPS + "/patched", '[{"op":"remove","path":"/data/b"}]', json_patch)[0] == 422
    assert send("PATCH", MAPS + "/patched", "[1]", "application/merge-patch+json")[0] == 400
    assert send("PATCH", MAPS + "/patched", '{"kind":"Pod"}', "application/merge-patch+json")[0] == 422


def test_warnings_are_said_once_and_no_more_than_clients_can_take() -> None:
    assert warning_header(["a", "", 'b "c"', "a"]) == [
        (b"warning", b'299 - "a"'),
        (b"warning", b'299 - "b \\"c\\""'),
    ]
    assert len(warning_header([f'unknown field "f{number}"' for number in range(500)])) < 100
    long = warning_header(["x" * 5000, *(f"{number}" * 300 for number in range(20))])
    assert sum(len(value) for _, value in long) <= 4096 + 10 * len(long)
    assert len(long[0][1]) < 300


@pytest.mark.parametrize("seconds", [2**31, 2**63 - 1])
def test_a_pod_may_have_more_time_to_end_than_there_is(send: Send, seconds: int) -> None:
    name = f"late-{seconds}"
    spec = {
        "nodeName": "n",
        "terminationGracePeriodSeconds": seconds,
        "containers": [{"name": "c", "image": "i"}],
    }
    assert send("POST", PODS, json.dumps({"metadata": {"name": name}, "spec": spec}))[0] == 201
    status, answer = send("DELETE", f"{PODS}/{name}", None)
    meta = answer["metadata"]
    assert isinstance(meta, dict)
    assert (status, meta["deletionGracePeriodSeconds"]) == (200, seconds)
    assert meta["deletionTimestamp"] >= "2090"
    assert send("DELETE", f"{PODS}/{name}?gracePeriodSeconds={seconds - 1}", None)[0] == 200
    assert send("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0", None)[0] == 200
