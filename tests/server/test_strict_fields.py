"""What a body has that it should not: told in one sentence and in the order in which Kubernetes tells it, for every kind of body."""

import json
from collections.abc import Iterator

import httpx
import pytest

from kubelib.testing.cluster import Cluster, ClusterOptions
from tests.server.definitions import CRDS, OPEN, definition

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


EMBEDDED = """{"apiVersion": "example.com/v1", "kind": "%s", "metadata": {"name": "s", "zz": 1, "odd": 1},
 "spec": {"zeta": 1, "inner": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "odd": 1}},
  "list": [{"odd": 1}]}, "alpha": 1}"""


@pytest.mark.parametrize("kind", ["json", "yaml"])
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("open_ended", [False, True])
def test_metadata_are_told_of_first_and_those_of_embedded_objects_last(
    client: httpx.Client, kind: str, twice: bool, open_ended: bool
) -> None:
    name = "Vase" if open_ended else "Vat"
    items = {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}}
    inner = {**OPEN, "x-kubernetes-embedded-resource": True}
    spec = {**(OPEN if open_ended else {"type": "object"}), "properties": {"inner": inner, "list": items}}
    plural = f"{name.lower()}s"
    assert client.post(CRDS, json=definition(plural, name, spec)).status_code in (201, 409)
    body = EMBEDDED % name
    if twice:
        body = body.replace('"zeta": 1', '"zeta": 1, "zeta": 2')
    unknown = [
        "metadata.odd",
        "metadata.zz",
        "alpha",
        "spec.list[0].odd",
        "spec.zeta",
        "spec.inner.metadata.odd",
    ]
    told = [f'unknown field "{path}"' for path in unknown if not (open_ended and path == "spec.zeta")]
    if twice:
        told.insert(
            0, 'duplicate field "spec.zeta"' if kind == "json" else 'line 2: key "zeta" already set in map'
        )
    path = f"/apis/example.com/v1/namespaces/default/{plural}"
    assert warned(client, "POST", path, body, kind) == told
    if twice and kind == "yaml":
        told[0] = f"yaml: unmarshal errors:\n  {told[0]}"
    of = f'{name} in version "v1" cannot be handled as a {name}: '
    assert refused(client, "POST", path, body, kind) == of + STRICT + ", ".join(told)


NO_KIND = 'no kind "{}" is registered for version "{}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
POD = "/api/v1/namespaces/default/pods/p"


@pytest.mark.parametrize(
    ("path", "version", "kind", "why"),
    [
        ("d/scale", "autoscaling/v2", "Scale", NO_KIND.format("Scale", "autoscaling/v2")),
        ("d/scale", "autoscaling/v1", "Odd", NO_KIND.format("Odd", "autoscaling/v1")),
        ("d/scale", "apps/v1", "Deployment", "converting (v1.Deployment) to (autoscaling.Scale): unknown conversion"),
        ("p/eviction", "v1", "Pod", "converting (v1.Pod) to (policy.Eviction): unknown conversion"),
        ("p/binding", "policy/v1", "Eviction", NO_KIND.format("Eviction", "policy/v1")),
    ],
)  # fmt: skip
def test_bodies_of_parts_are_of_their_kind(
    client: httpx.Client, path: str, version: str, kind: str, why: str
) -> None:
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": path[0]}}
    wanted = path.partition("/")[2].capitalize()
    method, of = ("PUT", DEPLOYMENTS) if wanted == "Scale" else ("POST", POD.removesuffix("/p"))
    message = refused(client, method, f"{of}/{path}", json.dumps(body), "json")
    prefix = f'{kind} in version "{version.rpartition("/")[2]}" cannot be handled as a {wanted}: '
    assert message == prefix + why


def test_scales_are_read_strictly(client: httpx.Client) -> None:
    path = f"{DEPLOYMENTS}/d/scale"
    kind = 'Scale in version "v1" cannot be handled as a Scale: '
    told = ['unknown field "spec.odd"', 'duplicate field "spec.replicas"']
    body = '{"metadata": {"name": "d"}, "spec": {"odd": 1, "replicas": 1, "replicas": 2}}'
    assert refused(client, "PUT", path, body, "json") == kind + STRICT + ", ".join(told)
    assert warned(client, "PUT", path, body, "json") == told
    wrong = '{"metadata": {"name": "d"}, "spec": {"replicas": "x"}}'
    why = "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32"
    assert refused(client, "PUT", path, wrong, "json") == kind + why
    old = '{"apiVersion": "extensions/v1beta1", "kind": "Scale", "metadata": {"name": "d"}}'
    assert refused(client, "PUT", path, old, "json") == (
        "the API version in the data (extensions/v1beta1) does not match the expected API version (autoscaling/v1)"
    )


@pytest.mark.parametrize("kind", ["merge-patch+json", "strategic-merge-patch+json"])
def test_patches_of_scales_are_read_strictly(client: httpx.Client, kind: str) -> None:
    path, told = f"{DEPLOYMENTS}/d/scale", ['duplicate field "spec.odd"', 'unknown field "spec.odd"']
    patch = '{"spec": {"odd": 1, "odd": 2}}'
    assert refused(client, "PATCH", path, patch, kind, 422).endswith(f": {STRICT}{', '.join(told)}")
    assert warned(client, "PATCH", path, patch, kind) == told
    why = "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32"
    message = refused(client, "PATCH", path, '{"spec": {"replicas": "x"}}', kind, 422)
    assert message.endswith(f": {why if kind.startswith('merge') else 'unrecognized type: int32'}")


DEPLOYMENT = f"{DEPLOYMENTS}/d"


@pytest.mark.parametrize(
    ("path", "patch", "why"),
    [
        (DEPLOYMENT, {"kind": "Odd"}, NO_KIND.format("Odd", "apps/v1")),
        (DEPLOYMENT, {"apiVersion": "odd/v1"}, NO_KIND.format("Deployment", "odd/v1")),
        (DEPLOYMENT, {"kind": "DaemonSet"}, "converting (v1.DaemonSet) to (apps.Deployment): unknown conversion"),
        (DEPLOYMENT, {"apiVersion": "a/b/c"}, "unexpected GroupVersion string: a/b/c"),
        (DEPLOYMENT, {"kind": 1}, "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string"),
        (f"{DEPLOYMENT}/scale", {"apiVersion": "autoscaling/v2"}, NO_KIND.format("Scale", "autoscaling/v2")),
    ],
)  # fmt: skip
def test_patches_do_not_make_another_kind_of_an_object(
    client: httpx.Client, path: str, patch: dict[str, object], why: str
) -> None:
    operations = [{"op": "replace", "path": f"/{name}", "value": value} for name, value in patch.items()]
    for body, kind in ((patch, "merge-patch+json"), (operations, "json-patch+json")):
        message = refused(client, "PATCH", path, json.dumps(body), kind, 422)
        assert message.startswith(' "" is invalid: patch: Invalid value: "{') and message.endswith(f": {why}")
        assert '\\"metadata\\":' in message
    # What a strategic patch says of them, nobody reads.
    assert warned(client, "PATCH", path, json.dumps(patch), "strategic-merge-patch+json") == []


def test_what_a_patch_takes_away_of_the_kind_is_as_it_was(client: httpx.Client) -> None:
    for patch in ({"kind": None}, {"apiVersion": None}, {"apiVersion": "apps/v1beta2"}):
        answer = client.patch(f"{DEPLOYMENT}?dryRun=All", json=patch, headers=of("merge-patch+json"))
        tree = answer.json()
        assert (answer.status_code, tree["kind"], tree["apiVersion"]) == (200, "Deployment", "apps/v1")


def test_a_patch_may_be_made_for_another_version(client: httpx.Client) -> None:
    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3}
    assert client.post(path, json={"metadata": {"name": "h"}, "spec": spec}).status_code == 201
    percent = {"spec": {"metrics": None, "targetCPUUtilizationPercentage": 35}}
    patch = {"apiVersion": "autoscaling/v1", **percent}
    answer = client.patch(f"{path}/h?dryRun=All", json=patch, headers=of("merge-patch+json"))
    assert answer.status_code == 200, answer.text
    [metric] = answer.json()["spec"]["metrics"]
    assert metric["resource"]["target"]["averageUtilization"] == 35


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"kind": "Odd"}, 'Odd.example.com "s" is invalid: kind: Invalid value: "Odd": must be Stand'),
        ({"apiVersion": "odd/v1"}, 'Stand.odd "s" is invalid: apiVersion: Invalid value: "odd/v1": must be example.com/v1'),
        ({"apiVersion": None}, 'Stand "s" is invalid: apiVersion: Invalid value: "": must be example.com/v1'),
        ({"kind": None}, "Object 'Kind' is missing in '{"),
    ],
)  # fmt: skip
def test_patches_do_not_make_another_kind_of_a_custom_object(
    client: httpx.Client, patch: dict[str, object], message: str
) -> None:
    assert client.post(CRDS, json=definition("stands", "Stand")).status_code in (201, 409)
    path = "/apis/example.com/v1/namespaces/default/stands"
    tree = {"apiVersion": "example.com/v1", "kind": "Stand", "metadata": {"name": "s"}}
    assert client.post(path, json=tree).status_code in (201, 409)
    assert message in refused(client, "PATCH", f"{path}/s", json.dumps(patch), "merge-patch+json", 422)


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
