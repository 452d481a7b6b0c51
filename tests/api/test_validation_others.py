"""Kinds of the groups beside core, apps and batch: all that is wrong with each, in Kubernetes' words and order."""

from typing import Any

import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.validation import validate_create, validate_update
from kubelib.api.validation.signing import USAGES
from tests.api.test_validation import SUBDOMAIN

Tree = dict[str, Any]
NET, STORAGE = "networking.k8s.io/v1", "storage.k8s.io/v1"
KNOWN = ", ".join(f'"{usage}"' for usage in USAGES)
CLASS = {"controller": "a.b/c", "parameters": {"kind": "K", "name": "n"}}
TARGET = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
EXTENSIONS = "apiextensions.k8s.io/v1"
ADMISSION = "admissionregistration.k8s.io/v1"
RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
MATCH: Tree = {"matchPolicy": "Exact", "namespaceSelector": {}, "objectSelector": {}, "resourceRules": [RULE]}
DEVICES = "resource.k8s.io/v1"
SLICE: Tree = {"driver": "d", "pool": {"name": "p", "resourceSliceCount": 1}}
LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an"
    " alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
FLOWS, CERTIFICATES = "flowcontrol.apiserver.k8s.io/v1", "certificates.k8s.io/v1"
METRICS = 'supported values: "ContainerResource", "External", "Object", "Pods", "Resource"'
QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
    " (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
NOT_QUALIFIED = f"a qualified name {QUALIFIED.removeprefix('name part ')} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"


def scaled(*metrics: Tree, **spec: Any) -> Tree:
    return {"spec": {"maxReplicas": 3, "scaleTargetRef": TARGET, "metrics": list(metrics), **spec}}


def metered(kind: str, **source: Any) -> Tree:
    return {"type": kind, kind[0].lower() + kind[1:]: source}


def defined(spec: Tree, *versions: Tree, **shared: Any) -> Tree:
    """Return a definition whose versions have a part in common."""
    names = {"plural": "ks", "singular": "k", "kind": "K", "listKind": "KList"}
    made = [
        {"name": f"v{at}", "served": True, "storage": at == 1, **shared, **own}
        for at, own in enumerate(versions, 1)
    ]
    return {
        "metadata": {"name": "ks.a.b"},
        "spec": {"group": "a.b", "scope": "Cluster", "names": names, "versions": made, **spec},
        "status": {"storedVersions": ["v1"]},
    }


NEW: list[tuple[str, Tree, list[str]]] = [
    (f"{NET} Ingress", {
        "metadata": {"name": "i", "namespace": "n", "annotations": {"kubernetes.io/ingress.class": "x"}},
        "spec": {"ingressClassName": "c", "rules": [{"http": {"paths": [{"path": "a"}]}}]}}, [
        "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
        'annotations.kubernetes.io/ingress.class: Invalid value: "x": must match `ingressClassName` when both are specified']),
    (f"{NET} IngressClass", {"spec": {"controller": "a.b/c d"}}, [
        'spec.controller: Invalid value: "c d": Invalid path (regex used for validation is \'[A-Za-z0-9/\\-._~%!$&\'()*+,;=:]+\')']),
    (f"{NET} IngressClass", {"spec": {**CLASS, "parameters": {"kind": "K", "name": "n", "scope": ""}}}, [
        'spec.parameters.scope: Unsupported value: "": supported values: "Cluster", "Namespace"']),
    (f"{NET} ServiceCIDR", {"spec": {"cidrs": ["10.0.0.0/24", "10.0.1.1/24"]}}, [
        'spec.cidrs[1]: Invalid value: "10.0.1.1/24": must not have bits set beyond the prefix length',
        ('spec.cidrs: Invalid value: ["10.0.0.0/24","10.0.1.1/24"]: may specify no more than one IP for each IP family, i.e'
         " 192.168.0.0/24 and 2001:db8::/64")]),
    ("autoscaling/v2 HorizontalPodAutoscaler", scaled(scaleTargetRef={"kind": "Deployment", "name": "d"}), [
        'spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group']),
    ("autoscaling/v2 HorizontalPodAutoscaler", scaled(scaleTargetRef={"kind": "ReplicationController", "name": "d", "apiVersion": "v1"}), []),
    ("autoscaling/v2 HorizontalPodAutoscaler", scaled({"type": "Odd", "pods": {"metric": {}, "target": {}}}, minReplicas=0), [
        f'spec.metrics[0].type: Unsupported value: "Odd": {METRICS}',
        "spec.metrics[0].pods.metric.name: Required value: must specify a metric name",
        "spec.metrics[0].pods.target.type: Required value: must specify a metric target type",
        'spec.metrics[0].pods.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue',
        "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
        "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"]),
    ("autoscaling/v2 HorizontalPodAutoscaler", scaled(metered("Pods", metric={"name": "m"}, target={"type": "AverageValue", "averageValue": "0"})), [
        'spec.metrics[0].pods.target.averageValue: Invalid value: "0": must be positive']),
    ("autoscaling/v2 HorizontalPodAutoscaler", scaled(metered("Object", describedObject={"kind": "K", "name": "n", "apiVersion": "a/b/c"},
                                                     metric={"name": "m"}, target={"type": "Value"})), [
        'spec.metrics[0].object.describedObject.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
        "spec.metrics[0].object.target.averageValue: Required value: must set either a target value or averageValue"]),
    ("autoscaling/v2 HorizontalPodAutoscaler", scaled(metered("ContainerResource", name="odd", container="C", target={"type": "Utilization"})), [
        'spec.metrics[0].containerResource.name: Invalid value: "odd": must be a standard resource type or fully qualified',
        'spec.metrics[0].containerResource.name: Invalid value: "odd": must be a standard resource for containers',
        ('spec.metrics[0].containerResource.container: Invalid value: "C": a lowercase RFC 1123 label must consist of lower case'
         " alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc',"
         " regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"),
        "spec.metrics[0].containerResource.target.averageUtilization: Required value: must set either a target raw value or a target utilization"]),
    ("autoscaling/v2 HorizontalPodAutoscaler", scaled(behavior={"scaleUp": {"tolerance": "-1"}}), [
        "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
        'spec.behavior.scaleUp.tolerance: Invalid value: "-1": must be greater than or equal to 0']),
    (f"{STORAGE} StorageClass", {"provisioner": "A_", "volumeBindingMode": "Immediate", "allowedTopologies": [{}]}, [
        f'provisioner: Invalid value: "a_": {QUALIFIED}',
        'allowedTopologies[0].matchLabelExpressions: Duplicate value: ""']),
    (f"{STORAGE} VolumeAttributesClass", {"driverName": ""}, [
        "spec.driverName: Required value", "spec.parameters: Required value: must contain at least one key/value pair"]),
    (f"{STORAGE} VolumeAttachment", {"spec": {"attacher": "d", "nodeName": "", "source": {"persistentVolumeName": ""}}}, [
        "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
        f'spec.nodeName: Invalid value: "": {SUBDOMAIN}',
        f'spec.source.persistentVolumeName: Invalid value: "": {SUBDOMAIN}']),
    (f"{STORAGE} CSIDriver", {"spec": {"volumeLifecycleModes": ["Odd"], "fsGroupPolicy": "Odd", "serviceAccountTokenInSecrets": True}}, [
        'spec.fsGroupPolicy: Unsupported value: "Odd": supported values: "File", "None", "ReadWriteOnceWithFSType"',
        'spec.volumeLifecycleModes: Unsupported value: "Odd": supported values: "Persistent", "Ephemeral"',
        ("spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are"
         " specified")]),
    (f"{STORAGE} CSINode", {"spec": {"drivers": [{"name": "d", "nodeID": "n"}, {"name": "d", "nodeID": "", "allocatable": {"count": -1}}]}}, [
        "spec.drivers[1].nodeID: Required value",
        "spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
        'spec.drivers[1].name: Duplicate value: "d"']),
    (f"{STORAGE} CSIStorageCapacity", {"capacity": "-1", "maximumVolumeSize": "-1", "nodeTopology": {"matchExpressions": [{"key": "a", "operator": "Odd"}]}}, [
        'nodeTopology.matchExpressions[0].operator: Invalid value: "Odd": not a valid selector operator',
        f'storageClassName: Invalid value: "": {SUBDOMAIN}',
        'capacity: Invalid value: "-1": must be greater than or equal to 0']),
    ("rbac.authorization.k8s.io/v1 ClusterRole", {"aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "Odd"}]}]}}, [
        'aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: Invalid value: "Odd": not a valid selector operator',
        'aggregationRule.clusterRoleSelectors[0]: Invalid value: "null": invalid label selector.']),
    (f"{CERTIFICATES} CertificateSigningRequest", {
        "spec": {"request": "AAAA", "signerName": "", "usages": ["any", "odd", "any", "odd"], "expirationSeconds": 1},
        "status": {"conditions": [{"type": "Denied", "status": "True"}, {"type": "Approved"}, {"type": "Approved", "status": "True"}]}}, [
        'spec.request: Invalid value: "AAAA": PEM block type must be CERTIFICATE REQUEST',
        *(f'spec.usages[{at}]: Unsupported value: "odd": supported values: {KNOWN}' for at in (1, 3)),
        *(f'spec.usages[{at}]: Duplicate value: "{usage}"' for at, usage in ((2, "any"), (3, "odd"))),
        "spec.signerName: Required value",
        "spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 600 seconds (10 minutes)",
        "status.conditions[1].status: Required value",
        'status.conditions: Invalid value: "Approved": Approved and Denied conditions are mutually exclusive',
        'status.conditions: Invalid value: "Approved": Approved and Denied conditions are mutually exclusive',
        'status.conditions[2].type: Duplicate value: "Approved"']),
    (f"{FLOWS} FlowSchema", {"spec": {
        "matchingPrecedence": 2, "distinguisherMethod": {"type": "Odd"}, "priorityLevelConfiguration": {"name": "p"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}, "group": {"name": "g"}, "serviceAccount": {"name": "s", "namespace": "n"}}],
                   "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}}, [
        'spec.distinguisherMethod.type: Unsupported value: {"Type":"Odd"}: supported values: "ByNamespace", "ByUser"',
        "spec.rules[0].subjects[0].serviceAccount: Forbidden: serviceAccount is forbidden when subject kind is not 'ServiceAccount'",
        "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'"]),
    (f"{FLOWS} PriorityLevelConfiguration", {
        "metadata": {"name": "p", "annotations": {"flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares": ""}}, "spec": {}}, [
        "metadata.annotations: Forbidden: annotation 'flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares' is forbidden",
        "spec.type: Required value"]),
    (f"{FLOWS} PriorityLevelConfiguration", {"spec": {"type": "Exempt"}}, [
        "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'"]),
    (f"{FLOWS} PriorityLevelConfiguration", {
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": -1, "lendablePercent": 101, "borrowingLimitPercent": -1}}}, [
        "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
        "spec.limited.limitResponse.type: Required value",
        "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
        "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer"]),
    (f"{FLOWS} PriorityLevelConfiguration", {"metadata": {"name": "exempt"}, "spec": {"type": "Exempt", "limited": {}}}, [
        "spec.limited: Forbidden: must be nil if the type is not Limited",
        ('spec: Invalid value: {"type":"Exempt","limited":{}}: spec of \'exempt\' except the \'spec.exempt\' field must equal the'
         " fixed value")]),
    (f"{ADMISSION} ValidatingWebhookConfiguration", {"webhooks": [{
        "name": "a_", "rules": [{**RULE, "resources": ["pods", "*"]}, {**RULE, "resources": ["*", "pods"]}], "sideEffects": "None",
        "clientConfig": {"url": "https://a"}, "admissionReviewVersions": ["v1"],
        "matchConditions": [{"name": "", "expression": "1"}, {"name": "n", "expression": ""}, {"name": "n", "expression": "true"}]}]}, [
        f'webhooks[0].name: Invalid value: "a_": {SUBDOMAIN}',
        ('webhooks[0].rules[1].resources: Invalid value: ["*","pods"]: if \'*\' is present, must not specify other resources without'
         " subresources"),
        'webhooks[0].matchConditions[0].expression: Invalid value: "1": must evaluate to bool',
        "webhooks[0].matchConditions[0].name: Required value",
        "webhooks[0].matchConditions[1].expression: Required value",
        'webhooks[0].matchConditions[2].name: Duplicate value: "n"']),
    (f"{ADMISSION} ValidatingAdmissionPolicy", {"spec": {
        "failurePolicy": "Fail", "matchConstraints": MATCH | {"matchPolicy": "Odd", "namespaceSelector": None},
        "variables": [{"name": "1b", "expression": " "}],
        "validations": [{"expression": "1", "messageExpression": " ", "message": "a\nb", "reason": "Odd"}, {"message": " "}],
        "auditAnnotations": [{"key": "k/l"}, {"key": "k/l", "valueExpression": "1"}]}}, [
        'spec.matchConstraints.matchPolicy: Unsupported value: "Odd": supported values: "Equivalent", "Exact"',
        "spec.matchConstraints.namespaceSelector: Required value",
        'spec.variables[0].name: Invalid value: "1b": must be a valid CEL identifier',
        "spec.variables[0].expression: Required value: expression is not specified",
        'spec.validations[0].expression: Invalid value: "1": must evaluate to bool',
        'spec.validations[0].messageExpression: Invalid value: " ": must be non-empty if specified',
        'spec.validations[0].message: Invalid value: "a\\nb": must not contain line breaks',
        'spec.validations[0].reason: Unsupported value: "Odd": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"',
        "spec.validations[1].expression: Required value: expression is not specified",
        'spec.validations[1].message: Invalid value: " ": must be non-empty if specified',
        f'spec.auditAnnotations[0].key: Invalid value: "a/k/l": {NOT_QUALIFIED}',
        "spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified",
        f'spec.auditAnnotations[1].key: Invalid value: "a/k/l": {NOT_QUALIFIED}',
        'spec.auditAnnotations[1].valueExpression: Invalid value: "1": must evaluate to one of [string null_type]',
        'spec.auditAnnotations[1].key: Duplicate value: "k/l"']),
    (f"{ADMISSION} MutatingAdmissionPolicy", {"spec": {
        "failurePolicy": "Fail", "matchConstraints": MATCH | {"resourceRules": [{**RULE, "operations": ["CREATE", "DELETE"]}]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {}, "applyConfiguration": {"expression": "Object{}"}}, {}]}}, [
        'spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"',
        "spec.mutations[0].jsonPatch.expression: Required value",
        'spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch',
        "spec.mutations[1].patchType: Required value",
        "spec.reinvocationPolicy: Required value"]),
    (f"{ADMISSION} MutatingAdmissionPolicyBinding", {"spec": {
        "policyName": "p", "paramRef": {"name": "a/b", "selector": {"matchLabels": {"/": ""}}},
        "matchResources": MATCH | {"resourceRules": [{**RULE, "operations": ["DELETE"]}]}}}, [
        "spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'",
        "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
        'spec.paramRef.selector.matchLabels: Invalid value: "/": prefix part must be non-empty',
        'spec.paramRef.selector.matchLabels: Invalid value: "/": name part must be non-empty',
        f'spec.paramRef.selector.matchLabels: Invalid value: "/": {QUALIFIED}',
        "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
        "spec.paramRef.parameterNotFoundAction: Required value",
        'spec.matchResources.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"']),
    (f"{EXTENSIONS} CustomResourceDefinition", defined(
        {"scope": "", "names": {"plural": "ks"}, "conversion": {"strategy": ""}, "preserveUnknownFields": True},
        {"selectableFields": [{"jsonPath": ".spec.a"}]}, subresources={"scale": {"specReplicasPath": "", "statusReplicasPath": ".status.a"}}), [
        "spec.scope: Required value",
        "spec.versions[0].schema.openAPIV3Schema: Required value",
        *(f"spec.names.{part}: Required value" for part in ("singular", "kind", "listKind")),
        "spec.subresources.scale.specReplicasPath: Required value",
        'spec.selectableFields: Invalid value: "": may only be set when validations.schema is included',
        'spec.conversion.strategy: Invalid value: "": must be None if spec.preserveUnknownFields is true',
        "spec.conversion.strategy: Required value",
        "spec.preserveUnknownFields: Invalid value: true: must be false"]),
    (f"{EXTENSIONS} CustomResourceDefinition", defined({}, {}, schema={"openAPIV3Schema": {"type": "object", "properties": {
        "a": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}}}}), [
        ('spec.validation.openAPIV3Schema.properties[a].items.x-kubernetes-map-type: Invalid value: "null": must be atomic as item of a'
         " list with x-kubernetes-list-type=set")]),
    (f"{DEVICES} ResourceClaimTemplate", {"spec": {"metadata": {"labels": {"a": "b c"}}, "spec": {}}}, [
        f'spec.metadata.labels: Invalid value: "b c": {LABEL_VALUE}']),
    (f"{DEVICES} ResourceSlice", {"spec": SLICE | {"nodeSelector": {"nodeSelectorTerms": []}, "allNodes": False, "devices": [{
        "name": "d", "bindingConditions": ["a", "a", "b"], "bindingFailureConditions": ["b", "b"], "attributes": {"a/b/c": {"int": 1}},
        "allowMultipleAllocations": True, "capacity": {"m": {"value": "1", "requestPolicy": {
            "default": "1", "validRange": {"min": "1", "step": "0"}}}}}]}}, [
        "spec.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term",
        "spec.nodeSelector.nodeSelectorTerms: Invalid value: []: must have exactly one node selector term",
        "spec.allNodes: Invalid value: false: must be either unset or set to true",
        'spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "0": must be greater than zero',
        'spec.devices[0].bindingConditions[1]: Duplicate value: "a"',
        'spec.devices[0].bindingFailureConditions[0]: Invalid value: "b": bindingFailureConditions must not overlap with bindingConditions',
        'spec.devices[0].bindingFailureConditions[1]: Duplicate value: "b"',
        'spec.devices[0].bindingFailureConditions[1]: Invalid value: "b": bindingFailureConditions must not overlap with bindingConditions']),
    (f"{DEVICES} DeviceTaintRule", {"spec": {"deviceSelector": {"driver": None}, "taint": {"key": "a", "effect": "None"}}}, []),
    ("scheduling.k8s.io/v1beta1 Workload", {"spec": {"controllerRef": {"apiGroup": "a_", "kind": "a/b", "name": ""}}}, [
        f'spec.controllerRef.apiGroup: Invalid value: "a_": {SUBDOMAIN}',
        "spec.controllerRef.kind: Invalid value: \"a/b\": may not contain '/'",
        "spec.controllerRef.name: Required value",
        "spec.podGroupTemplates: Required value"]),
]  # fmt: skip

CHANGED: list[tuple[str, Tree, Tree, list[str]]] = [
    (f"{NET} IngressClass", {"spec": {"controller": "a.b/c"}}, {"spec": {"controller": "plain"}}, [
        'spec.controller: Invalid value: "plain": field is immutable',
        'spec.controller: Invalid value: "plain": must be a domain-prefixed path (such as "acme.io/foo")']),
    (f"{NET} ServiceCIDR", {"spec": {"cidrs": ["10.0.0.0/24", "2001:db8::/64"]}}, {"spec": {"cidrs": ["10.0.1.0/24"]}}, [
        'spec.cidrs: Invalid value: ["10.0.1.0/24"]: field is immutable']),
    ("autoscaling/v2 HorizontalPodAutoscaler", scaled(scaleTargetRef={"kind": "Deployment", "name": "d"}),
     scaled(scaleTargetRef={"kind": "Deployment", "name": "e", "apiVersion": "v1"}), []),
    ("autoscaling/v2 HorizontalPodAutoscaler", scaled(), scaled(scaleTargetRef={"kind": "Deployment", "name": "d", "apiVersion": "v1"}), [
        'spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group']),
    (f"{STORAGE} StorageClass", {"provisioner": "p", "volumeBindingMode": "Immediate", "parameters": {"a": "b"}},
     {"provisioner": "q", "volumeBindingMode": "Immediate", "reclaimPolicy": "Odd"}, [
        'reclaimPolicy: Unsupported value: "Odd": supported values: "Delete", "Retain"',
        "parameters: Invalid value: null: field is immutable",
        'provisioner: Invalid value: "q": field is immutable',
        'reclaimPolicy: Invalid value: "Odd": field is immutable']),
    (f"{DEVICES} ResourceSlice", {"spec": SLICE | {"allNodes": True}}, {"spec": SLICE | {"pool": {"name": "q", "resourceSliceCount": 1}}}, [
        'spec.pool.name: Invalid value: "q": field is immutable',
        "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"]),
]  # fmt: skip


def named(name: str, body: Tree) -> Tree:
    api_version, kind = name.split()
    metadata = {"name": "a"} | ({"namespace": "n"} if SCHEME.kind(api_version, kind).namespaced else {})
    return {"kind": kind, "apiVersion": api_version, "metadata": metadata, **body}


@pytest.mark.parametrize(("name", "body", "wanted"), NEW)
def test_what_is_wrong_with_a_new_object_is_said_in_order(name: str, body: Tree, wanted: list[str]) -> None:
    found = validate_create(SCHEME.kind(*name.split()), named(name, body))
    assert [str(problem) for problem in found] == wanted


@pytest.mark.parametrize(("name", "old", "new", "wanted"), CHANGED)
def test_what_is_wrong_with_a_change_is_said_in_order(
    name: str, old: Tree, new: Tree, wanted: list[str]
) -> None:
    found = validate_update(SCHEME.kind(*name.split()), named(name, new), named(name, old))
    assert [str(problem) for problem in found] == wanted


@pytest.mark.parametrize(
    ("share", "why"),
    [
        ("a", "error validating uid: invalid UUID length: 1"),
        ("g" * 36, "error validating uid: invalid UUID format"),
        (
            "11111111-2222-3333-4444-55555555555A",
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters",
        ),
        ("11111111-2222-3333-4444-55555555555a", ""),
    ],
)
def test_a_share_of_a_device_has_a_uid_and_what_got_it_tolerates_taints(share: str, why: str) -> None:
    claim = {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}}
    device = {"driver": "d", "pool": "p", "device": "e", "shareID": share}
    result = {"request": "r", **device, "tolerations": [{"operator": "Exists", "value": "v"}]}
    status = {"allocation": {"devices": {"results": [result]}}, "devices": [device]}
    name = f"{DEVICES} ResourceClaim"
    found = validate_update(
        SCHEME.kind(*name.split()),
        named(name, claim | {"status": status}),
        named(name, claim),
        subresource="status",
    )
    path = "status.allocation.devices.results[0]"
    shares = [
        f'{where}.shareID: Invalid value: "{share}": {why}' for where in ("status.devices[0]", path) if why
    ]
    wrong = f'{path}.tolerations[0].value: Invalid value: "v": must be empty for operator `Exists`'
    assert [str(problem) for problem in found] == [*shares[:1], wrong, *shares[1:]]
