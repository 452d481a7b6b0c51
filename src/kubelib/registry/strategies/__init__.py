"""What is special about a kind: one strategy each, the generic one for all others."""

from kubelib.api.scheme import Resource
from kubelib.registry.strategies.base import Strategy
from kubelib.registry.strategies.certificates import PodRequestStrategy, SigningRequestStrategy
from kubelib.registry.strategies.devices import DeviceClaimStrategy, TaintRuleStrategy
from kubelib.registry.strategies.namespaces import NamespaceStrategy
from kubelib.registry.strategies.pods import PodStrategy
from kubelib.registry.strategies.serviceaccounts import ServiceAccountStrategy
from kubelib.registry.strategies.services import ServiceStrategy
from kubelib.registry.strategies.volumes import ClaimStrategy, VolumeStrategy
from kubelib.registry.strategies.workloads import (
    DaemonSetStrategy,
    EventStrategy,
    JobStrategy,
    ScaledStrategy,
)

_CREATED_BY_UPDATE = {
    "Lease",
    "Endpoints",
    "LimitRange",
    "RuntimeClass",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
}

_UPDATED_BY_VERSION = {
    "Lease", "PodDisruptionBudget", "CSIDriver", "CSINode", "CSIStorageCapacity", "VolumeAttachment", "RuntimeClass",
    "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "APIService",
    "ClusterTrustBundle", "PodCertificateRequest", "StorageVersionMigration", "DeviceTaintRule",
}  # fmt: skip


def strategy_of(resource: Resource) -> Strategy:
    """Return the strategy of a resource."""
    if not resource.builtin:
        return _custom(resource)
    match resource.kind:
        case "Pod":
            return PodStrategy()
        case "Service":
            return ServiceStrategy()
        case "Namespace":
            return NamespaceStrategy()
        case "ServiceAccount":
            return ServiceAccountStrategy()
        case "Event":
            return EventStrategy()
        case "Job":
            return JobStrategy()
        case "DaemonSet":
            return DaemonSetStrategy()
        case "CustomResourceDefinition":
            from kubelib.registry.custom.definitions import DefinitionStrategy

            return DefinitionStrategy()
        case "CertificateSigningRequest":
            return SigningRequestStrategy()
        case "PodCertificateRequest":
            return PodRequestStrategy()
        case "DeviceTaintRule":
            return TaintRuleStrategy()
        case "PersistentVolumeClaim":
            return ClaimStrategy()
        case "PersistentVolume":
            return VolumeStrategy()
    if "scale" in resource.subresources:
        return ScaledStrategy(orphans_by_default=resource.kind == "ReplicationController")
    claims = resource.kind in ("ResourceClaim", "ResourceClaimTemplate")
    strategy = DeviceClaimStrategy() if claims else Strategy()
    strategy.create_on_update = resource.kind in _CREATED_BY_UPDATE
    strategy.unconditional_update = resource.kind not in _UPDATED_BY_VERSION
    return strategy


def _custom(resource: Resource) -> Strategy:
    """Return the strategy of a kind that is defined in Python."""
    if resource.rules is not None and resource.rules.strategy is not None:
        strategy: Strategy = resource.rules.strategy()
        return strategy
    return ScaledStrategy() if "scale" in resource.subresources else Strategy()
