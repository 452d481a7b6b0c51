"""What may not be stored: Kubernetes' paths, types and words."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.api.builtin import SCHEME
from kubelib.api.defaults import apply_defaults
from kubelib.api.scheme import Resource
from kubelib.api.validation import validate_create, validate_update

VERSIONS = {
    "Deployment": "apps/v1", "ReplicaSet": "apps/v1", "DaemonSet": "apps/v1", "StatefulSet": "apps/v1", "Job": "batch/v1",
    "CronJob": "batch/v1", "EndpointSlice": "discovery.k8s.io/v1", "Lease": "coordination.k8s.io/v1",
    "Role": "rbac.authorization.k8s.io/v1", "ClusterRole": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1", "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
}  # fmt: skip

POD_SPEC: dict[str, Any] = {
    "containers": [
        {
            "name": "c",
            "image": "nginx:1",
            "ports": [{"name": "http", "containerPort": 80}],
            "env": [{"name": "A", "value": "1"}, {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m", "memory": "64Mi"}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "livenessProbe": {"httpGet": {"port": "http"}},
        }
    ],
    "volumes": [{"name": "v", "emptyDir": {}}],
    "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}],
}  # fmt: skip
LABELS = {"matchLabels": {"app": "a"}}
TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": POD_SPEC}
GOOD: dict[str, dict[str, Any]] = {
    "Pod": {"spec": POD_SPEC},
    "ReplicationController": {"spec": {"template": TEMPLATE}},
    "ReplicaSet": {"spec": {"selector": LABELS, "template": TEMPLATE}},
    "Deployment": {"spec": {"selector": LABELS, "template": TEMPLATE}},
    "DaemonSet": {"spec": {"selector": LABELS, "template": TEMPLATE}},
    "StatefulSet": {"spec": {"selector": LABELS, "template": TEMPLATE, "serviceName": "s"}},
    "Job": {"spec": {"template": {"spec": {**POD_SPEC, "restartPolicy": "Never"}}}},
    "CronJob": {
        "spec": {
            "schedule": "*/5 1-3 * jan mon",
            "jobTemplate": {"spec": {"template": {"spec": {**POD_SPEC, "restartPolicy": "Never"}}}},
        }
    },
    "Service": {"spec": {"ports": [{"port": 80}], "selector": {"app": "a"}}},
    "Endpoints": {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1}]}]},
    "EndpointSlice": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"port": 1}],
    },
    "ConfigMap": {"data": {"a.b": "c"}, "binaryData": {"d": "ZQ=="}},
    "Secret": {"data": {"a": "YQ=="}},
    "Node": {
        "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
        "status": {"capacity": {"cpu": "2"}},
    },
    "Namespace": {"spec": {"finalizers": ["kubernetes"]}},
    "LimitRange": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}]}},
    "ResourceQuota": {"spec": {"hard": {"pods": "10", "requests.cpu": "2"}, "scopes": ["NotTerminating"]}},
    "Lease": {"spec": {"leaseDurationSeconds": 3}},
    "Role": {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]},
    "ClusterRole": {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]},
    "RoleBinding": {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]},
    "ClusterRoleBinding": {"roleRef": {"kind": "ClusterRole", "name": "r"}},
    "PersistentVolumeClaim": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    "PersistentVolume": {
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}
    },
}


def resource_of(kind: str) -> Resource:
    return SCHEME.kind(VERSIONS.get(kind, "v1"), kind)


def build(kind: str, **changes: Any) -> dict[str, Any]:
    resource = resource_of(kind)
    tree = {
        "kind": kind,
        "apiVersion": resource.api_version,
        "metadata": {"name": "a"},
        **copy.deepcopy(GOOD[kind]),
    }
    if resource.namespaced:
        tree["metadata"]["namespace"] = "default"
    for path, value in changes.items():
        put(tree, path, value)
    apply_defaults(kind, tree)
    return tree


def put(tree: Any, path: str, value: Any) -> None:
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("__"))
    for step in steps:
        tree = tree.setdefault(step, {}) if isinstance(tree, dict) else tree[step]
    if value is ...:
        del tree[last]
    else:
        tree[last] = value


def problems_of(kind: str, **changes: Any) -> list[str]:
    return [str(problem) for problem in validate_create(resource_of(kind), build(kind, **changes))]


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_plain_object_of_each_kind_is_fine_and_stays_so(kind: str) -> None:
    resource, tree = resource_of(kind), build(kind)
    assert validate_create(resource, tree) == []
    assert validate_update(resource, copy.deepcopy(tree), tree) == []
    new = copy.deepcopy(tree)
    new["metadata"]["labels"] = {"x": "y"}
    assert validate_update(resource, new, tree) == []


C = "spec__containers__0"
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end"
    " with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


@pytest.mark.parametrize(
    ("kind", "path", "value", "problem"),
    [
        ("Pod", "metadata__name", "A", f'metadata.name: Invalid value: "A": {SUBDOMAIN}'),
        ("Pod", "metadata__name", "", "metadata.name: Required value: name or generateName is required"),
        ("Node", "metadata__namespace", "x", "metadata.namespace: Forbidden: not allowed on this type"),
        ("Pod", "metadata__annotations", {"a": "b" * 262144}, "metadata.annotations: Too long: may not be more than 262144 bytes"),
        ("Pod", "metadata__ownerReferences", [{"apiVersion": "v1", "kind": "Pod", "name": "x"}], 'metadata.ownerReferences.uid: Invalid value: "": must not be empty'),
        ("Pod", "metadata__finalizers", ["orphan", "foregroundDeletion"], 'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set'),
        ("Pod", "spec__containers", [], "spec.containers: Required value"),
        ("Pod", f"{C}__name", "", "spec.containers[0].name: Required value"),
        ("Pod", f"{C}__image", "", "spec.containers[0].image: Required value"),
        ("Pod", f"{C}__image", " x", 'spec.containers[0].image: Invalid value: " x": must not have leading or trailing whitespace'),
        ("Pod", f"{C}__imagePullPolicy", "Perhaps", 'spec.containers[0].imagePullPolicy: Unsupported value: "Perhaps": supported values: "Always", "IfNotPresent", "Never"'),
        ("Pod", f"{C}__ports__0__containerPort", 70000, "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
        ("Pod", f"{C}__ports__0__containerPort", 0, "spec.containers[0].ports[0].containerPort: Required value"),
        ("Pod", f"{C}__ports__0__protocol", "ICMP", 'spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'),
        ("Pod", f"{C}__env__0__name", "A=", 'spec.containers[0].env[0].name: Invalid value: "A=": a valid environment variable name must consist only of printable ASCII characters other than \'=\''),
        ("Pod", f"{C}__env__1__value", "x", 'spec.containers[0].env[1].valueFrom: Invalid value: "": may not be specified when `value` is not empty'),
        ("Pod", f"{C}__env__1__valueFrom__fieldRef__fieldPath", "spec.x", 'spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: Invalid value: "spec.x": error converting fieldPath: field label not supported: spec.x'),
        ("Pod", f"{C}__volumeMounts__0__name", "w", 'spec.containers[0].volumeMounts[0].name: Not found: "w"'),
        ("Pod", f"{C}__volumeMounts__0__mountPath", "", "spec.containers[0].volumeMounts[0].mountPath: Required value"),
        ("Pod", f"{C}__resources__requests__cpu", "1", 'spec.containers[0].resources.requests: Invalid value: "1": must be less than or equal to cpu limit of 200m'),
        ("Pod", f"{C}__resources__limits__memory", "-1", 'spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0'),
        ("Pod", f"{C}__resources__limits__gpu", "1", 'spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified'),
        ("Pod", f"{C}__resources__requests", {"x.com/gpu": "1"}, "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"),
        ("Pod", f"{C}__livenessProbe__httpGet", ..., "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
        ("Pod", f"{C}__livenessProbe__successThreshold", 2, "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"),
        ("Pod", f"{C}__livenessProbe__periodSeconds", -1, "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"),
        ("Pod", f"{C}__lifecycle", {"preStop": {"exec": {}}}, "spec.containers[0].lifecycle.preStop.exec.command: Required value"),
        ("Pod", f"{C}__securityContext", {"runAsUser": -1}, "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"),
        ("Pod", "spec__initContainers", [{"name": "c", "image": "x"}], 'spec.initContainers[0].name: Duplicate value: "c"'),
        ("Pod", "spec__volumes__0__hostPath", {"path": "/"}, "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"),
        ("Pod", "spec__volumes__0", {"name": "v", "configMap": {"defaultMode": 0o1000, "name": "x"}}, "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive"),
        ("Pod", "spec__volumes__0", {"name": "v", "secret": {"secretName": "s", "items": [{"key": "k", "path": "../x"}]}}, 'spec.volumes[0].secret.items[0].path: Invalid value: "../x": must not contain \'..\''),
        ("Pod", "spec__restartPolicy", "Sometimes", 'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'),
        ("Pod", "spec__dnsPolicy", "None", "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
        ("Pod", "spec__activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"),
        ("Pod", "spec__hostAliases", [{"ip": "1"}], 'spec.hostAliases[0].ip: Invalid value: "1": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
        ("Pod", "spec__tolerations__0__effect", "NoSchedule", 'spec.tolerations[0].effect: Invalid value: "NoSchedule": effect must be \'NoExecute\' when `tolerationSeconds` is set'),
        ("Pod", "spec__tolerations__0__operator", "Near", 'spec.tolerations[0].operator: Unsupported value: "Near": supported values: "Equal", "Exists"'),
        ("Pod", "spec__affinity", {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}, "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term"),
        ("Pod", "spec__topologySpreadConstraints", [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}], "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"),
        ("Pod", "spec__ephemeralContainers", [{"name": "e", "image": "x"}], "spec.ephemeralContainers: Forbidden: cannot be set on create"),
        ("Pod", "spec__os", {"name": "beos"}, 'spec.os: Unsupported value: "beos": supported values: "linux", "windows"'),
        ("ReplicationController", "spec__replicas", -1, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ("ReplicationController", "spec__selector", {"app": "b"}, 'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`'),
        ("Deployment", "spec__selector", ..., "spec.selector: Required value"),
        ("Deployment", "spec__selector", {}, "spec.selector: Invalid value: {}: empty selector is invalid for deployment"),
        ("Deployment", "spec__selector__matchLabels__app", "b", 'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`'),
        ("Deployment", "spec__template__spec__restartPolicy", "Never", 'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'),
        ("Deployment", "spec__strategy", {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}, "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"),
        ("Deployment", "spec__strategy", {"rollingUpdate": {"maxSurge": "x"}}, "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"x\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"),
        ("Deployment", "spec__strategy", {"type": "Recreate", "rollingUpdate": {}}, "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
        ("Deployment", "spec__progressDeadlineSeconds", 0, "spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds"),
        ("StatefulSet", "spec__podManagementPolicy", "x", "spec.podManagementPolicy: Invalid value: \"x\": must be 'OrderedReady' or 'Parallel'"),
        ("Job", "spec__template__spec__restartPolicy", "Always", 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'),
        ("CronJob", "spec__jobTemplate__spec__completionMode", "Indexed", "spec.jobTemplate.spec.completions: Required value: when completion mode is Indexed"),
        ("CronJob", "spec__schedule", "* * *", 'spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]'),
        ("CronJob", "spec__schedule", "61 * * * *", 'spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61'),
        ("Service", "spec__ports", [], "spec.ports: Required value"),
        ("Service", "spec__ports__0__port", 0, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ("Service", "spec__ports__0__nodePort", 30000, "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
        ("Service", "spec__type", "Magic", 'spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
        ("Service", "spec__sessionAffinity", "Sticky", 'spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None"'),
        ("Service", "spec__clusterIP", "1.2", 'spec.clusterIPs[0]: Invalid value: "1.2": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
        ("Endpoints", "subsets__0__addresses", [], "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"),
        ("EndpointSlice", "endpoints__0__addresses", ["::1"], 'endpoints[0].addresses[0]: Invalid value: "::1": must be a valid IPv4 address'),
        ("ConfigMap", "data", {"d": "x"}, 'data[d]: Invalid value: "d": duplicate of key present in binaryData'),
        ("ConfigMap", "data", {"x": "y" * 1048577}, ": Too long: may not be more than 1048576 bytes"),
        ("Secret", "type", "kubernetes.io/ssh-auth", "data[ssh-privatekey]: Required value"),
        ("Secret", "type", "kubernetes.io/tls", "data[tls.crt]: Required value"),
        ("Node", "spec__taints__0__effect", "Maybe", 'metadata.taints[0].effect: Unsupported value: "Maybe": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'),
        ("LimitRange", "spec__limits__0__min__cpu", "3", 'spec.limits[0].min[cpu]: Invalid value: "3": min value 3 is greater than max value 2'),
        ("ResourceQuota", "spec__hard__pods", "500m", 'spec.hard[pods]: Invalid value: "500m": must be an integer'),
        ("Lease", "spec__leaseDurationSeconds", 0, "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"),
        ("Role", "rules__0__verbs", [], "rules[0].verbs: Required value: verbs must contain at least one value"),
        ("RoleBinding", "roleRef__kind", "User", 'roleRef.kind: Unsupported value: "User": supported values: "Role", "ClusterRole"'),
        ("PersistentVolumeClaim", "spec__accessModes", [], "spec.accessModes: Required value: at least 1 access mode is required"),
        ("PersistentVolume", "spec__capacity", {}, "spec.capacity: Required value"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_kubernetes_path_and_words(
    kind: str, path: str, value: Any, problem: str
) -> None:
    assert problem in problems_of(kind, **{path: value})


@pytest.mark.parametrize(
    ("kind", "path", "value", "problem"),
    [
        ("Pod", "metadata__uid", "other", 'metadata.uid: Invalid value: "other": field is immutable'),
        ("Pod", "spec__hostname", "h", "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n+ hostname: \"h\"\n"),
        ("Pod", "spec__containers", POD_SPEC["containers"] * 2, "spec.containers: Forbidden: pod updates may not add or remove containers"),
        ("Pod", "spec__tolerations", [], "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"),
        ("Pod", "spec__schedulingGates", [{"name": "g"}], "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"),
        ("Deployment", "spec__selector__matchLabels__x", "y", 'spec.selector: Invalid value: {"matchLabels":{"app":"a","x":"y"}}: field is immutable'),
        ("StatefulSet", "spec__serviceName", "t", "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"),
        ("Job", "spec__completions", 7, "spec.completions: Invalid value: 7: field is immutable"),
        ("Secret", "type", "x", 'type: Invalid value: "x": field is immutable'),
        ("EndpointSlice", "addressType", "FQDN", 'addressType: Invalid value: "FQDN": field is immutable'),
        ("RoleBinding", "roleRef__name", "q", 'roleRef: Invalid value: {"kind":"Role","name":"q","apiGroup":"rbac.authorization.k8s.io"}: field is immutable'),
        ("ResourceQuota", "spec__scopes", [], "spec.scopes: Invalid value: []: field is immutable"),
    ],
)  # fmt: skip
def test_what_may_not_change_is_told_so(kind: str, path: str, value: Any, problem: str) -> None:
    old = build(kind)
    old["metadata"]["uid"] = "u"
    new = copy.deepcopy(old)
    put(new, path, value)
    assert problem in [str(found) for found in validate_update(resource_of(kind), new, old)]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{C}__image", "nginx:2"),
        ("spec__activeDeadlineSeconds", 5),
        ("spec__tolerations__0__tolerationSeconds", 9),
        ("spec__tolerations", [*POD_SPEC["tolerations"], {"key": "b", "operator": "Exists"}]),
    ],
)
def test_the_little_that_may_change_about_a_pod_may_change(path: str, value: Any) -> None:
    old = build("Pod")
    new = copy.deepcopy(old)
    put(new, path, value)
    assert validate_update(resource_of("Pod"), new, old) == []


def test_an_immutable_config_map_cannot_change_and_stays_immutable() -> None:
    old = build("ConfigMap", immutable=True)
    new = copy.deepcopy(old)
    new["data"] = {}
    del new["immutable"]
    assert [str(p) for p in validate_update(resource_of("ConfigMap"), new, old)] == [
        "immutable: Forbidden: field is immutable when `immutable` is set",
        "data: Forbidden: field is immutable when `immutable` is set",
    ]


def test_no_finalizer_is_added_to_what_is_being_deleted() -> None:
    old = build("ConfigMap")
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    new = copy.deepcopy(old)
    new["metadata"]["finalizers"] = ["a/b"]
    (problem,) = validate_update(resource_of("ConfigMap"), new, old)
    assert str(problem) == (
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new"
        ' finalizers []string{"a/b"}'
    )


def test_a_terminated_container_that_does_not_restart_stays_terminated() -> None:
    old = build("Pod", spec__restartPolicy="Never")
    old["status"] = {"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]}
    new = copy.deepcopy(old)
    new["status"]["containerStatuses"][0]["state"] = {"running": {}}
    (problem,) = validate_update(resource_of("Pod"), new, old, subresource="status")
    assert str(problem) == (
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    )


@pytest.mark.parametrize("part", ["containers", "initContainers"])
@pytest.mark.parametrize(
    ("own", "code", "may"),
    [
        ({"restartPolicy": "OnFailure"}, 1, True),
        ({"restartPolicy": "OnFailure"}, 0, False),
        ({"restartPolicy": "Never"}, 1, False),
        ({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}, 42, True),
        ({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}, 1, False),
        ({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}]}, 1, True),
        ({"restartPolicy": "Never", "restartPolicyRules": [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]}, 0, True),
    ],
)  # fmt: skip
def test_a_terminated_container_may_run_again_where_its_own_rules_say_so(
    part: str, own: dict[str, Any], code: int, may: bool
) -> None:
    old = build("Pod", spec__restartPolicy="Never")
    old["spec"].setdefault(part, []).append({"name": "own", "image": "i", **own})
    statuses = part[:-1] + "Statuses"
    old["status"] = {statuses: [{"name": "own", "state": {"terminated": {"exitCode": code}}}]}
    new = copy.deepcopy(old)
    new["status"][statuses][0]["state"] = {"running": {}}
    problems = validate_update(resource_of("Pod"), new, old, subresource="status")
    assert [str(problem) for problem in problems] == (
        []
        if may
        else [f"status.{statuses}[0].state: Forbidden: may not be transitioned to non-terminated state"]
    )


def test_a_spec_that_was_found_sound_is_still_told_from_one_that_is_not() -> None:
    resource = resource_of("Pod")
    for _ in range(2):
        assert validate_create(resource, build("Pod")) == []
        assert problems_of("Pod", **{f"{C}__image": " x"}) != []
        assert problems_of("Deployment", spec__template__spec__containers__0__image=" x") == []


def test_the_generated_name_of_a_token_volume_hides_no_other_mistake() -> None:
    def with_volumes(*names: str, mounted: str) -> list[str]:
        volumes = [{"name": name, "emptyDir": {}} for name in names]
        mounts = [{"name": mounted, "mountPath": "/token"}]
        changes = {"spec__volumes": volumes, f"{C}__volumeMounts": mounts}
        return [problem.partition(":")[0] for problem in problems_of("Pod", **changes)]

    sound = "kube-api-access-aaaaa"
    assert with_volumes(sound, mounted=sound) == []
    assert with_volumes("kube-api-access-bbbbb", mounted="kube-api-access-bbbbb") == []
    mounts = "spec.containers[0].volumeMounts[0].name"
    assert with_volumes(sound, mounted="kube-api-access-bbbbb") == [mounts]
    assert with_volumes(sound, "kube-api-access-bbbbb", mounted=sound) == []
    assert with_volumes(sound, sound, mounted=sound) == ["spec.volumes[1].name"]
    assert with_volumes(sound, mounted="kube-api-access-") == [mounts]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=150)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_odd_input_is_refused_or_accepted_but_never_an_accident(kind: str, data: st.DataObject) -> None:
    tree = build(kind)
    paths = [path for path in _paths(tree) if path[0] not in ("kind", "apiVersion", "metadata")] or [
        ("spec",)
    ]
    path = data.draw(st.sampled_from(paths))
    new = copy.deepcopy(tree)
    at: Any = new
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = data.draw(json_values)
    validate_create(resource_of(kind), new)
    validate_update(resource_of(kind), new, tree)
    validate_update(resource_of(kind), new, tree, subresource="status")


def _paths(tree: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path for key, value in items for path in [(*prefix, key), *_paths(value, (*prefix, key))]]
