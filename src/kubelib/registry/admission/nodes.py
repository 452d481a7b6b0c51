"""New nodes take no Pods before somebody has seen that they are ready."""

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
