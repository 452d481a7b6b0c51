"""What a body has that it should not: told in one sentence and in the order in which Kubernetes tells it, for every kind of body."""

import json
from collections.abc import Iterator

import httpx
import pytest

from kubelib.testing.cluster import Cluster, ClusterOptions
from tests.server.definitions import CRDS, definition

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
JSON = """{"apiVersion": "apps/v1", "kind": "Deployment",
 "metadata": {"name": "other", "name": "d", "odd": "1"},
 "spec": {"zeta": 1, "beta": 1, "beta": 2, "paused": true, "paused": false,
  "selector": {"matchLabels": {"a": "b"}},
  "template": {"metadata": {"labels": {"a": "b"}},
   "spec": {"containers": [{"name": "c", "image": "i", "odd": 1, "tty": true, "tty": false}]}}}}"""
ORDERED = [
    'duplicate field "metadata.name"', 'unknown field "metadata.odd"', 'unknown field "spec.zeta"', 'unknown field "spec.beta"',
    'duplicate field "spec.paused"', 'unknown field "spec.template.spec.containers[0].odd"',
    'duplicate field "spec.template.spec.containers[0].tty"',
]  # fmt: skip
YAML = """apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  zeta: 1
  paused: true
  paused: false
  beta: 1
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c, image: i}]}
"""
MERGE = """{"spec": {"zeta": 1, "beta": 1, "beta": 2, "paused": true, "paused": false}}"""
MERGED = [
    'duplicate field "spec.beta"', 'duplicate field "spec.paused"', 'unknown field "spec.beta"', 'unknown field "spec.zeta"',
]  # fmt: skip
OPERATIONS = """[{"op": "add", "path": "/spec/beta", "value": {"a": 1, "a": 2}, "odd": 1},
 {"op": "add", "path": "/spec/none", "path": "/spec/alpha", "value": 1}]"""
OPERATED = [
    'json patch unknown field "[0].odd"', 'json patch duplicate field "[1].path"', 'unknown field "spec.alpha"',
    'unknown field "spec.beta"',
]  # fmt: skip
KIND = 'Deployment in version "v1" cannot be handled as a Deployment: '
STRICT = "strict decoding error: "


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
            whole = client.post(f"{DEPLOYMENTS}?fieldValidation=Ignore", content=JSON, headers=of("json"))
            assert whole.status_code == 201, whole.text
            yield client


def of(kind: str) -> dict[str, str]:
    return {"content-type": f"application/{kind}"}


def refused(client: httpx.Client, method: str, path: str, body: str, kind: str, code: int = 400) -> str:
    query = "fieldValidation=Strict&fieldManager=me&dryRun=All"
    answer = client.request(method, f"{path}?{query}", content=body, headers=of(kind))
    assert answer.status_code == code, answer.text
    return str(answer.json()["message"])


def warned(client: httpx.Client, method: str, path: str, body: str, kind: str) -> list[str]:
    answer = client.request(method, f"{path}?fieldManager=me&dryRun=All", content=body, headers=of(kind))
    assert answer.is_success, answer.text
    texts = answer.headers.get_list("warning")
    return [text.removeprefix('299 - "').removesuffix('"').replace('\\"', '"') for text in texts]


@pytest.mark.parametrize(("method", "path"), [("PUT", f"{DEPLOYMENTS}/d"), ("POST", DEPLOYMENTS)])
def test_json_is_told_of_in_its_own_order(client: httpx.Client, method: str, path: str) -> None:
    body = JSON.replace('"name": "d"', '"name": "d2"') if method == "POST" else JSON
    assert refused(client, method, path, body, "json") == KIND + STRICT + ", ".join(ORDERED)
    assert warned(client, method, path, body, "json") == ORDERED


def test_yaml_is_told_of_by_line_and_then_by_name(client: httpx.Client) -> None:
    path, twice = f"{DEPLOYMENTS}/d", 'line 7: key "paused" already set in map'
    unknown = ['unknown field "spec.beta"', 'unknown field "spec.zeta"']
    assert refused(client, "PUT", path, YAML, "yaml") == (
        f"{KIND}{STRICT}yaml: unmarshal errors:\n  {twice}, {', '.join(unknown)}"
    )
    assert warned(client, "PUT", path, YAML, "yaml") == [twice, *unknown]
    once = YAML.replace("  paused: true\n", "")
    assert refused(client, "PUT", path, once, "yaml") == KIND + STRICT + ", ".join(unknown)


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("merge-patch+json", MERGE, MERGED),
        ("strategic-merge-patch+json", MERGE, MERGED),
        ("json-patch+json", OPERATIONS, OPERATED),
    ],
)
def test_patches_are_told_of_before_what_they_make(
    client: httpx.Client, kind: str, body: str, told: list[str]
) -> None:
    plain = JSON
    for text in ('"name": "other", ', ', "odd": "1"', '"zeta": 1, "beta": 1, "beta": 2, ', '"odd": 1, '):
        plain = plain.replace(text, "")
    assert client.put(f"{DEPLOYMENTS}/d", content=plain, headers=of("json")).status_code == 200
    path = f"{DEPLOYMENTS}/d"
    assert refused(client, "PATCH", path, body, kind, 422).endswith(f": {STRICT}{', '.join(told)}")
    assert warned(client, "PATCH", path, body, kind) == told


def test_what_is_applied_is_told_of_by_line_even_if_it_is_json(client: httpx.Client) -> None:
    body = (
        '{\n\t"apiVersion": "v1",\n\t"kind": "ConfigMap",\n\t"data": {\n\t\t"a": "1",\n\t\t"a": "2"\n\t}\n}'
    )
    path, line = "/api/v1/namespaces/default/configmaps/m", 'line 6: key "a" already set in map'
    assert refused(client, "PATCH", path, body, "apply-patch+yaml") == (
        f"error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {line}"
    )
    assert warned(client, "PATCH", path, body, "apply-patch+yaml") == [line]


def test_custom_kinds_are_told_of_what_is_there_twice_first(client: httpx.Client) -> None:
    spec = {"type": "object", "properties": {"known": {"type": "string"}}}
    assert client.post(CRDS, json=definition("stools", "Stool", spec)).status_code == 201
    body = """{"apiVersion": "example.com/v1", "kind": "Stool", "metadata": {"name": "s", "odd": 1},
     "spec": {"zeta": 1, "beta": 1, "beta": 2, "known": "a", "known": "b"}}"""
    told = [
        'duplicate field "spec.beta"', 'duplicate field "spec.known"', 'unknown field "metadata.odd"',
        'unknown field "spec.beta"', 'unknown field "spec.zeta"',
    ]  # fmt: skip
    path = "/apis/example.com/v1/namespaces/default/stools"
    kind = 'Stool in version "v1" cannot be handled as a Stool: '
    assert refused(client, "POST", path, body, "json") == kind + STRICT + ", ".join(told)
    assert warned(client, "POST", path, body, "json") == told


def test_wrong_types_are_told_of_first(client: httpx.Client) -> None:
    body = '{"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": 5, "x": 6}, "odd": 1}'
    message = refused(client, "POST", "/api/v1/namespaces/default/configmaps", body, "json")
    assert message.startswith(
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal'
    )


def test_a_replacement_says_which_object_it_is_for(client: httpx.Client) -> None:
    for path in (f"{DEPLOYMENTS}/d", f"{DEPLOYMENTS}/d/status"):
        assert refused(client, "PUT", path, '{"metadata": {}}', "json") == (
            "the name of the object (d based on URL) was undeterminable: name must be provided"
        )


def test_what_a_body_does_not_say_hides_nothing(client: httpx.Client) -> None:
    body = '{"metadata": {"name": "a"}, "data": {"x": "1", "x": "2"}}'
    message = refused(client, "POST", "/api/v1/namespaces/default/configmaps", body, "json")
    assert message.endswith(f'{STRICT}duplicate field "data.x"')


@pytest.mark.parametrize(
    ("spec", "shown", "why"),
    [
        ({"selector": "a"}, "selector:a", "cannot restore struct from: string"),
        ({"template": {"metadata": {"labels": ["b"]}}}, "template:map[metadata:map[labels:[b]]]", "cannot restore map from slice"),
        ({"template": {"spec": {"volumes": {}}}}, "template:map[spec:map[volumes:map[]]]", "cannot restore slice from map"),
        ({"replicas": "3", "paused": None}, "paused:<nil> replicas:3", "unrecognized type: int32"),
        ({"strategy": {"type": 1}}, "strategy:map[type:1]", "cannot convert int64 to string"),
        ({"zeta": True}, "zeta:true", 'strict decoding error: unknown field "spec.zeta"'),
    ],
)  # fmt: skip
def test_of_a_strategic_patch_it_is_said_what_it_holds(
    client: httpx.Client, spec: dict[str, object], shown: str, why: str
) -> None:
    patch = json.dumps({"spec": spec})
    message = refused(client, "PATCH", f"{DEPLOYMENTS}/d", patch, "strategic-merge-patch+json", 422)
    assert message == f' "" is invalid: patch: Invalid value: "map[spec:map[{shown}]]": {why}'
