"""Admission: what else must be so for a write to be accepted, beyond the rules of its kind.

A plug-in is an object with a name and a `handles`, and one, two or all three of the steps: `SupportsMutation` changes the document,
`SupportsValidation` refuses it once all have changed what they wanted, `SupportsReservation` adds to the commit itself what must
hold together with the write. The rules are those of ``k8s.io/apiserver/pkg/admission``; third parties pass their own plug-ins to
`kubelib.registry.ResourceRegistries` beside `kubelib.registry.admission.default_admission`.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

import attrs

from kubelib.api.document import Document
from kubelib.api.errors import Forbidden, Problem
from kubelib.api.meta import Key, Object
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.base import User, WriteOptions
from kubelib.store import Operation

if TYPE_CHECKING:
    from kubelib.registry.cache import ResourceCache
    from kubelib.registry.registries import ResourceRegistries

R = TypeVar("R", bound=Object)
Verb = Literal["create", "update", "delete", "connect"]
"""What is done to the object: a patch is an update, or a create when it makes the object."""
Operations = list[Operation]


@attrs.frozen(kw_only=True, eq=False)
class Attributes:
    """A write on its way to the store."""

    verb: Verb
    resource: Resource
    subresource: str = ""
    key: Key
    tree: Tree
    """The new document, defaults filled in; `SupportsMutation.mutate` may change it in place. For a delete, what is deleted."""
    old: Tree | None = None
    """What is stored now; None for a create."""
    options: WriteOptions
    registries: "ResourceRegistries"
    """All other objects, for plug-ins that look at some."""
    managed: list[Tree] = attrs.Factory(list)
    """Who manages which fields of the new document, which does not contain it; the list may be changed in place."""
    managed_before: Sequence[Tree] = ()
    """The same of what is stored now."""
    given: Tree = attrs.Factory(dict)
    """For a delete, what its options say: ``gracePeriodSeconds``, ``propagationPolicy``."""
    reinvocation: "Reinvocation" = attrs.Factory(lambda: Reinvocation())
    """Whether the plug-ins that change documents are asked once more."""

    @property
    def user(self) -> User:
        """Who asks."""
        return self.options.user

    @property
    def dry_run(self) -> bool:
        """Whether nothing will be stored: side effects are forbidden."""
        return self.options.dry_run

    def cache(self, kind: type[Object]) -> "ResourceCache":
        """Return the stored objects of another kind."""
        return self.registries.cache_of(kind)

    def warn(self, message: str) -> None:
        """Tell the client something that does not stop the write: a ``Warning`` header."""
        if self.options.warn is not None:
            self.options.warn(message)

    def annotate(self, name: str, value: str) -> None:
        """Add to the audit event of the request."""
        if self.options.annotate is not None:
            self.options.annotate(name, value)

    def may(
        self,
        verb: str,
        *,
        group: str,
        resource: str,
        subresource: str = "",
        namespace: str = "",
        name: str = "",
    ) -> bool:
        """Return whether the user may do something else as well; without an authorizer everybody may everything."""
        allows = self.registries.allows
        return allows is None or allows(self.user, verb, group, resource, subresource, namespace, name)

    def forbidden(self, why: str, *, causes: tuple[Problem, ...] = ()) -> Forbidden:
        """Return Kubernetes' refusal by an admission plug-in: ``pods "x" is forbidden: why``."""
        name = self.key.name or (self.tree.get("metadata") or {}).get("generateName") or "Unknown"
        resource = self.resource
        return Forbidden(
            f'{resource.group_resource} "{name}" is forbidden: {why}',
            group=resource.group,
            kind=resource.plural,
            name=name,
            causes=causes,
        )


@attrs.define(eq=False)
class Reinvocation:
    """Plug-ins that let others decide may change what earlier plug-ins have looked at: these are then asked once more."""

    wanted: bool = False
    """Set by a plug-in that has changed the document after others had seen it."""
    again: bool = False
    """Whether this is the second round."""
    memory: dict[str, Any] = attrs.Factory(dict)
    """What plug-ins keep from the first round for the second, by their names."""


class Admission(Protocol):
    """One plug-in of admission; see the module for the steps that it may have."""

    @property
    def name(self) -> str:
        """The plug-in's name, as in ``--enable-admission-plugins``."""
        ...

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Return whether the plug-in wants to see such writes.

        The answer is remembered, so that writes which nobody wants to see cost nothing; a plug-in whose answer changes calls
        `kubelib.registry.admission.AdmissionChain.forget`.
        """
        ...


@runtime_checkable
class SupportsAttachment(Protocol):
    """A plug-in that follows objects of the API server, such as its own configuration, from the start."""

    def attach(self, registries: "ResourceRegistries") -> None:
        """Begin to follow; called once, when the registries are opened and their caches can be asked."""
        ...


@runtime_checkable
class SupportsMutation(Protocol):
    """A plug-in that changes documents."""

    async def mutate(self, attributes: Attributes) -> None:
        """Change the document in place, or refuse it by raising an `kubelib.api.errors.ApiError`.

        It may be called again for the same write, with what the other plug-ins have made of the document.
        """
        ...


@runtime_checkable
class SupportsValidation(Protocol):
    """A plug-in that refuses documents."""

    async def validate(self, attributes: Attributes) -> None:
        """Refuse the document by raising an `kubelib.api.errors.ApiError`; it is no longer changed."""
        ...


@runtime_checkable
class SupportsBinding(Protocol):
    """A plug-in that gives Pods what comes with their node, however they are bound: by a Binding or in a transaction."""

    def bound(self, pod: Tree, node: Document) -> None:
        """Change the document of a Pod that is about to be bound to a node, in place. Called for each, in no time."""
        ...


@runtime_checkable
class SupportsReservation(Protocol):
    """A plug-in that keeps account of what is stored, in the same commit as the write."""

    def reserve(self, attributes: Attributes) -> AbstractAsyncContextManager[Operations] | None:
        """Return a context that is held while the write is committed, and what must be committed with it; None for nothing.

        When one of the operations finds another revision than it expects, everything is given up and `reserve` is called again.
        Entering raises an `kubelib.api.errors.ApiError` to refuse the write. Nothing is committed for a dry run.
        """
        ...
