"""Admission: what else must be so for a write to be accepted, beyond the rules of its kind.

Third parties add their own: an `Admission` sees every write after defaults are filled in, may change the document, and
after all have done so may refuse it.
"""

from typing import Protocol

import attrs

from kubelib.api.meta import Key
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.base import WriteOptions


@attrs.frozen(kw_only=True)
class Attributes:
    """A write on its way to the store."""

    verb: str
    """``create``, ``update`` or ``delete``."""
    resource: Resource
    subresource: str = ""
    key: Key
    tree: Tree
    """The new document, which `Admission.mutate` may change in place."""
    old: Tree | None = None
    options: WriteOptions


class Admission(Protocol):
    """One rule of admission."""

    name: str

    async def mutate(self, attributes: Attributes) -> None:
        """Change the document in place, or refuse it by raising `kubelib.api.errors.Forbidden`."""
        ...

    async def validate(self, attributes: Attributes) -> None:
        """Refuse the document by raising; see also `mutate`."""
        ...


class DefaultTolerationSeconds:
    """Lets Pods stay for a while on a node that is not ready or not reachable."""

    name = "DefaultTolerationSeconds"

    def __init__(self, seconds: int = 300) -> None:
        self._seconds = seconds

    async def mutate(self, attributes: Attributes) -> None:
        """Add the two tolerations to a new Pod that has none of the kind."""
        if attributes.resource.kind != "Pod" or attributes.verb != "create" or attributes.subresource:
            return
        tolerations = attributes.tree["spec"].setdefault("tolerations", [])
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

    async def validate(self, attributes: Attributes) -> None:
        """Refuse nothing."""


class DefaultServiceAccount:
    """Gives Pods that name no service account the one called ``default``."""

    name = "ServiceAccount"

    async def mutate(self, attributes: Attributes) -> None:
        """Set the name."""
        if attributes.resource.kind == "Pod" and attributes.verb == "create" and not attributes.subresource:
            spec = attributes.tree["spec"]
            if not spec.get("serviceAccountName"):
                spec["serviceAccountName"] = spec["serviceAccount"] = "default"

    async def validate(self, attributes: Attributes) -> None:
        """Refuse nothing."""


def default_admission() -> tuple[Admission, ...]:
    """Return the rules that an API server has when nothing else is said."""
    return (DefaultServiceAccount(), DefaultTolerationSeconds())
