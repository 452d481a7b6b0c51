"""Which rules belong to which kind."""

from collections.abc import Callable, Iterator
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Resource, Tree
from kubelib.api.validation import (
    access,
    autoscalers,
    batch,
    claims,
    cluster,
    configuration,
    devices,
    deviceslices,
    endpoints,
    events,
    extensions,
    flows,
    groups,
    jobstatuses,
    migrations,
    networking,
    persistentvolumes,
    pods,
    podupdates,
    scaling,
    services,
    signing,
    storage,
    trust,
    webhooks,
    workloads,
)
from kubelib.api.validation.addresses import STRICT
from kubelib.api.validation.meta import metadata_problems, metadata_update_problems
from kubelib.api.validation.problems import invalid, type_invalid


def _pod_template_problems(tree: Tree) -> list[Problem]:
    problems: list[Problem] = []
    pods.template_problems(tree.get("template"), "template", problems)
    return problems


# The rules of definitions lead to those of schemas, and these to expressions: few servers are asked for any at once.


def _definition_problems(tree: Tree) -> list[Problem]:
    from kubelib.api.validation.definitions import definition_problems

    return definition_problems(tree)


def _definition_update_problems(new: Tree, old: Tree) -> list[Problem]:
    from kubelib.api.validation.definitions import definition_update_problems

    return definition_update_problems(new, old)


def _definition_status_problems(new: Tree, old: Tree) -> list[Problem]:
    from kubelib.api.validation.definitions import definition_status_problems

    return definition_status_problems(new, old)


_CREATE: dict[str, Callable[[Tree], list[Problem]]] = {
    "Pod": pods.pod_problems,
    "PodTemplate": _pod_template_problems,
    "ReplicationController": workloads.replication_controller_problems,
    "ReplicaSet": workloads.replica_set_problems,
    "Deployment": workloads.deployment_problems,
    "DaemonSet": workloads.daemon_set_problems,
    "StatefulSet": workloads.stateful_set_problems,
    "ControllerRevision": workloads.revision_problems,
    "Job": batch.job_problems,
    "CronJob": batch.cron_job_problems,
    "Service": services.service_problems,
    "Endpoints": endpoints.endpoints_problems,
    "EndpointSlice": endpoints.endpoint_slice_problems,
    "ConfigMap": configuration.config_map_problems,
    "Secret": configuration.secret_problems,
    "Node": cluster.node_problems,
    "Namespace": cluster.namespace_problems,
    "LimitRange": cluster.limit_range_problems,
    "ResourceQuota": cluster.quota_problems,
    "Event": events.event_problems,
    "Lease": cluster.lease_problems,
    "PriorityClass": cluster.priority_class_problems,
    "PodGroup": groups.pod_group_problems,
    "Workload": groups.workload_problems,
    "Binding": cluster.binding_problems,
    "Scale": workloads.scale_problems,
    "PersistentVolume": persistentvolumes.volume_problems,
    "PersistentVolumeClaim": claims.claim_problems,
    "StorageClass": storage.storage_class_problems,
    "VolumeAttributesClass": storage.attributes_class_problems,
    "VolumeAttachment": storage.attachment_problems,
    "CSIDriver": storage.driver_problems,
    "CSINode": storage.storage_node_problems,
    "CSIStorageCapacity": storage.capacity_problems,
    "Ingress": networking.ingress_create_problems,
    "IngressClass": networking.ingress_class_problems,
    "NetworkPolicy": networking.network_policy_problems,
    "IPAddress": extensions.ip_address_problems,
    "ServiceCIDR": extensions.service_cidr_problems,
    "RuntimeClass": extensions.runtime_class_problems,
    "CertificateSigningRequest": signing.signing_request_problems,
    "PodCertificateRequest": trust.pod_request_problems,
    "ClusterTrustBundle": trust.trust_bundle_problems,
    "StorageVersionMigration": migrations.migration_problems,
    "DeviceTaintRule": deviceslices.taint_rule_problems,
    "APIService": extensions.api_service_problems,
    "CustomResourceDefinition": _definition_problems,
    "FlowSchema": flows.flow_schema_problems,
    "PriorityLevelConfiguration": flows.priority_level_problems,
    "ValidatingWebhookConfiguration": webhooks.webhook_configuration_problems,
    "MutatingWebhookConfiguration": webhooks.webhook_configuration_problems,
    "ValidatingAdmissionPolicy": webhooks.admission_policy_problems,
    "MutatingAdmissionPolicy": webhooks.mutating_policy_problems,
    "MutatingAdmissionPolicyBinding": webhooks.mutating_policy_binding_problems,
    "ValidatingAdmissionPolicyBinding": webhooks.admission_policy_binding_problems,
    "HorizontalPodAutoscaler": autoscalers.autoscaler_problems,
    "PodDisruptionBudget": scaling.budget_problems,
    "DeviceClass": devices.device_class_problems,
    "ResourceClaim": devices.resource_claim_problems,
    "ResourceClaimTemplate": devices.claim_template_problems,
    "ResourceSlice": deviceslices.resource_slice_problems,
    "Role": access.role_problems,
    "ClusterRole": access.cluster_role_problems,
    "RoleBinding": access.role_binding_problems,
    "ClusterRoleBinding": access.cluster_role_binding_problems,
}


def _with_selector(kind: str) -> Callable[[Tree, Tree], list[Problem]]:
    return lambda new, old: [*_CREATE[kind](new), *workloads.selector_update_problems(new, old)]


_UPDATE: dict[str, Callable[[Tree, Tree], list[Problem]]] = {
    "ReplicaSet": _with_selector("ReplicaSet"),
    "Deployment": _with_selector("Deployment"),
    "DaemonSet": _with_selector("DaemonSet"),
    "StatefulSet": workloads.stateful_set_update_problems,
    "ControllerRevision": workloads.revision_update_problems,
    "Job": batch.job_update_problems,
    "CronJob": batch.cron_job_update_problems,
    "Service": services.service_update_problems,
    "EndpointSlice": endpoints.endpoint_slice_update_problems,
    "ConfigMap": configuration.config_map_update_problems,
    "Secret": configuration.secret_update_problems,
    "Node": cluster.node_update_problems,
    "Namespace": lambda new, old: [],
    "Event": events.event_update_problems,
    "ResourceQuota": cluster.quota_update_problems,
    "PriorityClass": cluster.priority_class_update_problems,
    "PodGroup": groups.pod_group_update_problems,
    "Workload": groups.workload_update_problems,
    "PersistentVolume": persistentvolumes.volume_update_problems,
    "PersistentVolumeClaim": claims.claim_update_problems,
    "StorageClass": storage.storage_class_update_problems,
    "VolumeAttributesClass": storage.attributes_class_update_problems,
    "VolumeAttachment": storage.attachment_update_problems,
    "CSIDriver": storage.driver_update_problems,
    "CSIStorageCapacity": storage.capacity_update_problems,
    "HorizontalPodAutoscaler": autoscalers.autoscaler_problems,
    "Ingress": lambda new, old: networking.ingress_problems(new),
    "IngressClass": networking.ingress_class_update_problems,
    "IPAddress": extensions.ip_address_update_problems,
    "ServiceCIDR": extensions.service_cidr_update_problems,
    "CSINode": storage.storage_node_update_problems,
    "RuntimeClass": extensions.runtime_class_update_problems,
    "CertificateSigningRequest": signing.signing_request_update_problems,
    "PodCertificateRequest": trust.pod_request_update_problems,
    "ClusterTrustBundle": trust.trust_bundle_update_problems,
    "StorageVersionMigration": migrations.migration_update_problems,
    "CustomResourceDefinition": _definition_update_problems,
    "ResourceClaim": devices.resource_claim_update_problems,
    "ResourceClaimTemplate": devices.claim_template_update_problems,
    "ResourceSlice": deviceslices.resource_slice_update_problems,
    "RoleBinding": access.role_binding_update_problems,
    "ClusterRoleBinding": access.cluster_role_binding_update_problems,
}

_STATUS: dict[str, Callable[[Tree, Tree], list[Problem]]] = {
    "Namespace": cluster.namespace_status_problems,
    "Service": services.service_status_problems,
    "Ingress": lambda new, old: services.load_balancer_problems(new),
    "Node": cluster.node_update_problems,
    "ResourceQuota": cluster.quota_status_problems,
    "PodCertificateRequest": trust.pod_request_status_problems,
    "StorageVersionMigration": migrations.migration_status_problems,
    "DeviceTaintRule": deviceslices.taint_rule_status_problems,
    "CustomResourceDefinition": _definition_status_problems,
    **dict.fromkeys(
        ("ReplicationController", "ReplicaSet", "Deployment"),
        workloads.replica_status_problems,
    ),
    "StatefulSet": workloads.stateful_set_status_problems,
    "DaemonSet": workloads.daemon_set_status_problems,
    "Job": jobstatuses.job_status_problems,
    "HorizontalPodAutoscaler": workloads.status_counts("currentReplicas", "desiredReplicas"),
    "PodDisruptionBudget": scaling.budget_status_problems,
    "PersistentVolumeClaim": claims.claim_status_problems,
    "ValidatingAdmissionPolicy": webhooks.admission_policy_status_problems,
    "FlowSchema": flows.status_problems,
    "ResourceClaim": devices.resource_claim_status_problems,
    "PriorityLevelConfiguration": flows.status_problems,
    "VolumeAttachment": lambda new, old: storage.attachment_problems(new),
}  # fmt: skip

# The decoder has refused wrong types already. What still slips through must not become a failure of the server.
_ODD = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def validate_create(resource: Resource, tree: Tree) -> list[Problem]:
    """Return what is wrong with a new object whose types are right and whose defaults are filled in."""
    if not resource.builtin:
        return _custom_create(resource, tree)
    rule = _CREATE.get(resource.kind)
    try:
        problems = metadata_problems(tree, resource)
        return problems + rule(tree) if rule is not None else problems
    except _ODD as error:
        return _odd(error)


def validate_update(resource: Resource, new: Tree, old: Tree, *, subresource: str = "") -> list[Problem]:
    """Return what is wrong with a change, to the object or to one of its subresources."""
    if not resource.builtin:
        return _custom_update(resource, new, old)
    try:
        problems = metadata_update_problems(new, old, resource)
        return problems + _tolerated(_update_problems(resource.kind, new, old, subresource), old)
    except _ODD as error:
        return _odd(error)


def _update_problems(kind: str, new: Tree, old: Tree, subresource: str) -> list[Problem]:
    if kind == "Pod":
        return podupdates.pod_update_problems(new, old, subresource)
    if kind == "CertificateSigningRequest" and subresource:
        return signing.signing_request_decision_problems(new, old, subresource)
    if kind == "Namespace" and subresource == "finalize":
        return cluster.namespace_finalize_problems(new, old)
    if subresource:
        status = _STATUS.get(kind)
        return status(new, old) if status is not None else []
    update = _UPDATE.get(kind)
    if update is not None:
        return update(new, old)
    rule = _CREATE.get(kind)
    return rule(new) if rule is not None else []


def _tolerated(problems: list[Problem], old: Tree) -> list[Problem]:
    """Return problems without those of addresses in forms that are refused today, and that the object had before."""
    if not any(problem.message.endswith(STRICT) for problem in problems):
        return problems
    known = set(_texts(old))
    return [
        problem
        for problem in problems
        if not any(problem.message == invalid("", text, rule).message for rule in STRICT for text in known)
    ]


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value)


def _custom_create(resource: Resource, tree: Tree) -> list[Problem]:
    problems = metadata_problems(tree, resource)
    if resource.structure is not None:
        problems += resource.structure.problems(tree)
    if resource.rules is not None and resource.rules.validate is not None:
        problems += resource.rules.validate(tree)
    return problems


def _custom_update(resource: Resource, new: Tree, old: Tree) -> list[Problem]:
    problems = metadata_update_problems(new, old, resource)
    if resource.structure is not None:
        problems += resource.structure.update_problems(new, old)
    rules = resource.rules
    if rules is not None and rules.validate is not None:
        problems += rules.validate(new)
    if rules is not None and rules.validate_update is not None:
        problems += rules.validate_update(new, old)
    return problems


def _odd(error: Exception) -> list[Problem]:
    return [type_invalid("", None, f"a field has the wrong type: {error}")]
