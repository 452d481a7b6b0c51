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
CERTIFICATE = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n").decode()
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
    "storage.k8s.io/v1 StorageClass": {"provisioner": "csi.example.com", "parameters": {"kind": "fast"}},
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
     ('Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and'
     " headers serves no purpose)")),
    ("ValidatingAdmissionPolicyBinding", "spec.validationActions", [], "spec.validationActions",
     "Required value: at least one validation action is required"),
    ("ValidatingAdmissionPolicyBinding", "spec.validationActions", ["Deny", "Deny"], "spec.validationActions[1]", 'Duplicate value: "Deny"'),
    ("ValidatingAdmissionPolicyBinding", "spec.paramRef", {"parameterNotFoundAction": "Deny"}, "spec.paramRef",
     "Required value: one of name or selector must be specified"),
    ("ValidatingAdmissionPolicyBinding", "spec.paramRef", {"name": "a", "selector": {}, "parameterNotFoundAction": "Deny"}, "spec.paramRef.name",
     "Forbidden: name and selector are mutually exclusive"),
    ("ValidatingAdmissionPolicyBinding", "spec.paramRef", {"name": "a/b", "parameterNotFoundAction": "Deny"}, "spec.paramRef.name",
     "Invalid value: \"a/b\": may not contain '/'"),
    ("ValidatingAdmissionPolicyBinding", "spec.paramRef", {"name": "a", "parameterNotFoundAction": "Wait"}, "spec.paramRef.parameterNotFoundAction",
     'Unsupported value: "Wait": supported values: "Deny", "Allow"'),
    ("ValidatingAdmissionPolicy", "spec.validations.0.message", " ", "spec.validations[0].message",
     'Invalid value: " ": must be non-empty if specified'),
    ("ValidatingAdmissionPolicy", "spec.validations.0.message", "a\nb", "spec.validations[0].message",
     'Invalid value: "a\\nb": must not contain line breaks'),
    ("ValidatingAdmissionPolicy", "spec.validations.0.messageExpression", " ", "spec.validations[0].messageExpression",
     'Invalid value: " ": must be non-empty if specified'),
    ("ValidatingAdmissionPolicy", "spec.paramKind", {"apiVersion": "a/b/c", "kind": "K"}, "spec.paramKind.apiVersion",
     'Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'),
    ("ValidatingAdmissionPolicy", "spec.paramKind", {"apiVersion": "a.b/", "kind": "K"}, "spec.paramKind.apiVersion",
     'Invalid value: "a.b/": version must be specified'),
    ("ValidatingAdmissionPolicy", "spec.paramKind", {"apiVersion": "v1", "kind": "A_B"}, "spec.paramKind.kind", None),
    ("ValidatingAdmissionPolicy", "spec.matchConstraints.resourceRules.0.resourceNames", ["a", "a"],
     "spec.matchConstraints.resourceRules[0].resourceNames[1]", 'Duplicate value: "a"'),
    ("ValidatingAdmissionPolicy", "spec.auditAnnotations", [{"key": "k", "valueExpression": "'a'"}] * 2, "spec.auditAnnotations[1].key",
     'Duplicate value: "k"'),
    ("ValidatingAdmissionPolicy", "spec.auditAnnotations", [{"key": f"k{n}", "valueExpression": "'a'"} for n in range(21)], "spec.auditAnnotations", None),
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
    ("CertificateSigningRequest", "spec.signerName", "", "spec.signerName", "Required value"),
    ("CertificateSigningRequest", "spec.signerName", "kubernetes.io/legacy-unknown", "spec.signerName",
     'Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version'),
    ("CertificateSigningRequest", "spec.signerName", "plain", "spec.signerName",
     "Invalid value: \"plain\": must be a fully qualified domain and path of the form 'example.com/signer-name'"),
    ("CertificateSigningRequest", "spec.signerName", "com/x", "spec.signerName",
     'Invalid value: "com": should be a domain with at least two segments separated by dots'),
    ("CertificateSigningRequest", "spec.signerName", "A.com/x", "spec.signerName",
     ('Invalid value: "A.com": validating label "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \'-\', and must'
     " start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')")),
    ("CertificateSigningRequest", "spec.signerName", "a.com/" + "x." * 300 + "x", "spec.signerName", "Too long: may not be more than 571 bytes"),
    ("CertificateSigningRequest", "status", {"conditions": [{"type": "Approved", "status": "False"}]}, "status.conditions[0].status",
     'Unsupported value: "False": supported values: "True"'),
    ("FlowSchema", "spec.matchingPrecedence", 1, "spec.matchingPrecedence",
     "Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"),
    ("FlowSchema", "spec.rules.0.subjects.0.user", None, "spec.rules[0].subjects[0].user",
     "Required value: user is required when subject kind is 'User'"),
    ("PriorityLevelConfiguration", "spec.type", "Exempt", "spec.type",
     'Invalid value: "Exempt": must be \'Exempt\' if and only if `name` is \'exempt\''),
    ("IPAddress", "metadata.name", "10.0.0.01", "metadata.name", 'Invalid value: "10.0.0.01": must not have leading 0s'),
    ("IPAddress", "metadata.name", "2001:DB8::1", "metadata.name", 'Invalid value: "2001:DB8::1": must be in canonical form ("2001:db8::1")'),
    ("IPAddress", "metadata.name", "web", "metadata.name",
     'Invalid value: "web": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
    ("IPAddress", "spec.parentRef.group", "A", "spec.parentRef.group", None),
    ("IPAddress", "spec.parentRef.namespace", "a/b", "spec.parentRef.namespace", "Invalid value: \"a/b\": may not contain '/'"),
    ("ServiceCIDR", "spec.cidrs", ["10.0.0.0/24", "10.0.1.0/24"], "spec.cidrs",
     'Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64'),
    ("ServiceCIDR", "spec.cidrs", ["10.0.0.5/24"], "spec.cidrs[0]", 'Invalid value: "10.0.0.5/24": must not have bits set beyond the prefix length'),
    ("FlowSchema", "spec.rules.0.subjects",
     [{"kind": "ServiceAccount", "serviceAccount": {"name": "A", "namespace": "a"}}], "spec.rules[0].subjects[0].serviceAccount.name", None),
    ("PriorityLevelConfiguration", "spec.limited.limitResponse.queuing", {"queues": 1024, "handSize": 7, "queueLengthLimit": 1},
     "spec.limited.limitResponse.queuing.handSize",
     "Invalid value: 7: required entropy bits of deckSize 1024 and handSize 7 should not be greater than 60"),
    ("CSINode", "spec.drivers.0.nodeID", "n" * 257, "spec.drivers[0].nodeID", None),
    ("CSINode", "spec.drivers.0.topologyKeys", ["a", "a"], "spec.drivers[0]", 'Duplicate value: "a"'),
    ("CSINode", "spec.drivers.0.name", "d" * 64, "spec.drivers[0].name", "Too long: may not be more than 63 bytes"),
    ("CSIDriver", "spec.tokenRequests", [{"audience": "a", "expirationSeconds": 599}], "spec.tokenRequests[0].expirationSeconds",
     "Invalid value: 599: may not specify a duration less than 10 minutes"),
    ("CSIDriver", "spec.tokenRequests", [{"audience": "a", "expirationSeconds": (1 << 32) + 1}], "spec.tokenRequests[0].expirationSeconds",
     "Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds"),
    ("CSIDriver", "spec.volumeLifecycleModes", ["Eternal"], "spec.volumeLifecycleModes",
     'Unsupported value: "Eternal": supported values: "Persistent", "Ephemeral"'),
    ("VolumeAttachment", "spec.attacher", "d" * 64, "spec.attacher", "Too long: may not be more than 63 bytes"),
    ("VolumeAttachment", "spec.source.persistentVolumeName", "A", "spec.source.persistentVolumeName", None),
    ("VolumeAttachment", "status", {"attachError": {"message": "m" * 1025}}, "status.attachError.message", "Too long: may not be more than 1024 bytes"),
    ("VolumeAttachment", "status", {"detachError": {"errorCode": -1}}, "status.detachError.errorCode",
     "Invalid value: -1: must be between 0 and 2147483647, inclusive"),
    ("VolumeAttachment", "status", {"attachmentMetadata": {"a": "b" * (256 * 1024)}}, "status.attachmentMetadata",
     "Too long: may not be more than 262144 bytes"),
    ("VolumeAttributesClass", "parameters", {str(n): "" for n in range(513)}, "spec.parameters", "Too long: may not be more than 512 bytes"),
    ("StorageClass", "parameters", {"": "a"}, "parameters", 'Invalid value: "": field can not be empty.'),
    ("StorageClass", "parameters", {"a": "b" * (256 * 1024)}, "parameters", "Too long: may not be more than 262144 bytes"),
    ("StorageClass", "allowedTopologies", [{"matchLabelExpressions": [{"key": "a", "values": []}]}],
     "allowedTopologies[0].matchLabelExpressions[0].values", "Required value"),
    ("StorageClass", "allowedTopologies", [{"matchLabelExpressions": [{"key": "a", "values": ["x", "x"]}]}],
     "allowedTopologies[0].matchLabelExpressions[0].values[1]", 'Duplicate value: "x"'),
    ("StorageClass", "allowedTopologies", [{"matchLabelExpressions": [{"key": "a", "values": ["x"]}, {"key": "a", "values": ["y"]}]}],
     "allowedTopologies[0].matchLabelExpressions[1].key", 'Duplicate value: "a"'),
    ("StorageClass", "allowedTopologies", [{"matchLabelExpressions": [{"key": "a", "values": ["x", "y"]}]},
                                           {"matchLabelExpressions": [{"key": "a", "values": ["y", "x"]}]}],
     "allowedTopologies[1].matchLabelExpressions", 'Duplicate value: ""'),
    ("RuntimeClass", "handler", "", "handler", None),
    ("CSINode", "spec.drivers.0.nodeID", "", "spec.drivers[0].nodeID", "Required value"),
    ("CSIDriver", "spec.fsGroupPolicy", "Some", "spec.fsGroupPolicy",
     'Unsupported value: "Some": supported values: "File", "None", "ReadWriteOnceWithFSType"'),
    ("VolumeAttachment", "spec.source", {}, "spec.source",
     "Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
    ("VolumeAttributesClass", "parameters", {}, "spec.parameters", "Required value: must contain at least one key/value pair"),
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


def test_the_level_of_those_who_are_exempt_may_lend() -> None:
    resource, tree = document(kind_of("PriorityLevelConfiguration"))
    tree["metadata"]["name"] = "exempt"
    tree["spec"] = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": -1, "lendablePercent": 101}}
    assert [(p.field, p.message) for p in validate_create(resource, tree)] == [
        ("spec.exempt.nominalConcurrencyShares", "Invalid value: -1: must be a non-negative integer"),
        ("spec.exempt.lendablePercent", "Invalid value: 101: must be between 0 and 100, inclusive"),
    ]


def test_conditions_of_flows_have_types_that_differ() -> None:
    resource, old = document(kind_of("FlowSchema"))
    conditions = [{"type": "Dangling"}, {"type": "Dangling"}, {"type": ""}]
    found = validate_update(
        resource, {**old, "status": {"conditions": conditions}}, old, subresource="status"
    )
    assert [(p.field, p.message) for p in found] == [
        ("status.conditions[1].type", 'Duplicate value: "Dangling"'),
        ("status.conditions[2].type", "Required value"),
    ]


def test_an_expression_over_several_lines_needs_no_message() -> None:
    resource, tree = document(kind_of("ValidatingAdmissionPolicy"))
    tree["spec"]["validations"] = [{"expression": "object.spec.replicas <=\n  5"}]
    assert validate_create(resource, tree) == []


def test_what_is_said_of_a_policy_s_types_has_a_place() -> None:
    resource, old = document(kind_of("ValidatingAdmissionPolicy"))
    status = {"typeChecking": {"expressionWarnings": [{"warning": "w"}]}, "conditions": [{"type": "Ready"}]}
    found = validate_update(resource, {**old, "status": status}, old, subresource="status")
    assert [p.field for p in found] == [
        "status.typeChecking.expressionWarnings[0].fieldRef",
        "status.conditions[0].status",
        "status.conditions[0].lastTransitionTime",
        "status.conditions[0].reason",
    ]


def test_a_certificate_is_not_replaced() -> None:
    resource, old = document(kind_of("CertificateSigningRequest"))
    old["status"] = {"certificate": CERTIFICATE}
    new = {**old, "status": {"certificate": base64.b64encode(base64.b64decode(CERTIFICATE) * 2).decode()}}
    [problem] = validate_update(resource, new, old, subresource="status")
    assert problem.field == "status.certificate"
    assert problem.message == "Forbidden: updates may not modify existing certificate content"


def test_what_a_driver_says_of_attaching_stays() -> None:
    resource, old = document(kind_of("CSIDriver"))
    new = {**old, "spec": {**old["spec"], "attachRequired": False, "volumeLifecycleModes": ["Ephemeral"]}}
    assert [p.field for p in validate_update(resource, new, old)] == [
        "spec.attachedRequired",
        "spec.volumeLifecycleModes",
    ]


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
