"""What a policy is to admission: a policy object and the bindings that put it in force, made ready to be asked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from kubelib.api.admissionregistration import MatchResources, NamedRuleWithOperations, ParamKind, ParamRef
from kubelib.api.document import Document
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource, Scheme, UnknownKind
from kubelib.labels import selector_from_label_selector
from kubelib.registry.admission.base import Attributes, Verb
from kubelib.registry.admission.matching import Selectors, matched_form

if TYPE_CHECKING:
    from kubelib.registry.registries import ResourceRegistries


@attrs.frozen(eq=False)
class Matching:
    """Which writes a policy or a binding is about: its ``matchConstraints`` or ``matchResources``."""

    rules: tuple[NamedRuleWithOperations, ...]
    excluded: tuple[NamedRuleWithOperations, ...]
    equivalent: bool
    selectors: Selectors

    @classmethod
    def of(cls, match: MatchResources) -> "Matching":
        """Return what an object says. Raises ValueError."""
        return cls(
            match.resource_rules,
            match.exclude_resource_rules,
            match.match_policy != "Exact",
            Selectors.of(match.namespace_selector, match.object_selector),
        )

    def form(self, verb: Verb, resource: Resource, subresource: str, scheme: Scheme) -> Resource | None:
        """Return the form of a resource that the rules are about, whatever the object; None for none."""
        others = scheme if self.equivalent else None
        return matched_form(self.rules, verb, resource, subresource, scheme=others)

    def match(self, attributes: Attributes) -> Resource | None:
        """Return the form in which a write is meant; None when it is not. Raises NotFound for a namespace that is not there."""
        asked = attributes.options.requested or attributes.resource
        scheme = attributes.registries.scheme if self.equivalent else None
        if not self.selectors.match(attributes):
            return None
        if self._form(self.excluded, attributes, asked, scheme) is not None:
            return None
        return asked if not self.rules else self._form(self.rules, attributes, asked, scheme)

    @staticmethod
    def _form(
        rules: Sequence[NamedRuleWithOperations],
        attributes: Attributes,
        asked: Resource,
        scheme: Scheme | None,
    ) -> Resource | None:
        name = attributes.key.name
        named = [rule for rule in rules if not rule.resource_names or name in rule.resource_names]
        if not named:
            return None
        return matched_form(named, attributes.verb, asked, attributes.subresource, scheme=scheme)


@attrs.frozen(eq=False)
class BoundBy:
    """A binding of a policy."""

    name: str
    matching: Matching | None
    """None for all that the policy itself is about."""
    params: ParamRef | None
    actions: tuple[str, ...] = ()


class ConfigurationError(Exception):
    """A policy, or a binding, cannot be put to use as it is; the failure policy says what that means."""


REASON_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}


class MutationFailed(Exception):
    """A mutation cannot be worked out, or carried out; the failure policy says what that means."""


class PolicyDenied(ApiError):
    """A policy has refused the write."""

    def __init__(
        self, attributes: Attributes, kind: str, policy: str, binding: str, message: str, reason: str
    ) -> None:
        by = f"{kind} '{policy}'" + (f" with binding '{binding}'" if binding else "")
        why = f"{by} denied request: {message}"
        refusal = attributes.forbidden(why)
        super().__init__(refusal.message, group=refusal.group, kind=refusal.kind, name=refusal.name)
        self.why = why
        self.reason = reason or "Invalid"  # type: ignore[misc]
        self.code = REASON_CODES.get(self.reason, 422)  # type: ignore[misc]

    def status(self) -> dict[str, object]:
        """Return the ``Status`` document, with the policy's words as its cause."""
        status = super().status()
        status.setdefault("details", {})["causes"] = [{"message": self.why}]
        return status


class PoliciesDenied(ApiError):
    """Policies that change objects could not do what they are for, and do not let it go."""

    code = 422
    reason = "Invalid"

    def __init__(self, attributes: Attributes, whys: Sequence[str]) -> None:
        refusal = attributes.forbidden("admission request denied by policy")
        super().__init__(refusal.message, group=refusal.group, kind=refusal.kind, name=refusal.name)
        self.whys = tuple(whys)

    def status(self) -> dict[str, object]:
        """Return the ``Status`` document, with the words of each policy as causes."""
        status = super().status()
        status.setdefault("details", {})["causes"] = [{"message": why} for why in self.whys]
        return status


@attrs.frozen
class CacheParams:
    """Parameters out of the caches of an API server."""

    registries: "ResourceRegistries"

    def find(self, kind: ParamKind, reference: ParamRef | None, namespace: str) -> list[Document | None]:
        """Return the parameters; one None where the binding gives none. Raises ConfigurationError."""
        try:
            resource = self.registries.scheme.kind(kind.api_version, kind.kind)
        except UnknownKind:
            shown = f"{kind.api_version}, Kind={kind.kind}"
            raise ConfigurationError(f"failed to find resource referenced by paramKind: '{shown}'") from None
        if reference is None:
            return [None]
        within = ""
        if resource.namespaced:
            within = reference.namespace or namespace
            if not within:
                raise ConfigurationError(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        elif reference.namespace:
            raise ConfigurationError(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
            )
        cache = self.registries.of(resource).cache
        found: list[Document | None] = []
        if reference.name:
            document = cache.get(Key(within, reference.name))
            found = [document] if document is not None else []
        elif reference.selector is not None:
            selector = selector_from_label_selector(reference.selector)
            there = cache.within(within) if within else cache.all()
            found = [
                one
                for one in sorted(there, key=lambda one: one.meta.name)
                if selector.matches(one.meta.labels)
            ]
        if not found and reference.parameter_not_found_action == "Deny":
            raise ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return found
