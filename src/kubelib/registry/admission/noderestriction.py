"""Nodes change themselves and their own Pods, and nothing else.

The rules and messages are those of Kubernetes' NodeRestriction plug-in.
"""

from collections.abc import Iterator, Mapping

from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.base import Attributes, Verb
from kubelib.registry.base import User

NODES = "system:nodes"
PREFIX = "system:node:"
LEASES = "kube-node-lease"
MIRROR = "kubernetes.io/config.mirror"
_WATCHED = {
    ("", "pods"), ("", "nodes"), ("", "serviceaccounts"), ("", "persistentvolumeclaims"),
    ("coordination.k8s.io", "leases"), ("storage.k8s.io", "csinodes"),
}  # fmt: skip
_LABELS = {
    "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
}  # fmt: skip
"""Labels of Kubernetes' own that a node may give itself."""
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
        if NODES not in attributes.user.groups:
            return
        node = node_of(attributes.user)
        if not node:
            raise attributes.forbidden(f'could not determine node from user "{attributes.user.name}"')
        match attributes.resource.plural, attributes.subresource:
            case "pods", "":
                _pod(attributes, node)
            case "pods", "status":
                _pod_status(attributes, node)
            case "pods", "eviction":
                pod = _stored(attributes, attributes.key)
                if pod is not None and pod.spec.node_name != node:
                    raise attributes.forbidden(
                        f'node "{node}" can only evict pods with spec.nodeName set to itself'
                    )
            case "pods", subresource:
                raise attributes.forbidden(f'unexpected pod subresource "{subresource}"')
            case "nodes", _:
                _node(attributes, node)
            case "serviceaccounts", "token":
                _token(attributes, node)
            case "persistentvolumeclaims", "status":
                pass
            case (("serviceaccounts" | "persistentvolumeclaims"), _):
                raise attributes.forbidden(f'node "{node}" may not change {attributes.resource.plural}')
            case "leases", _:
                if attributes.key.namespace != LEASES:
                    raise attributes.forbidden(f'can only access leases in the "{LEASES}" system namespace')
                if attributes.key.name != node:
                    raise attributes.forbidden(
                        "can only access node lease with the same name as the requesting node"
                    )
            case "csinodes", _:
                if attributes.key.name != node:
                    raise attributes.forbidden(
                        "can only access CSINode with the same name as the requesting node"
                    )


def _stored(attributes: Attributes, key: Key) -> Pod | None:
    document = attributes.cache(Pod).get(key)
    return document.view(Pod) if document is not None else None


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
            raise attributes.forbidden(f'unexpected operation "{verb.upper()}"')


def _mirror(attributes: Attributes, node: str, spec: Tree) -> None:
    """Check a Pod that a node creates: it only shows what runs there anyway."""
    if MIRROR not in (attributes.tree["metadata"].get("annotations") or {}):
        raise attributes.forbidden(
            f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
        )
    if spec.get("nodeName") != node:
        raise attributes.forbidden(f'node "{node}" can only create pods with spec.nodeName set to itself')
    for kind in _kinds_used(spec):
        raise attributes.forbidden(f'node "{node}" can not create pods that reference {kind}')
    for owner in attributes.tree["metadata"].get("ownerReferences") or ():
        if owner.get("kind") != "Node" or owner.get("name") != node or owner.get("blockOwnerDeletion"):
            raise attributes.forbidden(
                f'node "{node}" can only create pods with an owner reference set to itself'
            )


def _kinds_used(spec: Tree) -> Iterator[str]:
    if spec.get("serviceAccountName"):
        yield "a service account"
    if spec.get("imagePullSecrets"):
        yield "secrets"
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            if container.get("envFrom") or any(
                (v.get("valueFrom") or {}).keys() & {"secretKeyRef", "configMapKeyRef"}
                for v in container.get("env") or ()
            ):
                yield "secrets and configmaps"
    for volume in spec.get("volumes") or ():
        if volume.keys() & {"secret", "configMap", "projected", "persistentVolumeClaim", "ephemeral", "csi"}:
            yield "secrets, configmaps and persistentvolumeclaims"
        if any(isinstance(source, Mapping) and "secretRef" in source for source in volume.values()):
            yield "secrets"
    if spec.get("resourceClaims"):
        yield "resourceclaims"


def _pod_status(attributes: Attributes, node: str) -> None:
    old = attributes.old or {}
    if (old.get("spec") or {}).get("nodeName") != node:
        raise attributes.forbidden(
            f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
        )
    before, after = old["metadata"].get("labels") or {}, attributes.tree["metadata"].get("labels") or {}
    if before != after:
        raise attributes.forbidden(f'node "{node}" cannot update labels through pod status')


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
    refused = [key for key in changed if not _may_label(key)]
    if refused:
        raise attributes.forbidden(f'node "{node}" is not allowed to modify labels: {", ".join(refused)}')
    if attributes.old is None:
        return
    for part, title in (("taints", "taints"), ("configSource", "configSource")):
        if (old.get("spec") or {}).get(part) != (new.get("spec") or {}).get(part):
            raise attributes.forbidden(f'node "{node}" is not allowed to modify {title}')
    if (old.get("metadata") or {}).get("ownerReferences") != new["metadata"].get("ownerReferences"):
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
    """Check that a token asked for is that of a Pod of the node."""
    spec = attributes.tree.get("spec") or {}
    reference = spec.get("boundObjectRef")
    if not reference or reference.get("kind") != "Pod" or reference.get("apiVersion") != "v1":
        raise attributes.forbidden("node requested token not bound to a pod")
    if not reference.get("uid"):
        raise attributes.forbidden("node requested token with a pod binding without a uid")
    pod = _stored(attributes, Key(attributes.key.namespace, reference.get("name") or ""))
    if pod is None or pod.metadata.uid != reference["uid"]:
        raise attributes.forbidden("node requested token bound to a pod that is not there")
    if pod.spec.node_name != node:
        raise attributes.forbidden("node requested token bound to a pod scheduled on a different node")
    if pod.spec.service_account_name != attributes.key.name:
        raise attributes.forbidden("node requested token for another service account than its pod's")
