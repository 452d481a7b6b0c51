"""Pods: what is wrong with each, one to a line, in Kubernetes' words and order."""

import copy
from typing import Any

import pytest

from kubelib.api.podresources import qos_class
from kubelib.api.validation import validate_create, validate_update
from tests.api.test_validation import SUBDOMAIN, build, put, resource_of

C, CONTAINER = "spec__containers__0__", "spec.containers[0]"
WINDOWS = "cannot be set for a windows pod"
APP_ARMOR, SECCOMP = (
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
)
NOTED, MIRROR = "metadata__annotations", "kubernetes.io/config.mirror"
BOTH = "exists in both matchLabelKeys and"
USER = "runAsUserName's User"
PAIR = "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}"
SPREAD = {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}
TERM = {"topologyKey": "z", "labelSelector": {"matchLabels": {"a": "b"}}}


def windows(name: str) -> dict[str, Any]:
    return {C + "securityContext": {"windowsOptions": {"runAsUserName": name}}}


def user(name: str, *messages: str) -> tuple[dict[str, Any], list[str]]:
    path = f"{CONTAINER}.securityContext.windowsOptions.runAsUserName"
    return windows(name), [f"{path}: Invalid value: {quoted(name)}: {message}" for message in messages]


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'


def spread(**changes: Any) -> dict[str, Any]:
    return {"spec__topologySpreadConstraints": [{**SPREAD, **changes}]}


def affinity(**changes: Any) -> dict[str, Any]:
    return {
        "spec__affinity": {
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{**TERM, **changes}]}
        }
    }


REQUIRED = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"

NEW: list[tuple[dict[str, Any], list[str]]] = [
    # what annotations say
    ({NOTED: {MIRROR: "x"}}, [f'metadata.annotations[{MIRROR}]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set']),
    ({NOTED: {MIRROR: "x"}, "spec__nodeName": "n"}, []),
    ({NOTED: {"controller.kubernetes.io/pod-deletion-cost": "+10"}}, [
        'metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+10": must be a 32bit integer']),
    ({NOTED: {SECCOMP + "c": "odd"}}, [f'metadata.annotations.{SECCOMP}c: Invalid value: "odd": must be a valid seccomp profile']),
    ({NOTED: {SECCOMP + "c": "localhost//a"}}, [f'metadata.annotations.{SECCOMP}c: Invalid value: "localhost//a": must be a relative path']),
    ({NOTED: {APP_ARMOR + "c": "odd", APP_ARMOR + "d": "unconfined"}}, [
        f'metadata.annotations[{APP_ARMOR}c]: Invalid value: "odd": invalid AppArmor profile name: "odd"',
        f'metadata.annotations[{APP_ARMOR}d]: Invalid value: "d": container not found']),
    ({NOTED: {"scheduler.alpha.kubernetes.io/tolerations": '[{"operator": "Equal"}]'}}, [
        ('metadata.annotations.scheduler.alpha.kubernetes.io/tolerations[0].operator: Invalid value: "Equal": operator must be Exists when'
        ' `key` is empty, which means "match all values and all keys"')]),
    ({NOTED: {APP_ARMOR + "c": "runtime/default"}, "spec__securityContext": {"appArmorProfile": {"type": "Unconfined"}}}, [
        f"{CONTAINER}.securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match"]),
    ({NOTED: {SECCOMP + "c": "localhost/a"}, C + "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "b"}}}, [
        f"{CONTAINER}.securityContext.seccompProfile.localhostProfile: Forbidden: seccomp profile in annotation and field must match"]),
    ({NOTED: {SECCOMP + "c": "docker/default"}, C + "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, []),
    # what Windows knows
    user("", "runAsUserName cannot be an empty string"),
    user("a\tb", "runAsUserName cannot contain control characters"),
    user("a\\b\\c", "runAsUserName cannot contain more than one backslash"),
    user("a:b\\c", "runAsUserName's Domain doesn't match the NetBios nor the DNS format"),
    user("a\\", f"{USER} cannot be empty"),
    user("a" * 105, f"{USER} length must not be longer than 104 characters"),
    user(". .", f"{USER} cannot contain only periods or spaces"),
    user("a@b", f'{USER} cannot contain the following characters: "/\\:;|=,+*?<>@[]'),
    user("corp.example.com\\Ann Other"),
    ({"spec__securityContext": {"windowsOptions": {"gmsaCredentialSpecName": "A", "gmsaCredentialSpec": ""}}}, [
        f'spec.securityContext.windowsOptions.gmsaCredentialSpecName: Invalid value: "A": {SUBDOMAIN}',
        'spec.securityContext.windowsOptions.gmsaCredentialSpec: Invalid value: "": gmsaCredentialSpec cannot be an empty string']),
    ({"spec__os": {"name": "windows"}, "spec__hostPID": False, "spec__hostIPC": True, "spec__securityContext": {"supplementalGroups": [1], "fsGroup": 0}, C + "securityContext": {"privileged": False}}, [
        f"spec.hostIPC: Forbidden: {WINDOWS}", f"spec.securityContext.fsGroup: Forbidden: {WINDOWS}",
        f"spec.securityContext.supplementalGroups: Forbidden: {WINDOWS}", f"{CONTAINER}.securityContext.privileged: Forbidden: {WINDOWS}"]),
    ({"spec__os": {}}, ["spec.os.name: Required value: cannot be empty"]),
    ({"spec__securityContext": {"sysctls": [{"name": "a.b"}, {"name": "a/b"}, {"name": "a.b"}]}}, [
        'spec.securityContext.sysctls[2].name: Duplicate value: "a.b"']),
    ({"spec__shareProcessNamespace": True, "spec__hostPID": True}, [
        "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"]),
    # where Pods run
    ({"spec__topologySpreadConstraints": [SPREAD, SPREAD]}, [f'{PAIR}: Duplicate value: "{{z, DoNotSchedule}}"']),
    (spread(matchLabelKeys=["a"]), ["spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"]),
    (spread(matchLabelKeys=["a"], labelSelector={"matchLabels": {"a": "b"}}), [
        f'spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value: "a": {BOTH} labelSelector']),
    (spread(minDomains=1, whenUnsatisfiable="ScheduleAnyway"), [
        "spec.topologySpreadConstraints[0].minDomains: Invalid value: 1: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"]),
    (affinity(matchLabelKeys=["c"], mismatchLabelKeys=["c"]), [f'{REQUIRED}.matchLabelKeys[0]: Invalid value: "c": {BOTH} mismatchLabelKeys']),
    (affinity(matchLabelKeys=["a"], labelSelector={"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}), [
        f'{REQUIRED}[0]: Invalid value: "a": {BOTH} labelSelector']),
    # what they ask for
    ({"spec__overhead": {"odd": "1"}}, [
        'spec.overhead.limits[odd]: Invalid value: "odd": must be a standard resource type or fully qualified',
        'spec.overhead.limits[odd]: Invalid value: "odd": must be a standard resource for containers']),
    ({"spec__resources": {"requests": {"cpu": "50m", "memory": "1Gi"}}}, [
        'spec.resources.requests[cpu]: Invalid value: "50m": must be greater than or equal to aggregate container requests of 100m']),
    ({"spec__resources": {"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"cpu": "1", "memory": "1Mi"}}, C + "resources__requests": {"memory": "1Mi"}}, [
        'spec.resources.containers[0][memory].limits: Invalid value: "64Mi": must be less than or equal to pod limits of 1Mi']),
    ({"spec__resources": {"requests": {"cpu": "1", "ephemeral-storage": "1"}}}, [
        'spec.resources.requests[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", "hugepages-", "memory"']),
    ({"spec__resources": {"requests": {"cpu": "1"}, "claims": []}}, ["spec.resources.claims: Forbidden: claims cannot be set for Resources at pod-level"]),
    ({C + "resources": {"requests": {"cpu": "1", "hugepages-2Mi": "3Mi"}, "limits": {"hugepages-2Mi": "3Mi"}}}, [
        f'{CONTAINER}.resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi',
        f'{CONTAINER}.resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi']),
    ({"spec__resourceClaims": [{"name": "r", "resourceClaimName": "x"}], C + "resources": {"claims": [{"name": "r", "request": "a"}, {"name": "r"}]}}, [
        f'{CONTAINER}.resources.claims[1]: Duplicate value: "r"']),
    ({"spec__resourceClaims": [{"name": "r", "resourceClaimName": "x"}], C + "resources": {"claims": [{"name": "r", "request": "a"}, {"name": "r", "request": "b"}]}}, []),
    # what containers may not do with what is mounted
    ({C + "volumeMounts": [{"name": "v", "mountPath": "/v", "bindMountOptions": ["noexec", "nosuid", "nodev"]}]}, []),
    ({C + "volumeMounts": [{"name": "v", "mountPath": "/v", "bindMountOptions": ["noexec", "ro", "noexec"]}]}, [
        f'{CONTAINER}.volumeMounts[0].bindMountOptions[1]: Unsupported value: "ro": supported values: "nodev", "noexec", "nosuid"',
        f'{CONTAINER}.volumeMounts[0].bindMountOptions[2]: Duplicate value: "noexec"']),
    # their certificates
    ({"spec__volumes": [{"name": "v", "projected": {"sources": [{"podCertificate": {
        "signerName": "example.com/pods", "keyType": "ED25519", "maxExpirationSeconds": 7862400, "keyPath": "k", "certificateChainPath": "c"}}]}}]}, []),
    ({C + "volumeMounts": [], "spec__volumes": [{"name": "v", "projected": {"sources": [
        {"podCertificate": {"signerName": "kubernetes.io/pods", "keyType": "DSA", "maxExpirationSeconds": 90000}},
        {"podCertificate": {"signerName": "a.b/c", "keyType": "RSA3072", "maxExpirationSeconds": 60, "keyPath": "../k", "user": -1}}]}}]}, [
        'spec.volumes[0].projected.sources[0].podCertificate.keyType: Unsupported value: "DSA": supported values: "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"',
        "spec.volumes[0].projected.sources[0].podCertificate.maxExpirationSeconds: Invalid value: 90000: if provided, maxExpirationSeconds must be <= 86400",
        "spec.volumes[0].projected.sources[0].podCertificate: Required value: specify at least one of credentialBundlePath, keyPath, and certificateChainPath",
        "spec.volumes[0].projected.sources[1].podCertificate.user: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        "spec.volumes[0].projected.sources[1].podCertificate.maxExpirationSeconds: Invalid value: 60: if provided, maxExpirationSeconds must be >= 3600",
        "spec.volumes[0].projected.sources[1].podCertificate.keyPath: Invalid value: \"../k\": must not contain '..'"]),
    # how they are called
    ({"spec__hostnameOverride": "a.b"}, []),
    ({"spec__hostnameOverride": "a" * 65, "spec__hostNetwork": True, "spec__setHostnameAsFQDN": True}, [
        f'spec.hostnameOverride: Invalid value: "{"a" * 65}": must be no more than 64 characters',
        "spec.hostnameOverride: Forbidden: may not be set when hostNetwork is true",
        "spec.hostnameOverride: Forbidden: may not be set when setHostnameAsFQDN is true"]),
    # the rights to volumes
    ({"spec__volumes": [{"name": "v", "emptyDir": {"mode": 0o1777}}, {"name": "w", "configMap": {"name": "c", "defaultUser": 0, "items": [{"key": "k", "path": "p", "user": 2**31 - 1}]}}]}, []),
    ({C + "volumeMounts": [], "spec__volumes": [{"name": "v", "emptyDir": {"mode": 0o2000}}]}, [
        "spec.volumes[0].emptyDir.mode: Invalid value: 1024: must be a number between 0 and 01777 (octal), both inclusive"]),
    ({C + "volumeMounts": [], "spec__volumes": [{"name": "v", "secret": {"secretName": "s", "defaultUser": -1, "items": [{"key": "k", "path": "p", "user": 2**31}]}}]}, [
        "spec.volumes[0].secret.defaultUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        "spec.volumes[0].secret.items[0].user: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive"]),
    ({C + "volumeMounts": [], "spec__serviceAccountName": "default", "spec__volumes": [{"name": "v", "projected": {"defaultUser": -1, "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 600, "user": -1}}]}}]}, [
        "spec.volumes[0].projected.defaultUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        "spec.volumes[0].projected.sources[0].serviceAccountToken.user: Invalid value: -1: must be between 0 and 2147483647, inclusive"]),
    # variables from files
    ({C + "env": [{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "a/b", "key": "K-1.x"}}}]}, []),
    ({C + "env": [{"name": "A", "valueFrom": {"fileKeyRef": {}}}]}, [
        f"{CONTAINER}.env[0].valueFrom.fileKeyRef.{field}: Required value" for field in ("key", "volumeName", "path")]),
    ({C + "env": [{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "A.b", "path": "/a/../b", "key": "K=1"}}}]}, [
        f'{CONTAINER}.env[0].valueFrom.fileKeyRef.key: Invalid value: "K=1": a valid environment variable name must consist only of printable ASCII characters other than \'=\'',
        f"{CONTAINER}.env[0].valueFrom.fileKeyRef.volumeName: Invalid value: \"A.b\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        f'{CONTAINER}.env[0].valueFrom.fileKeyRef.path: Invalid value: "/a/../b": must be a relative path',
        f"{CONTAINER}.env[0].valueFrom.fileKeyRef.path: Invalid value: \"/a/../b\": must not contain '..'"]),
    # when containers are started again
    ({C + "restartPolicy": "Odd"}, [f'{CONTAINER}.restartPolicy: Unsupported value: "Odd": supported values: "Always", "Never", "OnFailure"']),
    ({C + "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "", "values": [1]}}]}, [
        f"{CONTAINER}.restartPolicy: Required value: must specify restartPolicy when restart rules are used",
        f'{CONTAINER}.restartPolicyRules[0].exitCodes.operator: Unsupported value: "": supported values: "In", "NotIn"']),
    ({C + "restartPolicy": "Never", C + "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]}, []),
    ({C + "volumeDevices": [{"name": "v", "devicePath": "/a/.."}]}, [
        f'{CONTAINER}.volumeMounts[0].name: Invalid value: "v": must not already exist in volumeDevices',
        f'{CONTAINER}.volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode',
        f"{CONTAINER}.volumeDevices[0].devicePath: Invalid value: \"/a/..\": can not contain backsteps ('..')",
        f'{CONTAINER}.volumeDevices[0].name: Invalid value: "v": must not already exist in volumeMounts']),
    ({C + "livenessProbe": {"httpGet": {"port": 0, "path": "/", "scheme": "ftp", "httpHeaders": [{"name": "a b"}]}}}, [
        f"{CONTAINER}.livenessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
        f'{CONTAINER}.livenessProbe.httpGet.scheme: Unsupported value: "ftp": supported values: "HTTP", "HTTPS"',
        (f"{CONTAINER}.livenessProbe.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header must consist of alphanumeric characters or '-'"
        " (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')")]),
    ({C + "livenessProbe": {"httpGet": {"port": 1, "path": "/", "scheme": "HTTPS", "host": "a", "protocol": "HTTP2"}}}, [
        f'{CONTAINER}.livenessProbe.httpGet.scheme: Invalid value: "HTTPS": must be HTTP when protocol is HTTP2',
        f'{CONTAINER}.livenessProbe.httpGet.host: Invalid value: "a": must be empty when protocol is HTTP2']),
    ({C + "livenessProbe": {"httpGet": {"port": 1, "path": "/", "scheme": "HTTPS", "host": "a", "protocol": "HTTP3"}}}, [
        f'{CONTAINER}.livenessProbe.httpGet.protocol: Unsupported value: "HTTP3": supported values: "HTTP1", "HTTP2"']),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "wanted"), NEW)
def test_a_new_pod_is_judged(changes: dict[str, Any], wanted: list[str]) -> None:
    found = [str(problem) for problem in validate_create(resource_of("Pod"), build("Pod", **changes))]
    assert found == wanted


def changed(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    new = copy.deepcopy(old)
    for path, value in changes.items():
        put(new, path, value)
    return new


def told(new: dict[str, Any], old: dict[str, Any], subresource: str = "") -> list[str]:
    found = validate_update(resource_of("Pod"), new, old, subresource=subresource)
    return [str(problem).partition("\n")[0] for problem in found]


TERMS = "spec__affinity__nodeAffinity__requiredDuringSchedulingIgnoredDuringExecution__nodeSelectorTerms"
SHOWN_TERMS = TERMS.replace("__", ".")
WANTS, ALSO = {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}
GATED = {"spec__schedulingGates": [{"name": "g"}]}


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ({NOTED: {APP_ARMOR + "c": "unconfined"}}, {NOTED: {}}, [
            f"metadata.annotations[{APP_ARMOR}c]: Forbidden: may not remove or update AppArmor annotations"]),
        ({}, {NOTED: {APP_ARMOR + "c": "unconfined"}}, [f"metadata.annotations[{APP_ARMOR}c]: Forbidden: may not add AppArmor annotations"]),
        ({"spec__nodeName": "n"}, {NOTED: {MIRROR: "x"}}, [f"metadata.annotations[{MIRROR}]: Forbidden: may not add mirror pod annotation"]),
        ({"spec__nodeName": "n", NOTED: {MIRROR: "x"}}, {NOTED: {MIRROR: "y"}}, [
            f"metadata.annotations[{MIRROR}]: Forbidden: may not remove or update mirror pod annotation"]),
        (GATED, {"spec__nodeSelector": {"a": "b"}}, []),
        ({**GATED, "spec__nodeSelector": {"a": "b"}}, {"spec__nodeSelector": {"a": "c"}}, [
            'spec.nodeSelector: Invalid value: {"a":"c"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)']),
        (GATED, {TERMS: [{"matchExpressions": [WANTS]}]}, []),
        ({**GATED, TERMS: [{"matchExpressions": [WANTS]}]}, {TERMS: [{"matchExpressions": [WANTS, ALSO]}]}, []),
        ({**GATED, TERMS: [{"matchExpressions": [WANTS]}]}, {TERMS: [{"matchExpressions": [ALSO, WANTS]}]}, [
            (f'{SHOWN_TERMS}[0]: Invalid value: {{"matchExpressions":[{{"key":"b","operator":"Exists"}},{{"key":"a","operator":"Exists"}}]}}:'
            " only additions are allowed (no mutations or deletions)")]),
        ({**GATED, TERMS: [{"matchExpressions": [WANTS]}]}, {TERMS: [{"matchExpressions": [WANTS]}, {"matchExpressions": [ALSO]}]}, [
            (f'{SHOWN_TERMS}: Invalid value: [{{"matchExpressions":[{{"key":"a","operator":"Exists"}}]}},{{"matchExpressions":[{{"key":"b",'
            '"operator":"Exists"}]}]: no additions/deletions to non-empty NodeSelectorTerms list are allowed')]),
    ],
)  # fmt: skip
def test_what_may_change_about_a_pod_that_waits_is_told_from_the_rest(
    before: dict[str, Any], after: dict[str, Any], wanted: list[str]
) -> None:
    old = build("Pod", **before)
    assert told(changed(old, after), old) == wanted


def test_the_pod_of_a_static_one_gets_no_ephemeral_containers() -> None:
    old = build("Pod", spec__nodeName="n", metadata__annotations={MIRROR: "x"})
    assert told(old, old, "ephemeralcontainers") == [
        ": Forbidden: static pods do not support ephemeral containers"
    ]


ASKED = {
    "spec__resourceClaims": [{"name": "r", "resourceClaimName": "x"}],
    C + "resources__claims": [{"name": "r"}],
}


@pytest.mark.parametrize(
    ("before", "status", "wanted"),
    [
        ({}, {"podIPs": [{"ip": ""}]}, [
            'status.podIPs[0]: Invalid value: "": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)']),
        ({}, {"podIPs": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]}, [
            'status.podIPs: Invalid value: [{"ip":"1.1.1.1"},{"ip":"1.1.1.1"}]: may specify no more than one IP for each IP family',
            'status.podIPs[1]: Duplicate value: {"ip":"1.1.1.1"}']),
        ({}, {"hostIP": "1.1.1.2", "hostIPs": [{"ip": "1.1.1.1"}]}, ['status.hostIPs[0].ip: Invalid value: "1.1.1.1": must be equal to `hostIP`']),
        ({}, {"conditions": [{"type": "a b"}, {"type": "Ready"}]}, [
            ("metadata.conditions[0].Type: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must"
            " start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
            " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')")]),
        (ASKED, {"resourceClaimStatuses": [{"name": "r"}, {"name": "s", "resourceClaimName": "A"}, {"name": "r"}]}, [
            'status.resourceClaimStatuses[1].name: Invalid value: "s": must match the name of an entry in `spec.resourceClaims`',
            f'status.resourceClaimStatuses[1].name: Invalid value: "A": {SUBDOMAIN}',
            'status.resourceClaimStatuses[2].name: Duplicate value: "r"']),
        ({}, {"containerStatuses": [{"name": "c", "user": {"linux": {"uid": -1, "supplementalGroups": [-2]}}}]}, [
            "status.containerStatuses[0].linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "status.containerStatuses[0].linux.supplementalGroups[0]: Invalid value: -2: must be between 0 and 2147483647, inclusive"]),
        ({"spec__os": {"name": "windows"}}, {"containerStatuses": [{"name": "c", "user": {"linux": {}}}]}, [
            f"status.containerStatuses[0].linux: Forbidden: {WINDOWS}"]),
        (ASKED, {"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [
            {"name": "cpu", "resources": [{"resourceID": "a", "health": "Odd"}, {"resourceID": "a", "health": "Healthy"}]},
            {"name": "claim:r"}, {"name": "claim:r/x"}, {"name": "x.com/gpu"}]}]}, [
            ('status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: "Odd": supported values: "Healthy",'
            ' "Unhealthy", "Unknown"'),
            'status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: "a"',
            ('status.containerStatuses[0].allocatedResourcesStatus[2].name: Invalid value: "claim:r/x": must match one of the container\'s resource'
            " claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"),
            ("status.containerStatuses[0].allocatedResourcesStatus[3].name: Invalid value: \"x.com/gpu\": must match one of the container's resource"
            " requests")]),
        ({}, {"ephemeralContainerStatuses": [{"name": "e", "allocatedResourcesStatus": [{"name": "cpu"}]}]}, [
            "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status"]),
    ],
)  # fmt: skip
def test_the_status_of_a_pod_is_judged(
    before: dict[str, Any], status: dict[str, Any], wanted: list[str]
) -> None:
    old = build("Pod", **before)
    assert told({**old, "status": status}, old, "status") == wanted


def test_the_quality_of_service_goes_by_the_pod_as_a_whole_where_that_asks_for_something() -> None:
    both = {"cpu": "1", "memory": "1Gi"}
    spec: dict[str, Any] = {"containers": [{"resources": {"requests": {"cpu": "1"}}}]}
    assert qos_class(spec) == "Burstable"
    assert qos_class({**spec, "resources": {"requests": both, "limits": both}}) == "Guaranteed"
    assert qos_class({"containers": [{}], "resources": {"requests": {"cpu": "1"}}}) == "Burstable"
    assert qos_class({"containers": [{}], "resources": {}}) == "BestEffort"
