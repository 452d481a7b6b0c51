"""What each of kube-controller-manager's controllers may do."""

from kubelib.api.scheme import Tree
from kubelib.server.authz.rules import CONTROL, EVENTS, RBAC, READ, rule

CONTROLLERS: dict[str, tuple[Tree, ...]] = {
    "attachdetach-controller": (
        rule("list watch", "core", "persistentvolumeclaims persistentvolumes"),
        rule(READ, "core", "nodes"),
        rule("patch update", "core", "nodes/status"),
        rule("list watch", "core", "pods"),
        EVENTS,
        rule("create delete get list watch", "storage.k8s.io", "volumeattachments"),
    ),
    "certificate-controller": (
        rule("delete get list watch", "certificates.k8s.io", "certificatesigningrequests"),
        rule(
            "update",
            "certificates.k8s.io",
            "certificatesigningrequests/approval certificatesigningrequests/status",
        ),
        rule("approve sign", "certificates.k8s.io", "signers"),
        rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        EVENTS,
    ),
    "clusterrole-aggregation-controller": (
        rule("escalate get list patch update watch", RBAC, "clusterroles"),
    ),
    "cronjob-controller": (
        rule("get list update watch", "batch", "cronjobs"),
        rule(CONTROL, "batch", "jobs"),
        rule("update", "batch", "cronjobs/finalizers cronjobs/status"),
        rule("delete list", "core", "pods"),
        EVENTS,
    ),
    "daemon-set-controller": (
        rule(READ, "apps", "daemonsets"),
        rule("update", "apps", "daemonsets/finalizers daemonsets/status"),
        rule("list watch", "core", "nodes"),
        rule("create delete list patch watch", "core", "pods"),
        rule("create", "core", "pods/binding"),
        rule(CONTROL, "apps", "controllerrevisions"),
        EVENTS,
    ),
    "deployment-controller": (
        rule("get list update watch", "apps", "deployments"),
        rule("update", "apps", "deployments/finalizers deployments/status"),
        rule(CONTROL, "apps", "replicasets"),
        rule("get list update watch", "core", "pods"),
        EVENTS,
    ),
    "disruption-controller": (
        rule(READ, "apps", "deployments replicasets statefulsets"),
        rule(READ, "core", "replicationcontrollers"),
        rule(READ, "policy", "poddisruptionbudgets"),
        rule("get", "*", "*/scale"),
        rule("update", "policy", "poddisruptionbudgets/status"),
        rule("patch update", "core", "pods/status"),
        rule("list watch", "core", "pods"),
        EVENTS,
    ),
    "endpoint-controller": (
        rule(READ, "core", "pods services"),
        rule("create delete get list update watch", "core", "endpoints"),
        rule("create", "core", "endpoints/restricted"),
        EVENTS,
    ),
    "endpointslice-controller": (
        rule(READ, "core", "nodes pods services"),
        rule("update", "core", "services/finalizers"),
        rule("create delete get list update watch", "discovery.k8s.io", "endpointslices"),
        rule("create", "discovery.k8s.io", "endpointslices/restricted"),
        EVENTS,
    ),
    "endpointslicemirroring-controller": (
        rule(READ, "core", "endpoints services"),
        rule("update", "core", "endpoints/finalizers services/finalizers"),
        rule("create delete get list update watch", "discovery.k8s.io", "endpointslices"),
        rule("create", "discovery.k8s.io", "endpointslices/restricted"),
        EVENTS,
    ),
    "ephemeral-volume-controller": (
        rule(READ, "core", "pods"),
        rule("update", "core", "pods/finalizers"),
        rule("create get list watch", "core", "persistentvolumeclaims"),
        EVENTS,
    ),
    "expand-controller": (
        rule("get list patch update watch", "core", "persistentvolumes"),
        rule("patch update", "core", "persistentvolumeclaims/status"),
        rule(READ, "core", "persistentvolumeclaims"),
        EVENTS,
    ),
    "generic-garbage-collector": (
        rule("delete get list patch update watch", "*", "*"),
        EVENTS,
    ),
    "horizontal-pod-autoscaler": (
        rule(READ, "autoscaling", "horizontalpodautoscalers"),
        rule("update", "autoscaling", "horizontalpodautoscalers/status"),
        # Ours changes the number alone, with a patch.
        rule("get patch update", "*", "*/scale"),
        rule("list", "core", "pods"),
        rule("list", "metrics.k8s.io", "pods"),
        rule("get list", "custom.metrics.k8s.io external.metrics.k8s.io", "*"),
        EVENTS,
    ),
    "job-controller": (
        rule("get list patch update watch", "batch", "jobs"),
        rule("update", "batch", "jobs/finalizers jobs/status"),
        rule("create delete list patch watch", "core", "pods"),
        EVENTS,
    ),
    "namespace-controller": (
        rule("delete get list watch", "core", "namespaces"),
        rule("update", "core", "namespaces/finalize namespaces/status"),
        rule("delete deletecollection get list", "*", "*"),
        EVENTS,
    ),
    "node-controller": (
        rule("delete get list patch update watch", "core", "nodes"),
        rule("patch update", "core", "nodes/status"),
        rule("patch update", "core", "pods/status"),
        rule("delete get list watch", "core", "pods"),
        rule(READ, "coordination.k8s.io", "leases"),
        EVENTS,
    ),
    "persistent-volume-binder": (
        rule("create delete get list update watch", "core", "persistentvolumes"),
        rule("update", "core", "persistentvolumes/status persistentvolumeclaims/status"),
        rule("get list update watch", "core", "persistentvolumeclaims"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        EVENTS,
    ),
    "pod-garbage-collector": (
        rule("delete list watch", "core", "pods"),
        rule("get list watch", "core", "nodes"),
        rule("patch update", "core", "pods/status"),
        EVENTS,
    ),
    "pv-protection-controller": (
        rule("get list update watch", "core", "persistentvolumes"),
        EVENTS,
    ),
    "pvc-protection-controller": (
        rule("get list update watch", "core", "persistentvolumeclaims"),
        rule(READ, "core", "pods"),
        EVENTS,
    ),
    "replicaset-controller": (
        rule("get list update watch", "apps", "replicasets"),
        rule("update", "apps", "replicasets/finalizers replicasets/status"),
        rule("create delete list patch watch", "core", "pods"),
        EVENTS,
    ),
    "replication-controller": (
        rule("get list update watch", "core", "replicationcontrollers"),
        rule("update", "core", "replicationcontrollers/finalizers replicationcontrollers/status"),
        rule("create delete list patch watch", "core", "pods"),
        EVENTS,
    ),
    "resourcequota-controller": (
        rule("list watch", "*", "*"),
        rule("update", "core", "resourcequotas/status"),
        EVENTS,
    ),
    "root-ca-cert-publisher": (
        rule("create get list update watch", "core", "configmaps"),
        rule("list watch", "core", "namespaces"),
        EVENTS,
    ),
    "service-account-controller": (
        rule("create get list watch", "core", "serviceaccounts"),
        rule("list watch", "core", "namespaces"),
        EVENTS,
    ),
    "service-cidrs-controller": (
        rule("get list patch update watch", "networking.k8s.io", "servicecidrs"),
        rule("patch update", "networking.k8s.io", "servicecidrs/finalizers servicecidrs/status"),
        rule(READ, "networking.k8s.io", "ipaddresses"),
        EVENTS,
    ),
    "statefulset-controller": (
        rule("list watch", "core", "pods"),
        rule(READ, "apps", "statefulsets"),
        rule("update", "apps", "statefulsets/finalizers statefulsets/status"),
        rule("create delete get patch update", "core", "pods"),
        rule(CONTROL, "apps", "controllerrevisions"),
        rule("create delete get list patch update watch", "core", "persistentvolumeclaims"),
        EVENTS,
    ),
    "storage-version-migrator-controller": (
        # An apply to what is gone is a request to create, which fails as it names a uid.
        rule("create list patch", "*", "*"),
        rule(READ, "storagemigration.k8s.io", "storageversionmigrations"),
        rule("update", "storagemigration.k8s.io", "storageversionmigrations/status"),
        rule("get", "apiextensions.k8s.io", "customresourcedefinitions"),
        rule("patch update", "apiextensions.k8s.io", "customresourcedefinitions/status"),
        EVENTS,
    ),
    "token-cleaner": (
        rule("delete get list watch", "core", "secrets"),
        EVENTS,
    ),
    "ttl-after-finished-controller": (
        rule("delete get list watch", "batch", "jobs"),
        EVENTS,
    ),
    "validatingadmissionpolicy-status-controller": (
        rule(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
        rule("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
        EVENTS,
    ),
}
