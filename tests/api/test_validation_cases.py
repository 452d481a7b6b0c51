"""Many faults of many kinds, one to a line: what is wrong, and how Kubernetes says it. Empty: nothing is."""

from typing import Any

import pytest

from kubelib.api.validation import validate_create, validate_update
from tests.api.test_validation import build, resource_of

C = "spec__containers__0__"

CREATED: list[tuple[str, dict[str, Any], str]] = [
    ("Pod",{C+"image":" x "},"spec.containers[0].image: Invalid value: \" x \": must not have leading or trailing whitespace"),
    ("Pod",{C+"name":"A"},"spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label"),
    ("Pod",{C+"imagePullPolicy":"Maybe"},"spec.containers[0].imagePullPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"IfNotPresent\", \"Never\""),
    ("Pod",{C+"ports":[{"containerPort":0}]},"spec.containers[0].ports[0].containerPort: Required value"),
    ("Pod",{C+"ports":[{"containerPort":80,"hostPort":70000}]},"hostPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
    ("Pod",{C+"ports":[{"containerPort":80,"name":"a"},{"containerPort":81,"name":"a"}]},"spec.containers[0].ports[1].name: Duplicate value: \"a\""),
    ("Pod",{C+"env":[{"name":"A","value":"1","valueFrom":{"fieldRef":{"fieldPath":"metadata.name","apiVersion":"v1"}}}]},"spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"),
    ("Pod",{C+"env":[{"name":"A","valueFrom":{}}]},"must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`"),
    ("Pod",{C+"env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"status.none","apiVersion":"v1"}}}]},"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"status.none\": error converting fieldPath: field label not supported: status.none"),
    ("Pod",{C+"envFrom":[{}]},"spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"),
    ("Pod",{C+"volumeMounts":[{"name":"none","mountPath":"/a"}]},"spec.containers[0].volumeMounts[0].name: Not found: \"none\""),
    ("Pod",{C+"volumeMounts":[{"name":"v","mountPath":"/a"},{"name":"v","mountPath":"/a"}]},"spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique"),
    ("Pod",{C+"volumeMounts":[{"name":"v","mountPath":""}]},"spec.containers[0].volumeMounts[0].mountPath: Required value"),
    ("Pod",{C+"volumeMounts":[{"name":"v","mountPath":"/a","subPath":"../x"}]},"subPath: Invalid value: \"../x\": must not contain '..'"),
    ("Pod",{C+"livenessProbe":{"httpGet":{"port":80,"path":"/","scheme":"HTTP"},"tcpSocket":{"port":80}}},"spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"),
    ("Pod",{C+"livenessProbe":{}},"spec.containers[0].livenessProbe: Required value: must specify a handler type"),
    ("Pod",{C+"livenessProbe":{"exec":{"command":["a"]},"successThreshold":2}},"spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"),
    ("Pod",{C+"resources":{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}},"spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"),
    ("Pod",{C+"resources":{"requests":{"example.com/a":"1"}}},"spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"),
    ("Pod",{C+"resources":{"limits":{"example.com/a":"1500m"}}},"must be an integer"),
    ("Pod",{C+"resources":{"limits":{"hugepages-2Mi":"2Mi"}}},"HugePages require cpu or memory"),
    ("Pod",{C+"resources":{"requests":{"nope":"1"}}},"must be a standard resource"),
    ("Pod",{C+"securityContext":{"privileged":True,"allowPrivilegeEscalation":False}},"cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
    ("Pod",{C+"securityContext":{"runAsUser":-1}},"spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and"),
    ("Pod",{C+"securityContext":{"procMount":"X"}},"spec.containers[0].securityContext.procMount: Unsupported value"),
    ("Pod",{C+"lifecycle":{"postStart":{}}},"spec.containers[0].lifecycle.postStart: Required value: must specify a handler type"),
    ("Pod",{C+"restartPolicy":"Always"},""),
    ("Pod",{"spec__initContainers":[{"name":"c","image":"i"}]},"spec.initContainers[0].name: Duplicate value: \"c\""),
    ("Pod",{"spec__initContainers":[{"name":"i","image":"i","livenessProbe":{"exec":{"command":["a"]}}}]},"spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"),
    ("Pod",{"spec__restartPolicy":"Sometimes"},"spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\""),
    ("Pod",{"spec__dnsPolicy":"X"},"spec.dnsPolicy: Unsupported value"),
    ("Pod",{"spec__dnsPolicy":"None"},"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
    ("Pod",{"spec__dnsConfig":{"nameservers":["a"]}},"spec.dnsConfig.nameservers[0]: Invalid value: \"a\": must be a valid IP address"),
    ("Pod",{"spec__hostAliases":[{"ip":"x"}]},"spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address"),
    ("Pod",{"spec__tolerations":[{"operator":"Equal","value":"a"}]},"spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty"),
    ("Pod",{"spec__tolerations":[{"key":"a","operator":"Exists","effect":"NoSchedule","tolerationSeconds":3}]},"spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"),
    ("Pod",{"spec__topologySpreadConstraints":[{"maxSkew":0,"topologyKey":"a","whenUnsatisfiable":"DoNotSchedule"}]},"spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"),
    ("Pod",{"spec__affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[]}}}},"nodeSelectorTerms: Required value: must have at least one node selector term"),
    ("Pod",{"spec__affinity":{"podAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":0,"podAffinityTerm":{"topologyKey":"a"}}]}}},"weight: Invalid value: 0: must be in the range 1-100"),
    ("Pod",{"spec__affinity":{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":""}]}}},"topologyKey: Required value: can not be empty"),
    ("Pod",{"spec__activeDeadlineSeconds":0},"spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"),
    ("Pod",{"spec__os":{"name":"windows"},"spec__securityContext":{"seLinuxOptions":{"level":"a"}}},"spec.securityContext.seLinuxOptions: Forbidden: cannot be set for a windows pod"),
    ("Pod",{"spec__os":{"name":"linux"},"spec__securityContext":{"windowsOptions":{"hostProcess":True}}},"spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"),
    ("Pod",{"spec__securityContext":{"windowsOptions":{"hostProcess":True}}},"hostNetwork must be true if pod contains any hostProcess containers"),
    ("Pod",{"spec__securityContext":{"sysctls":[{"name":"a b","value":"1"}]}},"spec.securityContext.sysctls[0].name: Invalid value: \"a b\": must have at most 253 characters"),
    ("Pod",{"spec__securityContext":{"seccompProfile":{"type":"Localhost"}}},"spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"),
    ("Pod",{"spec__securityContext":{"fsGroupChangePolicy":"X"}},"spec.securityContext.fsGroupChangePolicy: Unsupported value"),
    ("Pod",{"spec__schedulingGates":[{"name":"a"},{"name":"a"}]},"spec.schedulingGates[1]: Duplicate value: \"a\""),
    ("Pod",{"spec__nodeName":"n","spec__schedulingGates":[{"name":"a"}]},"spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"),
    ("Pod",{"spec__readinessGates":[{"conditionType":"a b"}]},"spec.readinessGates[0].conditionType: Invalid value"),
    ("Pod",{"spec__hostname":"A.b"},"spec.hostname: Invalid value: \"A.b\""),
    ("Pod",{"spec__setHostnameAsFQDN":True,"spec__hostNetwork":True,C+"ports":[]},""),
    ("Pod",{"spec__volumes":[{"name":"v","emptyDir":{},"hostPath":{"path":"/a"}}]},"spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"),
    ("Pod",{"spec__volumes":[{"name":"v","hostPath":{"path":""}}]},"spec.volumes[0].hostPath.path: Required value"),
    ("Pod",{"spec__volumes":[{"name":"v","hostPath":{"path":"/a/.."}}]},"spec.volumes[0].hostPath.path: Invalid value: \"/a/..\": must not contain '..'"),
    ("Pod",{"spec__volumes":[{"name":"v","secret":{"secretName":""}}]},"spec.volumes[0].secret.secretName: Required value"),
    ("Pod",{"spec__volumes":[{"name":"v","configMap":{"name":""}}]},"spec.volumes[0].configMap.name: Required value"),
    ("Pod",{"spec__volumes":[{"name":"v","secret":{"secretName":"a","defaultMode":5000}}]},"spec.volumes[0].secret.defaultMode: Invalid value: 5000: must be a number between 0 and 0777 (octal), both inclusive"),
    ("Pod",{"spec__volumes":[{"name":"v","nfs":{"server":"","path":"a"}}]},"spec.volumes[0].nfs.path: Invalid value: \"a\": must be an absolute path"),
    ("Pod",{"spec__volumes":[{"name":"v","persistentVolumeClaim":{"claimName":""}}]},"spec.volumes[0].persistentVolumeClaim.claimName: Required value"),
    ("Pod",{"spec__volumes":[{"name":"v","csi":{"driver":""}}]},"spec.volumes[0].csi.driver: Required value"),
    ("Pod",{"spec__volumes":[{"name":"v","ephemeral":{}}]},"spec.volumes[0].ephemeral.volumeClaimTemplate: Required value"),
    ("Pod",{"spec__volumes":[{"name":"v","image":{"reference":""}}]},"spec.volumes[0].image.reference: Required value"),
    ("Pod",{"spec__volumes":[{"name":"v","downwardAPI":{"items":[{"path":"/a","fieldRef":{"fieldPath":"metadata.name","apiVersion":"v1"}}]}}]},"spec.volumes[0].downwardAPI.path: Invalid value: \"/a\": must be a relative path"),
    ("Pod",{"spec__volumes":[{"name":"v","emptyDir":{}},{"name":"v","emptyDir":{}}]},"spec.volumes[1].name: Duplicate value: \"v\""),
    ("PersistentVolume",{"spec__capacity":...},"spec.capacity: Required value"),
    ("PersistentVolume",{"spec__accessModes":["Sometimes"]},"spec.accessModes: Unsupported value: \"Sometimes\""),
    ("PersistentVolume",{"spec__accessModes":["ReadWriteOnce","ReadWriteOncePod"]},"spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"),
    ("PersistentVolume",{"spec__hostPath":...},"spec: Required value: must specify a volume type"),
    ("PersistentVolume",{"spec__nfs":{"server":"a","path":"/a"}},"spec.nfs: Forbidden: may not specify more than 1 volume type"),
    ("PersistentVolume",{"spec__persistentVolumeReclaimPolicy":"Burn"},"spec.persistentVolumeReclaimPolicy: Unsupported value"),
    ("PersistentVolume",{"spec__hostPath":...,"spec__local":{"path":"/a"}},"spec.nodeAffinity: Required value: Local volume requires node affinity"),
    ("PersistentVolumeClaim",{"spec__accessModes":[]},"spec.accessModes: Required value: at least 1 access mode is required"),
    ("PersistentVolumeClaim",{"spec__resources":{}},"spec.resources[storage]: Required value"),
    ("PersistentVolumeClaim",{"spec__resources__requests__storage":"0"},"spec.resources[storage]: Invalid value: \"0\": must be greater than zero"),
    ("PersistentVolumeClaim",{"spec__dataSource":{"kind":"","name":"a"}},"spec.dataSource.kind: Required value"),
    ("ResourceQuota",{"spec__hard":{"nope":"1"}},"spec.hard[nope]: Invalid value: \"nope\": must be a standard resource for quota"),
    ("ResourceQuota",{"spec__hard":{"pods":"1500m"}},"spec.hard[pods]: Invalid value: \"1500m\": must be an integer"),
    ("ResourceQuota",{"spec__scopes":["Nope"]},"spec.scopes: Invalid value: [\"Nope\"]: unsupported scope"),
    ("LimitRange",{"spec__limits":[{"type":"Container","max":{"cpu":"1"},"min":{"cpu":"2"}}]},"spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"),
    ("LimitRange",{"spec__limits":[{"type":"Pod","default":{"cpu":"1"}}]},"spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"),
    ("LimitRange",{"spec__limits":[{"type":"Container","max":{"cpu":"1"}},{"type":"Container","max":{"cpu":"1"}}]},"spec.limits[1].type: Duplicate value: \"Container\""),
    ("Job",{"spec__backoffLimit":-1},"spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0"),
    ("Job",{"spec__completionMode":"Odd"},"spec.completionMode: Unsupported value: \"Odd\": supported values: \"NonIndexed\", \"Indexed\""),
    ("Job",{"spec__podFailurePolicy":{"rules":[{"action":"Nope","onExitCodes":{"operator":"In","values":[1]}}]}},"spec.podFailurePolicy.rules[0].action: Unsupported value: \"Nope\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\""),
    ("Job",{"spec__ttlSecondsAfterFinished":-1},"spec.ttlSecondsAfterFinished: Invalid value: -1"),
    ("Job",{"spec__managedBy":"x"},"spec.managedBy: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")"),
    ("Job",{"spec__successPolicy":{"rules":[{"succeededCount":1}]}},"spec.successPolicy: Invalid value: {\"rules\":[{\"succeededCount\":1}]}: requires indexed completion mode"),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":3,"spec__successPolicy":{"rules":[]}},"spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified"),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":3,"spec__successPolicy":{"rules":[{"succeededCount":1}] * 21}},"spec.successPolicy.rules: Too many: 21: must have at most 20 items"),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":3,"spec__successPolicy":{"rules":[{}]}},"spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified"),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":3,"spec__successPolicy":{"rules":[{"succeededCount":4}]}},"spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)"),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":9,"spec__successPolicy":{"rules":[{"succeededCount":4,"succeededIndexes":"0,2-3"}]}},"spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of indexes in the specified succeededIndexes field)"),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":3,"spec__successPolicy":{"rules":[{"succeededIndexes":"0-1-2"}]}},"spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-1-2\": error parsing succeededIndexes: the fragment \"0-1-2\" violates the requirement that an index interval can have at most two parts separated by '-'"),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":3,"spec__successPolicy":{"rules":[{"succeededIndexes":"0,x"}]}},"error parsing succeededIndexes: cannot convert string to integer for index: \"x\""),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":3,"spec__successPolicy":{"rules":[{"succeededIndexes":"1-3"}]}},"error parsing succeededIndexes: too large index: \"3\""),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":3,"spec__successPolicy":{"rules":[{"succeededIndexes":"2,1"}]}},"error parsing succeededIndexes: non-increasing order, previous: 2, current: 1"),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":3,"spec__successPolicy":{"rules":[{"succeededIndexes":"2-2"}]}},"error parsing succeededIndexes: non-increasing order, previous: 2, current: 2"),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":3,"spec__backoffLimitPerIndex":1,"spec__maxFailedIndexes":4},"spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions"),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":100001,"spec__backoffLimitPerIndex":1},"spec.maxFailedIndexes: Required value: must be specified when completions is above 100000"),
    ("Job",{"spec__completionMode":"Indexed","spec__completions":100001,"spec__backoffLimitPerIndex":1,"spec__maxFailedIndexes":1,"spec__parallelism":10001},"spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index"),
    ("Job",{"spec__maxFailedIndexes":1},"spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"),
    ("Job",{"spec__backoffLimitPerIndex":1},"spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
    ("CronJob",{"spec__schedule":"CRON_TZ=UTC * * * * *"},"spec.schedule: Invalid value: \"CRON_TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
    ("CronJob",{"spec__schedule":"TZ=UTC * * * * *","spec__timeZone":"UTC"},"spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
    ("Secret",{"type":"kubernetes.io/tls","data":{"tls.crt":"YQ=="}},"data[tls.key]: Required value"),
    ("Secret",{"type":"kubernetes.io/basic-auth","data":{}},"data[username]: Required value"),
    ("Secret",{"type":"kubernetes.io/dockerconfigjson","data":{".dockerconfigjson":"YQ=="}},"data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\""),
    ("Secret",{"type":"kubernetes.io/service-account-token","data":{}},"metadata.annotations[kubernetes.io/service-account.name]: Required value"),
    ("ConfigMap",{"data":{"a b":"1"}},"data[a b]: Invalid value: \"a b\": a valid config key"),
    ("ConfigMap",{"data":{"a":"1"},"binaryData":{"a":"YQ=="}},"data[a]: Invalid value: \"a\": duplicate of key present in binaryData"),
    ("Node",{"spec__podCIDRs":["x"]},"spec.podCIDRs"),
    ("Lease",{"spec__leaseDurationSeconds":0},"spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"),
    ("Role",{"rules":[{"verbs":[]}]},"rules[0].verbs: Required value: verbs must contain at least one value"),
    ("Role",{"rules":[{"verbs":["get"],"nonResourceURLs":["/a"]}]},"rules[0].nonResourceURLs: Invalid value: [\"/a\"]: namespaced rules cannot apply to non-resource URLs"),
    ("RoleBinding",{"roleRef__kind":"Nope"},"roleRef.kind: Unsupported value: \"Nope\": supported values: \"Role\", \"ClusterRole\""),
    ("EndpointSlice",{"addressType":"IPv6"},"endpoints[0].addresses[0]: Invalid value: \"10.0.0.1\""),
    ("EndpointSlice",{"endpoints":[{"addresses":[]}]},"endpoints[0].addresses: Required value: must contain at least 1 address"),
    ("StatefulSet",{"spec__podManagementPolicy":"X"},"spec.podManagementPolicy: Invalid value: \"X\""),
    ("DaemonSet",{"spec__template__spec__restartPolicy":"Never"},"spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""),
    ("Deployment",{"spec__strategy":{"type":"X"}},"spec.strategy"),
    ("Deployment",{"spec__template__metadata__labels":{"x":"y"}},"spec.template.metadata.labels: Invalid value: {\"x\":\"y\"}: `selector` does not match template `labels`"),
    ("Pod", {"spec__hostNetwork": True, "spec__securityContext": {"windowsOptions": {"hostProcess": True}},
             C + "securityContext": {"windowsOptions": {"hostProcess": False}}, C + "ports": []},
     "spec.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical"),
]  # fmt: skip

CHANGED: list[tuple[str, dict[str, Any], str]] = [
    ("Job",{"spec__completions":5},"spec.completions: Invalid value: 5: field is immutable"),
    ("Job",{"spec__completionMode":"Indexed"},"spec.completionMode: Invalid value: \"Indexed\": field is immutable"),
    ("Job",{"spec__managedBy":"a.b/c"},"spec.managedBy: Invalid value: \"a.b/c\": field is immutable"),
    ("Job",{"spec__template__spec__containers__0__image":"x:2"},"spec.template: Invalid value"),
    ("Job",{"spec__suspend":True},""),
    ("CronJob",{"spec__schedule":"bad"},"spec.schedule"),
    ("CronJob",{"spec__schedule":"1 * * * *"},""),
    ("CronJob",{"spec__schedule":"TZ=UTC 1 * * * *"},"spec.schedule: Invalid value: \"TZ=UTC 1 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
    ("StatefulSet",{"spec__serviceName":"other"},"spec: Forbidden: updates to statefulset spec for fields other than"),
    ("StatefulSet",{"spec__replicas":4},""),
    ("StatefulSet",{"spec__volumeClaimTemplates":[{"metadata":{"name":"x"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}]},"spec: Forbidden: updates to statefulset spec"),
    ("DaemonSet",{"spec__selector":{"matchLabels":{"app":"b"}},"spec__template__metadata__labels":{"app":"b"}},"spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"),
    ("ReplicationController",{"spec__selector":{"app":"b"},"spec__template__metadata__labels":{"app":"b"}},""),
    ("Service",{"spec__clusterIP":"10.0.0.9","spec__clusterIPs":["10.0.0.9"]},""),
    ("Secret",{"type":"other"},"type: Invalid value: \"other\": field is immutable"),
    ("PersistentVolumeClaim",{"spec__accessModes":["ReadOnlyMany"]},"spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"),
    ("PersistentVolumeClaim",{"spec__resources__requests__storage":"500Mi"},"spec: Forbidden: spec is immutable after creation except resources.requests"),
    ("PersistentVolume",{"spec__hostPath__path":"/y"},"spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"),
    ("PersistentVolume",{"spec__volumeMode":"Block"},"volumeMode: Invalid value: \"Block\": field is immutable"),
    ("ResourceQuota",{"spec__scopes":["Terminating"]},"spec.scopes: Invalid value: [\"Terminating\"]: field is immutable"),
    ("EndpointSlice",{"addressType":"FQDN"},"addressType: Invalid value: \"FQDN\": field is immutable"),
    ("Node",{"spec__providerID":"a"},""),
    ("Node",{"spec__podCIDR":"10.0.0.0/24","spec__podCIDRs":["10.0.0.0/24"]},""),
    ("Node",{"spec__unschedulable":True},""),
    ("Namespace",{"spec__finalizers":[]},""),
    ("Lease",{"spec__leaseTransitions":-1},"spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"),
    ("Pod",{"spec__tolerations":[]},"spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"),
    ("Pod",{"spec__containers__0__ports":[]},"spec: Forbidden: pod updates may not change fields other than"),
    ("Deployment",{"metadata__name":"b"},"metadata.name: Invalid value: \"b\": field is immutable"),
]  # fmt: skip


def fits(found: list[str], wanted: str) -> bool:
    return any(wanted in one for one in found) if wanted else not found


@pytest.mark.parametrize(("kind", "changes", "problem"), CREATED)
def test_a_new_object_is_judged(kind: str, changes: dict[str, Any], problem: str) -> None:
    found = [str(p) for p in validate_create(resource_of(kind), build(kind, **changes))]
    assert fits(found, problem), found


@pytest.mark.parametrize(("kind", "changes", "problem"), CHANGED)
def test_a_change_is_judged(kind: str, changes: dict[str, Any], problem: str) -> None:
    found = [str(p) for p in validate_update(resource_of(kind), build(kind, **changes), build(kind))]
    assert fits(found, problem), found


def test_a_time_zone_stays_in_the_schedule_of_a_cron_job_that_has_one() -> None:
    kind, old = resource_of("CronJob"), build("CronJob", spec__schedule="TZ=UTC * * * * *")
    assert not validate_update(kind, build("CronJob", spec__schedule="TZ=UTC 1 * * * *"), old)
    both = build("CronJob", spec__schedule="TZ=UTC * * * * *", spec__timeZone="UTC")
    assert fits([str(p) for p in validate_update(kind, both, old)], "cannot use both timeZone field and TZ")
