"""How the fields of built-in kinds are owned: which lists merge by which keys, and what is a unit."""

import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.patch.shapes import Shape, shape_of

P = "v1", "Pod"
OWNED: list[tuple[str, str, str, str | tuple[str, ...]]] = [
    (*P,"spec.nodeSelector","atomic"),(*P,"spec.tolerations","atomic"),(*P,"spec.topologySpreadConstraints",("topologyKey","whenUnsatisfiable")),
    (*P,"spec.hostAliases",("ip",)),(*P,"spec.imagePullSecrets",("name",)),(*P,"spec.volumes",("name",)),(*P,"spec.containers.[].volumeMounts",("mountPath",)),
    (*P,"spec.containers.[].volumeDevices",("devicePath",)),(*P,"spec.containers.[].env",("name",)),(*P,"spec.containers.[].envFrom","atomic"),
    (*P,"spec.containers.[].ports",("containerPort","protocol")),(*P,"spec.ephemeralContainers",("name",)),(*P,"spec.initContainers",("name",)),
    (*P,"spec.containers.[].command","atomic"),(*P,"spec.containers.[].resizePolicy","atomic"),(*P,"spec.containers.[].resources.limits","map"),
    (*P,"spec.containers.[].resources.claims",("name",)),(*P,"spec.readinessGates","atomic"),(*P,"spec.schedulingGates",("name",)),(*P,"spec.resourceClaims",("name",)),
    (*P,"spec.securityContext","object"),(*P,"spec.securityContext.supplementalGroups","atomic"),(*P,"spec.securityContext.sysctls","atomic"),
    (*P,"spec.containers.[].env.[].valueFrom","object"),(*P,"spec.containers.[].env.[].valueFrom.secretKeyRef","atomic"),(*P,"spec.containers.[].env.[].valueFrom.fieldRef","atomic"),
    (*P,"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution","atomic"),(*P,"spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution","atomic"),
    (*P,"status.conditions",("type",)),(*P,"status.podIPs",("ip",)),(*P,"status.containerStatuses","atomic"),(*P,"metadata.ownerReferences",("uid",)),(*P,"metadata.finalizers","set"),
    (*P,"metadata.labels","map"),(*P,"spec.overhead","map"),(*P,"spec.dnsConfig.options","atomic"),(*P,"spec.containers.[].livenessProbe.httpGet.httpHeaders","atomic"),
    (*P,"spec.containers.[].securityContext.capabilities.add","atomic"),(*P,"spec.volumes.[].configMap.items","atomic"),(*P,"spec.volumes.[].projected.sources","atomic"),
    ("v1","Service","spec.ports",("port","protocol")),("v1","Service","spec.selector","atomic"),("v1","Service","spec.externalIPs","atomic"),("v1","Service","spec.clusterIPs","atomic"),
    ("v1","Service","spec.ipFamilies","atomic"),("v1","Service","status.loadBalancer.ingress","atomic"),("v1","Service","status.conditions",("type",)),("v1","Service","spec.loadBalancerSourceRanges","atomic"),
    ("v1","ServiceAccount","secrets",("name",)),("v1","ServiceAccount","imagePullSecrets","atomic"),("v1","Secret","data","map"),("v1","ConfigMap","data","map"),
    ("v1","Node","spec.taints","atomic"),("v1","Node","status.addresses",("type",)),("v1","Node","status.conditions",("type",)),("v1","Node","spec.podCIDRs","set"),
    ("v1","PersistentVolumeClaim","spec.accessModes","atomic"),("v1","PersistentVolumeClaim","spec.selector","atomic"),("v1","PersistentVolumeClaim","spec.dataSource","atomic"),("v1","PersistentVolumeClaim","status.conditions",("type",)),
    ("v1","PersistentVolume","spec.claimRef","object"),("v1","PersistentVolume","spec.mountOptions","atomic"),("v1","Endpoints","subsets","atomic"),
    ("v1","ReplicationController","spec.selector","atomic"),("v1","ResourceQuota","spec.scopes","atomic"),("v1","LimitRange","spec.limits","atomic"),("v1","Event","involvedObject","atomic"),
    ("apps/v1","Deployment","spec.selector","atomic"),("apps/v1","Deployment","status.conditions",("type",)),("apps/v1","StatefulSet","spec.volumeClaimTemplates","atomic"),
    ("batch/v1","Job","spec.podFailurePolicy.rules","atomic"),("batch/v1","Job","status.conditions","atomic"),("batch/v1","CronJob","status.active","atomic"),
    ("networking.k8s.io/v1","Ingress","spec.rules","atomic"),("networking.k8s.io/v1","Ingress","spec.tls","atomic"),("networking.k8s.io/v1","NetworkPolicy","spec.ingress","atomic"),
    ("networking.k8s.io/v1","NetworkPolicy","spec.policyTypes","atomic"),("networking.k8s.io/v1","ServiceCIDR","spec.cidrs","atomic"),
    ("discovery.k8s.io/v1","EndpointSlice","endpoints","atomic"),("discovery.k8s.io/v1","EndpointSlice","ports","atomic"),
    ("rbac.authorization.k8s.io/v1","Role","rules","atomic"),("rbac.authorization.k8s.io/v1","RoleBinding","subjects","atomic"),("rbac.authorization.k8s.io/v1","RoleBinding","roleRef","atomic"),
    ("autoscaling/v2","HorizontalPodAutoscaler","spec.metrics","atomic"),("autoscaling/v2","HorizontalPodAutoscaler","status.conditions",("type",)),("autoscaling/v2","HorizontalPodAutoscaler","spec.behavior.scaleUp.policies","atomic"),
    ("admissionregistration.k8s.io/v1","ValidatingWebhookConfiguration","webhooks",("name",)),("admissionregistration.k8s.io/v1","ValidatingWebhookConfiguration","webhooks.[].matchConditions",("name",)),
    ("admissionregistration.k8s.io/v1","ValidatingAdmissionPolicy","spec.variables",("name",)),("admissionregistration.k8s.io/v1","ValidatingAdmissionPolicy","spec.validations","atomic"),
    ("storage.k8s.io/v1","CSINode","spec.drivers",("name",)),("storage.k8s.io/v1","StorageClass","parameters","map"),("storage.k8s.io/v1","CSIDriver","spec.volumeLifecycleModes","set"),("storage.k8s.io/v1","CSIDriver","spec.tokenRequests","atomic"),
    ("policy/v1","PodDisruptionBudget","status.conditions",("type",)),("flowcontrol.apiserver.k8s.io/v1","FlowSchema","spec.rules","atomic"),
    ("certificates.k8s.io/v1","CertificateSigningRequest","spec.usages","atomic"),("certificates.k8s.io/v1","CertificateSigningRequest","status.conditions",("type",)),
    ("node.k8s.io/v1","RuntimeClass","scheduling.nodeSelector","atomic"),("node.k8s.io/v1","RuntimeClass","scheduling.tolerations","atomic"),
    ("autoscaling/v2","HorizontalPodAutoscaler","spec.scaleTargetRef","object"),
]  # fmt: skip
"""Version, kind, path, and the keys of the list or what else the field is: a unit (``atomic``), a set, a map, an object."""


@pytest.mark.parametrize(("api_version", "kind", "path", "wanted"), OWNED)
def test_a_field_is_owned_as_kubernetes_declares(
    api_version: str, kind: str, path: str, wanted: str | tuple[str, ...]
) -> None:
    shape: Shape | None = shape_of(SCHEME.kind(api_version, kind).cls)  # type: ignore[arg-type]
    for step in path.split("."):
        assert shape is not None
        shape = shape.item if step == "[]" else shape.fields[step].shape
    assert shape is not None
    assert (shape.keys if isinstance(wanted, tuple) else shape.kind) == wanted
