"""Which defaults belong to which kind."""

from collections.abc import Callable
from typing import Any

from kubelib.api.defaults import devices, extensions
from kubelib.api.defaults.pods import SOURCES, canonical_quantities, default_pod, default_pod_template
from kubelib.api.scheme import Tree


def _spec(tree: Tree) -> Tree:
    spec = tree.setdefault("spec", {})
    return spec if isinstance(spec, dict) else {}


def _replication_controller(tree: Tree) -> None:
    spec = _spec(tree)
    spec.setdefault("replicas", 1)
    template = spec.get("template")
    default_pod_template(template)
    labels = template.get("metadata", {}).get("labels") if isinstance(template, dict) else None
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        if not tree["metadata"].get("labels"):
            tree["metadata"]["labels"] = dict(labels)


def _replica_set(tree: Tree) -> None:
    spec = _spec(tree)
    spec.setdefault("replicas", 1)
    default_pod_template(spec.get("template"))


def _deployment(tree: Tree) -> None:
    spec = _spec(tree)
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    default_pod_template(spec.get("template"))


def _daemon_set(tree: Tree) -> None:
    spec = _spec(tree)
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    default_pod_template(spec.get("template"))


def _stateful_set(tree: Tree) -> None:
    spec = _spec(tree)
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("metadata", {})
        _claim(claim)
    default_pod_template(spec.get("template"))


def _job_spec(spec: Tree) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = spec["parallelism"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else _NO_LIMIT)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault(
        "podReplacementPolicy", "TerminatingOrFailed" if "podFailurePolicy" not in spec else "Failed"
    )
    default_pod_template(spec.get("template"))


_NO_LIMIT = 2**31 - 1


def _job(tree: Tree) -> None:
    spec = _spec(tree)
    _job_spec(spec)
    template = spec.get("template")
    labels = (template.get("metadata") or {}).get("labels") if isinstance(template, dict) else None
    if labels and not tree["metadata"].get("labels"):
        tree["metadata"]["labels"] = dict(labels)
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern.setdefault("status", "True")


def _cron_job(tree: Tree) -> None:
    spec = _spec(tree)
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    job = spec.get("jobTemplate")
    if isinstance(job, dict) and isinstance(job.get("spec"), dict):
        default_pod_template(job["spec"].get("template"))


def _service(tree: Tree) -> None:
    spec = _spec(tree)
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("type", "ClusterIP")
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}).setdefault(
            "timeoutSeconds", 10800
        )
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    if spec["type"] in ("NodePort", "LoadBalancer") or (
        spec["type"] == "ClusterIP" and spec.get("externalIPs")
    ):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for entry in ((tree.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if entry.get("ip"):
                entry.setdefault("ipMode", "VIP")
    if spec["type"] in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec.setdefault("internalTrafficPolicy", "Cluster")


def _endpoints(tree: Tree) -> None:
    for subset in tree.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _endpoint_slice(tree: Tree) -> None:
    for port in tree.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _secret(tree: Tree) -> None:
    tree.setdefault("type", "Opaque")
    text = tree.pop("stringData", None)
    if isinstance(text, dict):
        import base64

        data = tree.setdefault("data", {})
        data.update({key: base64.b64encode(str(value).encode()).decode() for key, value in text.items()})


def _namespace(tree: Tree) -> None:
    name = tree["metadata"].get("name")
    if name:
        tree["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    tree.setdefault("status", {}).setdefault("phase", "Active")


def _node(tree: Tree) -> None:
    status = tree.get("status")
    if isinstance(status, dict):
        canonical_quantities(status.get("capacity"))
        if "capacity" in status:
            status.setdefault("allocatable", dict(status["capacity"]))
        canonical_quantities(status.get("allocatable"))


def _binding(tree: Tree, group: str = "rbac.authorization.k8s.io") -> None:
    role = tree.get("roleRef")
    if isinstance(role, dict):
        role["apiGroup"] = role.get("apiGroup") or group
    for subject in tree.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = subject.get("apiGroup") or group


def _claim(tree: Tree) -> None:
    spec = _spec(tree)
    spec.setdefault("volumeMode", "Filesystem")
    canonical_quantities((spec.get("resources") or {}).get("requests"))
    tree.setdefault("status", {}).setdefault("phase", "Pending")


def _volume(tree: Tree) -> None:
    spec = _spec(tree)
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    canonical_quantities(spec.get("capacity"))
    for name, usual in SOURCES.items():
        if isinstance(spec.get(name), dict):
            for field, value in usual.items():
                spec[name].setdefault(field, value)
    tree.setdefault("status", {}).setdefault("phase", "Pending")


def _limit_range(tree: Tree) -> None:
    for item in _spec(tree).get("limits") or ():
        for name in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            canonical_quantities(item.get(name))
        if item.get("type") == "Container":
            default = item.setdefault("default", {})
            for resource, amount in (item.get("max") or {}).items():
                default.setdefault(resource, amount)
            request = item.setdefault("defaultRequest", {})
            for resource, amount in {**(item.get("min") or {}), **default}.items():
                request.setdefault(resource, amount)


def _quota(tree: Tree) -> None:
    canonical_quantities(_spec(tree).get("hard"))


def _priority_class(tree: Tree) -> None:
    tree.setdefault("value", 0)
    tree.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _pod_group(tree: Tree) -> None:
    _spec(tree).setdefault("disruptionMode", {"single": {}})


def _autoscaler(tree: Tree) -> None:
    spec = _spec(tree)
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if isinstance(behavior, dict):
        percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
        pods = {"type": "Pods", "value": 4, "periodSeconds": 15}
        up = behavior.setdefault("scaleUp", {})
        up.setdefault("stabilizationWindowSeconds", 0)
        for rules, policies in ((up, [pods, percent]), (behavior.setdefault("scaleDown", {}), [percent])):
            rules.setdefault("selectPolicy", "Max")
            if not rules.get("policies"):
                rules["policies"] = policies


def _network_policy(tree: Tree) -> None:
    spec = _spec(tree)
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")
    if not spec.get("podSelector"):
        spec["podSelector"] = {}  # which is all Pods
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _ingress_class(tree: Tree) -> None:
    parameters = (tree.get("spec") or {}).get("parameters")
    if isinstance(parameters, dict):
        parameters.setdefault("scope", "Cluster")


def _storage_class(tree: Tree) -> None:
    tree.setdefault("reclaimPolicy", "Delete")
    tree.setdefault("volumeBindingMode", "Immediate")


_DEFAULTS: dict[str, Callable[[Any], None]] = {
    "Pod": default_pod,
    "ReplicationController": _replication_controller,
    "ReplicaSet": _replica_set,
    "Deployment": _deployment,
    "DaemonSet": _daemon_set,
    "StatefulSet": _stateful_set,
    "Job": _job,
    "CronJob": _cron_job,
    "CustomResourceDefinition": extensions.default_definition,
    "Service": _service,
    "Endpoints": _endpoints,
    "EndpointSlice": _endpoint_slice,
    "Secret": _secret,
    "Namespace": _namespace,
    "Node": _node,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume,
    "LimitRange": _limit_range,
    "ResourceQuota": _quota,
    "PriorityClass": _priority_class,
    "PodGroup": _pod_group,
    "HorizontalPodAutoscaler": _autoscaler,
    "StorageClass": _storage_class,
    "NetworkPolicy": _network_policy,
    "IngressClass": _ingress_class,
    "PodCertificateRequest": extensions.default_pod_certificate_request,
    "CSIDriver": extensions.default_storage_driver,
    "RuntimeClass": extensions.default_runtime_class,
    "ValidatingWebhookConfiguration": extensions.default_validating_webhooks,
    "MutatingWebhookConfiguration": extensions.default_mutating_webhooks,
    "ValidatingAdmissionPolicy": extensions.default_admission_policy,
    "MutatingAdmissionPolicy": extensions.default_admission_policy,
    "MutatingAdmissionPolicyBinding": extensions.default_admission_policy_binding,
    "ValidatingAdmissionPolicyBinding": extensions.default_admission_policy_binding,
    "APIService": extensions.default_api_service,
    "FlowSchema": extensions.default_flow_schema,
    "PriorityLevelConfiguration": extensions.default_priority_level,
    "ResourceClaim": devices.default_claim,
    "ResourceClaimTemplate": devices.default_claim_template,
    "PodTemplate": lambda tree: default_pod_template(tree.get("template")),
}


def apply_defaults(kind: str, tree: Tree) -> None:
    """Fill in, in place, what a document of a kind leaves out."""
    default = _DEFAULTS.get(kind)
    if default is not None:
        default(tree)
