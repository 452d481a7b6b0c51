"""What nodes may do: what every kubelet needs, and of the secrets, configuration and volumes only what their own Pods use.

The rules are those of ``plugin/pkg/auth/authorizer/node`` in Kubernetes. What a Pod refers to is read from the watch cache, so that
a node gains a secret with the Pod that needs it, and loses it with that Pod.
"""

from collections.abc import Iterator, Sequence

import attrs

from kubelib.api.certificates import PodCertificateRequest
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.api.podreferences import NO_REFERENCES, References, references_of, secrets_of
from kubelib.api.resource import ResourceSlice
from kubelib.api.storage import VolumeAttachment
from kubelib.labels import FieldRequirement, FieldSelector
from kubelib.registry.admission.noderestriction import LEASES, NODES, PREFIX, node_of
from kubelib.registry.base import Query, User
from kubelib.registry.cache import ResourceCache
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.authz import ALLOWED, NO_OPINION, Decision
from kubelib.server.authz.rbac import Rule, rule_allows
from kubelib.server.requestinfo import RequestInfo

MIRROR = "kubernetes.io/config.mirror"
_READ = ("get", "list", "watch")
_OWN = ("get", "create", "update", "patch", "delete")
_REMEMBERED = 50_000


@attrs.frozen
class _References:
    """What a Pod uses, as of a resource version."""

    version: str
    names: References


class NodeAuthorizer:
    """Allows nodes what `rules` say, and of what belongs to Pods only what belongs to theirs; has no say about other users."""

    def __init__(self, registries: ResourceRegistries, rules: Sequence[Rule]) -> None:
        self._pods = registries.cache_of(Pod)
        self._claims = registries.cache_of(PersistentVolumeClaim)
        self._volumes = registries.cache_of(PersistentVolume)
        self._attachments = registries.cache_of(VolumeAttachment)
        self._slices = registries.cache_of(ResourceSlice)
        self._certificates = registries.cache_of(PodCertificateRequest)
        self._rules = tuple(rules)
        self._references: dict[str, _References] = {}

    def decide(self, user: User, request: RequestInfo) -> Decision:
        """Return whether the user is a node that may."""
        if NODES not in user.groups or not user.name.startswith(PREFIX):
            return NO_OPINION
        node = node_of(user)
        if not node:
            return Decision(reason=f'unknown node for user "{user.name}"')
        match request.group, request.resource:
            case "", "secrets":
                return self._read(node, request, "secrets")
            case "", "configmaps":
                return self._read(node, request, "config_maps")
            case "", "persistentvolumeclaims" if request.subresource == "status":
                if request.verb not in ("update", "patch"):
                    return Decision(reason="can only get/update/patch this type")
                return self._related(node, request, self._uses(node, request, "claims"))
            case "", "persistentvolumeclaims":
                return _get(request) or self._related(node, request, self._uses(node, request, "claims"))
            case "resource.k8s.io", "resourceclaims":
                return _get(request) or self._related(
                    node, request, self._uses(node, request, "resource_claims")
                )
            case "", "persistentvolumes":
                return _get(request) or self._related(node, request, self._mounts(node, request.name))
            case "storage.k8s.io", "volumeattachments":
                return _get(request) or self._related(
                    node, request, self._is_on(node, request, self._attachments)
                )
            case "", "serviceaccounts":
                return self._account(node, request)
            case "coordination.k8s.io", "leases":
                return _lease(node, request)
            case "storage.k8s.io", "csinodes":
                return _own(node, request, "CSINode")
            case "resource.k8s.io", "resourceslices":
                return self._slice(node, request)
            case "certificates.k8s.io", "podcertificaterequests":
                return self._certificate(node, request)
            case "", "nodes":
                return _node(node, request)
            case "", "pods":
                return self._pod(node, request)
        return ALLOWED if any(rule_allows(rule, request) for rule in self._rules) else NO_OPINION

    def _related(self, node: str, request: RequestInfo, is_related: bool) -> Decision:
        if not request.name:
            return Decision(reason="No Object name found")
        if is_related:
            return ALLOWED
        return Decision(reason=f"no relationship found between node '{node}' and this object")

    def _read(self, node: str, request: RequestInfo, what: str) -> Decision:
        if request.verb not in _READ:
            return Decision(reason="can only read resources of this type")
        if request.subresource:
            return Decision(reason="cannot read subresource")
        if not request.namespace:
            return Decision(reason="can only read namespaced object of this type")
        return self._related(node, request, self._uses(node, request, what))

    def _account(self, node: str, request: RequestInfo) -> Decision:
        if request.verb == "get" and not request.subresource:
            return self._related(node, request, self._runs_as(node, request))
        if request.verb != "create" or not request.name:
            return Decision(reason="can only create tokens for individual service accounts")
        if request.subresource != "token":
            return Decision(reason="can only create token subresource of serviceaccount")
        return self._related(node, request, self._runs_as(node, request))

    def _slice(self, node: str, request: RequestInfo) -> Decision:
        """Decide about what drivers offer: the node's own slices. Whether a new one is, admission looks at."""
        if request.subresource:
            return Decision(reason="cannot authorize ResourceSlice subresources")
        match request.verb:
            case "create":
                return ALLOWED
            case "get" | "update" | "patch" | "delete":
                return self._related(node, request, self._is_on(node, request, self._slices))
            case "watch" | "list" | "deletecollection":
                if request.on_node == node:
                    return ALLOWED
                return Decision(
                    reason="can only list/watch/deletecollection resourceslices with nodeName field selector"
                )
        return Decision(
            reason="only the following verbs are allowed for a ResourceSlice:"
            " get, watch, list, create, update, patch, delete, deletecollection"
        )

    def _certificate(self, node: str, request: RequestInfo) -> Decision:
        """Decide about requests for certificates of Pods: a node reads its own. Whether a new one is, admission looks at."""
        if request.subresource:
            return Decision(reason=f"nodes may not access the {request.subresource} subresource")
        match request.verb:
            case "create":
                return ALLOWED
            case "get":
                return self._related(node, request, self._is_on(node, request, self._certificates))
            case "list" | "watch":
                if request.on_node == node:
                    return ALLOWED
                return Decision(
                    reason="can only list/watch podcertificaterequests with nodeName field selector"
                )
        return Decision(reason=f"unexpected verb {request.verb}")

    def _pod(self, node: str, request: RequestInfo) -> Decision:
        """Decide about Pods: a node reads its own; what it may change of which, admission looks at."""
        match request.subresource, request.verb:
            case "", "get":
                return self._related(node, request, self._is_on(node, request, self._pods))
            case "", ("list" | "watch"):
                if request.on_node == node:
                    return ALLOWED
                if request.name:
                    return self._related(node, request, self._is_on(node, request, self._pods))
                return Decision(reason="can only list/watch pods with spec.nodeName field selector")
            case ("", ("create" | "delete")) | ("status", ("update" | "patch")) | ("eviction", "create"):
                return ALLOWED
        return NO_OPINION

    @staticmethod
    def _is_on(node: str, request: RequestInfo, cache: ResourceCache) -> bool:
        """Return whether an object says that it is on a node."""
        document = cache.get(Key(request.namespace, request.name))
        return document is not None and (document.tree().get("spec") or {}).get("nodeName") == node

    def _pods_of(self, node: str, namespace: str = "") -> Iterator[tuple[Document, References]]:
        # Never by a text: what is after system:node: is whatever somebody's certificate says.
        fields = FieldSelector((FieldRequirement("spec.nodeName", node),))
        for document in self._pods.select(Query(namespace, fields=fields)):
            known = self._references.get(document.meta.uid)
            if known is None or known.version != document.meta.resource_version:
                if len(self._references) >= _REMEMBERED:
                    self._references.clear()
                known = self._references[document.meta.uid] = _references(document)
            yield document, known.names

    def _uses(self, node: str, request: RequestInfo, what: str) -> bool:
        if not request.namespace or not request.name:
            return False
        if any(request.name in getattr(used, what) for _, used in self._pods_of(node, request.namespace)):
            return True
        return what == "secrets" and any(
            (request.namespace, request.name) in _secrets_of(volume) for volume in self._mounted(node)
        )

    def _runs_as(self, node: str, request: RequestInfo) -> bool:
        return bool(request.name) and any(
            used.account == request.name for _, used in self._pods_of(node, request.namespace)
        )

    def _mounted(self, node: str) -> Iterator[Document]:
        """Yield the volumes of the claims that Pods use. A claim may name any volume: only the volume says whose it is."""
        for pod, used in self._pods_of(node):
            for name in sorted(used.claims):
                key = Key(pod.meta.namespace, name)
                claim = self._claims.get(key)
                volume = (claim.tree().get("spec") or {}).get("volumeName") if claim is not None else None
                document = self._volumes.get(Key("", volume)) if volume else None
                if document is not None and _claim_of(document) == key:
                    yield document

    def _mounts(self, node: str, name: str) -> bool:
        volume = self._volumes.get(Key("", name))
        claim = _claim_of(volume) if volume is not None else None
        return claim is not None and any(
            claim.name in used.claims for _, used in self._pods_of(node, claim.namespace)
        )


_NOT_FOR_NODES = ("controllerPublishSecretRef", "controllerExpandSecretRef")


def _claim_of(volume: Document) -> Key | None:
    """Return the claim that a volume belongs to."""
    reference = (volume.tree().get("spec") or {}).get("claimRef") or {}
    namespace, name = reference.get("namespace"), reference.get("name")
    return Key(namespace, name) if namespace and name else None


def _secrets_of(volume: Document) -> set[tuple[str, str]]:
    """Return namespace and name of the Secrets with which a node mounts a volume, which may be in the namespace of its claim."""
    claim = _claim_of(volume)
    sources = {
        kind: {part: value for part, value in source.items() if part not in _NOT_FOR_NODES}
        for kind, source in (volume.tree().get("spec") or {}).items()
        if isinstance(source, dict)
    }
    where = claim.namespace if claim is not None else ""
    return {(namespace or where, name) for namespace, name in secrets_of(sources)}


def _get(request: RequestInfo) -> Decision | None:
    """Return the refusal of all but a look at one object; None if that is what is asked for."""
    if request.verb != "get":
        return Decision(reason="can only get individual resources of this type")
    return Decision(reason="cannot get subresource") if request.subresource else None


def _lease(node: str, request: RequestInfo) -> Decision:
    if request.verb in _OWN and request.namespace != LEASES:
        return Decision(reason=f'can only access leases in the "{LEASES}" system namespace')
    return _own(node, request, "node lease")


def _own(node: str, request: RequestInfo, what: str) -> Decision:
    """Allow what is for the node's own object; the name of a new one is looked at by admission."""
    if request.verb not in _OWN:
        return Decision(reason=f"can only get, create, update, patch, or delete a {what}")
    if request.subresource and what == "CSINode":
        return Decision(reason="cannot authorize CSINode subresources")
    if request.verb == "create" or request.name == node:
        return ALLOWED
    return Decision(reason=f"can only access {what} with the same name as the requesting node")


def _node(node: str, request: RequestInfo) -> Decision:
    """Let a node look at itself, and at which ranges of addresses others have: it takes its own. Changes, admission looks at."""
    match request.subresource, request.verb:
        case "", "list":
            return ALLOWED
        case ("", ("create" | "update" | "patch")) | ("status", ("update" | "patch")):
            return ALLOWED
        case "", ("get" | "watch"):
            if request.name == node:
                return ALLOWED
            if not request.name:
                return Decision(reason=f"node '{node}' cannot read all nodes, only its own Node object")
            return Decision(reason=f"node '{node}' cannot read '{request.name}', only its own Node object")
    return NO_OPINION


def _references(document: Document) -> _References:
    tree = document.tree()
    version = tree["metadata"]["resourceVersion"]
    # A node writes mirror Pods itself: they give it nothing.
    mirror = MIRROR in (tree["metadata"].get("annotations") or {})
    return _References(version, NO_REFERENCES if mirror else references_of(tree))
