"""Custom kinds as people use them with kubectl."""

import json
from collections.abc import Iterator

import pytest

from tests.external.conftest import Kubectl, eventually

WIDGETS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.kubectl.example.com}
spec:
  group: kubectl.example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wdg], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    additionalPrinterColumns:
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Color, type: string, jsonPath: .spec.color, priority: 1}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    selectableFields: [{jsonPath: .spec.color}]
    schema:
      openAPIV3Schema:
        type: object
        description: A widget.
        required: [spec]
        properties:
          spec:
            type: object
            required: [color]
            properties:
              color: {type: string, enum: [red, green], description: The color of the widget.}
              replicas: {type: integer, default: 3, minimum: 0, maximum: 10}
              ports:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [port]
                items:
                  type: object
                  required: [port]
                  properties: {port: {type: integer}, name: {type: string, maxLength: 3}}
          status:
            type: object
            properties: {replicas: {type: integer}, selector: {type: string}}
  - name: v1beta1
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


def widget(name: str, spec: str, version: str = "v1") -> str:
    return (
        f"apiVersion: kubectl.example.com/{version}\nkind: Widget\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )


@pytest.fixture(scope="module")
def widgets(kubectl: Kubectl) -> Iterator[None]:
    kubectl("apply", "-f", "-", stdin=WIDGETS)
    kubectl("wait", "--for=condition=Established", "crd/widgets.kubectl.example.com", "--timeout=120s")
    yield
    kubectl("delete", "crd", "widgets.kubectl.example.com", "--timeout=120s")
    assert "widgets" not in kubectl("api-resources", "--api-group=kubectl.example.com")


@pytest.mark.usefixtures("widgets")
def test_objects_are_applied_shown_explained_scaled_and_deleted(kubectl: Kubectl, namespace: str) -> None:
    here = ("-n", namespace)
    kubectl(*here, "apply", "-f", "-", stdin=widget("a", "{color: red, ports: [{port: 80, name: web}]}"))
    kubectl(*here, "apply", "-f", "-", stdin=widget("b", "{color: green}"))
    rows = [line.split() for line in kubectl(*here, "get", "wdg").splitlines()]
    assert [row[:2] for row in rows] == [["NAME", "REPLICAS"], ["a", "3"], ["b", "3"]]
    assert rows[0][2] == "AGE"
    assert kubectl(*here, "get", "wdg", "a", "-o", "wide").splitlines()[1].split()[:3] == ["a", "3", "red"]
    assert "widget.kubectl.example.com/a" in kubectl(*here, "get", "all")
    selected = kubectl(*here, "get", "wdg", "--field-selector=spec.color=green", "-o", "name")
    assert selected.split() == ["widget.kubectl.example.com/b"]
    explained = kubectl("explain", "widgets.spec.color", "--api-version=kubectl.example.com/v1")
    assert "The color of the widget." in explained
    kubectl(*here, "scale", "widget", "a", "--replicas=5")
    kubectl(*here, "patch", "widget", "a", "--type=merge", "-p", '{"spec":{"color":"green"}}')
    kubectl(
        *here, "patch", "wdg", "a", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":5}}'
    )
    found = json.loads(kubectl(*here, "get", "widget", "a", "-o", "json"))
    assert found["spec"] == {"color": "green", "replicas": 5, "ports": [{"port": 80, "name": "web"}]}
    assert (found["status"], found["metadata"]["generation"]) == ({"replicas": 5}, 3)
    refusal = kubectl.fails(*here, "patch", "widget", "a", "-p", "{}")
    assert "application/strategic-merge-patch+json is not supported" in refusal
    beta = json.loads(kubectl(*here, "get", "widgets.v1beta1.kubectl.example.com", "a", "-o", "json"))
    assert (beta["apiVersion"], beta["spec"]) == ("kubectl.example.com/v1beta1", found["spec"])
    kubectl(*here, "delete", "wdg", "--all")
    assert kubectl(*here, "get", "wdg", "-o", "name") == ""


@pytest.mark.usefixtures("widgets")
def test_what_is_wrong_is_told_in_the_words_of_kubernetes(kubectl: Kubectl, namespace: str) -> None:
    here = ("-n", namespace)
    text = kubectl.fails(*here, "create", "-f", "-", stdin=widget("a", "{color: red, colour: blue}"))
    assert 'strict decoding error: unknown field "spec.colour"' in text
    spec = "{color: blue, replicas: 11, ports: [{port: 1}, {port: 1}, {name: long}]}"
    text = kubectl.fails(*here, "create", "-f", "-", stdin=widget("a", spec))
    assert text.startswith('The Widget "a" is invalid: ')
    for line in (
        'spec.color: Unsupported value: "blue": supported values: "red", "green"',
        "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        "spec.ports[2].port: Required value",
        "spec.ports[2].name: Too long: may not be more than 3 bytes",
        'spec.ports[1]: Duplicate value: {"port":1}',
    ):
        assert line in text


@pytest.mark.usefixtures("widgets")
def test_server_side_apply_merges_by_the_keys_of_the_schema(kubectl: Kubectl, namespace: str) -> None:
    apply = ("-n", namespace, "apply", "--server-side", "-f", "-")
    kubectl(*apply, "--field-manager=one", stdin=widget("a", "{color: red, ports: [{port: 1}]}"))
    kubectl(*apply, "--field-manager=two", stdin=widget("a", "{ports: [{port: 2, name: two}]}"))
    text = kubectl.fails(*apply, "--field-manager=two", stdin=widget("a", "{color: green}"))
    assert 'conflict with "one": .spec.color' in text
    kubectl(*apply, "--field-manager=two", "--force-conflicts", stdin=widget("a", "{color: green}"))
    found = json.loads(kubectl("-n", namespace, "get", "widget", "a", "-o", "json"))
    assert found["spec"] == {"color": "green", "replicas": 3, "ports": [{"port": 1}]}


BROKEN = {
    "spec.names.plural: Required value": ("plural: widgets", 'plural: ""'),
    'metadata.name: Invalid value: "widgets.kubectl.example.com": must be spec.names.plural+"."+spec.group': (
        "group: kubectl.example.com", "group: other.example.com",
    ),
    "spec.scope: Unsupported value: \"Wide\": supported values: \"Cluster\", \"Namespaced\"": ("scope: Namespaced", "scope: Wide"),
    "must have exactly one version marked as storage version": ("storage: false", "storage: true"),
    "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[color].type: Required value: must not be empty for"
    " specified object fields": ("color: {type: string, enum", "color: {enum"),
    "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[replicas].default: Invalid value: \"string\":"
    " spec.versions": ("default: 3", "default: three"),
    "spec.versions[0].additionalPrinterColumns[0].type: Invalid value: \"int\": must be one of"
    " boolean,date,integer,number,string": ("type: integer, jsonPath", "type: int, jsonPath"),
    "spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".x\": should be a json path under .spec": (
        "specReplicasPath: .spec.replicas", "specReplicasPath: .x",
    ),
    "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property": (
        "required: [port]", "required: []",
    ),
}  # fmt: skip


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_a_definition_that_breaks_the_rules_is_refused(kubectl: Kubectl, number: int) -> None:
    message, (old, new) = list(BROKEN.items())[number]
    text = WIDGETS.replace("kubectl.example.com", "broken.example.com")
    old, new = (part.replace("kubectl.example.com", "broken.example.com") for part in (old, new))
    assert old in text
    refusal = kubectl.fails("create", "-f", "-", stdin=text.replace(old, new, 1))
    if message.endswith(" spec.versions"):
        message = message.removesuffix(" spec.versions")
    assert message.replace("kubectl.example.com", "broken.example.com") in refusal


@pytest.mark.usefixtures("widgets")
def test_a_namespace_that_goes_takes_custom_objects_with_it(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "with-widgets")
    kubectl("-n", "with-widgets", "create", "-f", "-", stdin=widget("a", "{color: red}"))
    kubectl("delete", "namespace", "with-widgets", "--timeout=120s")
    found = json.loads(kubectl("get", "wdg", "-A", "-o", "json"))
    assert not [item for item in found["items"] if item["metadata"]["namespace"] == "with-widgets"]


@pytest.mark.usefixtures("widgets")
def test_what_a_custom_object_owns_goes_with_it_and_quotas_count_it(kubectl: Kubectl, namespace: str) -> None:
    here = ("-n", namespace)
    kubectl(*here, "create", "quota", "few", "--hard=count/widgets.kubectl.example.com=1")

    def counted() -> bool:
        return "1" in kubectl(*here, "get", "quota", "few", "-o", "jsonpath={.status.hard}")

    eventually(counted)
    kubectl(*here, "create", "-f", "-", stdin=widget("owner", "{color: red}"))
    refusal = kubectl.fails(*here, "create", "-f", "-", stdin=widget("second", "{color: red}"))
    assert "exceeded quota: few, requested: count/widgets.kubectl.example.com=1" in refusal
    uid = kubectl(*here, "get", "wdg", "owner", "-o", "jsonpath={.metadata.uid}")
    reference = f"{{apiVersion: kubectl.example.com/v1, kind: Widget, name: owner, uid: {uid}}}"
    owned = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: owned, ownerReferences: [{reference}]}}\n"
    kubectl(*here, "create", "-f", "-", stdin=owned)
    kubectl(*here, "delete", "wdg", "owner")
    eventually(lambda: "owned" not in kubectl(*here, "get", "configmaps", "-o", "name"))


RULED = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ranges.kubectl.example.com}
spec:
  group: kubectl.example.com
  scope: Cluster
  names: {plural: ranges, kind: Range}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations:
            - {rule: self.low <= self.high, messageExpression: "self.low > 100 ? 'far too low' : 'low is above high'"}
            - {rule: "self.low >= oldSelf.low", message: low may only grow, fieldPath: .low}
            properties: {low: {type: integer}, high: {type: integer}}
"""


def test_rules_in_cel_are_kept_and_checked_when_they_are_written(kubectl: Kubectl) -> None:
    refusal = kubectl.fails("create", "-f", "-", stdin=RULED.replace("self.high,", "self.hihg,"))
    assert "undefined field 'hihg'" in refusal
    kubectl("create", "-f", "-", stdin=RULED)
    try:
        text = "apiVersion: kubectl.example.com/v1\nkind: Range\nmetadata: {name: a}\nspec: {low: %d, high: %d}\n"
        assert 'spec: Invalid value: "object": low is above high' in kubectl.fails(
            "create", "-f", "-", stdin=text % (5, 1)
        )
        kubectl("apply", "-f", "-", stdin=text % (5, 6))
        refusal = kubectl.fails("apply", "-f", "-", stdin=text % (4, 6))
        assert "spec.low: Invalid value: " in refusal
        assert "low may only grow" in refusal
        kubectl("apply", "-f", "-", stdin=text % (6, 6))
    finally:
        kubectl("delete", "crd", "ranges.kubectl.example.com")
