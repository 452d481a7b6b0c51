"""A plain object of each kind that is stored, and a change to it that everybody may make."""

import base64
import json
from typing import Any, NamedTuple

Tree = dict[str, Any]
TEMPLATE: Tree = {
    "metadata": {"labels": {"app": "a"}},
    "spec": {"containers": [{"name": "c", "image": "registry.example/pause:1"}]},
}
SELECTOR = {"matchLabels": {"app": "a"}}
NEVER: Tree = {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
REQUEST = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIS01IRUNBUUF3RHpFTk1Bc0dBMVVFQXd3RWFtRnVaVEJaTUJNR0J5cUdTTT"
    "Q5QWdFR0NDcUdTTTQ5QXdFSApBMElBQkUzSnBsNTlMRzZFQXp0WFF5M1NwSjVyS0Eyd2pvTHdzZnJZbCtkQml5eWd5Y2hRdFB3ZDRHTjNBYmtL"
    "ClpZaDBvUXhJcHM4dmFLelpZQjFGcEQvYjhYT2dBREFLQmdncWhrak9QUVFEQWdOSkFEQkdBaUVBa1RKcksvODUKTnpSenRnUTlYUUZTdVBNV2"
    "1TbmV1NjVDLzBQZXMyaisyWllDSVFDYXRWVXJ5UUtNOXljT1pXQTZXVGsyOEJoNAp0RitrMnVTcXM3S1pCc2MvNWc9PQotLS0tLUVORCBDRVJU"
    "SUZJQ0FURSBSRVFVRVNULS0tLS0K"
)
ANCHOR = (
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBcjCCARegAwIBAgIULBBWQRAQIDeAGZqc/nADKiPXAC0wCgYIKoZIzj0EAwIw\n"
    "DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI2MTEwNjMzWhgPMjEyNjExMDIxMTA2MzNa\n"
    "MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE6I9CfxJR\n"
    "6q/ZVmlbpVk40FrSrVWyp8mHbsoA5AuErMxNxK+h207yJXfQSUlqw2qLrYfxeJAi\n"
    "JNymcxjY7ZxnnaNTMFEwHQYDVR0OBBYEFMhZ0njvBP1HInzcmgomsoOPcjulMB8G\n"
    "A1UdIwQYMBaAFMhZ0njvBP1HInzcmgomsoOPcjulMA8GA1UdEwEB/wQFMAMBAf8w\n"
    "CgYIKoZIzj0EAwIDSQAwRgIhAMe5aNX9nfrrOvucd+9cqG1XhRAO2nfkVKmTXj6M\n"
    "0dO1AiEAurHvgq4Pzh4aR1b5E7IWZVB5p47nEo7kkz0jvdDcTIQ=\n"
    "-----END CERTIFICATE-----\n"
)
STUB = "".join(base64.b64decode(REQUEST).decode().splitlines()[1:-1])
RULE = {
    "operations": ["CREATE"],
    "apiGroups": ["nobody.example.com"],
    "apiVersions": ["v1"],
    "resources": ["things"],
}
HOOK: Tree = {
    "name": "check.example.com",
    "clientConfig": {"url": "https://127.0.0.1:9/check"},
    "rules": [RULE],
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}


class Sample(NamedTuple):
    """An object of a kind."""

    root: str
    """``/api/v1`` or ``/apis/group/version``."""
    plural: str
    body: Tree
    namespaced: bool = True
    status: Tree | None = None
    """What its controller would say of it; None if the kind has no status to write."""
    name: str = "sample"
    returned: bool = False
    """Whether a delete answers with the object, instead of a Status."""

    def collection(self, namespace: str) -> str:
        return (
            f"{self.root}/namespaces/{namespace}/{self.plural}"
            if self.namespaced
            else f"{self.root}/{self.plural}"
        )


def named(sample: Sample, namespace: str, name: str) -> Tree:
    """Return an object of a kind with a name and a label."""
    body: Tree = json.loads(json.dumps(sample.body).replace("{namespace}", namespace))
    body["metadata"] = {"name": name, "labels": {"test": "life"}}
    if sample.plural == "events" and sample.root == "/api/v1":
        body["involvedObject"]["namespace"] = namespace
    return body


def identity(sample: Sample) -> str:
    """Return how tests call a kind."""
    return f"{sample.plural}.{sample.root.rpartition('/apis/')[2].strip('/').replace('/', '.')}"


def _condition(kind: str) -> Tree:
    return {
        "conditions": [
            {
                "type": kind,
                "status": "True",
                "reason": "Seen",
                "message": "seen",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ]
    }


CORE, APPS, NET, STORAGE = "/api/v1", "/apis/apps/v1", "/apis/networking.k8s.io/v1", "/apis/storage.k8s.io/v1"
ADMISSION, DEVICES = "/apis/admissionregistration.k8s.io/v1", "/apis/resource.k8s.io/v1"

SAMPLES = [
    Sample(CORE, "configmaps", {"data": {"a": "1"}}),
    Sample(CORE, "secrets", {"stringData": {"a": "1"}, "type": "Opaque"}),
    Sample(CORE, "serviceaccounts", {"automountServiceAccountToken": False}, returned=True),
    Sample(CORE, "pods", {"spec": TEMPLATE["spec"]}, status=_condition("Started"), returned=True),
    Sample(CORE, "podtemplates", {"template": TEMPLATE}, returned=True),
    Sample(CORE, "replicationcontrollers", {"spec": {"replicas": 0, "selector": {"app": "a"}, "template": TEMPLATE}},
           status={"replicas": 0, **_condition("StatusUpdate")}),
    Sample(CORE, "services", {"spec": {"ports": [{"port": 80}]}}, status=_condition("StatusUpdate"), returned=True),
    Sample(CORE, "endpoints", {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
    Sample(CORE, "events", {
        "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Test", "message": "m", "type": "Normal",
        "source": {"component": "test"}}),
    Sample(CORE, "limitranges", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}}),
    Sample(CORE, "resourcequotas", {"spec": {"hard": {"configmaps": "100"}}}, status={"hard": {"configmaps": "100"}},
           returned=True),
    Sample(CORE, "persistentvolumeclaims", {
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}},
        status=_condition("StatusUpdate"), returned=True),
    Sample(CORE, "persistentvolumes", {"spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"},
        "persistentVolumeReclaimPolicy": "Retain"}},
        namespaced=False, status={"phase": "Available", "message": "patched"}, returned=True),
    Sample(CORE, "nodes", {}, namespaced=False, status=_condition("StatusUpdate")),
    Sample(APPS, "deployments", {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}},
           status=_condition("StatusUpdate")),
    Sample(APPS, "replicasets", {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}},
           status={"replicas": 0, **_condition("StatusUpdate")}),
    Sample(APPS, "statefulsets", {
        "spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE, "serviceName": "s"}},
        status={"replicas": 0, **_condition("StatusUpdate")}),
    Sample(APPS, "daemonsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
           status=_condition("StatusUpdate")),
    Sample(APPS, "controllerrevisions", {"data": {"a": 1}, "revision": 1}),
    Sample("/apis/batch/v1", "jobs", {"spec": {"suspend": True, "template": NEVER}}, status=_condition("StatusUpdate")),
    Sample("/apis/batch/v1", "cronjobs", {
        "spec": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": {"template": NEVER}}}},
        status={"lastScheduleTime": "2026-01-01T00:00:00Z"}),
    Sample("/apis/autoscaling/v1", "horizontalpodautoscalers", {
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 3}},
        status={"currentReplicas": 1, "desiredReplicas": 2}),
    Sample("/apis/autoscaling/v2", "horizontalpodautoscalers", {
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 3}},
        status={"currentReplicas": 1, "desiredReplicas": 2}),
    Sample("/apis/policy/v1", "poddisruptionbudgets", {"spec": {"minAvailable": 1, "selector": SELECTOR}},
           status={"expectedPods": 3, "currentHealthy": 3, "desiredHealthy": 1, "disruptionsAllowed": 2,
                   "disruptedPods": {"p": "2026-01-01T00:00:00Z"}}),
    Sample("/apis/discovery.k8s.io/v1", "endpointslices", {
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}),
    Sample("/apis/coordination.k8s.io/v1", "leases", {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 30}}),
    Sample("/apis/events.k8s.io/v1", "events", {
        "regarding": {"kind": "Pod", "name": "p", "namespace": "{namespace}"}, "reason": "Test", "note": "n", "type": "Normal",
        "action": "Do", "reportingController": "test.example.com/c", "reportingInstance": "i",
        "eventTime": "2026-01-01T00:00:00.000001Z"}),
    Sample(NET, "ingresses", {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}},
           status={"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}),
    Sample(NET, "ingressclasses", {"spec": {"controller": "example.com/controller"}}, namespaced=False),
    Sample(NET, "networkpolicies", {"spec": {"podSelector": {}}}),
    Sample(NET, "ipaddresses", {"spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "default"}}},
           namespaced=False, name="192.168.7.7"),
    Sample(NET, "servicecidrs", {"spec": {"cidrs": ["10.123.0.0/24"]}}, namespaced=False,
           status=_condition("StatusUpdate")),
    Sample("/apis/node.k8s.io/v1", "runtimeclasses", {"handler": "fake"}, namespaced=False),
    Sample("/apis/scheduling.k8s.io/v1", "priorityclasses", {"value": 7}, namespaced=False),
    Sample("/apis/scheduling.k8s.io/v1beta1", "podgroups", {"spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}},
           status=_condition("StatusUpdate")),
    Sample("/apis/scheduling.k8s.io/v1beta1", "workloads", {
        "spec": {"podGroupTemplates": [{"name": "workers", "schedulingPolicy": {"gang": {"minCount": 2}}}]}}),
    Sample(STORAGE, "storageclasses", {"provisioner": "example.com/p"}, namespaced=False, returned=True),
    Sample(STORAGE, "volumeattachments", {
        "spec": {"attacher": "example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}},
        namespaced=False, status={"attached": True}, returned=True),
    Sample(STORAGE, "csidrivers", {"spec": {"attachRequired": False}}, namespaced=False, returned=True),
    Sample(STORAGE, "csinodes", {"spec": {"drivers": []}}, namespaced=False, returned=True),
    Sample(STORAGE, "csistoragecapacities", {"storageClassName": "s"}),
    Sample(STORAGE, "volumeattributesclasses", {"driverName": "example.com", "parameters": {"a": "b"}}, namespaced=False,
           returned=True),
    Sample("/apis/certificates.k8s.io/v1", "certificatesigningrequests", {
        "spec": {"request": REQUEST, "signerName": "example.com/signer", "usages": ["client auth"]}}, namespaced=False),
    Sample("/apis/rbac.authorization.k8s.io/v1", "roles", {"rules": []}),
    Sample("/apis/rbac.authorization.k8s.io/v1", "clusterroles", {"rules": []}, namespaced=False),
    Sample("/apis/rbac.authorization.k8s.io/v1", "rolebindings", {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}}),
    Sample("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}}, namespaced=False),
    Sample(ADMISSION, "mutatingwebhookconfigurations", {"webhooks": [HOOK]}, namespaced=False),
    Sample(ADMISSION, "validatingwebhookconfigurations", {"webhooks": [HOOK]}, namespaced=False),
    Sample(ADMISSION, "validatingadmissionpolicies", {
        "spec": {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": "true"}]}},
        namespaced=False, status=_condition("StatusUpdate")),
    Sample(ADMISSION, "validatingadmissionpolicybindings", {
        "spec": {"policyName": "p", "validationActions": ["Deny"]}}, namespaced=False),
    Sample(ADMISSION, "mutatingadmissionpolicies", {
        "spec": {"matchConstraints": {"resourceRules": [RULE]}, "reinvocationPolicy": "Never", "failurePolicy": "Fail",
                 "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]}},
        namespaced=False),
    Sample(ADMISSION, "mutatingadmissionpolicybindings", {"spec": {"policyName": "p"}}, namespaced=False),
    Sample("/apis/apiregistration.k8s.io/v1", "apiservices", {
        "spec": {"group": "nobody.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
                 "service": {"namespace": "default", "name": "nobody"}, "insecureSkipTLSVerify": True}},
        namespaced=False, name="v1.nobody.example.com", status=_condition("StatusUpdate")),
    Sample("/apis/flowcontrol.apiserver.k8s.io/v1", "flowschemas", {
        "spec": {"priorityLevelConfiguration": {"name": "global-default"}, "matchingPrecedence": 9000}},
        namespaced=False, status=_condition("StatusUpdate")),
    Sample("/apis/flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", {
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}},
        namespaced=False, status=_condition("StatusUpdate")),
    Sample(DEVICES, "deviceclasses", {"spec": {}}, namespaced=False, returned=True),
    Sample("/apis/certificates.k8s.io/v1", "clustertrustbundles", {"spec": {"trustBundle": ANCHOR}}, namespaced=False),
    Sample("/apis/certificates.k8s.io/v1", "podcertificaterequests", {
        "spec": {"signerName": "example.com/pods", "podName": "p", "podUID": "1", "serviceAccountName": "s",
                 "serviceAccountUID": "2", "nodeName": "n", "nodeUID": "3", "stubPKCS10Request": STUB}},
        status=_condition("Denied")),
    Sample("/apis/storagemigration.k8s.io/v1", "storageversionmigrations", {
        "spec": {"resource": {"group": "apps", "resource": "deployments"}}}, namespaced=False, status=_condition("Running")),
    Sample(DEVICES, "devicetaintrules", {
        "spec": {"deviceSelector": {"driver": "gpu.example.com"}, "taint": {"key": "broken", "effect": "NoExecute"}}},
        namespaced=False, status=_condition("EvictionInProgress")),
    Sample(DEVICES, "resourceclaims", {
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "d"}}]}}}, returned=True),
    Sample(DEVICES, "resourceclaimtemplates", {
        "spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "d"}}]}}}}, returned=True),
    Sample(DEVICES, "resourceslices", {
        "spec": {"driver": "d.example.com", "nodeName": "n",
                 "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}}, namespaced=False, returned=True),
]  # fmt: skip
