"""sig-api-machinery: what is refused, and in which words."""

import json
from typing import Any

import pytest

from tests.conformance.conftest import Api
from tests.conformance.test_api_machinery import a_map, maps


def refusals(namespace: str) -> list[tuple[str, str, Any, int, dict[str, Any]]]:
    m = maps(namespace)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    return [
        ("GET", f"{m}/none", None, 404, {
            "message": 'configmaps "none" not found', "reason": "NotFound", "details": {"name": "none", "kind": "configmaps"}}),
        ("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/none", None, 404, {
            "message": 'deployments.apps "none" not found',
            "details": {"name": "none", "group": "apps", "kind": "deployments"}}),
        ("GET", "/api/v1/nothing", None, 404, {
            "message": "the server could not find the requested resource", "reason": "NotFound"}),
        ("GET", "/apis/apps/v9/things", None, 404, {"message": "the server could not find the requested resource"}),
        ("DELETE", f"{m}/none", None, 404, {"message": 'configmaps "none" not found'}),
        ("PUT", f"{m}/none", {"metadata": {"name": "none"}}, 404, {"message": 'configmaps "none" not found'}),
        ("POST", m, {"metadata": {"name": "Not_A_Name"}}, 422, {
            "reason": "Invalid", "details": {"name": "Not_A_Name", "kind": "ConfigMap", "causes": [{
                "reason": "FieldValueInvalid", "field": "metadata.name",
                "message": 'Invalid value: "Not_A_Name": a lowercase RFC 1123 subdomain must consist of lower case'
                " alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g."
                " 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"}]}}),
        ("POST", m, "not json", 400, {"reason": "BadRequest"}),
        ("POST", m, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}}, 400, {
            "reason": "BadRequest",
            "message": "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap):"
            " unknown conversion"}),
        ("POST", m, {"kind": "ConfigMap", "apiVersion": "v2", "metadata": {"name": "a"}}, 400, {"reason": "BadRequest"}),
        ("POST", m, {"metadata": {"name": "a", "namespace": "other"}}, 400, {
            "message": "the namespace of the provided object does not match the namespace sent on the request"}),
        ("POST", m, {"metadata": {"name": "a"}, "data": {"a": 1}}, 400, {
            "message": 'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct'
            " field ConfigMap.data of type string"}),
        ("POST", f"{m}/a", {"metadata": {"name": "a"}}, 405, {
            "reason": "MethodNotAllowed", "message": "the server does not allow this method on the requested resource"}),
        ("DELETE", pods + "/none/status", None, 405, {"reason": "MethodNotAllowed"}),
        ("POST", "/api/v1/namespaces/none-such/configmaps", {"metadata": {"name": "a"}}, 404, {
            "message": 'namespaces "none-such" not found', "details": {"name": "none-such", "kind": "namespaces"}}),
        ("POST", m, {"metadata": {"name": "a", "resourceVersion": "5"}}, 400, {
            "message": "resourceVersion should not be set on objects to be created", "reason": "BadRequest"}),
        ("GET", f"{m}?labelSelector=a%3Db%3Dc", None, 400, {"reason": "BadRequest"}),
        ("GET", f"{pods}?fieldSelector=spec.unknown%3Dx", None, 400, {
            "message": 'field label not supported: spec.unknown', "reason": "BadRequest"}),
        ("GET", f"{m}?limit=x", None, 400, {"reason": "BadRequest"}),
        ("GET", f"{m}?resourceVersion=x", None, 400, {"reason": "BadRequest"}),
    ]  # fmt: skip


def holds(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(holds(found.get(k), v) for k, v in wanted.items())
    return bool(found == wanted)


def test_refusals_say_what_kubernetes_says(api: Api, namespace: str) -> None:
    wrong = []
    for method, path, body, code, wanted in refusals(namespace):
        content = body if isinstance(body, str) else None if body is None else json.dumps(body)
        answer = api.http.request(method, path, content=content, headers={"content-type": "application/json"})
        status = answer.json()
        complete = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "code": code,
            **wanted,
        }
        if answer.status_code != code or not holds(status, complete):
            wrong.append((method, path, answer.status_code, status))
    assert not wrong, "\n".join(map(str, wrong))


def test_an_update_of_an_old_version_conflicts_in_kubernetes_words(api: Api, namespace: str) -> None:
    made = api.create(maps(namespace), a_map("m"))
    api.patch(f"{maps(namespace)}/m", {"data": {"a": "1"}})
    refused = api.put(f"{maps(namespace)}/m", made, status=409)
    assert refused["message"] == (
        'Operation cannot be fulfilled on configmaps "m": the object has been modified; please apply your changes to the'
        " latest version and try again"
    )
    assert refused["details"] == {"name": "m", "kind": "configmaps"}


def test_a_body_of_an_unknown_type_is_refused(api: Api, namespace: str) -> None:
    refused = api.ask("POST", maps(namespace), "x", kind="text/plain", status=415)
    assert refused["reason"] == "UnsupportedMediaType"
    assert refused["message"].startswith(
        "the body of the request was in an unknown format - accepted media types include: "
    )
    refused = api.ask("PATCH", f"{maps(namespace)}/m", "{}", kind="application/json", status=415)
    assert refused["message"] == "415: Unsupported Media Type"


def test_a_client_that_accepts_nothing_that_is_served_is_told(api: Api) -> None:
    refused = api.get("/api/v1/pods", status=406, headers={"accept": "text/plain"})
    assert refused["reason"] == "NotAcceptable"
    assert refused["message"] == (
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml,"
        " application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    )


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path", ["/nothing", "/apis/nobody.example.com", "/apis/nobody.example.com/v1/things"]
)
def test_where_there_is_no_api_there_is_no_page(api: Api, method: str, path: str) -> None:
    answer = api.http.request(method, path, json={} if method == "POST" else None)
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/api/v1/nothings", "/apis/apps/v9", "/apis/apps/v1/nothings", "/api/v2"])
def test_what_a_known_group_has_not_is_refused_with_a_status(api: Api, path: str) -> None:
    assert api.get(path, status=404)["message"] == "the server could not find the requested resource"
