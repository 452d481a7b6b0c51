"""The built-in kinds, declared once: discovery, OpenAPI, printing, selection and storage follow from this table."""

from kubelib.api import (
    admissionregistration,
    apiextensions,
    apiregistration,
    apps,
    apps_sets,
    authentication,
    authorization,
    autoscaling,
    autoscaling_v2,
    batch,
    certificates,
    columns,
    coordination,
    discovery,
    events,
    flowcontrol,
    networking,
    policy,
    rbac,
    resource,
    runtimeclass,
    scheduling,
    scheduling_v1beta1,
    storage,
    storagemigration,
    transactions,
)
from kubelib.api.autoscaler_forms import columns_of_v1
from kubelib.api.core import (
    components,
    config,
    event,
    namespace,
    node,
    persistentvolumes,
    pod,
    quota,
    replication,
    service,
)
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.meta import Object
from kubelib.api.scheme import Column, Resource, Scheme

CREATE_ONLY = ("create",)
EVERY_VERB = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
ONE_BY_ONE = tuple(verb for verb in EVERY_VERB if verb != "deletecollection")


def _resource(
    cls: type[Object],
    plural: str,
    *,
    short: tuple[str, ...] = (),
    namespaced: bool = True,
    everyday: bool = False,
    categories: tuple[str, ...] = (),
    subresources: tuple[str, ...] = (),
    shown: tuple[Column, ...] = columns.DEFAULT,
    selectable: dict[str, str] | None = None,
    verbs: tuple[str, ...] = EVERY_VERB,
    storage_group: str | None = None,
    storage_version: str | None = None,
    warning: str = "",
) -> Resource:
    group, _, version = cls.api_version.rpartition("/")
    return Resource(
        group=group,
        version=version,
        kind=cls.kind,
        plural=plural,
        namespaced=namespaced,
        cls=cls,
        short_names=short,
        categories=("all",) if everyday else categories,
        subresources=subresources,
        columns=shown,
        selectable=selectable or {},
        storage_group=group if storage_group is None else storage_group,
        storage_version=version if storage_version is None else storage_version,
        verbs=verbs,
        shows_deleted=cls.kind in _SHOWN_WHEN_DELETED,
        warning=warning,
    )


_SHOWN_WHEN_DELETED = {
    "Pod", "Service", "ServiceAccount", "PodTemplate", "ResourceQuota", "PersistentVolume", "PersistentVolumeClaim",
    "StorageClass", "VolumeAttachment", "VolumeAttributesClass", "CSIDriver", "CSINode", "DeviceClass", "ResourceClaim",
    "ResourceClaimTemplate", "ResourceSlice",
}  # fmt: skip
_STATUS = ("status",)
_SCALED = ("status", "scale")
_EVENT_FIELDS = dict.fromkeys(
    (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "source", "type",
    ),
    "",
)  # fmt: skip


def builtin_scheme() -> Scheme:
    """Return a new scheme of all built-in kinds."""
    scheme = Scheme()
    scheme.add(
        _resource(
            pod.Pod, "pods", short=("po",), everyday=True, shown=columns.POD,
            subresources=(
                "status", "binding", "eviction", "log", "exec", "attach", "portforward", "proxy", "ephemeralcontainers", "resize",
            ),
            selectable={
                "spec.nodeName": "", "spec.restartPolicy": "", "spec.schedulerName": "", "spec.serviceAccountName": "",
                "spec.hostNetwork": "false", "status.phase": "", "status.podIP": "", "status.podIPs": "",
                "status.nominatedNodeName": "", "spec.host": "",
            },
        ),
        _resource(
            replication.ReplicationController, "replicationcontrollers", short=("rc",), everyday=True,
            subresources=_SCALED, shown=columns.REPLICATION_CONTROLLER, selectable={"status.replicas": "0"},
        ),
        _resource(
            service.Service, "services", short=("svc",), everyday=True, subresources=("status", "proxy"),
            shown=columns.SERVICE, selectable={"spec.clusterIP": "", "spec.type": ""},
        ),
        _resource(
            service.Endpoints, "endpoints", short=("ep",), shown=columns.ENDPOINTS,
            warning="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        ),
        _resource(
            node.Node, "nodes", short=("no",), namespaced=False, subresources=("status", "proxy"), shown=columns.NODE,
            selectable={"spec.unschedulable": "false"},
        ),
        _resource(
            namespace.Namespace, "namespaces", short=("ns",), namespaced=False, subresources=("status", "finalize"),
            shown=columns.NAMESPACE, selectable={"status.phase": ""}, verbs=ONE_BY_ONE,
        ),
        _resource(config.ConfigMap, "configmaps", short=("cm",), shown=columns.CONFIG_MAP),
        _resource(config.Secret, "secrets", shown=columns.SECRET, selectable={"type": ""}),
        _resource(
            config.ServiceAccount, "serviceaccounts", short=("sa",), subresources=("token",), shown=columns.SERVICE_ACCOUNT
        ),
        _resource(event.Event, "events", short=("ev",), shown=columns.EVENT, selectable=_EVENT_FIELDS),
        _resource(events.Event, "events", short=("ev",), shown=columns.EVENT, storage_group=""),
        _resource(
            components.ComponentStatus, "componentstatuses", short=("cs",), namespaced=False, verbs=("get", "list"),
            shown=columns.COMPONENT_STATUS, warning="v1 ComponentStatus is deprecated in v1.19+",
        ),
        _resource(pod.PodTemplate, "podtemplates", shown=columns.POD_TEMPLATE),
        _resource(pod.Binding, "bindings", verbs=CREATE_ONLY),
        _resource(quota.LimitRange, "limitranges", short=("limits",), shown=columns.LIMIT_RANGE),
        _resource(quota.ResourceQuota, "resourcequotas", short=("quota",), subresources=_STATUS, shown=columns.RESOURCE_QUOTA),
        _resource(
            persistentvolumes.PersistentVolume, "persistentvolumes", short=("pv",), namespaced=False,
            subresources=_STATUS, shown=columns.PERSISTENT_VOLUME,
        ),
        _resource(
            PersistentVolumeClaim, "persistentvolumeclaims", short=("pvc",), subresources=_STATUS,
            shown=columns.PERSISTENT_VOLUME_CLAIM,
        ),
        _resource(
            apps.ReplicaSet, "replicasets", short=("rs",), everyday=True, subresources=_SCALED, shown=columns.REPLICA_SET,
            selectable={"status.replicas": "0"},
        ),
        _resource(
            apps.Deployment, "deployments", short=("deploy",), everyday=True, subresources=_SCALED, shown=columns.DEPLOYMENT
        ),
        _resource(
            apps_sets.DaemonSet, "daemonsets", short=("ds",), everyday=True, subresources=_STATUS, shown=columns.DAEMON_SET
        ),
        _resource(
            apps_sets.StatefulSet, "statefulsets", short=("sts",), everyday=True, subresources=_SCALED,
            shown=columns.STATEFUL_SET,
        ),
        _resource(apps_sets.ControllerRevision, "controllerrevisions", shown=columns.CONTROLLER_REVISION),
        _resource(
            batch.Job, "jobs", everyday=True, subresources=_STATUS, shown=columns.JOB, selectable={"status.successful": "0"}
        ),
        _resource(
            batch.CronJob, "cronjobs", short=("cj",), everyday=True, subresources=_STATUS, shown=columns.CRON_JOB
        ),
        _resource(
            autoscaling_v2.HorizontalPodAutoscaler, "horizontalpodautoscalers", short=("hpa",), everyday=True,
            subresources=_STATUS, shown=columns.HORIZONTAL_POD_AUTOSCALER,
        ),
        _resource(
            autoscaling.HorizontalPodAutoscaler, "horizontalpodautoscalers", short=("hpa",), everyday=True,
            subresources=_STATUS, shown=columns_of_v1(columns.HORIZONTAL_POD_AUTOSCALER), storage_version="v2",
        ),
        _resource(discovery.EndpointSlice, "endpointslices", shown=columns.ENDPOINT_SLICE),
        _resource(coordination.Lease, "leases", shown=columns.LEASE),
        _resource(rbac.Role, "roles", shown=columns.ROLE),
        _resource(rbac.ClusterRole, "clusterroles", namespaced=False, shown=columns.ROLE),
        _resource(rbac.RoleBinding, "rolebindings", shown=columns.ROLE_BINDING),
        _resource(rbac.ClusterRoleBinding, "clusterrolebindings", namespaced=False, shown=columns.ROLE_BINDING),
        _resource(policy.PodDisruptionBudget, "poddisruptionbudgets", short=("pdb",), subresources=_STATUS, shown=columns.PDB),
        _resource(scheduling.PriorityClass, "priorityclasses", short=("pc",), namespaced=False, shown=columns.PRIORITY_CLASS),
        _resource(scheduling_v1beta1.PodGroup, "podgroups", subresources=_STATUS),
        _resource(scheduling_v1beta1.Workload, "workloads"),
        _resource(networking.Ingress, "ingresses", short=("ing",), subresources=_STATUS, shown=columns.INGRESS),
        _resource(networking.IngressClass, "ingressclasses", namespaced=False, shown=columns.INGRESS_CLASS),
        _resource(networking.NetworkPolicy, "networkpolicies", short=("netpol",), shown=columns.NETWORK_POLICY),
        _resource(networking.IPAddress, "ipaddresses", short=("ip",), namespaced=False, shown=columns.IP_ADDRESS),
        _resource(networking.ServiceCIDR, "servicecidrs", namespaced=False, subresources=_STATUS, shown=columns.SERVICE_CIDR),
        _resource(storage.StorageClass, "storageclasses", short=("sc",), namespaced=False, shown=columns.STORAGE_CLASS),
        _resource(
            storage.VolumeAttributesClass, "volumeattributesclasses", short=("vac",), namespaced=False,
            shown=columns.VOLUME_ATTRIBUTES_CLASS,
        ),
        _resource(
            storage.VolumeAttachment, "volumeattachments", namespaced=False, subresources=_STATUS,
            shown=columns.VOLUME_ATTACHMENT,
        ),
        _resource(storage.CSIDriver, "csidrivers", namespaced=False, shown=columns.CSI_DRIVER),
        _resource(storage.CSINode, "csinodes", namespaced=False, subresources=_STATUS, shown=columns.CSI_NODE),
        _resource(storage.CSIStorageCapacity, "csistoragecapacities", shown=columns.CSI_STORAGE_CAPACITY),
        _resource(runtimeclass.RuntimeClass, "runtimeclasses", namespaced=False, shown=columns.RUNTIME_CLASS),
        _resource(
            certificates.CertificateSigningRequest, "certificatesigningrequests", short=("csr",), namespaced=False,
            subresources=("approval", "status"), shown=columns.CERTIFICATE_SIGNING_REQUEST,
            selectable={"spec.signerName": ""},
        ),
        _resource(
            certificates.PodCertificateRequest, "podcertificaterequests", subresources=_STATUS,
            shown=columns.POD_CERTIFICATE_REQUEST,
            selectable={"spec.signerName": "", "spec.podName": "", "spec.nodeName": ""},
        ),
        _resource(
            certificates.ClusterTrustBundle, "clustertrustbundles", namespaced=False, shown=columns.CLUSTER_TRUST_BUNDLE,
            selectable={"spec.signerName": ""},
        ),
        _resource(
            admissionregistration.MutatingWebhookConfiguration, "mutatingwebhookconfigurations", namespaced=False,
            categories=("api-extensions",), shown=columns.WEBHOOK_CONFIGURATION,
        ),
        _resource(
            admissionregistration.ValidatingWebhookConfiguration, "validatingwebhookconfigurations", namespaced=False,
            categories=("api-extensions",), shown=columns.WEBHOOK_CONFIGURATION,
        ),
        _resource(
            admissionregistration.ValidatingAdmissionPolicy, "validatingadmissionpolicies", namespaced=False,
            categories=("api-extensions",), subresources=_STATUS, shown=columns.ADMISSION_POLICY,
        ),
        _resource(
            admissionregistration.ValidatingAdmissionPolicyBinding, "validatingadmissionpolicybindings", namespaced=False,
            categories=("api-extensions",), shown=columns.ADMISSION_POLICY_BINDING,
        ),
        _resource(
            admissionregistration.MutatingAdmissionPolicy, "mutatingadmissionpolicies", namespaced=False,
            categories=("api-extensions",), shown=columns.MUTATING_POLICY,
        ),
        _resource(
            admissionregistration.MutatingAdmissionPolicyBinding, "mutatingadmissionpolicybindings", namespaced=False,
            categories=("api-extensions",), shown=columns.ADMISSION_POLICY_BINDING,
        ),
        _resource(
            apiregistration.APIService, "apiservices", namespaced=False, categories=("api-extensions",),
            subresources=_STATUS, shown=columns.API_SERVICE,
        ),
        _resource(
            apiextensions.CustomResourceDefinition, "customresourcedefinitions", short=("crd", "crds"), namespaced=False,
            categories=("api-extensions",), subresources=_STATUS, shown=columns.CUSTOM_RESOURCE_DEFINITION,
        ),
        _resource(
            flowcontrol.FlowSchema, "flowschemas", namespaced=False, subresources=_STATUS, shown=columns.FLOW_SCHEMA
        ),
        _resource(
            flowcontrol.PriorityLevelConfiguration, "prioritylevelconfigurations", namespaced=False, subresources=_STATUS,
            shown=columns.PRIORITY_LEVEL,
        ),
        _resource(resource.DeviceClass, "deviceclasses", namespaced=False, shown=columns.DEVICE_CLASS),
        _resource(resource.DeviceTaintRule, "devicetaintrules", namespaced=False, subresources=_STATUS),
        _resource(resource.ResourceClaim, "resourceclaims", subresources=_STATUS, shown=columns.RESOURCE_CLAIM),
        _resource(resource.ResourceClaimTemplate, "resourceclaimtemplates", shown=columns.RESOURCE_CLAIM_TEMPLATE),
        _resource(
            resource.ResourceSlice, "resourceslices", namespaced=False, shown=columns.RESOURCE_SLICE,
            selectable={"spec.nodeName": "", "spec.driver": ""},
        ),
        _resource(
            storagemigration.StorageVersionMigration, "storageversionmigrations", namespaced=False, subresources=_STATUS,
            shown=columns.STORAGE_VERSION_MIGRATION,
        ),
        _resource(authentication.TokenReview, "tokenreviews", namespaced=False, verbs=CREATE_ONLY),
        _resource(authentication.SelfSubjectReview, "selfsubjectreviews", namespaced=False, verbs=CREATE_ONLY),
        _resource(authorization.SubjectAccessReview, "subjectaccessreviews", namespaced=False, verbs=CREATE_ONLY),
        _resource(authorization.SelfSubjectAccessReview, "selfsubjectaccessreviews", namespaced=False, verbs=CREATE_ONLY),
        _resource(authorization.SelfSubjectRulesReview, "selfsubjectrulesreviews", namespaced=False, verbs=CREATE_ONLY),
        _resource(authorization.LocalSubjectAccessReview, "localsubjectaccessreviews", verbs=CREATE_ONLY),
        _resource(transactions.Transaction, "transactions", namespaced=False, verbs=CREATE_ONLY),
    )  # fmt: skip
    return scheme


SCHEME = builtin_scheme()
"""The built-in kinds. Components take it as their default scheme."""
