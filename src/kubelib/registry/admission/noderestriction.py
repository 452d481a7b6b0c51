"""Nodes change themselves and their own Pods, and nothing else.

The rules and messages are those of Kubernetes' NodeRestriction plug-in.
"""

import base64
from collections.abc import Iterator

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.errors import not_found
from kubelib.api.meta import Key
from kubelib.api.podreferences import references_of
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.audiences import is_asked_for
from kubelib.registry.admission.base import Attributes, Verb
from kubelib.registry.base import User

NODES = "system:nodes"
PREFIX = "system:node:"
LEASES = "kube-node-lease"
MIRROR = "kubernetes.io/config.mirror"
_WATCHED = {
    ("", "pods"), ("", "nodes"), ("", "serviceaccounts"), ("", "persistentvolumeclaims"),
    ("coordination.k8s.io", "leases"), ("storage.k8s.io", "csinodes"), ("resource.k8s.io", "resourceslices"),
    ("certificates.k8s.io", "certificatesigningrequests"), ("certificates.k8s.io", "podcertificaterequests"),
}  # fmt: skip
_LABELS = {
    "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
}  # fmt: skip
"""Labels of Kubernetes' own that a node may give itself."""
_SIGNERS = {"kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"}
_LABEL_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


def node_of(user: User) -> str:
    """Return the node that a user is; empty for anybody else."""
    if NODES not in user.groups or not user.name.startswith(PREFIX):
        return ""
    return user.name.removeprefix(PREFIX)


class NodeRestriction:
    """Keeps the credentials of a node from changing more than what is the node's."""

    name = "NodeRestriction"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at what kubelets write."""
        return (resource.group, resource.plural) in _WATCHED

    async def validate(self, attributes: Attributes) -> None:
        """Refuse what belongs to others."""
        user = attributes.user
        if NODES not in user.groups or not user.name.startswith(PREFIX):
            return
        node = node_of(user)
        if not node:
            raise attributes.forbidden(f'could not determine node from user "{user.name}"')
        match attributes.resource.plural, attributes.subresource:
            case "pods", "":
                _pod(attributes, node)
            case "pods", "status":
                _pod_status(attributes, node)
            case "pods", "eviction":
                if _stored(attributes, attributes.key).spec.node_name != node:
                    raise attributes.forbidden(
                        f"node {node} can only evict pods with spec.nodeName set to itself"
                    )
            case "pods", subresource:
                raise attributes.forbidden(
                    f"unexpected pod subresource \"{subresource}\", only 'status' and 'eviction' are allowed"
                )
            case "nodes", _:
                _node(attributes, node)
            case "persistentvolumeclaims", "status":
                _claim_status(attributes, node)
            case "persistentvolumeclaims", _:
                raise attributes.forbidden("may only update PVC status")
            case "serviceaccounts", "token":
                _token(attributes, node)
            case "leases", _:
                if attributes.key.namespace != LEASES:
                    raise attributes.forbidden(f'can only access leases in the "{LEASES}" system namespace')
                _require_own(attributes, node, "node lease")
            case "csinodes", _:
                _require_own(attributes, node, "CSINode")
            case "resourceslices", _:
                _slice(attributes, node)
            case "certificatesigningrequests", "":
                _request(attributes, node)
            case "podcertificaterequests", _:
                _certificate(attributes, node)


def _certificate(attributes: Attributes, node: str) -> None:
    """Refuse requests for certificates of Pods that do not run on the node, or of which they do not tell the truth."""
    if attributes.verb != "create":
        raise attributes.forbidden(f"unexpected operation {attributes.verb.upper()}")
    spec: Tree = attributes.tree.get("spec") or {}
    named = spec.get("nodeName") or ""
    if named != node:
        raise attributes.forbidden(
            f'PodCertificateRequest.Spec.NodeName="{named}", which is not the requesting node "{node}"'
        )
    pod = _stored(attributes, Key(attributes.key.namespace, spec.get("podName") or ""))
    if MIRROR in pod.metadata.annotations:
        raise attributes.forbidden("mirror pods get no certificates")
    facts = {
        "podUID": pod.metadata.uid,
        "nodeName": pod.spec.node_name,
        "serviceAccountName": pod.spec.service_account_name,
    }
    for field, value in facts.items():
        if (spec.get(field) or "") != value:
            raise attributes.forbidden(f'spec.{field} is not that of pod "{pod.metadata.name}": "{value}"')


def _require_own(attributes: Attributes, node: str, what: str) -> None:
    if attributes.key.name != node:
        raise attributes.forbidden(f"can only access {what} with the same name as the requesting node")


def _stored(attributes: Attributes, key: Key) -> Pod:
    """Return a Pod. Raises NotFound."""
    document = attributes.cache(Pod).get(key)
    if document is None:
        raise not_found("pods", key.name)
    return document.view(Pod)


def _pod(attributes: Attributes, node: str) -> None:
    spec: Tree = attributes.tree.get("spec") or {}
    match attributes.verb:
        case "create":
            _mirror(attributes, node, spec)
        case "delete":
            if spec.get("nodeName") != node:
                raise attributes.forbidden(
                    f'node "{node}" can only delete pods with spec.nodeName set to itself'
                )
        case verb:
            raise attributes.forbidden(
                f'unexpected operation "{verb.upper()}", node "{node}" can only create and delete mirror pods'
            )


def _mirror(attributes: Attributes, node: str, spec: Tree) -> None:
    """Check a Pod that a node creates: it only shows what runs there anyway."""
    if MIRROR not in (attributes.tree["metadata"].get("annotations") or {}):
        raise attributes.forbidden(
            f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
        )
    if spec.get("nodeName") != node:
        raise attributes.forbidden(f'node "{node}" can only create pods with spec.nodeName set to itself')
    _require_owner(attributes, node)
    if kind := next(_kinds_used(attributes.tree), ""):
        raise attributes.forbidden(f'node "{node}" can not create pods that reference {kind}')


def _require_owner(attributes: Attributes, node: str) -> None:
    """Refuse a Pod that does not go with its node."""
    owners = attributes.tree["metadata"].get("ownerReferences") or ()
    may = f'node "{node}" can only create pods with'
    if len(owners) > 1:
        raise attributes.forbidden(f"{may} a single owner reference set to itself")
    owner: Tree = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        raise attributes.forbidden(f"{may} an owner reference set to itself")
    if not owner.get("controller"):
        raise attributes.forbidden(f"{may} a controller owner reference set to itself")
    if owner.get("blockOwnerDeletion"):
        raise attributes.forbidden(f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    document = attributes.cache(Node).get(Key("", node))
    if document is None:
        raise not_found("nodes", node)
    given, uid = owner.get("uid") or "", document.meta.uid
    if given != uid:
        raise attributes.forbidden(f"node {node} UID mismatch: expected {given} got {uid}")


_WITHOUT_OBJECTS = {
    "awsElasticBlockStore", "azureDisk", "cephfs", "cinder", "downwardAPI", "emptyDir", "fc", "flexVolume", "flocker",
    "gcePersistentDisk", "gitRepo", "hostPath", "image", "iscsi", "nfs", "photonPersistentDisk", "portworxVolume",
    "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume",
}  # fmt: skip
_VOLUMES = {
    "configMap": "configmaps (via configmap volumes)",
    "secret": "secrets (via secret volumes)",
    "csi": "csidrivers (via CSI volumes)",
    "glusterfs": "endpoints (via glusterFS volumes)",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims (via ephemeral volumes)",
    "azureFile": "secrets (via azureFile volumes)",
}
_SOURCES = {
    "configMap": "configmaps (via projected volumes)",
    "secret": "secrets (via projected volumes)",
    "serviceAccountToken": "serviceaccounts (via projected volumes)",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificates",
}


def _kinds_used(pod: Tree) -> Iterator[str]:
    """Yield to which kinds of objects a Pod refers."""
    spec = pod.get("spec") or {}
    used = references_of(pod)
    if used.account:
        yield "serviceaccounts"
    if used.secrets:
        yield "secrets"
    if used.config_maps:
        yield "configmaps"
    if spec.get("resourceClaims"):
        yield "resourceclaims"
    for volume in spec.get("volumes") or ():
        kinds = [kind for kind, value in volume.items() if kind != "name" and value is not None]
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield from (_SOURCES[kind] for kind in source if kind in _SOURCES)
        for kind in kinds:
            if kind not in _WITHOUT_OBJECTS and kind != "projected":
                yield _VOLUMES.get(kind, f"{kind} volumes")


def _pod_status(attributes: Attributes, node: str) -> None:
    old = attributes.old or {}
    if (old.get("spec") or {}).get("nodeName") != node:
        raise attributes.forbidden(
            f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
        )
    before, after = old["metadata"].get("labels") or {}, attributes.tree["metadata"].get("labels") or {}
    if before != after:
        raise attributes.forbidden(f'node "{node}" cannot update labels through pod status')
    status, new = old.get("status") or {}, attributes.tree.get("status") or {}
    if (status.get("resourceClaimStatuses") or []) != (new.get("resourceClaimStatuses") or []):
        raise attributes.forbidden(f'node "{node}" cannot update resource claim statues')
    if status.get("extendedResourceClaimStatus") != new.get("extendedResourceClaimStatus"):
        raise attributes.forbidden(f'node "{node}" cannot update extended resource claim status')


_GROWTH = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")


def _claim_status(attributes: Attributes, node: str) -> None:
    """Let a node say only how far a volume has grown."""

    def others(tree: Tree) -> Tree:
        meta = {n: v for n, v in tree["metadata"].items() if n not in ("resourceVersion", "managedFields")}
        status = {n: v for n, v in (tree.get("status") or {}).items() if n not in _GROWTH}
        return {**tree, "metadata": meta, "status": status}

    if others(attributes.old or {"metadata": {}}) != others(attributes.tree):
        raise attributes.forbidden(
            f'node "{node}" is not allowed to update fields other than status.quantity and status.conditions'
        )


def _node(attributes: Attributes, node: str) -> None:
    name = attributes.key.name
    if name != node:
        raise attributes.forbidden(f'node "{node}" is not allowed to modify node "{name}"')
    if attributes.verb == "delete":
        raise attributes.forbidden(f'node "{node}" is not allowed to delete itself')
    new, old = attributes.tree, attributes.old or {}
    before = (old.get("metadata") or {}).get("labels") or {}
    after = new["metadata"].get("labels") or {}
    changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    refused = ", ".join(key for key in changed if not _may_label(key))
    spec, old_spec = new.get("spec") or {}, old.get("spec") or {}
    if attributes.old is None:
        if spec.get("configSource"):
            raise attributes.forbidden(
                f'node "{node}" is not allowed to create pods with a non-nil configSource'
            )
        if refused:
            raise attributes.forbidden(f'node "{node}" is not allowed to set the following labels: {refused}')
        return
    if spec.get("configSource") and spec["configSource"] != old_spec.get("configSource"):
        raise attributes.forbidden(
            f'node "{node}" is not allowed to update configSource to a new non-nil configSource'
        )
    if (spec.get("taints") or []) != (old_spec.get("taints") or []):
        raise attributes.forbidden(f'node "{node}" is not allowed to modify taints')
    if refused:
        raise attributes.forbidden(f"is not allowed to modify labels: {refused}")
    if (old["metadata"].get("ownerReferences") or []) != (new["metadata"].get("ownerReferences") or []):
        raise attributes.forbidden(f'node "{node}" is not allowed to modify ownerReferences')


def _may_label(key: str) -> bool:
    domain, slash, _ = key.partition("/")
    if not slash:
        return True
    own = any(domain == of or domain.endswith(f".{of}") for of in ("kubernetes.io", "k8s.io"))
    if not own or key in _LABELS:
        return True
    return any(domain == of or domain.endswith(f".{of}") for of in _LABEL_DOMAINS)


def _token(attributes: Attributes, node: str) -> None:
    """Check that a token asked for is that of a Pod of the node, and for whom the Pod wants one."""
    spec = attributes.tree.get("spec") or {}
    reference: Tree = spec.get("boundObjectRef") or {}
    name, uid = reference.get("name") or "", reference.get("uid") or ""
    if reference.get("kind") != "Pod" or reference.get("apiVersion") != "v1" or not name:
        raise attributes.forbidden("node requested token not bound to a pod")
    if not uid:
        raise attributes.forbidden("node requested token with a pod binding without a uid")
    pod = _stored(attributes, Key(attributes.key.namespace, name))
    if pod.metadata.uid != uid:
        raise attributes.forbidden(
            f"the UID in the bound object reference ({uid}) does not match the UID in record."
            " The object might have been deleted and then recreated"
        )
    if pod.spec.node_name != node:
        raise attributes.forbidden("node requested token bound to a pod scheduled on a different node")
    audiences = tuple(spec.get("audiences") or ())
    signer = attributes.registries.tokens
    if signer is not None and audiences == tuple(signer.audiences):
        audiences = ("",)  # what is filled in where nothing is asked for
    if len(audiences) > 1:
        raise attributes.forbidden("node may only request 0 or 1 audiences")
    audience = "".join(audiences)
    account = attributes.key
    if is_asked_for(audience, pod, attributes) or (
        audience
        and attributes.may(
            "request-serviceaccounts-token-audience",
            group="",
            resource=audience,
            namespace=account.namespace,
            name=account.name,
        )
    ):
        return
    raise attributes.forbidden(
        f'audience "{audience}" not found in pod spec volume,'
        f" {attributes.user.name} is not authorized to request tokens for this audience"
    )


def _slice(attributes: Attributes, node: str) -> None:
    if attributes.verb not in ("create", "delete"):
        return
    if (attributes.tree.get("spec") or {}).get("nodeName") != node:
        raise attributes.forbidden(
            f"can only {attributes.verb} ResourceSlice with the same NodeName as the requesting node"
        )


def _request(attributes: Attributes, node: str) -> None:
    """Let a node ask for certificates of nodes only in its own name."""
    spec = attributes.tree.get("spec") or {}
    if attributes.verb != "create" or spec.get("signerName") not in _SIGNERS:
        return
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or ""))
    except ValueError as error:
        raise attributes.forbidden(f"unable to parse csr: {error}") from None
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names or names[-1].value != f"{PREFIX}{node}":
        raise attributes.forbidden(f"can only create a node CSR with CN={PREFIX}{node}")
