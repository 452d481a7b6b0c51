"""What the credentials of a node are good for: the node itself and what its own Pods use, and nothing else."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubelib.testing.cluster import Cluster

CORE = "/api/v1/namespaces/default"
MINE = [("impersonate-user", "system:node:mine"), ("impersonate-group", "system:nodes")]
MERGE = ("content-type", "application/merge-patch+json")


@pytest.fixture
def admin(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        for name in ("mine", "yours"):
            node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}}
            assert client.post("/api/v1/nodes", json=node).status_code == 201
        yield client


def pod(name: str, node: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", **spec.pop("container", {})}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "spec": {"nodeName": node, "containers": [container], **spec},
    }


def make(admin: httpx.Client, plural: str, body: dict[str, Any], of: str = CORE) -> dict[str, Any]:
    answer = admin.post(f"{of}/{plural}", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def named(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "apiVersion": "v1", "metadata": {"name": name}, **more}


def as_node(admin: httpx.Client, method: str, path: str, body: Any = None, *headers: tuple[str, str]) -> int:
    return admin.request(method, path, json=body, headers=[*MINE, *headers]).status_code


def refusal(admin: httpx.Client, method: str, path: str, body: Any = None) -> str:
    """Return why the node may not do something."""
    answer = admin.request(method, path, json=body, headers=MINE)
    assert answer.status_code == 403, answer.text
    return str(answer.json()["message"])


def test_a_node_reads_the_secrets_and_maps_of_its_own_pods_only(admin: httpx.Client) -> None:
    for name in ("mine", "env", "pull", "yours", "nobody"):
        make(admin, "secrets", named("Secret", name))
        make(admin, "configmaps", named("ConfigMap", name))
    env = {
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}],
        "envFrom": [{"configMapRef": {"name": "env"}}],
    }
    volumes = [
        {"name": "a", "secret": {"secretName": "mine"}},
        {"name": "b", "projected": {"sources": [{"configMap": {"name": "mine"}}]}},
    ]
    mine = pod("mine", "mine", volumes=volumes, container=env, imagePullSecrets=[{"name": "pull"}])
    make(admin, "pods", mine)
    make(admin, "pods", pod("yours", "yours", volumes=[{"name": "a", "secret": {"secretName": "yours"}}]))
    for path, code in {
        "secrets/mine": 200, "secrets/env": 200, "secrets/pull": 200, "secrets/yours": 403, "secrets/nobody": 403,
        "configmaps/mine": 200, "configmaps/env": 200, "configmaps/pull": 403, "configmaps/nobody": 403,
        "secrets": 403, "configmaps": 403, "secrets?fieldSelector=metadata.name%3Dmine": 200,
        "secrets?fieldSelector=metadata.name%3Dyours": 403,
    }.items():  # fmt: skip
        assert as_node(admin, "GET", f"{CORE}/{path}") == code, path
    assert as_node(admin, "GET", "/api/v1/secrets") == 403
    assert as_node(admin, "PATCH", f"{CORE}/secrets/mine", {"data": {}}, MERGE) == 403
    assert as_node(admin, "GET", "/api/v1/namespaces/kube-system/secrets/mine") == 403
    admin.delete(f"{CORE}/pods/mine", params={"gracePeriodSeconds": 0})
    assert as_node(admin, "GET", f"{CORE}/secrets/mine") == 403


def test_a_node_reads_the_volumes_of_its_pods(admin: httpx.Client) -> None:
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "volumeName": "v",
        "storageClassName": "",
    }
    make(admin, "persistentvolumeclaims", named("PersistentVolumeClaim", "c", spec=claim))
    source = {
        "driver": "d",
        "volumeHandle": "h",
        "nodePublishSecretRef": {"name": "key", "namespace": "default"},
        "controllerPublishSecretRef": {"name": "control", "namespace": "default"},
        "controllerExpandSecretRef": {"name": "grow", "namespace": "default"},
    }
    volume = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "csi": source}
    make(admin, "persistentvolumes", named("PersistentVolume", "v", spec=volume), of="/api/v1")
    make(admin, "persistentvolumes", named("PersistentVolume", "w", spec=volume), of="/api/v1")
    for name in ("key", "control", "grow"):
        make(admin, "secrets", named("Secret", name))
    paths = (f"{CORE}/persistentvolumeclaims/c", "/api/v1/persistentvolumes/v", f"{CORE}/secrets/key")
    assert [as_node(admin, "GET", path) for path in paths] == [403, 403, 403]
    mounts = [{"name": "a", "persistentVolumeClaim": {"claimName": "c"}}]
    make(admin, "pods", pod("p", "mine", volumes=mounts))
    # Whoever makes a claim may name any volume: that gives nothing while the volume is not the claim's.
    assert [as_node(admin, "GET", path) for path in paths] == [200, 403, 403]
    merge = {"content-type": "application/merge-patch+json"}
    for owner, codes in (("other", [200, 403, 403]), ("c", [200, 200, 200])):
        bound = {"spec": {"claimRef": {"namespace": "default", "name": owner}}}
        assert admin.patch("/api/v1/persistentvolumes/v", json=bound, headers=merge).status_code == 200
        assert [as_node(admin, "GET", path) for path in paths] == codes
    assert as_node(admin, "GET", "/api/v1/persistentvolumes/w") == 403
    # What controllers use is none of a node's business.
    assert (
        as_node(admin, "GET", f"{CORE}/secrets/control")
        == as_node(admin, "GET", f"{CORE}/secrets/grow")
        == 403
    )


def test_a_volumes_secret_is_in_the_namespace_of_its_claim_where_nothing_else_is_said(
    admin: httpx.Client,
) -> None:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "volumeName": "v",
        "storageClassName": "",
    }
    make(admin, "persistentvolumeclaims", named("PersistentVolumeClaim", "c", spec=spec))
    source = {"shareName": "s", "secretName": "key"}
    volume = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "azureFile": source,
        "claimRef": {"namespace": "default", "name": "c"},
    }
    make(admin, "persistentvolumes", named("PersistentVolume", "v", spec=volume), of="/api/v1")
    make(admin, "secrets", named("Secret", "key"))
    make(
        admin, "pods", pod("p", "mine", volumes=[{"name": "a", "persistentVolumeClaim": {"claimName": "c"}}])
    )
    assert as_node(admin, "GET", f"{CORE}/secrets/key") == 200
    assert as_node(admin, "GET", "/api/v1/namespaces/kube-system/secrets/key") == 403


def mirror(admin: httpx.Client, name: str, **spec: Any) -> dict[str, Any]:
    body = pod(name, "mine", **spec)
    uid = admin.get("/api/v1/nodes/mine").json()["metadata"]["uid"]
    owner = {"kind": "Node", "apiVersion": "v1", "name": "mine", "uid": uid, "controller": True}
    body["metadata"] |= {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [owner]}
    return body


def test_a_mirror_pod_gives_its_node_nothing(admin: httpx.Client) -> None:
    make(admin, "configmaps", named("ConfigMap", "m"))
    assert as_node(admin, "POST", f"{CORE}/pods", mirror(admin, "mirror")) == 201
    greedy = mirror(admin, "greedy", container={"envFrom": [{"configMapRef": {"name": "m"}}]})
    assert as_node(admin, "POST", f"{CORE}/pods", greedy) == 403
    assert as_node(admin, "POST", f"{CORE}/pods", pod("plain", "mine")) == 403
    make(admin, "pods", greedy)
    assert as_node(admin, "GET", f"{CORE}/configmaps/m") == 403


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"uid": "other"}, "node mine UID mismatch: expected other got "),
        ({"name": "yours"}, 'node "mine" can only create pods with an owner reference set to itself'),
        ({"apiVersion": "v2"}, 'node "mine" can only create pods with an owner reference set to itself'),
        (
            {"controller": False},
            'node "mine" can only create pods with a controller owner reference set to itself',
        ),
        (
            {"blockOwnerDeletion": True},
            'node "mine" must not set blockOwnerDeletion on an owner reference',
        ),
    ],
)
def test_a_mirror_pod_belongs_to_its_node(admin: httpx.Client, changed: dict[str, Any], why: str) -> None:
    body = mirror(admin, "m")
    body["metadata"]["ownerReferences"][0] |= changed
    assert why in refusal(admin, "POST", f"{CORE}/pods", body)
    owner = body["metadata"]["ownerReferences"][0]
    body["metadata"]["ownerReferences"] = [owner, {**owner, "uid": "u", "controller": False}]
    assert "a single owner reference set to itself" in refusal(admin, "POST", f"{CORE}/pods", body)
    del body["metadata"]["ownerReferences"]
    assert "an owner reference set to itself" in refusal(admin, "POST", f"{CORE}/pods", body)


@pytest.mark.parametrize(
    ("volume", "kind"),
    [
        ({"secret": {"secretName": "s"}}, "secrets"),
        ({"projected": {"sources": [{"configMap": {"name": "m"}}]}}, "configmaps"),
        (
            {"projected": {"sources": [{"clusterTrustBundle": {"name": "b", "path": "p"}}]}},
            "clustertrustbundles",
        ),
        ({"persistentVolumeClaim": {"claimName": "c"}}, "persistentvolumeclaims"),
        ({"csi": {"driver": "d.example"}}, "csidrivers (via CSI volumes)"),
        ({"glusterfs": {"endpoints": "e", "path": "p"}}, "endpoints (via glusterFS volumes)"),
    ],
)
def test_a_mirror_pod_refers_to_nothing(admin: httpx.Client, volume: dict[str, Any], kind: str) -> None:
    body = mirror(admin, "m", volumes=[{"name": "v", **volume}])
    why = refusal(admin, "POST", f"{CORE}/pods", body)
    assert why.endswith(f'node "mine" can not create pods that reference {kind}')


def test_a_node_reads_itself_and_its_own_pods(admin: httpx.Client) -> None:
    make(admin, "pods", pod("mine", "mine"))
    make(admin, "pods", pod("yours", "yours"))
    for path, code in {
        "/api/v1/nodes/mine": 200, "/api/v1/nodes/yours": 403, "/api/v1/nodes": 200,
        "/api/v1/nodes?watch=true&timeoutSeconds=1": 403,
        "/api/v1/nodes?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dmine": 200, "/api/v1/pods": 403, f"{CORE}/pods": 403,
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dmine": 200, "/api/v1/pods?fieldSelector=spec.nodeName%3Dyours": 403,
        "/api/v1/pods?fieldSelector=spec.nodeName%21%3Dyours": 403,
        "/api/v1/pods?watch=true&timeoutSeconds=1&fieldSelector=spec.nodeName%3Dmine,status.phase%21%3DFailed": 200,
        f"{CORE}/pods/mine": 200, f"{CORE}/pods/yours": 403, f"{CORE}/pods?fieldSelector=metadata.name%3Dmine": 200,
        f"{CORE}/pods?fieldSelector=metadata.name%3Dyours": 403, f"{CORE}/pods/mine/log": 403,
    }.items():  # fmt: skip
        assert as_node(admin, "GET", path) == code, path
    assert refusal(admin, "GET", "/api/v1/nodes?watch=true").endswith(
        "node 'mine' cannot read all nodes, only its own Node object"
    )
    assert refusal(admin, "GET", "/api/v1/pods").endswith(
        "can only list/watch pods with spec.nodeName field selector"
    )
    assert as_node(admin, "DELETE", f"{CORE}/pods?fieldSelector=spec.nodeName%3Dmine") == 403


@pytest.mark.parametrize(
    ("selector", "allowed"),
    [
        ({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["mine"]}]}, True),
        ({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["mine", "yours"]}]}, False),
        ({"requirements": [{"key": "spec.nodeName", "operator": "NotIn", "values": ["mine"]}]}, False),
        ({"rawSelector": "spec.nodeName=mine"}, True),
        ({"rawSelector": "spec.nodeName=yours"}, False),
    ],
)
def test_a_review_knows_which_fields_are_asked_for(
    admin: httpx.Client, selector: dict[str, Any], allowed: bool
) -> None:
    review = {
        "kind": "SubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {
            "user": "system:node:mine",
            "groups": ["system:nodes"],
            "resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": selector},
        },
    }
    answer = admin.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json=review)
    assert answer.json()["status"]["allowed"] is allowed


def test_a_node_says_only_how_its_volumes_grow(admin: httpx.Client) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    for name in ("mine", "yours"):
        make(admin, "persistentvolumeclaims", named("PersistentVolumeClaim", name, spec=spec))
        mounts = [{"name": "a", "persistentVolumeClaim": {"claimName": name}}]
        make(admin, "pods", pod(name, name, volumes=mounts))
    claim = f"{CORE}/persistentvolumeclaims/mine"
    grown = {"status": {"capacity": {"storage": "2Gi"}}}
    assert as_node(admin, "PATCH", f"{claim}/status", grown, MERGE) == 200
    assert as_node(admin, "PATCH", f"{CORE}/persistentvolumeclaims/yours/status", grown, MERGE) == 403
    assert as_node(admin, "PATCH", f"{claim}/status", {"status": {"phase": "Lost"}}, MERGE) == 403
    assert as_node(admin, "PATCH", f"{claim}/status", {"metadata": {"labels": {"a": "b"}}}, MERGE) == 403
    assert as_node(admin, "PATCH", claim, grown, MERGE) == 403
    assert as_node(admin, "GET", f"{claim}/status") == 403


def test_attachments_and_devices_are_those_of_the_node(admin: httpx.Client) -> None:
    storage, devices = "/apis/storage.k8s.io/v1", "/apis/resource.k8s.io/v1"
    for name in ("mine", "yours"):
        spec = {"attacher": "a.example", "nodeName": name, "source": {"persistentVolumeName": "v"}}
        body = named("VolumeAttachment", name, spec=spec) | {"apiVersion": "storage.k8s.io/v1"}
        make(admin, "volumeattachments", body, of=storage)
        make(admin, "resourceslices", piece(name, name), of=devices)
        request = {"name": "r", "exactly": {"deviceClassName": "c.example"}}
        claim = named("ResourceClaim", name, spec={"devices": {"requests": [request]}})
        claims = f"{devices}/namespaces/default"
        make(admin, "resourceclaims", claim | {"apiVersion": "resource.k8s.io/v1"}, of=claims)
        claimed = [{"name": "d", "resourceClaimName": name}]
        make(admin, "pods", pod(name, name, resourceClaims=claimed))
    selected = "?fieldSelector=spec.nodeName%3Dmine"
    for path, code in {
        f"{storage}/volumeattachments/mine": 200, f"{storage}/volumeattachments/yours": 403,
        f"{storage}/volumeattachments": 403,
        f"{claims}/resourceclaims/mine": 200, f"{claims}/resourceclaims/yours": 403, f"{claims}/resourceclaims": 403,
        f"{devices}/resourceslices/mine": 200, f"{devices}/resourceslices/yours": 403,
        f"{devices}/resourceslices": 403, f"{devices}/resourceslices{selected}": 200,
    }.items():  # fmt: skip
        assert as_node(admin, "GET", path) == code, path
    assert as_node(admin, "POST", f"{devices}/resourceslices", piece("more", "mine")) == 201
    assert as_node(admin, "POST", f"{devices}/resourceslices", piece("theirs", "yours")) == 403
    assert as_node(admin, "DELETE", f"{devices}/resourceslices/yours") == 403
    assert as_node(admin, "DELETE", f"{devices}/resourceslices") == 403
    assert as_node(admin, "DELETE", f"{devices}/resourceslices{selected}") == 200
    left = admin.get(f"{devices}/resourceslices").json()["items"]
    assert [one["metadata"]["name"] for one in left] == ["yours"]
    status = {"status": {"resourceClaimStatuses": [{"name": "d", "resourceClaimName": "yours"}]}}
    assert as_node(admin, "PATCH", f"{CORE}/pods/mine/status", status, MERGE) == 403
    assert as_node(admin, "GET", f"{claims}/resourceclaims/yours") == 403


def piece(name: str, node: str) -> dict[str, Any]:
    pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "d.example", "nodeName": node, "pool": pool, "devices": [{"name": "a"}]}
    return named("ResourceSlice", name, spec=spec) | {"apiVersion": "resource.k8s.io/v1"}


@pytest.mark.parametrize(
    ("signer", "name", "code"),
    [
        ("kubernetes.io/kubelet-serving", "system:node:mine", 201),
        ("kubernetes.io/kubelet-serving", "system:node:yours", 403),
        ("kubernetes.io/kube-apiserver-client-kubelet", "system:node:mine", 201),
        ("kubernetes.io/kube-apiserver-client-kubelet", "mine", 403),
        ("kubernetes.io/kube-apiserver-client", "system:node:yours", 201),
    ],
)
def test_a_node_asks_for_certificates_in_its_own_name(
    admin: httpx.Client, signer: str, name: str, code: int
) -> None:
    usages = ["digital signature", "server auth" if "serving" in signer else "client auth"]
    body = {
        "kind": "CertificateSigningRequest",
        "apiVersion": "certificates.k8s.io/v1",
        "metadata": {"name": "r"},
        "spec": {"signerName": signer, "usages": usages, "request": base64.b64encode(asked(name)).decode()},
    }
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    assert as_node(admin, "POST", path, body) == code
    if code == 403:
        assert refusal(admin, "POST", path, body).endswith(
            "can only create a node CSR with CN=system:node:mine"
        )


def asked(name: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def test_a_node_gets_tokens_only_for_whom_its_pods_want_them(admin: httpx.Client) -> None:
    make(admin, "serviceaccounts", named("ServiceAccount", "robot"))
    for name, source, why in (
        ("csi", {"csi": {"driver": "d.example"}}, 'csidriver.storage.k8s.io "d.example"'),
        ("claim", {"persistentVolumeClaim": {"claimName": "c"}}, 'persistentvolumeclaim "c"'),
    ):
        lost = make(
            admin, "pods", pod(name, "mine", serviceAccountName="robot", volumes=[{"name": "v", **source}])
        )
        bound = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": lost["metadata"]["uid"]}
        asked_for = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "spec": {"audiences": ["a"], "boundObjectRef": bound},
        }
        message = refusal(admin, "POST", f"{CORE}/serviceaccounts/robot/token", asked_for)
        assert message.endswith(f'error validating audience "a": {why} not found')
    driver = {
        "kind": "CSIDriver",
        "apiVersion": "storage.k8s.io/v1",
        "metadata": {"name": "d.example"},
        "spec": {"tokenRequests": [{"audience": "for-driver"}]},
    }
    make(admin, "csidrivers", driver, of="/apis/storage.k8s.io/v1")
    sources = [{"serviceAccountToken": {"path": "t", "audience": "for-volume"}}]
    volumes = [
        {"name": "a", "projected": {"sources": sources}},
        {"name": "b", "csi": {"driver": "d.example"}},
    ]
    body = pod("mine", "mine", serviceAccountName="robot", volumes=volumes)
    made = make(admin, "pods", body)
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "mine", "uid": made["metadata"]["uid"]}
    path = f"{CORE}/serviceaccounts/robot/token"

    def ask(*audiences: str) -> dict[str, Any]:
        spec = {"boundObjectRef": reference, "audiences": list(audiences)}
        return {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}

    for audience in ("for-volume", "for-driver"):
        assert as_node(admin, "POST", path, ask(audience)) == 201, audience
    assert refusal(admin, "POST", path, ask("other")).endswith(
        'audience "other" not found in pod spec volume,'
        " system:node:mine is not authorized to request tokens for this audience"
    )
    assert refusal(admin, "POST", path, ask("for-volume", "for-driver")).endswith(
        "node may only request 0 or 1 audiences"
    )
    rule = {
        "verbs": ["request-serviceaccounts-token-audience"],
        "apiGroups": [""],
        "resources": ["other"],
        "resourceNames": ["robot"],
    }
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    role = {
        "kind": "ClusterRole",
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "more"},
        "rules": [rule],
    }
    make(admin, "clusterroles", role, of=rbac)
    reference_to = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "more"}
    group = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}
    bound = {**role, "kind": "ClusterRoleBinding", "roleRef": reference_to, "subjects": [group]}
    del bound["rules"]
    make(admin, "clusterrolebindings", bound, of=rbac)
    assert as_node(admin, "POST", path, ask("other")) == 201
    assert as_node(admin, "POST", path, ask("another")) == 403


def test_a_node_changes_itself_and_its_pods_only(admin: httpx.Client) -> None:
    make(admin, "pods", pod("mine", "mine"))
    make(admin, "pods", pod("yours", "yours"))
    status = {"status": {"phase": "Running"}}
    assert as_node(admin, "PATCH", f"{CORE}/pods/mine/status", status, MERGE) == 200
    assert as_node(admin, "PATCH", f"{CORE}/pods/yours/status", status, MERGE) == 403
    assert as_node(admin, "PATCH", f"{CORE}/pods/mine", {"metadata": {"labels": {"a": "b"}}}, MERGE) == 403
    eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "yours"}}
    assert as_node(admin, "POST", f"{CORE}/pods/yours/eviction", eviction) == 403
    assert as_node(admin, "DELETE", f"{CORE}/pods/yours") == 403
    assert as_node(admin, "DELETE", f"{CORE}/pods/mine?gracePeriodSeconds=0") == 200
    nodes = "/api/v1/nodes"
    labels: dict[str, Any] = {"metadata": {"labels": {"topology.kubernetes.io/zone": "a", "mine": "x"}}}
    assert as_node(admin, "PATCH", f"{nodes}/mine", labels, MERGE) == 200
    assert as_node(admin, "PATCH", f"{nodes}/yours", labels, MERGE) == 403
    assert as_node(admin, "PATCH", f"{nodes}/yours/status", {"status": {}}, MERGE) == 403
    for label in (
        "node-restriction.kubernetes.io/team",
        "kubernetes.io/made-up",
        "node-role.kubernetes.io/master",
    ):
        body = {"metadata": {"labels": {label: "x"}}}
        assert as_node(admin, "PATCH", f"{nodes}/mine", body, MERGE) == 403, label
    owned = {"metadata": {"ownerReferences": [{"kind": "A", "apiVersion": "v1", "name": "a", "uid": "u"}]}}
    assert as_node(admin, "PATCH", f"{nodes}/mine", owned, MERGE) == 403
    taints = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    assert as_node(admin, "PATCH", f"{nodes}/mine", taints, MERGE) == 403
    assert as_node(admin, "DELETE", f"{nodes}/mine") == 403
    assert as_node(admin, "POST", nodes, named("Node", "third")) == 403


def test_leases_and_tokens_are_those_of_the_node(admin: httpx.Client) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

    def lease(name: str) -> dict[str, Any]:
        return {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": name}}

    assert as_node(admin, "POST", leases, lease("mine")) == 201
    assert as_node(admin, "POST", leases, lease("yours")) == 403
    assert as_node(admin, "GET", f"{leases}/mine") == 200
    assert as_node(admin, "GET", f"{leases}/yours") == 403
    assert as_node(admin, "POST", leases.replace("kube-node-lease", "kube-system"), lease("mine")) == 403
    make(admin, "serviceaccounts", named("ServiceAccount", "robot"))
    make(admin, "serviceaccounts", named("ServiceAccount", "other"))
    tokens = [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]
    made = {
        name: make(admin, "pods", pod(name, name, serviceAccountName="robot", volumes=tokens))["metadata"][
            "uid"
        ]
        for name in ("mine", "yours")
    }

    def ask(account: str, reference: dict[str, Any] | None) -> int:
        body = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "spec": {"boundObjectRef": reference} if reference else {},
        }
        return as_node(admin, "POST", f"{CORE}/serviceaccounts/{account}/token", body)

    good = {"kind": "Pod", "apiVersion": "v1", "name": "mine", "uid": made["mine"]}
    assert ask("robot", good) == 201
    assert ask("other", good) == 403
    assert ask("robot", None) == 403
    assert ask("robot", {**good, "uid": ""}) == 403
    assert ask("robot", {**good, "name": "yours", "uid": made["yours"]}) == 403
    assert ask("robot", {**good, "uid": "other"}) == 403
    assert ask("robot", {**good, "name": "nobody"}) == 404
    make(admin, "pods", pod("without", "mine", serviceAccountName="robot"))
    uid = admin.get(f"{CORE}/pods/without").json()["metadata"]["uid"]
    assert ask("robot", {**good, "name": "without", "uid": uid}) == 403


@pytest.mark.parametrize("name", ["=mine", "mine,", "mine,spec.nodeName=mine", ""])
def test_nobody_is_another_node_by_an_odd_name(admin: httpx.Client, name: str) -> None:
    make(admin, "secrets", named("Secret", "s"))
    make(admin, "pods", pod("p", "mine", volumes=[{"name": "a", "secret": {"secretName": "s"}}]))
    headers = [("impersonate-user", f"system:node:{name}"), ("impersonate-group", "system:nodes")]
    assert admin.get(f"{CORE}/secrets/s", headers=headers).status_code == 403
    assert admin.get(f"{CORE}/secrets/s", headers=MINE).status_code == 200


def test_whoever_is_in_the_group_without_being_a_node_may_nothing(admin: httpx.Client) -> None:
    headers = [("impersonate-user", "eve"), ("impersonate-group", "system:nodes")]
    assert admin.get("/api/v1/nodes", headers=headers).status_code == 403
    lone = [("impersonate-user", "system:node:mine")]
    assert admin.get("/api/v1/nodes", headers=lone).status_code == 403
