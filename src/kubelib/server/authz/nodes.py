"""What nodes may do: what every kubelet needs, and of the secrets, configuration and volumes only what their own Pods use.

The rules are those of ``plugin/pkg/auth/authorizer/node`` in Kubernetes. What a Pod refers to is read from the watch cache, so that
a node gains a secret with the Pod that needs it, and loses it with that Pod.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.api.podreferences import NO_REFERENCES, References, references_of, secrets_of
from kubelib.labels import parse_field_selector
from kubelib.registry.admission.noderestriction import LEASES, NODES, node_of
from kubelib.registry.base import Query, User
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.authz import ALLOWED, NO_OPINION, Decision
from kubelib.server.authz.rbac import Rule, rule_allows
from kubelib.server.request import RequestInfo

MIRROR = "kubernetes.io/config.mirror"
_READ = ("get", "list", "watch")
_OWN = ("get", "create", "update", "patch", "delete")
_REMEMBERED = 50_000


@attrs.frozen
class _References:
    """What a Pod uses, as of a resource version."""

    version: str
    names: References


_GUARDED: Mapping[tuple[str, str, str], tuple[tuple[str, ...], str]] = {
    ("", "secrets", ""): (_READ, "can only read resources of this type"),
    ("", "configmaps", ""): (_READ, "can only read resources of this type"),
    ("", "persistentvolumeclaims", ""): (("get",), "can only get individual resources of this type"),
    ("", "persistentvolumes", ""): (("get",), "can only get individual resources of this type"),
    ("", "serviceaccounts", "token"): (("create",), "can only create tokens for individual service accounts"),
    ("", "serviceaccounts", ""): (("get",), "can only get individual resources of this type"),
}
"""What belongs to Pods: which verbs nodes have for it, and what is said of others."""


class NodeAuthorizer:
    """Allows nodes what `rules` say, and of what belongs to Pods only what belongs to theirs; has no say about other users."""

    def __init__(self, registries: ResourceRegistries, rules: Sequence[Rule]) -> None:
        self._pods = registries.cache_of(Pod)
        self._claims = registries.cache_of(PersistentVolumeClaim)
        self._volumes = registries.cache_of(PersistentVolume)
        self._rules = tuple(rules)
        self._references: dict[str, _References] = {}

    def decide(self, user: User, request: RequestInfo) -> Decision:
        """Return whether the user is a node that may."""
        if NODES not in user.groups:
            return NO_OPINION
        node = node_of(user)
        if not node:
            return NO_OPINION
        key = (request.group, request.resource, request.subresource)
        if key in _GUARDED:
            return self._of_its_pods(node, request)
        match key:
            case "", ("secrets" | "configmaps" | "persistentvolumeclaims" | "persistentvolumes"), _:
                return Decision(reason="cannot get subresource")
            case "coordination.k8s.io", "leases", "":
                if request.namespace != LEASES:
                    return Decision(reason=f'can only access leases in the "{LEASES}" system namespace')
                return _own(
                    node, request, "can only access node lease with the same name as the requesting node"
                )
            case "storage.k8s.io", "csinodes", "":
                return _own(
                    node, request, "can only access CSINode with the same name as the requesting node"
                )
        return ALLOWED if any(rule_allows(rule, request) for rule in self._rules) else NO_OPINION

    def _of_its_pods(self, node: str, request: RequestInfo) -> Decision:
        verbs, words = _GUARDED[request.group, request.resource, request.subresource]
        if request.verb not in verbs:
            return Decision(reason=words)
        match request.resource:
            case "secrets":
                related = self._uses(node, request, "secrets")
            case "configmaps":
                related = self._uses(node, request, "config_maps")
            case "persistentvolumeclaims":
                related = self._uses(node, request, "claims")
            case "persistentvolumes":
                related = self._mounts(node, request.name)
            case _:
                related = self._runs_as(node, request)
        if related:
            return ALLOWED
        return Decision(reason=f"no relationship found between node '{node}' and this object")

    def _pods_of(self, node: str, namespace: str = "") -> Iterator[tuple[Document, References]]:
        fields = parse_field_selector(f"spec.nodeName={node}")
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
            (request.namespace, request.name) in secrets_of(volume.tree()) for volume in self._mounted(node)
        )

    def _runs_as(self, node: str, request: RequestInfo) -> bool:
        return bool(request.name) and any(
            used.account == request.name for _, used in self._pods_of(node, request.namespace)
        )

    def _mounted(self, node: str) -> Iterator[Document]:
        for pod, used in self._pods_of(node):
            for name in sorted(used.claims):
                claim = self._claims.get(Key(pod.meta.namespace, name))
                if claim is None:
                    continue
                volume = (claim.tree().get("spec") or {}).get("volumeName")
                document = self._volumes.get(Key("", volume)) if volume else None
                if document is not None:
                    yield document

    def _mounts(self, node: str, name: str) -> bool:
        return any(document.meta.name == name for document in self._mounted(node))


def _own(node: str, request: RequestInfo, words: str) -> Decision:
    """Allow what is for the node's own object; the name of a new one is looked at by admission."""
    if request.verb not in _OWN:
        return Decision(reason="can only get, create, update, patch, or delete a node's own object")
    if request.name == node or (request.verb == "create" and not request.name):
        return ALLOWED
    return Decision(reason=words)


def _references(document: Document) -> _References:
    tree = document.tree()
    version = tree["metadata"]["resourceVersion"]
    # A node writes mirror Pods itself: they give it nothing.
    mirror = MIRROR in (tree["metadata"].get("annotations") or {})
    return _References(version, NO_REFERENCES if mirror else references_of(tree))
