"""What the schemas of built-in kinds say about fields: a sentence each, and the values and defaults that Kubernetes names."""

import json
from typing import Any

import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.defaults import apply_defaults
from kubelib.api.descriptions import FIELDS, classes, cluster, common, devices, pods, storage
from kubelib.api.enums import DEFAULTS, ENUMS
from kubelib.api.openapi import document_paths, openapi_v2, openapi_v3
from kubelib.api.validation import validate_create

V2 = json.loads(openapi_v2(SCHEME))["definitions"]
V3: dict[str, Any] = {}
for path in document_paths(SCHEME):
    V3.update(json.loads(openapi_v3(SCHEME, path))["components"]["schemas"])

FIELDS_OF_ALL = {
    f"{name.rpartition('.')[2]}.{field}"
    for name, schema in V2.items()
    for field in schema.get("properties", ())
}


def field(path: str) -> Any:
    """Return the schema of ``Class.field``, of the first class with this name."""
    cls, _, name = path.partition(".")
    return next(
        schema["properties"][name]
        for title, schema in V3.items()
        if title.endswith(f".{cls}") and name in schema["properties"]
    )


@pytest.mark.parametrize("definitions", [V2, V3], ids=["v2", "v3"])
def test_every_field_of_every_kind_is_described(definitions: dict[str, Any]) -> None:
    bare = [
        f"{name}.{field}"
        for name, schema in definitions.items()
        for field, about in schema.get("properties", {}).items()
        if not about.get("description")
    ]
    assert bare == []
    assert [name for name, schema in definitions.items() if not schema.get("description")] == []


def test_every_description_is_a_sentence_of_a_field_that_there_is() -> None:
    names = {path.partition(".")[2] for path in FIELDS_OF_ALL}
    assert set(FIELDS) <= names
    assert len(FIELDS) == sum(len(part.FIELDS) for part in (common, pods, storage, cluster, devices))
    assert {path for path in classes.FIELDS if not path.startswith("*")} <= FIELDS_OF_ALL
    for text in (*FIELDS.values(), *classes.FIELDS.values()):
        assert text[0].isupper() or text[0] in "*$0", text
        assert text.endswith("."), text


def test_a_field_that_means_something_else_in_one_class_says_so() -> None:
    assert "never changed later" in field("Container.name")["description"]
    assert (
        field("PodCondition.status")["description"] == "Whether the condition holds: True, False or Unknown."
    )
    assert "DoesNotExist" in field("NodeSelectorRequirement.values")["description"]


def test_values_and_defaults_are_those_of_fields_that_there_are() -> None:
    assert set(ENUMS) | set(DEFAULTS) <= FIELDS_OF_ALL
    assert all(values == tuple(sorted(set(values))) for values in ENUMS.values() if len(values) < 20)


def test_a_port_says_its_protocols_and_the_usual_one() -> None:
    for path in ("ContainerPort.protocol", "ServicePort.protocol"):
        protocol = field(path)
        assert (protocol["enum"], protocol["default"]) == (["SCTP", "TCP", "UDP"], "TCP")
    # As in Kubernetes, version 2 has no defaults.
    assert V2["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"] == {
        "type": "string", "description": "TCP, UDP or SCTP.", "enum": ["SCTP", "TCP", "UDP"]
    }  # fmt: skip


def test_required_fields_and_items_have_their_zero_as_default() -> None:
    assert field("Container.name")["default"] == ""
    assert field("ContainerPort.containerPort")["default"] == 0
    assert field("Container.command")["items"]["default"] == ""
    assert "default" not in field("Container.image")
    assert "default" not in field("PodSpec.priority")


def test_items_have_the_values_of_a_list() -> None:
    modes = field("PersistentVolumeClaimSpec.accessModes")
    assert "enum" not in modes
    assert "ReadWriteOncePod" in modes["items"]["enum"]
    assert "CREATE" in field("RuleWithOperations.operations")["items"]["enum"]


TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}
SELECTING = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
SPEC_OF_POD: dict[str, Any] = TEMPLATE["spec"]
POD = "v1/Pod"


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": "i", **fields}]}


WRONG: tuple[tuple[str, str, Any], ...] = (
    ("PodSpec.restartPolicy", POD, {"spec": {**SPEC_OF_POD, "restartPolicy": "?"}}),
    ("PodSpec.dnsPolicy", POD, {"spec": {**SPEC_OF_POD, "dnsPolicy": "?"}}),
    ("Container.imagePullPolicy", POD, {"spec": container(imagePullPolicy="?")}),
    ("Container.terminationMessagePolicy", POD, {"spec": container(terminationMessagePolicy="?")}),
    ("ContainerPort.protocol", POD, {"spec": container(ports=[{"containerPort": 1, "protocol": "?"}])}),
    ("HTTPGetAction.scheme", POD, {"spec": container(livenessProbe={"httpGet": {"port": 1, "scheme": "?"}})}),
    ("SecurityContext.procMount", POD, {"spec": container(securityContext={"procMount": "?"})}),
    ("SeccompProfile.type", POD, {"spec": container(securityContext={"seccompProfile": {"type": "?"}})}),
    ("TopologySpreadConstraint.nodeTaintsPolicy", POD, {"spec": {**SPEC_OF_POD, "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": "?"}]}}),
    ("TopologySpreadConstraint.whenUnsatisfiable", POD, {"spec": {**SPEC_OF_POD, "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "?"}]}}),
    ("PodSecurityContext.fsGroupChangePolicy", POD, {"spec": {**SPEC_OF_POD, "securityContext": {"fsGroupChangePolicy": "?"}}}),
    ("Taint.effect", "v1/Node", {"spec": {"taints": [{"key": "a", "effect": "?"}]}}),
    ("ServiceSpec.type", "v1/Service", {"spec": {"ports": [{"port": 1}], "type": "?"}}),
    ("ServiceSpec.sessionAffinity", "v1/Service", {"spec": {"ports": [{"port": 1}], "sessionAffinity": "?"}}),
    ("ServiceSpec.internalTrafficPolicy", "v1/Service", {"spec": {"ports": [{"port": 1}], "internalTrafficPolicy": "?"}}),
    ("ServicePort.protocol", "v1/Service", {"spec": {"ports": [{"port": 1, "protocol": "?"}]}}),
    ("PersistentVolumeClaimSpec.accessModes", "v1/PersistentVolumeClaim", {"spec": {
        "accessModes": ["?"], "resources": {"requests": {"storage": "1"}}}}),
    ("PersistentVolumeClaimSpec.volumeMode", "v1/PersistentVolumeClaim", {"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}, "volumeMode": "?"}}),
    ("PersistentVolumeSpec.persistentVolumeReclaimPolicy", "v1/PersistentVolume", {"spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1"}, "hostPath": {"path": "/a"},
        "persistentVolumeReclaimPolicy": "?"}}),
    ("DeploymentStrategy.type", "apps/v1/Deployment", {"spec": {**SELECTING, "strategy": {"type": "?"}}}),
    ("DaemonSetUpdateStrategy.type", "apps/v1/DaemonSet", {"spec": {**SELECTING, "updateStrategy": {"type": "?"}}}),
    ("CronJobSpec.concurrencyPolicy", "batch/v1/CronJob", {"spec": {"schedule": "* * * * *", "concurrencyPolicy": "?",
        "jobTemplate": {"spec": {"template": {"spec": {**SPEC_OF_POD, "restartPolicy": "Never"}}}}}}),
    ("JobSpec.completionMode", "batch/v1/Job", {"spec": {
        "completionMode": "?", "template": {"spec": {**SPEC_OF_POD, "restartPolicy": "Never"}}}}),
    ("NetworkPolicySpec.policyTypes", "networking.k8s.io/v1/NetworkPolicy", {"spec": {"podSelector": {}, "policyTypes": ["?"]}}),
    ("EndpointSlice.addressType", "discovery.k8s.io/v1/EndpointSlice", {"addressType": "?", "endpoints": []}),
    ("StorageClass.volumeBindingMode", "storage.k8s.io/v1/StorageClass", {"provisioner": "a", "volumeBindingMode": "?"}),
    ("PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy", "policy/v1/PodDisruptionBudget", {"spec": {"unhealthyPodEvictionPolicy": "?"}}),
    ("CertificateSigningRequestSpec.usages", "certificates.k8s.io/v1/CertificateSigningRequest", {"spec": {
        "request": "", "signerName": "a.b/c", "usages": ["?"]}}),
)  # fmt: skip


@pytest.mark.parametrize(("path", "kind", "tree"), WRONG, ids=[path for path, *_ in WRONG])
def test_validation_names_the_values_that_the_schema_has(path: str, kind: str, tree: dict[str, Any]) -> None:
    api_version, _, name = kind.rpartition("/")
    (resource,) = (r for r in SCHEME if (r.api_version, r.kind) == (api_version, name))
    tree = {
        "apiVersion": api_version,
        "kind": name,
        "metadata": {"name": "a", "namespace": "default"},
        **tree,
    }
    if not resource.namespaced:
        del tree["metadata"]["namespace"]
    apply_defaults(name, tree)
    messages = [
        problem.message
        for problem in validate_create(resource, tree)
        if "supported values" in problem.message
    ]
    assert messages, validate_create(resource, tree)
    named = messages[0].partition("supported values: ")[2]
    assert sorted(json.loads(f"[{named}]")) == sorted(value for value in ENUMS[path] if value)
