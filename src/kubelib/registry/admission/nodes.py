"""New nodes take no Pods before somebody has seen that they are ready, and Pods change only as their nodes can bear."""

from kubelib.api.core.node import Node
from kubelib.api.declaredfeatures import needed_to_change
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource
from kubelib.registry.admission.base import Attributes, Verb

NOT_READY = "node.kubernetes.io/not-ready"


class TaintNodesByCondition:
    """Taints a new node as not ready; the node lifecycle controller and the node's own agent take the taint off."""

    name = "TaintNodesByCondition"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new nodes."""
        return verb == "create" and resource.kind == "Node" and not resource.group and not subresource

    async def mutate(self, attributes: Attributes) -> None:
        """Add the taint."""
        spec = attributes.tree.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]


class NodeDeclaredFeatureValidator:
    """Lets a Pod on a node change only in ways of which the node has declared that it can bear them."""

    name = "NodeDeclaredFeatureValidator"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at resized Pods: otherwise nothing of a Pod changes that a node must have declared."""
        return verb == "update" and resource.kind == "Pod" and not resource.group and subresource == "resize"

    async def validate(self, attributes: Attributes) -> None:
        """Refuse what the Pod's node has not declared."""
        spec, before = attributes.tree.get("spec") or {}, (attributes.old or {}).get("spec") or {}
        name: str = spec.get("nodeName") or ""
        needed = needed_to_change(spec, before) if name else ()
        if not needed:
            return
        document = attributes.cache(Node).get(Key("", name))
        if document is None:
            raise attributes.forbidden(f'node "{name}" not found')
        declared = document.view(Node).status.declared_features
        missing = [feature for feature in needed if feature not in declared]
        if missing:
            raise attributes.forbidden(
                f'pod update requires features {", ".join(missing)} which are not available on node "{name}"'
            )
