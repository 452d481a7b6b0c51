"""New nodes take no Pods before somebody has seen that they are ready; Pods tell where their nodes are, and change only as these can bear."""

from kubelib.api.core.node import Node
from kubelib.api.declaredfeatures import needed_to_change
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.api.podresources import pod_requests
from kubelib.api.quantity import Quantity, parse_quantity
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.base import Attributes, Verb

NOT_READY = "node.kubernetes.io/not-ready"
TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")


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


class PodTopologyLabels:
    """Gives a Pod the labels of its node that say in which zone and region it is."""

    name = "PodTopologyLabels"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new Pods: those that are on a node from the start."""
        return verb == "create" and resource.kind == "Pod" and not resource.group and not subresource

    async def mutate(self, attributes: Attributes) -> None:
        """Give the labels to a Pod that is made for a node."""
        name: str = (attributes.tree.get("spec") or {}).get("nodeName") or ""
        if name and (document := attributes.cache(Node).get(Key("", name))) is not None:
            self.bound(attributes.tree, document)

    def bound(self, pod: Tree, node: Document) -> None:
        """Give the labels to a Pod, in place of any of the same names."""
        labels = node.meta.labels
        if found := {name: labels[name] for name in TOPOLOGY if name in labels}:
            meta = pod.setdefault("metadata", {})
            meta["labels"] = {**(meta.get("labels") or {}), **found}


class PodResizeValidator:
    """Refuses that a Pod grows beyond all that its node has for Pods."""

    name = "PodResizeValidator"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at resized Pods."""
        return verb == "update" and resource.kind == "Pod" and not resource.group and subresource == "resize"

    async def validate(self, attributes: Attributes) -> None:
        """Refuse what the node can never give, and nodes that cannot do it at all."""
        spec = attributes.tree.get("spec") or {}
        name: str = spec.get("nodeName") or ""
        if not name or spec == (attributes.old or {}).get("spec"):
            return
        document = attributes.cache(Node).get(Key("", name))
        if document is None:
            raise attributes.forbidden(f'node "{name}" not found')
        node, wanted = document.view(Node), pod_requests(spec)
        lacking = []
        for resource, size in (("cpu", Quantity.milli), ("memory", Quantity.value)):
            asked = size(wanted[resource]) if resource in wanted else 0
            there = size(parse_quantity(node.status.allocatable.get(resource, "0")))
            if asked > there:
                lacking.append(f"{resource}, requested: {asked}, allocatable: {there}")
        if lacking:
            raise attributes.forbidden(f"Node didn't have enough allocatable resources: {'; '.join(lacking)}")
        system = node.metadata.labels.get("kubernetes.io/os", "")
        if system != "linux":
            raise attributes.forbidden(
                f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
            )
