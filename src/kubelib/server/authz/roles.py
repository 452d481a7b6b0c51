"""What the roles allow that every cluster has, but for those of single controllers."""

from kubelib.api.scheme import Tree
from kubelib.server.authz.rules import CONTROL, EVENTS, RBAC, READ, WRITE, paths, rule

_HEALTH = "/healthz /livez /readyz /version /version/"
_WORKLOADS = (
    "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets"
    " statefulsets/scale"
)
_SEEN_WORKLOADS = (
    "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets"
    " replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"
)

EDIT: tuple[Tree, ...] = (
    rule(
        "get list watch", "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"
    ),
    rule("impersonate", "core", "serviceaccounts"),
    rule(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    rule("create", "core", "pods/eviction"),
    rule(
        WRITE,
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets"
        " serviceaccounts services services/proxy",
    ),
    rule("create", "core", "serviceaccounts/token"),
    rule(WRITE, "apps", _WORKLOADS),
    rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
    rule(WRITE, "batch", "cronjobs jobs"),
    rule(
        WRITE,
        "extensions",
        "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets"
        " replicasets/scale replicationcontrollers/scale",
    ),
    rule(WRITE, "policy", "poddisruptionbudgets"),
    rule(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    rule(CONTROL + " deletecollection", "coordination.k8s.io", "leases"),
    rule(WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
)
VIEW: tuple[Tree, ...] = (
    rule(
        READ,
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers"
        " replicationcontrollers/scale serviceaccounts services services/status",
    ),
    rule(
        READ,
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status"
        " resourcequotas resourcequotas/status",
    ),
    rule(READ, "core", "namespaces"),
    rule(READ, "discovery.k8s.io", "endpointslices"),
    rule(READ, "apps", _SEEN_WORKLOADS),
    rule(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    rule(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    rule(
        READ,
        "extensions",
        "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status"
        " networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale",
    ),
    rule(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    rule(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    rule(READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
)
ADMIN: tuple[Tree, ...] = (
    rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    rule(CONTROL + " deletecollection", RBAC, "rolebindings roles"),
)

PLAIN: dict[str, tuple[Tree, ...]] = {
    "cluster-admin": (rule("*", "*", "*"), paths("*", "*")),
    "system:discovery": (paths("get", f"/api /api/* /apis /apis/* /openapi /openapi/* {_HEALTH}"),),
    "system:public-info-viewer": (paths("get", _HEALTH),),
    "system:monitoring": (
        paths("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*"),
    ),
    "system:basic-user": (
        rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        rule("create", "authentication.k8s.io", "selfsubjectreviews"),
    ),
    "system:cluster-trust-bundle-discovery": (rule(READ, "certificates.k8s.io", "clustertrustbundles"),),
    "system:service-account-issuer-discovery": (
        paths(
            "get",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        ),
    ),
    "system:auth-delegator": (
        rule("create", "authentication.k8s.io", "tokenreviews"),
        rule("create", "authorization.k8s.io", "subjectaccessreviews"),
    ),
    "system:kubelet-api-admin": (
        rule(READ, "core", "nodes"),
        rule("proxy", "core", "nodes"),
        rule(
            "*",
            "core",
            "nodes/checkpoint nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/spec"
            " nodes/stats",
        ),
    ),
    "system:node-bootstrapper": (
        rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    ),
    "system:node-problem-detector": (
        rule("get", "core", "nodes"),
        rule("patch", "core", "nodes/status"),
        EVENTS,
    ),
    "system:node": (
        rule("create", "authentication.k8s.io", "tokenreviews"),
        rule("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
        rule(READ, "core", "services"),
        rule("create get list watch", "core", "nodes"),
        rule("patch update", "core", "nodes nodes/status"),
        EVENTS,
        rule("create delete get list watch", "core", "pods"),
        rule("patch update", "core", "pods/status"),
        rule("create", "core", "pods/eviction"),
        rule(READ, "core", "configmaps secrets"),
        rule("get", "core", "persistentvolumeclaims persistentvolumes"),
        rule("get patch update", "core", "persistentvolumeclaims/status"),
        rule("get", "core", "serviceaccounts"),
        rule("create", "core", "serviceaccounts/token"),
        rule(
            "create get list watch",
            "certificates.k8s.io",
            "certificatesigningrequests podcertificaterequests",
        ),
        rule(READ, "certificates.k8s.io", "clustertrustbundles"),
        rule("create delete get patch update", "coordination.k8s.io", "leases"),
        rule("get", "storage.k8s.io", "volumeattachments"),
        rule(READ, "storage.k8s.io", "csidrivers"),
        rule("create delete get patch update", "storage.k8s.io", "csinodes"),
        rule(READ, "node.k8s.io", "runtimeclasses"),
        rule("get", "resource.k8s.io", "resourceclaims"),
        rule(f"{READ} {WRITE}", "resource.k8s.io", "resourceslices"),
    ),
    "system:node-proxier": (
        rule("list watch", "core", "endpoints services"),
        rule(READ, "core", "nodes"),
        EVENTS,
        rule("list watch", "discovery.k8s.io", "endpointslices"),
        rule("list watch", "networking.k8s.io", "servicecidrs"),
    ),
    "system:heapster": (
        rule(READ, "core", "events namespaces nodes pods"),
        rule(READ, "extensions", "deployments"),
    ),
    "system:kube-dns": (rule("list watch", "core", "endpoints services"),),
    "system:kube-aggregator": (rule(READ, "core", "endpoints services"),),
    "system:persistent-volume-provisioner": (
        rule("create delete get list watch", "core", "persistentvolumes"),
        rule("get list update watch", "core", "persistentvolumeclaims"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        rule("watch", "core", "events"),
        EVENTS,
    ),
    "system:volume-scheduler": (
        rule("get list patch update watch", "core", "persistentvolumes"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        rule("get list patch update watch", "core", "persistentvolumeclaims"),
    ),
    "system:kube-scheduler": (
        EVENTS,
        rule("create", "coordination.k8s.io", "leases"),
        rule("get list patch update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
        rule(READ, "core", "nodes"),
        rule("delete get list watch", "core", "pods"),
        rule("create", "core", "bindings pods/binding"),
        rule("patch update", "core", "pods/status"),
        rule(READ, "core", "replicationcontrollers services"),
        rule(READ, "apps extensions", "replicasets"),
        rule(READ, "apps", "statefulsets"),
        rule(READ, "policy", "poddisruptionbudgets"),
        rule(READ, "core", "persistentvolumeclaims persistentvolumes"),
        rule("create", "authentication.k8s.io", "tokenreviews"),
        rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        rule(READ, "storage.k8s.io", "csidrivers csinodes csistoragecapacities volumeattachments"),
        rule(READ, "core", "namespaces"),
        rule(READ, "resource.k8s.io", "deviceclasses devicetaintrules resourceclaims resourceslices"),
        rule(READ, "scheduling.k8s.io", "podgroups"),
        rule("patch update", "scheduling.k8s.io", "podgroups/status"),
        rule("patch update", "resource.k8s.io", "resourceclaims resourceclaims/status"),
    ),
    "kubelib:elastic": (
        EVENTS,
        rule("create", "coordination.k8s.io", "leases"),
        rule("get list patch update watch", "coordination.k8s.io", "leases", "kubelib-elastic"),
        rule("delete get list patch update watch", "core", "nodes"),
        rule("create", "core", "pods/eviction"),
        rule(READ, "core", "namespaces persistentvolumeclaims persistentvolumes pods"),
        rule(READ, "apps", "daemonsets"),
        rule(READ, "policy", "poddisruptionbudgets"),
        rule(
            READ,
            "storage.k8s.io",
            "csidrivers csinodes csistoragecapacities storageclasses volumeattachments",
        ),
        rule(READ, "scheduling.k8s.io", "podgroups"),
    ),
    "kubelib:transactions": (rule("create", "scheduling.kubelib.dev", "transactions"),),
    "system:kube-controller-manager": (
        EVENTS,
        rule("create", "coordination.k8s.io", "leases"),
        rule("get list update watch", "coordination.k8s.io", "leases", "kube-controller-manager"),
        rule("create", "core", "secrets serviceaccounts"),
        rule("delete", "core", "secrets"),
        rule("get", "core", "configmaps namespaces secrets serviceaccounts"),
        rule("update", "core", "secrets serviceaccounts"),
        rule("create", "authentication.k8s.io", "tokenreviews"),
        rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        rule("list watch", "*", "*"),
        rule("create", "core", "serviceaccounts/token"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"),
    ),
    **{
        f"system:certificates.k8s.io:{short}-approver": (
            rule("approve", "certificates.k8s.io", "signers", f"kubernetes.io/{signer}"),
        )
        for short, signer in (
            ("kube-apiserver-client", "kube-apiserver-client"),
            ("kube-apiserver-client-kubelet", "kube-apiserver-client-kubelet"),
            ("kubelet-serving", "kubelet-serving"),
            ("legacy-unknown", "legacy-unknown"),
        )
    },
}

NODE_RULES = PLAIN["system:node"]
"""What nodes may do, as far as it does not depend on which Pods they run."""
