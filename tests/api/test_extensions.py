"""Kinds that extend and guard the API, and storage drivers: defaults, rules and printed columns."""

import base64
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.defaults import apply_defaults
from kubelib.api.protobuf import message_to_tree, tree_to_message
from kubelib.api.scheme import Resource
from kubelib.api.validation import validate_create, validate_update

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CSR = base64.b64encode(
    b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"
).decode()
RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
HOOK: dict[str, Any] = {
    "name": "check.example.com",
    "clientConfig": {"service": {"namespace": "default", "name": "check"}},
    "rules": [RULE],
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
POLICY = {
    "matchConstraints": {"resourceRules": [RULE]},
    "validations": [{"expression": "object.spec.replicas <= 5"}],
}
SUBJECT = {"kind": "User", "user": {"name": "jane"}}
FLOW = {
    "priorityLevelConfiguration": {"name": "workload-low"},
    "rules": [
        {
            "subjects": [SUBJECT],
            "resourceRules": [
                {"verbs": ["get"], "apiGroups": ["*"], "resources": ["pods"], "namespaces": ["*"]}
            ],
        }
    ],
}
GOOD: dict[str, dict[str, Any]] = {
    "admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration": {"webhooks": [HOOK]},
    "admissionregistration.k8s.io/v1 MutatingWebhookConfiguration": {"webhooks": [HOOK]},
    "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy": {"spec": POLICY},
    "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding": {
        "spec": {"policyName": "few", "validationActions": ["Deny"]}
    },
    "admissionregistration.k8s.io/v1 MutatingAdmissionPolicy": {
        "spec": {
            "matchConstraints": POLICY["matchConstraints"],
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/data'}]"},
                }
            ],
            "reinvocationPolicy": "Never",
        }
    },
    "admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding": {"spec": {"policyName": "few"}},
    "apiregistration.k8s.io/v1 APIService": {
        "metadata": {"name": "v1.example.com"},
        "spec": {"group": "example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10},
    },
    "certificates.k8s.io/v1 CertificateSigningRequest": {
        "spec": {
            "request": CSR,
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        }
    },
    "flowcontrol.apiserver.k8s.io/v1 FlowSchema": {"spec": FLOW},
    "flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration": {
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}
    },
    "networking.k8s.io/v1 IPAddress": {
        "metadata": {"name": "2001:db8::1"},
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}},
    },
    "networking.k8s.io/v1 ServiceCIDR": {"spec": {"cidrs": ["10.0.0.0/24", "2001:db8::/112"]}},
    "node.k8s.io/v1 RuntimeClass": {"handler": "runc", "overhead": {"podFixed": {"cpu": "0.25"}}},
    "storage.k8s.io/v1 CSIDriver": {"spec": {}},
    "storage.k8s.io/v1 CSINode": {"spec": {"drivers": [{"name": "csi.example.com", "nodeID": "n"}]}},
    "storage.k8s.io/v1 CSIStorageCapacity": {"storageClassName": "fast", "capacity": "10Gi"},
    "storage.k8s.io/v1 VolumeAttachment": {
        "spec": {"attacher": "csi.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}
    },
    "storage.k8s.io/v1 VolumeAttributesClass": {"driverName": "csi.example.com", "parameters": {"iops": "5"}},
}


def document(name: str) -> tuple[Resource, dict[str, Any]]:
    version, kind = name.split()
    resource = SCHEME.kind(version, kind)
    metadata = {"name": "a", **({"namespace": "default"} if resource.namespaced else {})}
    tree = {"apiVersion": version, "kind": kind, "metadata": metadata, **deepcopy(GOOD[name])}
    apply_defaults(kind, tree)
    return resource, tree


def kind_of(short: str) -> str:
    return next(name for name in GOOD if name.endswith(f" {short}"))


@pytest.mark.parametrize("name", GOOD)
def test_a_good_document_is_accepted_and_survives_protocol_buffers(name: str) -> None:
    resource, tree = document(name)
    assert validate_create(resource, tree) == []
    assert validate_update(resource, tree, deepcopy(tree)) == []
    sent = {part: value for part, value in tree.items() if part not in ("apiVersion", "kind")}
    assert message_to_tree(tree_to_message(sent, resource.cls), resource.cls) == sent


DEFAULTS = [
    ("ValidatingWebhookConfiguration", "webhooks.0.failurePolicy", "Fail"),
    ("ValidatingWebhookConfiguration", "webhooks.0.timeoutSeconds", 10),
    ("ValidatingWebhookConfiguration", "webhooks.0.rules.0.scope", "*"),
    ("ValidatingWebhookConfiguration", "webhooks.0.clientConfig.service.port", 443),
    ("MutatingWebhookConfiguration", "webhooks.0.reinvocationPolicy", "Never"),
    ("ValidatingAdmissionPolicy", "spec.matchConstraints.matchPolicy", "Equivalent"),
    ("MutatingAdmissionPolicy", "spec.matchConstraints.matchPolicy", "Equivalent"),
    ("FlowSchema", "spec.matchingPrecedence", 1000),
    ("PriorityLevelConfiguration", "spec.limited.nominalConcurrencyShares", 30),
    ("PriorityLevelConfiguration", "spec.limited.limitResponse.queuing.queues", 64),
    ("CSIDriver", "spec.volumeLifecycleModes", ["Persistent"]),
    ("CSIDriver", "spec.attachRequired", True),
    ("RuntimeClass", "overhead.podFixed.cpu", "250m"),
]


@pytest.mark.parametrize(("kind", "path", "value"), DEFAULTS)
def test_defaults_are_filled_in(kind: str, path: str, value: Any) -> None:
    found: Any = document(kind_of(kind))[1]
    for step in path.split("."):
        found = found[int(step)] if step.isdigit() else found[step]
    assert found == value


BAD = [
    ("ValidatingWebhookConfiguration", "webhooks.0.name", "short", "webhooks[0].name",
     'Invalid value: "short": should be a domain with at least three segments separated by dots'),
    ("ValidatingWebhookConfiguration", "webhooks.0.timeoutSeconds", 31, "webhooks[0].timeoutSeconds",
     "Invalid value: 31: the timeout value must be between 1 and 30 seconds"),
    ("MutatingWebhookConfiguration", "webhooks.0.sideEffects", "Some", "webhooks[0].sideEffects",
     'Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'),
    ("MutatingWebhookConfiguration", "webhooks.0.clientConfig", {}, "webhooks[0].clientConfig",
     "Required value: exactly one of url or service is required"),
    ("MutatingWebhookConfiguration", "webhooks.0.rules.0.operations", ["*", "CREATE"], "webhooks[0].rules[0].operations",
     'Invalid value: ["*","CREATE"]: if \'*\' is present, must not specify other operations'),
    ("ValidatingAdmissionPolicy", "spec.validations.0.expression", " ", "spec.validations[0].expression",
     "Required value: expression is not specified"),
    ("ValidatingAdmissionPolicyBinding", "spec.validationActions", ["Deny", "Warn"], "spec.validationActions",
     'Invalid value: ["Deny","Warn"]: "Deny" and "Warn" may not be used together'),
    ("MutatingAdmissionPolicy", "spec.reinvocationPolicy", "Often", "spec.reinvocationPolicy",
     'Unsupported value: "Often": supported values: "IfNeeded", "Never"'),
    ("MutatingAdmissionPolicy", "spec.mutations", [], "spec.mutations",
     "Required value: mutations must contain at least one item"),
    ("MutatingAdmissionPolicy", "spec.mutations.0.patchType", "Merge", "spec.mutations[0].patchType",
     'Unsupported value: "Merge": supported values: "ApplyConfiguration", "JSONPatch"'),
    ("MutatingAdmissionPolicy", "spec.mutations.0.jsonPatch.expression", "Object{}", "spec.mutations[0].jsonPatch.expression",
     'Invalid value: "Object{}": must evaluate to list(JSONPatch)'),
    ("MutatingAdmissionPolicyBinding", "spec.policyName", "", "spec.policyName", "Required value"),
    ("APIService", "metadata.name", "v2.example.com", "metadata.name",
     'Invalid value: "v2.example.com": must be `spec.version+"."+spec.group`: "v1.example.com"'),
    ("CertificateSigningRequest", "spec.request", "AAAA", "spec.request",
     'Invalid value: "AAAA": PEM block type must be CERTIFICATE REQUEST'),
    ("CertificateSigningRequest", "spec.usages", [], "spec.usages", "Required value"),
    ("FlowSchema", "spec.matchingPrecedence", 1, "spec.matchingPrecedence",
     "Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"),
    ("FlowSchema", "spec.rules.0.subjects.0.user", None, "spec.rules[0].subjects[0].user",
     "Required value: user is required when subject kind is 'User'"),
    ("PriorityLevelConfiguration", "spec.type", "Exempt", "spec.type",
     'Invalid value: "Exempt": type must be \'Exempt\' if and only if name is \'exempt\''),
    ("IPAddress", "metadata.name", "10.0.0.01", "metadata.name", 'Invalid value: "10.0.0.01": not a valid IP address'),
    ("RuntimeClass", "handler", "", "handler", None),
    ("CSINode", "spec.drivers.0.nodeID", "", "spec.drivers[0].nodeID", "Required value"),
    ("CSIDriver", "spec.fsGroupPolicy", "Some", "spec.fsGroupPolicy",
     'Unsupported value: "Some": supported values: "File", "None", "ReadWriteOnceWithFSType"'),
    ("VolumeAttachment", "spec.source", {}, "spec.source",
     "Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
    ("VolumeAttributesClass", "parameters", {}, "parameters", "Required value: must contain at least one key/value pair"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "path", "value", "field", "message"), BAD)
def test_a_bad_field_is_named(kind: str, path: str, value: Any, field: str, message: str | None) -> None:
    resource, tree = document(kind_of(kind))
    *way, last = path.split(".")
    holder: Any = tree
    for step in way:
        holder = holder[int(step)] if step.isdigit() else holder[step]
    holder[last] = value
    problems = validate_create(resource, tree)
    assert problems[0].field == field
    assert message is None or problems[0].message == message


def test_decisions_on_certificates_are_final() -> None:
    resource, old = document(kind_of("CertificateSigningRequest"))
    old["status"] = {"conditions": [{"type": "Approved", "status": "True"}]}
    new = deepcopy(old)
    new["status"]["conditions"] = [{"type": "Denied", "status": "True"}]
    [problem] = validate_update(resource, new, old, subresource="approval")
    assert problem.message == 'Forbidden: updates may not remove a condition of type "Approved"'


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("ValidatingAdmissionPolicyBinding", ["a", "few", "<unset>", "<unknown>"]),
        ("APIService", ["v1.example.com", "Local", "Unknown", "<unknown>"]),
        (
            "CertificateSigningRequest",
            ["a", "<unknown>", "kubernetes.io/kube-apiserver-client", "", "<none>", "Pending"],
        ),
        ("FlowSchema", ["a", "workload-low", 1000, "<none>", "<unknown>", "?"]),
        ("PriorityLevelConfiguration", ["a", "Limited", 30, 64, 8, 50, "<unknown>"]),
        ("CSIDriver", ["a", True, False, False, "<unset>", False, "Persistent", "<unknown>"]),
        ("IPAddress", ["2001:db8::1", "services/default/web"]),
        ("VolumeAttachment", ["a", "csi.example.com", "pv", "n", False, "<unknown>"]),
    ],
)
def test_columns_show_what_kubectl_shows(kind: str, cells: list[Any]) -> None:
    resource, tree = document(kind_of(kind))
    assert [column.cell(tree, NOW) for column in resource.columns] == cells
