"""RuntimeClasses: what they cost a Pod, and to which nodes they lead it."""

from kubelib.api.meta import Key
from kubelib.api.podresources import amounts
from kubelib.api.runtimeclass import RuntimeClass
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.base import Attributes, Verb


class RuntimeClassAdmission:
    """Gives a new Pod the overhead, the node selector and the tolerations of its RuntimeClass."""

    name = "RuntimeClass"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new Pods."""
        return verb == "create" and resource.kind == "Pod" and not resource.group and not subresource

    async def mutate(self, attributes: Attributes) -> None:
        """Fill in what the class brings."""
        spec = attributes.tree.setdefault("spec", {})
        found = self._class(attributes, spec)
        if found is None:
            return
        fixed = (found.get("overhead") or {}).get("podFixed")
        if fixed:
            if spec.get("overhead") and amounts(spec["overhead"]) != amounts(fixed):
                raise _mismatch(attributes)
            spec["overhead"] = dict(fixed)
        scheduling = found.get("scheduling") or {}
        selector = dict(spec.get("nodeSelector") or {})
        for label, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.setdefault(label, value) != value:
                raise attributes.forbidden(
                    f"conflict: runtimeClass.scheduling.nodeSelector[{label}] = {value};"
                    f" pod.spec.nodeSelector[{label}] = {selector[label]}"
                )
        if selector:
            spec["nodeSelector"] = selector
        tolerations = spec.get("tolerations") or []
        more = [t for t in scheduling.get("tolerations") or () if t not in tolerations]
        if more:
            spec["tolerations"] = [*tolerations, *more]

    async def validate(self, attributes: Attributes) -> None:
        """Refuse an overhead that is not the class's."""
        spec = attributes.tree.get("spec") or {}
        found = self._class(attributes, spec)
        fixed = ((found or {}).get("overhead") or {}).get("podFixed")
        if fixed:
            if amounts(spec.get("overhead")) != amounts(fixed):
                raise _mismatch(attributes)
        elif spec.get("overhead"):
            raise attributes.forbidden(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            )

    @staticmethod
    def _class(attributes: Attributes, spec: Tree) -> Tree | None:
        name = spec.get("runtimeClassName")
        if not name:
            return None
        document = attributes.cache(RuntimeClass).get(Key("", name))
        if document is None:
            raise attributes.forbidden(f'pod rejected: RuntimeClass "{name}" not found')
        return document.tree()


def _mismatch(attributes: Attributes) -> Exception:
    return attributes.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
