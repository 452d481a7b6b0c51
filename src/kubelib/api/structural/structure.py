"""One version's schema, and what follows from it."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from kubelib.api.errors import Problem
from kubelib.api.patch.shapes import Shape
from kubelib.api.scheme import Tree
from kubelib.api.structural.embedded import embedded_check, embedded_types
from kubelib.api.structural.listtypes import Check, list_check
from kubelib.api.structural.matching import matcher
from kubelib.api.structural.merging import root_shape
from kubelib.api.structural.normalizing import Normalize, normalizer
from kubelib.api.structural.rules import rules_of
from kubelib.api.structural.scales import ScalePaths, scale_problems
from kubelib.api.structural.validating import NOWHERE, Validator

if TYPE_CHECKING:
    from kubelib.cel.schema_rules import Rules

_BLOCKING = ("FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
_UNCHECKED = Problem(
    "FieldValueInvalid",
    NOWHERE,
    'Invalid value: "null": some validation rules were not checked because the object was invalid; correct the existing errors'
    " to complete validation",
)


@attrs.frozen(eq=False, slots=False)
class Structure:
    """How documents of one version of a custom kind are made whole, checked and merged. Compiled when first needed."""

    schema: Tree
    """The schema as its definition has it."""
    preserve: bool = False
    """Whether unknown fields are kept everywhere, as definitions from times before schemas may say."""
    scale: ScalePaths | None = None
    """Where the numbers of the scale subresource are; None if there is none."""

    @functools.cached_property
    def normalize(self) -> Normalize:
        """What drops unknown fields and nulls, and fills in defaults."""
        return normalizer(self.schema, preserve=self.preserve)

    @functools.cached_property
    def _validator(self) -> Validator:
        return Validator(self.schema)

    @functools.cached_property
    def _matches(self) -> Callable[[Tree], bool] | None:
        return None if self.preserve else matcher(self.schema)

    @functools.cached_property
    def _list_check(self) -> Check | None:
        return list_check(self.schema)

    @functools.cached_property
    def _embedded(self) -> Check | None:
        return embedded_check(self.schema, root=True)

    @functools.cached_property
    def _embedded_types(self) -> Check | None:
        return embedded_types(self.schema, root=True)

    @functools.cached_property
    def _rules(self) -> "Rules | None":
        return rules_of(self.schema)

    @functools.cached_property
    def shape(self) -> Shape:
        """How documents merge."""
        return root_shape(self.schema)

    def has_default(self, name: str) -> bool:
        """Return whether a part of the document is filled in where it is missing."""
        return (self.schema.get("properties") or {}).get(name, {}).get("default") is not None

    def unreadable(self, tree: Tree) -> Problem | None:
        """Return why an object within a document cannot be read as one, whatever the schema says."""
        problems: list[Problem] = []
        if self._embedded_types is not None:
            self._embedded_types(tree, "", problems)
        return problems[0] if problems else None

    def problems(self, tree: Tree) -> list[Problem]:
        """Return what is wrong with a new document."""
        problems: list[Problem] = []
        if self._matches is None or not self._matches(tree):
            self._validator(tree, "", problems)
        if self.scale is not None:
            problems += scale_problems(tree, self.scale)
        if self._list_check is not None:
            self._list_check(tree, "", problems)
        if self._embedded is not None:
            self._embedded(tree, "", problems)
        return problems if self._rules is None else problems + self._broken(tree, None, problems)

    def update_problems(self, tree: Tree, old: Tree) -> list[Problem]:
        """Return what is wrong with a change; what was wrong already and has not changed is tolerated."""
        problems: list[Problem] = []
        if self._matches is None or not self._matches(tree):
            self._validator(tree, "", problems)
            if problems:
                problems = []
                self._validator.update(tree, old, "", problems)
        if self.scale is not None and (wrong := scale_problems(tree, self.scale)):
            before = scale_problems(old, self.scale)
            problems += [problem for problem in wrong if problem not in before]
        if self._list_check is not None:
            twice: list[Problem] = []
            self._list_check(tree, "", twice)
            if twice:
                twice_before: list[Problem] = []
                self._list_check(old, "", twice_before)
                problems += () if twice_before else twice
        if self._embedded is not None:
            self._embedded(tree, "", problems)
        return problems if self._rules is None else problems + self._broken(tree, old, problems)

    def _broken(self, tree: Tree, old: Tree | None, found: list[Problem]) -> list[Problem]:
        """Return which rules in CEL a document breaks; they are asked of what is sound otherwise."""
        assert self._rules is not None
        if any(problem.type in _BLOCKING for problem in found):
            return [_UNCHECKED]
        return [
            Problem(violation.reason, violation.path or NOWHERE, violation.message)
            for violation in self._rules.validate(tree, old)
            if not violation.unchanged
        ]
