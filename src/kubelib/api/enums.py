"""Which values and defaults the schemas of built-in kinds name: those that Kubernetes publishes, by class and JSON name.

Validation allows the same values; a test compares the two. Other fields with few values are checked by validation only,
as in Kubernetes, whose schemas leave room there for values to come.
"""

from typing import Any

_FAMILIES: tuple[tuple[str, str], ...] = (
    ("SCTP TCP UDP", ("ContainerPort.protocol ServicePort.protocol EndpointPort.protocol NetworkPolicyPort.protocol"
     " PortStatus.protocol IngressPortStatus.protocol")),
    ("Always IfNotPresent Never", "Container.imagePullPolicy EphemeralContainer.imagePullPolicy ImageVolumeSource.pullPolicy"),
    ("FallbackToLogsOnError File", "Container.terminationMessagePolicy EphemeralContainer.terminationMessagePolicy"),
    ("Always Never OnFailure", "PodSpec.restartPolicy"),
    ("ClusterFirst ClusterFirstWithHostNet Default None", "PodSpec.dnsPolicy"),
    ("Never PreemptLowerPriority", "PodSpec.preemptionPolicy PriorityClass.preemptionPolicy"),
    ("Failed Pending Running Succeeded Unknown", "PodStatus.phase"),
    ("BestEffort Burstable Guaranteed", "PodStatus.qosClass"),
    ("DoesNotExist Exists Gt In Lt NotIn", "NodeSelectorRequirement.operator"),
    ("NoExecute NoSchedule PreferNoSchedule", "Taint.effect Toleration.effect"),
    ("Equal Exists", "Toleration.operator DeviceToleration.operator"),
    ("DoNotSchedule ScheduleAnyway", "TopologySpreadConstraint.whenUnsatisfiable"),
    ("Honor Ignore", "TopologySpreadConstraint.nodeAffinityPolicy TopologySpreadConstraint.nodeTaintsPolicy"),
    ("Always OnRootMismatch", "PodSecurityContext.fsGroupChangePolicy"),
    ("Merge Strict", "PodSecurityContext.supplementalGroupsPolicy"),
    ("Localhost RuntimeDefault Unconfined", "SeccompProfile.type AppArmorProfile.type"),
    ("Default Unmasked", "SecurityContext.procMount"),
    ("HTTP HTTPS", "HTTPGetAction.scheme"),
    ("Bidirectional HostToContainer None", "VolumeMount.mountPropagation"),
    ("Block Filesystem", "PersistentVolumeSpec.volumeMode PersistentVolumeClaimSpec.volumeMode"),
    ("ReadOnlyMany ReadWriteMany ReadWriteOnce ReadWriteOncePod", ("PersistentVolumeSpec.accessModes"
     " PersistentVolumeClaimSpec.accessModes PersistentVolumeClaimStatus.accessModes")),
    ("Delete Recycle Retain", "PersistentVolumeSpec.persistentVolumeReclaimPolicy StorageClass.reclaimPolicy"),
    ("Available Bound Failed Pending Released", "PersistentVolumeStatus.phase"),
    ("Bound Lost Pending", "PersistentVolumeClaimStatus.phase"),
    ("InProgress Infeasible Pending", "ModifyVolumeStatus.status"),
    ("ControllerResizeInProgress ControllerResizeInfeasible NodeResizeInProgress NodeResizeInfeasible NodeResizePending",
     "PersistentVolumeClaimStatus.allocatedResourceStatuses"),
    ("Immediate WaitForFirstConsumer", "StorageClass.volumeBindingMode"),
    ("None ReadOnly ReadWrite", "AzureDiskVolumeSource.cachingMode"),
    ("Dedicated Managed Shared", "AzureDiskVolumeSource.kind"),
    ("Active Terminating", "NamespaceStatus.phase"),
    ("Pending Running Terminated", "NodeStatus.phase"),
    ("ClientIP None", "ServiceSpec.sessionAffinity"),
    ("ClusterIP ExternalName LoadBalancer NodePort", "ServiceSpec.type"),
    ("Cluster Local", "ServiceSpec.externalTrafficPolicy ServiceSpec.internalTrafficPolicy"),
    ("PreferDualStack RequireDualStack SingleStack", "ServiceSpec.ipFamilyPolicy"),
    ("BestEffort CrossNamespacePodAffinity NotBestEffort NotTerminating PriorityClass Terminating VolumeAttributesClass",
     "ResourceQuotaSpec.scopes ScopedResourceSelectorRequirement.scopeName"),
    ("DoesNotExist Exists In NotIn", "ScopedResourceSelectorRequirement.operator"),
    ("Recreate RollingUpdate", "DeploymentStrategy.type"),
    ("OnDelete RollingUpdate", "DaemonSetUpdateStrategy.type StatefulSetUpdateStrategy.type"),
    ("OrderedReady Parallel", "StatefulSetSpec.podManagementPolicy"),
    ("Indexed NonIndexed", "JobSpec.completionMode"),
    ("Failed TerminatingOrFailed", "JobSpec.podReplacementPolicy"),
    ("Count FailIndex FailJob Ignore", "PodFailurePolicyRule.action"),
    ("In NotIn", "PodFailurePolicyOnExitCodesRequirement.operator"),
    ("Allow Forbid Replace", "CronJobSpec.concurrencyPolicy"),
    ("Exact ImplementationSpecific Prefix", "HTTPIngressPath.pathType"),
    ("Egress Ingress", "NetworkPolicySpec.policyTypes"),
    ("FQDN IPv4 IPv6", "EndpointSlice.addressType"),
    ("AlwaysAllow IfHealthyBudget", "PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy"),
    ("Fail Ignore", ("MutatingWebhook.failurePolicy ValidatingWebhook.failurePolicy"
     " MutatingAdmissionPolicySpec.failurePolicy ValidatingAdmissionPolicySpec.failurePolicy")),
    ("Equivalent Exact", "MutatingWebhook.matchPolicy ValidatingWebhook.matchPolicy MatchResources.matchPolicy"),
    ("None NoneOnDryRun Some Unknown", "MutatingWebhook.sideEffects ValidatingWebhook.sideEffects"),
    ("IfNeeded Never", "MutatingWebhook.reinvocationPolicy MutatingAdmissionPolicySpec.reinvocationPolicy"),
    ("* Cluster Namespaced", "RuleWithOperations.scope NamedRuleWithOperations.scope"),
    ("* CONNECT CREATE DELETE UPDATE", "RuleWithOperations.operations NamedRuleWithOperations.operations"),
    ("ApplyConfiguration JSONPatch", "Mutation.patchType"),
    ("Audit Deny Warn", "ValidatingAdmissionPolicyBindingSpec.validationActions"),
    ("All ExactCount", "ExactDeviceRequest.allocationMode DeviceSubRequest.allocationMode"),
    ("NoExecute NoSchedule None", "DeviceTaint.effect DeviceToleration.effect"),
    ("FromClaim FromClass", "DeviceAllocationConfiguration.source"),
)  # fmt: skip

_KEY_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only",
    "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user",
    "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing",
    "timestamping",
)  # fmt: skip

ENUMS: dict[str, tuple[str, ...]] = {
    **{field: tuple(values.split()) for values, fields in _FAMILIES for field in fields.split()},
    "CertificateSigningRequestSpec.usages": _KEY_USAGES,
    "HostPathVolumeSource.type": (
        "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
    ),
    "ServiceSpec.ipFamilies": ("", "IPv4", "IPv6"),
}  # fmt: skip
"""The values of a field or, where it is a list or a map, of its items: ``Class.field`` → values, sorted."""

DEFAULTS: dict[str, Any] = {
    "ContainerPort.protocol": "TCP",
    "ServicePort.protocol": "TCP",
    "GRPCAction.service": "",
    "LocalObjectReference.name": "",
    "ConfigMapEnvSource.name": "",
    "ConfigMapKeySelector.name": "",
    "ConfigMapProjection.name": "",
    "ConfigMapVolumeSource.name": "",
    "FileKeySelector.optional": False,
    "SecretEnvSource.name": "",
    "SecretKeySelector.name": "",
    "SecretProjection.name": "",
    "ReplicationControllerSpec.replicas": 1,
    "ReplicationControllerSpec.minReadySeconds": 0,
    "ISCSIVolumeSource.iscsiInterface": "default",
    "ISCSIPersistentVolumeSource.iscsiInterface": "default",
    "RBDVolumeSource.pool": "rbd",
    "RBDPersistentVolumeSource.pool": "rbd",
    "RBDVolumeSource.user": "admin",
    "RBDPersistentVolumeSource.user": "admin",
    "RBDVolumeSource.keyring": "/etc/ceph/keyring",
    "RBDPersistentVolumeSource.keyring": "/etc/ceph/keyring",
    "AzureDiskVolumeSource.cachingMode": "ReadWrite",
    "AzureDiskVolumeSource.fsType": "ext4",
    "AzureDiskVolumeSource.kind": "Shared",
    "AzureDiskVolumeSource.readOnly": False,
    "ScaleIOVolumeSource.fsType": "xfs",
    "ScaleIOPersistentVolumeSource.fsType": "xfs",
    "ScaleIOVolumeSource.storageMode": "ThinProvisioned",
    "ScaleIOPersistentVolumeSource.storageMode": "ThinProvisioned",
}
"""Defaults that do not depend on other fields, as far as Kubernetes' schemas have them (version 3 of OpenAPI only)."""

ZEROS: dict[str, Any] = {"string": "", "int32": 0, "int64": 0, "bool": False, "double": 0}
"""What a scalar is that nobody has set: the default of a required field, and of the items of a list."""
