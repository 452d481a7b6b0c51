"""Namespaces that the cluster cannot be without are not deleted."""

from kubelib.api.scheme import Resource
from kubelib.registry.admission.base import Attributes, Verb

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle:
    """Keeps the namespaces that every cluster has.

    That nothing is created in a namespace which is missing or is being deleted is its other half in Kubernetes; the registry
    makes that a condition of the commit, so that it holds whatever happens meanwhile.
    """

    name = "NamespaceLifecycle"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at deleted namespaces."""
        return verb == "delete" and resource.kind == "Namespace" and not resource.group

    async def mutate(self, attributes: Attributes) -> None:
        """Refuse, before any other plug-in is asked."""
        if attributes.key.name in IMMORTAL:
            raise attributes.forbidden("this namespace may not be deleted")
