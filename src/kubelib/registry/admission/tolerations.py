"""What Pods tolerate without saying so."""

from kubelib.api.scheme import Resource
from kubelib.api.validation.resources import is_extended
from kubelib.registry.admission.base import Attributes, Verb


class DefaultTolerationSeconds:
    """Lets Pods stay for a while on a node that is not ready or not reachable."""

    name = "DefaultTolerationSeconds"

    def __init__(self, seconds: int = 300) -> None:
        self._seconds = seconds

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new and changed Pods."""
        return (
            verb in ("create", "update") and resource.kind == "Pod" and not resource.group and not subresource
        )

    async def mutate(self, attributes: Attributes) -> None:
        """Add the two tolerations to a Pod that has none of the kind."""
        tolerations = attributes.tree.setdefault("spec", {}).setdefault("tolerations", [])
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
            if not any(
                (t.get("key") == key or not t.get("key")) and t.get("effect") in (None, "", "NoExecute")
                for t in tolerations
            ):
                tolerations.append(
                    {
                        "key": key,
                        "operator": "Exists",
                        "effect": "NoExecute",
                        "tolerationSeconds": self._seconds,
                    }
                )


class ExtendedResourceToleration:
    """Lets Pods that ask for an extended resource onto the nodes that are kept for it."""

    name = "ExtendedResourceToleration"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new and changed Pods."""
        return (
            verb in ("create", "update") and resource.kind == "Pod" and not resource.group and not subresource
        )

    async def mutate(self, attributes: Attributes) -> None:
        """Add a toleration for each such resource, named like it."""
        spec = attributes.tree.setdefault("spec", {})
        names = {
            name
            for part in ("containers", "initContainers")
            for container in spec.get(part) or ()
            for name in (container.get("resources") or {}).get("requests") or {}
            if is_extended(name)
        }
        tolerations = list(spec.get("tolerations") or ())
        for name in sorted(names):
            wanted = {"key": name, "operator": "Exists"}
            if not any(
                t.get("key") == name and not t.get("effect") and not t.get("value") for t in tolerations
            ):
                tolerations.append(wanted)
        if tolerations:
            spec["tolerations"] = tolerations
