"""Volumes, claims and persistent volumes: what is wrong with each, one to a line, in Kubernetes' words and order."""

from typing import Any

import pytest

from kubelib.api.validation import validate_create, validate_update
from tests.api.test_validation import SUBDOMAIN, build, resource_of

LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an"
    " alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
ISCSI = {"targetPortal": "127.0.0.1", "iqn": "iqn.2015-02.example.com:test", "lun": 1}
FORMAT = "must be valid format starting with iqn, eui, or naa"
FORBIDDEN_META = "cannot be set"
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
MODE = "must be a number between 0 and 0777 (octal), both inclusive"
LONG = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."

VOLUMES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"emptyDir": {"sizeLimit": "-1"}}, [".emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"]),
    ({"emptyDir": {"sizeLimit": "500m"}}, []),
    ({"hostPath": {"path": "/a/../b", "type": "Odd"}}, [
        ".hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
        ('.hostPath.type: Unsupported value: "Odd": supported values: "", "BlockDevice", "CharDevice", "Directory",'
        ' "DirectoryOrCreate", "File", "FileOrCreate", "Socket"')]),
    ({"gitRepo": {"repository": "r", "directory": "/d"}}, ['.gitRepo.directory: Invalid value: "/d": must be a relative path']),
    ({"gitRepo": {"repository": "r", "directory": "a..b"}}, []),
    ({"gcePersistentDisk": {"pdName": "", "partition": 256}}, [
        ".persistentDisk.pdName: Required value",
        ".persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive"]),
    ({"awsElasticBlockStore": {"volumeID": "v", "partition": -1}}, [
        ".awsElasticBlockStore.partition: Invalid value: -1: must be between 1 and 255, inclusive"]),
    ({"iscsi": ISCSI}, []),
    ({"iscsi": {**ISCSI, "iqn": "eui.0123456789ABCDEF"}}, []),
    ({"iscsi": {**ISCSI, "iqn": "naa.62004567BA64678D0123456789ABCDEF"}}, []),
    ({"iscsi": {"targetPortal": "", "iqn": "", "lun": 256}}, [
        ".iscsi.targetPortal: Required value", ".iscsi.iqn: Required value",
        ".iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive"]),
    ({"iscsi": {**ISCSI, "iqn": "iqn.2015-02.example.com:test;ls;"}}, ['.iscsi.iqn: Invalid value: "iqn.2015-02.example.com:test;ls;": must be valid format']),
    ({"iscsi": {**ISCSI, "iqn": "eui.0123"}}, ['.iscsi.iqn: Invalid value: "eui.0123": must be valid format']),
    ({"iscsi": {**ISCSI, "iqn": "other"}}, [f'.iscsi.iqn: Invalid value: "other": {FORMAT}']),
    ({"iscsi": {**ISCSI, "initiatorName": "2015-02.example.com"}}, [f'.iscsi.initiatorname: Invalid value: "2015-02.example.com": {FORMAT}']),
    ({"iscsi": {**ISCSI, "targetPortal": "a" * 63, "initiatorName": "iqn.2015-02.example.com:init"}}, [f'.name: Invalid value: "v": {LONG}']),
    ({"iscsi": {**ISCSI, "chapAuthSession": True}}, [".iscsi.secretRef: Required value"]),
    ({"iscsi": {**ISCSI, "chapAuthDiscovery": True, "secretRef": {"name": "s"}}}, []),
    ({"fc": {}}, [".fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both"]),
    ({"fc": {"targetWWNs": ["a"], "wwids": ["b"], "lun": 300}}, [
        '.fc.targetWWNs: Invalid value: ["a"]: targetWWNs and wwids can not be specified simultaneously',
        ".fc.lun: Invalid value: 300: must be between 0 and 255, inclusive"]),
    ({"fc": {"targetWWNs": ["a"]}}, [".fc.lun: Required value: lun is required if targetWWNs is specified"]),
    ({"fc": {"wwids": ["a"]}}, []),
    ({"glusterfs": {"endpoints": "", "path": ""}}, [".glusterfs.endpoints: Required value", ".glusterfs.path: Required value"]),
    ({"flocker": {}}, [".flocker: Required value: one of datasetName and datasetUUID is required"]),
    ({"flocker": {"datasetName": "a/b", "datasetUUID": "u"}}, [
        '.flocker: Invalid value: "resource": datasetName and datasetUUID can not be specified simultaneously',
        ".flocker.datasetName: Invalid value: \"a/b\": must not contain '/'"]),
    ({"rbd": {"monitors": [], "image": ""}}, [".rbd.monitors: Required value", ".rbd.image: Required value"]),
    ({"cinder": {"volumeID": "", "secretRef": {}}}, [".cinder.volumeID: Required value", ".cinder.secretRef.name: Required value"]),
    ({"cephfs": {"monitors": []}}, [".cephfs.monitors: Required value"]),
    ({"hostPath": {"path": "/a", "type": ""}, "cephfs": {}, "downwardAPI": {}}, [
        ".cephFS: Forbidden: may not specify more than 1 volume type", ".downwarAPI: Forbidden: may not specify more than 1 volume type"]),
    ({"quobyte": {"registry": "r:7861,r2", "volume": ""}}, [
        '.quobyte.registry: Invalid value: "r:7861,r2": must be a host:port pair or multiple pairs separated by commas',
        ".quobyte.volume: Required value"]),
    ({"quobyte": {"registry": "r:1", "volume": "v", "tenant": "t" * 65}}, [
        ".quobyte.tenant: Required value: must be a UUID and may not exceed a length of 64 characters"]),
    ({"flexVolume": {"driver": "", "options": {"a/b": "c", "storage.K8s.io/x": "y", "k8s.io": "z"}}}, [
        ".flexVolume.driver: Required value",
        '.flexVolume.options[storage.K8s.io/x]: Invalid value: "storage.K8s.io/x": kubernetes.io and k8s.io namespaces are reserved',
        '.flexVolume.options[k8s.io]: Invalid value: "k8s.io": kubernetes.io and k8s.io namespaces are reserved']),
    ({"azureFile": {"secretName": "", "shareName": ""}}, [".azureFile.secretName: Required value", ".azureFile.shareName: Required value"]),
    ({"azureDisk": {"diskName": "d", "diskURI": "https://b/v.vhd", "kind": "Managed", "cachingMode": "Odd"}}, [
        '.azureDisk.cachingMode: Unsupported value: "Odd": supported values: "None", "ReadOnly", "ReadWrite"',
        ('.azureDisk.diskURI: Unsupported value: "https://b/v.vhd": supported values:'
        ' "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"')]),
    ({"azureDisk": {"diskName": "d", "diskURI": "/subscriptions/x", "kind": "Shared"}}, [
        ('.azureDisk.diskURI: Unsupported value: "/subscriptions/x": supported values:'
        ' "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"')]),
    ({"photonPersistentDisk": {"pdID": ""}}, [".photonPersistentDisk.pdID: Required value"]),
    ({"storageos": {"volumeName": "A", "volumeNamespace": "B", "secretRef": {}}}, [
        f'.storageos.volumeName: Invalid value: "A": {LABEL}', f'.storageos.volumeNamespace: Invalid value: "B": {LABEL}',
        ".storageos.secretRef.name: Required value"]),
    ({"scaleIO": {"gateway": "", "system": "s", "volumeName": ""}}, [".scaleIO.gateway: Required value", ".scaleIO.volumeName: Required value"]),
    ({"csi": {"driver": "d" * 64}}, [
        ".csi.driver: Too long: may not be more than 63 bytes"]),
    ({"csi": {"driver": "Test.K8s.io", "nodePublishSecretRef": {"name": "A"}}}, [f'.csi.name: Invalid value: "A": {SUBDOMAIN}']),
    ({"csi": {"driver": "d", "nodePublishSecretRef": {}}}, [".csi.nodePublishSecretRef.name: Required value"]),
    ({"secret": {"secretName": "s", "defaultMode": -1, "items": [{"key": "", "path": "..a", "mode": 512}]}}, [
        f".secret.defaultMode: Invalid value: -1: {MODE}", ".secret.items[0].key: Required value",
        ".secret.items[0].path: Invalid value: \"..a\": must not start with '..'", f".secret.items[0].mode: Invalid value: 512: {MODE}"]),
    ({"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.labels['A_']", "apiVersion": "v1"}}]}}, [
        (".downwardAPI.fieldRef: Invalid value: \"A_\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start"
        " and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
        " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')")]),
    ({"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name['x']", "apiVersion": "v1"}}]}}, [
        '.downwardAPI.fieldRef: Invalid value: "metadata.name": does not support subscript']),
    ({"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "spec.nodeName", "apiVersion": "v1"}}]}}, [
        ('.downwardAPI.fieldRef.fieldPath: Unsupported value: "spec.nodeName": supported values: "metadata.annotations",'
        ' "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"')]),
    ({"downwardAPI": {"items": [{"path": "a", "resourceFieldRef": {"resource": "limits.cpu"}}]}}, [
        ".downwardAPI.resourceFieldRef.containerName: Required value"]),
    ({"projected": {"sources": [{"secret": {"name": "", "items": [{"key": "k", "path": "p"}]}}, {"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}]}}, [
        ".projected.sources[0].secret.name: Required value", '.projected: Invalid value: "c": conflicting duplicate paths']),
    ({"projected": {"sources": [{"secret": {"name": "s"}, "configMap": {"name": "c"}}]}}, [
        ".projected.sources[0]: Forbidden: may not specify more than 1 volume type per source"]),
    ({"projected": {"sources": [{"clusterTrustBundle": {"path": "p"}}]}}, [
        ".projected.sources[0].clusterTrustBundle: Required value: either name or signerName must be specified"]),
    ({"projected": {"sources": [{"clusterTrustBundle": {"name": "a:A", "labelSelector": {}, "path": ""}}]}}, [
        f'.projected.sources[0].clusterTrustBundle.name: Invalid value: "a:A": not a valid clustertrustbundlename: {SUBDOMAIN}',
        ".projected.sources[0].clusterTrustBundle.labelSelector: Invalid value: {}: labelSelector must be unset if name is specified",
        ".projected.sources[0].clusterTrustBundle.path: Required value"]),
    ({"projected": {"sources": [{"clusterTrustBundle": {"signerName": "a", "path": "p", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Odd"}]}}}]}}, [
        ('.projected.sources[0].clusterTrustBundle.signerName: Invalid value: "a": must be a fully qualified domain and path of the form'
        " 'example.com/signer-name'"),
        '.projected.sources[0].clusterTrustBundle.labelSelector.matchExpressions[0].operator: Invalid value: "Odd": not a valid selector operator']),
    ({"projected": {"sources": [{"clusterTrustBundle": {"name": "a", "path": "p"}}, {"clusterTrustBundle": {"name": "b", "path": "p"}}]}}, [
        '.projected: Invalid value: "p": conflicting duplicate paths']),
    ({"ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "n", "labels": {"a": "_"}, "finalizers": ["f"]}, "spec": CLAIM}}}, [
        (".ephemeral.volumeClaimTemplate.metadata.labels: Invalid value: \"_\": a valid label must be an empty string or consist of"
        " alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value', "
        " or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"),
        f".ephemeral.volumeClaimTemplate.metadata.name: Forbidden: {FORBIDDEN_META}",
        f".ephemeral.volumeClaimTemplate.metadata.finalizers: Forbidden: {FORBIDDEN_META}"]),
    ({"image": {"reference": "", "pullPolicy": "Odd"}}, [
        ".image.reference: Required value",
        '.image.pullPolicy: Unsupported value: "Odd": supported values: "Always", "IfNotPresent", "Never"']),
]  # fmt: skip

CLAIMS: list[tuple[dict[str, Any], list[str]]] = [
    ({"accessModes": ["ReadWriteOncePod", "Odd"]}, [
        'spec.accessModes: Unsupported value: "Odd": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"']),
    ({"resources": {"requests": {"storage": "-1G"}}}, ['spec.resources[storage]: Invalid value: "-1G": must be greater than zero']),
    ({"storageClassName": "-a"}, [f'spec.storageClassName: Invalid value: "-a": {SUBDOMAIN}']),
    ({"volumeMode": "Odd"}, ['spec.volumeMode: Unsupported value: "Odd": supported values: "Block", "Filesystem"']),
    ({"volumeAttributesClassName": "-a"}, [f'spec.volumeAttributesClassName: Invalid value: "-a": {SUBDOMAIN}']),
    ({"volumeAttributesClassName": ""}, []),
    ({"dataSource": {"kind": "Pod", "name": ""}}, [
        "spec.dataSource.name: Required value",
        "spec.dataSource: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the default apiGroup"]),
    ({"dataSourceRef": {"apiGroup": "A", "kind": "X", "name": "n", "namespace": "N"}}, [
        f'spec.dataSourceRef.apiGroup: Invalid value: "A": {SUBDOMAIN}', f'spec.dataSourceRef.namespace: Invalid value: "N": {LABEL}']),
    ({"dataSource": {"apiGroup": "g", "kind": "X", "name": "n"}, "dataSourceRef": {"apiGroup": "g", "kind": "X", "name": "m"}}, [
        "spec: Invalid value: {}: must match dataSourceRef"]),
]  # fmt: skip

AFFINITY = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Exists"}]}]}}
HANDLE = {"driver": "d", "volumeHandle": "h"}
PERSISTENT: list[tuple[dict[str, Any], list[str]]] = [
    ({"accessModes": []}, ["spec.accessModes: Required value"]),
    ({"capacity": {}}, ["spec.capacity: Required value", 'spec.capacity: Unsupported value: {}: supported values: "storage"']),
    ({"capacity": {"storage": "-10G"}}, [
        "spec.capacity[storage]: Invalid value: -10000000000: must be a valid resource quantity",
        'spec.capacity[storage]: Invalid value: "-10G": must be greater than zero']),
    ({"hostPath": ...}, ["spec: Required value: must specify a volume type"]),
    ({"hostPath": {"path": "/a/.."}, "persistentVolumeReclaimPolicy": "Recycle"}, [
        "spec.hostPath.path: Invalid value: \"/a/..\": must not contain '..'",
        "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"]),
    ({"nfs": {"server": "s", "path": "/"}}, ["spec.nfs: Forbidden: may not specify more than 1 volume type"]),
    ({"hostPath": ..., "local": {"path": "/a/../b"}}, [
        "spec.local.path: Invalid value: \"/a/../b\": must not contain '..'",
        "spec.nodeAffinity: Required value: Local volume requires node affinity"]),
    ({"hostPath": ..., "local": {"path": "/a"}, "nodeAffinity": AFFINITY}, []),
    ({"nodeAffinity": {}}, ["spec.nodeAffinity.required: Required value: must specify required node constraints"]),
    ({"hostPath": ..., "csi": {"driver": "d", "volumeHandle": "", "nodeExpandSecretRef": {"name": "A"}}}, [
        "spec.csi.volumeHandle: Required value", f'spec.csi.nodeExpandSecretRef.name: Invalid value: "A": {SUBDOMAIN}',
        "spec.csi.nodeExpandSecretRef.namespace: Required value"]),
    ({"volumeAttributesClassName": ""}, [
        "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
        "spec.csi: Required value: has to be specified when using volumeAttributesClassName"]),
    ({"hostPath": ..., "iscsi": {**ISCSI, "iqn": "other", "secretRef": {}}}, [
        'spec.iscsi.iqn: Invalid value: "other": must be valid format', "spec.iscsi.secretRef.name: Required value"]),
    ({"hostPath": ..., "iscsi": {**ISCSI, "targetPortal": "a" * 64, "initiatorName": "eui.0123456789ABCDEF"}}, [
        f'spec.iscsi.targetportal: Invalid value: "{"a" * 64}": {LONG}']),
    ({"hostPath": ..., "glusterfs": {"endpoints": "e", "path": "p", "endpointsNamespace": ""}}, [
        'spec.glusterfs.endpointsNamespace: Invalid value: "": if the endpointnamespace is set, it must be a valid namespace name']),
    ({"hostPath": ..., "cinder": {"volumeID": "v", "secretRef": {"name": "s"}}}, ["spec.cinder.secretRef.namespace: Required value"]),
    ({"hostPath": ..., "azureFile": {"secretName": "s", "shareName": "t", "secretNamespace": ""}}, ["spec.azureFile.secretNamespace: Required value"]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "wanted"), VOLUMES)
def test_the_source_of_a_volume_is_judged(source: dict[str, Any], wanted: list[str]) -> None:
    pod = build("Pod", spec__volumes=[{"name": "v", **source}], spec__containers__0__volumeMounts=[])
    found = [str(problem) for problem in validate_create(resource_of("Pod"), pod)]
    assert found == [f"spec.volumes[0]{problem}" for problem in wanted]


def changed(kind: str, changes: dict[str, Any]) -> dict[str, Any]:
    return build(kind, **{f"spec__{field}": value for field, value in changes.items()})


@pytest.mark.parametrize(
    ("kind", "changes", "wanted"),
    [("PersistentVolumeClaim", *row) for row in CLAIMS] + [("PersistentVolume", *row) for row in PERSISTENT],
)
def test_what_is_asked_for_and_what_there_is_are_judged(
    kind: str, changes: dict[str, Any], wanted: list[str]
) -> None:
    found = [str(problem) for problem in validate_create(resource_of(kind), changed(kind, changes))]
    assert found == wanted


def test_a_container_mounts_no_volume_that_is_not_sound() -> None:
    pod = build("Pod", spec__volumes=[{"name": "v", "hostPath": {"path": ""}}])
    assert [str(problem) for problem in validate_create(resource_of("Pod"), pod)] == [
        "spec.volumes[0].hostPath.path: Required value",
        'spec.containers[0].volumeMounts[0].name: Not found: "v"',
    ]


def test_claims_that_are_made_for_a_pod_have_names_and_are_nobody_elses() -> None:
    volumes = [
        {"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}}},
        {"name": "w", "persistentVolumeClaim": {"claimName": f"{'a' * 253}-v"}},
    ]
    pod = build("Pod", metadata__name="a" * 253, spec__volumes=volumes)
    assert [str(problem) for problem in validate_create(resource_of("Pod"), pod)] == [
        f'spec.volumes[0].name: Invalid value: "v": PVC name "{"a" * 253}-v": must be no more than 253 bytes',
        (
            f'spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: "{"a" * 253}-v": must not reference a PVC that gets'
            " created for an ephemeral volume"
        ),
    ]


BOUND = {"status": {"phase": "Bound", "capacity": {"storage": "500Mi"}}}
FIXED = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ({}, {"volumeName": "v"}, []),
        ({"volumeName": "v"}, {"volumeName": "w"}, [FIXED]),
        ({}, {"storageClassName": "c"}, []),
        ({"storageClassName": "c"}, {"storageClassName": "d"}, [FIXED]),
        ({}, {"resources__requests__storage": "2Gi"}, [FIXED]),
        (BOUND, {"resources__requests__storage": "2Gi"}, []),
        (BOUND, {"resources__requests__storage": "700Mi"}, []),
        (BOUND, {"resources__requests__storage": "500Mi"}, [
            "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]),
        (BOUND, {"volumeMode": "Block"}, [FIXED, 'volumeMode: Invalid value: "Block": field is immutable']),
        ({**BOUND, "volumeAttributesClassName": "a"}, {"volumeAttributesClassName": "b"}, []),
        ({"volumeAttributesClassName": "a"}, {"volumeAttributesClassName": "b"}, [FIXED]),
        ({**BOUND, "volumeAttributesClassName": "a"}, {"volumeAttributesClassName": ""}, [
            "spec.volumeAttributesClassName: Forbidden: update from non-nil value to an empty string is forbidden"]),
        ({**BOUND, "volumeAttributesClassName": "a"}, {"volumeAttributesClassName": ...}, [
            FIXED, "spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"]),
        ({"dataSource": {"apiGroup": "A", "kind": "X", "name": "n"}}, {}, []),
    ],
)  # fmt: skip
def test_the_little_that_may_change_about_a_claim_is_told_from_the_rest(
    before: dict[str, Any], after: dict[str, Any], wanted: list[str]
) -> None:
    kind = "PersistentVolumeClaim"
    status = before.get("status")
    was = {field: value for field, value in before.items() if field != "status"}
    kept = {field: value for field, value in {**was, **after}.items() if value is not ...}
    old, new = changed(kind, was), changed(kind, kept)
    old["status"] = new["status"] = status or {}
    found = [str(problem).partition("\n")[0] for problem in validate_update(resource_of(kind), new, old)]
    assert found == wanted


def test_the_class_of_a_claim_moves_from_its_annotation_to_its_spec_and_stays() -> None:
    kind, note = "PersistentVolumeClaim", "volume.beta.kubernetes.io/storage-class"
    resource, old = resource_of(kind), build(kind, metadata__annotations={note: "c"})
    assert validate_update(resource, build(kind, spec__storageClassName="c"), old) == []
    (problem,) = validate_update(resource, build(kind, metadata__annotations={note: "d"}), old)
    assert str(problem) == f'metadata.annotations.{note}: Invalid value: "d": field is immutable'


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"capacity": {"storage": "-1"}}, ["status.capacity[storage]: Invalid value: -1: must be a valid resource quantity"]),
        ({"allocatedResources": {"cpu": "1"}}, ['status.allocatedResources: Unsupported value: "cpu": supported values: "storage"']),
        ({"allocatedResources": {"x.com/a": "1"}, "allocatedResourceStatuses": {"x.com/a": "NodeResizePending"}}, []),
        ({"allocatedResourceStatuses": {"storage": "Odd"}}, [
            ('status.allocatedResourceStatus: Unsupported value: "storage": supported values: "ControllerResizeInProgress",'
            ' "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"')]),
    ],
)  # fmt: skip
def test_what_a_claim_has_and_how_it_grows_is_judged(status: dict[str, Any], wanted: list[str]) -> None:
    old, new = build("PersistentVolumeClaim"), build("PersistentVolumeClaim", status=status)
    found = validate_update(resource_of("PersistentVolumeClaim"), new, old, subresource="status")
    assert [str(problem) for problem in found] == wanted


def test_a_volume_stays_where_it_is_but_may_say_where_at_last() -> None:
    kind = "PersistentVolume"
    plain, placed = build(kind), build(kind, spec__nodeAffinity=AFFINITY)
    assert validate_update(resource_of(kind), placed, plain) == []
    (problem,) = validate_update(resource_of(kind), plain, placed)
    assert str(problem) == (
        'nodeAffinity: Invalid value: "null": field is immutable, except for updating from beta label to GA'
    )

    def labelled(key: str) -> dict[str, Any]:
        terms = [{"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}]
        return build(kind, spec__nodeAffinity={"required": {"nodeSelectorTerms": terms}})

    beta, stable = "failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"
    assert validate_update(resource_of(kind), labelled(stable), labelled(beta)) == []
    assert validate_update(resource_of(kind), labelled(beta), labelled(stable)) != []


def test_the_secret_by_which_a_volume_is_made_larger_is_named_once() -> None:
    secret = {"name": "s", "namespace": "n"}
    plain = changed("PersistentVolume", {"hostPath": ..., "csi": HANDLE})
    named = changed(
        "PersistentVolume", {"hostPath": ..., "csi": {**HANDLE, "controllerExpandSecretRef": secret}}
    )
    assert validate_update(resource_of("PersistentVolume"), named, plain) == []
    assert len(validate_update(resource_of("PersistentVolume"), plain, named)) == 1
