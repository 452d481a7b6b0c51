"""Ingresses that name no class."""

from kubelib.api.networking import IngressClass
from kubelib.api.scheme import Resource
from kubelib.registry.admission.base import Attributes, Verb
from kubelib.registry.admission.storage import default_class

DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


class DefaultIngressClass:
    """Gives Ingresses that name no class the default one."""

    name = "DefaultIngressClass"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new Ingresses."""
        return (
            verb == "create"
            and resource.kind == "Ingress"
            and resource.group == "networking.k8s.io"
            and not subresource
        )

    async def mutate(self, attributes: Attributes) -> None:
        """Set the class."""
        spec = attributes.tree.setdefault("spec", {})
        annotations = attributes.tree["metadata"].get("annotations") or {}
        if spec.get("ingressClassName") is not None or CLASS_ANNOTATION in annotations:
            return
        default = default_class(attributes, IngressClass, (DEFAULT_ANNOTATION,))
        if default is not None:
            spec["ingressClassName"] = default.meta.name
