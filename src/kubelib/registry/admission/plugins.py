"""Which plug-ins there are, in the order in which they are asked, and which of them an API server has by default."""

from collections.abc import Callable, Collection

from kubelib.registry.admission.base import Admission
from kubelib.registry.admission.certificates import (
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
    ClusterTrustBundleAttest,
)
from kubelib.registry.admission.ingresses import DefaultIngressClass
from kubelib.registry.admission.limits import LimitRanger
from kubelib.registry.admission.namespaces import NamespaceLifecycle
from kubelib.registry.admission.noderestriction import NodeRestriction
from kubelib.registry.admission.nodes import (
    NodeDeclaredFeatureValidator,
    PodResizeValidator,
    PodTopologyLabels,
    TaintNodesByCondition,
)
from kubelib.registry.admission.ownership import OwnerReferencesPermissionEnforcement
from kubelib.registry.admission.podsecurity import PodSecurity
from kubelib.registry.admission.policies import MutatingAdmissionPolicyPlugin, ValidatingAdmissionPolicyPlugin
from kubelib.registry.admission.priorities import Priority
from kubelib.registry.admission.quota import ResourceQuotaAdmission
from kubelib.registry.admission.runtimeclasses import RuntimeClassAdmission
from kubelib.registry.admission.serviceaccounts import ServiceAccountAdmission
from kubelib.registry.admission.storage import (
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
)
from kubelib.registry.admission.tolerations import DefaultTolerationSeconds, ExtendedResourceToleration
from kubelib.registry.admission.webhooks import MutatingAdmissionWebhook, ValidatingAdmissionWebhook

PLUGINS: dict[str, Callable[[], Admission]] = {
    "NamespaceLifecycle": NamespaceLifecycle,
    "LimitRanger": LimitRanger,
    "ServiceAccount": ServiceAccountAdmission,
    "NodeRestriction": NodeRestriction,
    "TaintNodesByCondition": TaintNodesByCondition,
    "PodSecurity": PodSecurity,
    "Priority": Priority,
    "DefaultTolerationSeconds": DefaultTolerationSeconds,
    "ExtendedResourceToleration": ExtendedResourceToleration,
    "DefaultStorageClass": DefaultStorageClass,
    "StorageObjectInUseProtection": StorageObjectInUseProtection,
    "OwnerReferencesPermissionEnforcement": OwnerReferencesPermissionEnforcement,
    "PersistentVolumeClaimResize": PersistentVolumeClaimResize,
    "RuntimeClass": RuntimeClassAdmission,
    "CertificateApproval": CertificateApproval,
    "CertificateSigning": CertificateSigning,
    "ClusterTrustBundleAttest": ClusterTrustBundleAttest,
    "CertificateSubjectRestriction": CertificateSubjectRestriction,
    "DefaultIngressClass": DefaultIngressClass,
    "PodTopologyLabels": PodTopologyLabels,
    "NodeDeclaredFeatureValidator": NodeDeclaredFeatureValidator,
    "PodResizeValidator": PodResizeValidator,
    "MutatingAdmissionPolicy": MutatingAdmissionPolicyPlugin,
    "MutatingAdmissionWebhook": MutatingAdmissionWebhook,
    "ValidatingAdmissionPolicy": ValidatingAdmissionPolicyPlugin,
    "ValidatingAdmissionWebhook": ValidatingAdmissionWebhook,
    "ResourceQuota": ResourceQuotaAdmission,
}
"""Every plug-in by its name, in kube-apiserver's order."""

OFF_BY_DEFAULT = frozenset(
    {"ExtendedResourceToleration", "OwnerReferencesPermissionEnforcement", "StorageObjectInUseProtection"}
)
"""What an API server has only when told so. In-use protection belongs on where controllers take its finalizers off again."""

NEED_CONTROLLERS = frozenset({"ServiceAccount", "TaintNodesByCondition"})
"""What holds objects up until controllers have acted: an API server that stands alone is better off without it."""


def default_admission(
    *, enable: Collection[str] = (), disable: Collection[str] = (), mount_tokens: bool = True
) -> tuple[Admission, ...]:
    """Return the plug-ins that an API server has when nothing else is said, with some more and without some.

    Without `mount_tokens`, Pods get no tokens for the API: for API servers whose Pods could not reach them, or not trust them.
    Raises ValueError for a name that there is not.
    """
    for name in (*enable, *disable):
        if name not in PLUGINS:
            raise ValueError(f"there is no admission plug-in {name!r}; there are {', '.join(PLUGINS)}")
    return tuple(
        ServiceAccountAdmission(mount_tokens=mount_tokens) if make is ServiceAccountAdmission else make()
        for name, make in PLUGINS.items()
        if name in enable or (name not in OFF_BY_DEFAULT and name not in disable)
    )
