"""The policies that are in force, and an index from writes to those that are meant."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from kubelib.api.admissionregistration import MatchResources, ParamKind, ParamRef
from kubelib.api.document import Document
from kubelib.api.meta import Object
from kubelib.api.scheme import Resource
from kubelib.registry.admission.base import Verb
from kubelib.registry.admission.matching import is_exempt
from kubelib.registry.admission.policies.base import BoundBy, Matching

if TYPE_CHECKING:
    from kubelib.registry.registries import ResourceRegistries

E = TypeVar("E")


@attrs.define(eq=False)
class Policy(Generic[E]):
    """A policy with its bindings; it is compiled when the first write is about it."""

    name: str
    matching: Matching
    params: ParamKind | None
    fails_open: bool
    document: Document
    _compile: Callable[[Document], E]
    bindings: tuple[BoundBy, ...] = ()
    _evaluator: E | None = None

    @property
    def evaluator(self) -> E:
        """The compiled policy."""
        if self._evaluator is None:
            self._evaluator = self._compile(self.document)
        return self._evaluator


class Policies(Generic[E]):
    """The policies of a kind and their bindings, in the order of the policies' names."""

    def __init__(
        self,
        registries: "ResourceRegistries",
        kind: type[Object],
        binding_kind: type[Object],
        compile_policy: Callable[[Document], E],
    ) -> None:
        self._scheme = registries.scheme
        self._kind, self._binding_kind = kind, binding_kind
        self._compile = compile_policy
        self._cache = registries.cache_of(kind)
        self._bindings = registries.cache_of(binding_kind)
        self._forget = registries.admission.forget
        self._known: dict[tuple[str, str], Policy[E]] = {}
        self._policies: tuple[Policy[E], ...] | None = None
        self._index: dict[tuple[Verb, str, str, bool, str], tuple[Policy[E], ...]] = {}
        self._generation: tuple[int, ...] = ()
        self._cache.on_change(self._changed)
        self._bindings.on_change(self._changed)

    def _changed(self) -> None:
        self._policies = None
        self._index.clear()
        self._forget()

    def _all(self) -> tuple[Policy[E], ...]:
        if self._policies is None:
            bindings: dict[str, list[BoundBy]] = {}
            for document in sorted(self._bindings.all(), key=lambda document: document.meta.name):
                spec: Any = document.view(self._binding_kind).spec  # type: ignore[attr-defined]  # bindings have one
                bindings.setdefault(spec.policy_name, []).append(_binding(document.meta.name, spec))
            known: dict[tuple[str, str], Policy[E]] = {}
            for document in sorted(self._cache.all(), key=lambda document: document.meta.name):
                key = (document.meta.uid, document.meta.resource_version)
                policy = self._known.get(key)
                if policy is None:
                    policy = self._policy(document)
                policy.bindings = tuple(bindings.get(policy.name, ()))
                known[key] = policy
            self._known = known
            self._policies = tuple(policy for policy in known.values() if policy.bindings)
        return self._policies

    def _policy(self, document: Document) -> Policy[E]:
        spec: Any = document.view(self._kind).spec  # type: ignore[attr-defined]  # policies have one
        return Policy(
            name=document.meta.name,
            matching=Matching.of(spec.match_constraints or MatchResources()),
            params=spec.param_kind,
            fails_open=spec.failure_policy == "Ignore",
            document=document,
            compile=self._compile,
        )

    def meant(self, verb: Verb, resource: Resource, subresource: str) -> tuple[Policy[E], ...]:
        """Return the policies that are about such writes, whatever the object."""
        if self._scheme.generation != self._generation:
            self._generation = self._scheme.generation
            self._index.clear()
        key = (verb, resource.api_version, resource.plural, resource.namespaced, subresource)
        found = self._index.get(key)
        if found is None:
            found = self._index[key] = tuple(self._match(verb, resource, subresource))
        return found

    def _match(self, verb: Verb, resource: Resource, subresource: str) -> Iterator[Policy[E]]:
        if is_exempt(resource):
            return
        for policy in self._all():
            if policy.matching.form(verb, resource, subresource, self._scheme) is not None:
                yield policy

    def any_meant(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Return whether a write to the resource, in whatever form it is asked for, may mean a policy."""
        forms = [
            other
            for other in self._scheme
            if (other.plural, other.storage_group) == (resource.plural, resource.storage_group)
        ]
        return any(self.meant(verb, form, subresource) for form in forms or [resource])


def _binding(name: str, spec: Any) -> BoundBy:
    match: MatchResources | None = spec.match_resources
    reference: ParamRef | None = spec.param_ref
    return BoundBy(
        name,
        Matching.of(match) if match is not None else None,
        reference,
        getattr(spec, "validation_actions", ()),
    )
