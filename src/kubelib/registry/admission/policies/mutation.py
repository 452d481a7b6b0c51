"""A compiled MutatingAdmissionPolicy, and what it makes of a write. This module loads CEL: it is imported on demand."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from kubelib.api.admissionregistration import MutatingAdmissionPolicy
from kubelib.cel import types
from kubelib.cel.base import Budget, BudgetExceeded, CelError, EvaluationError
from kubelib.cel.mutation import OBJECT, PATCH, configuration, message, operations
from kubelib.registry.admission.policies.base import MutationFailed
from kubelib.registry.admission.policies.evaluation import Compiled, Composition, compiled


@attrs.frozen(eq=False)
class MutationEvaluator:
    """A policy, compiled."""

    composition: Composition
    mutations: tuple[tuple[str, str, Compiled], ...]
    """How the value is to be understood, the text, and what it was compiled to."""
    reinvocable: bool

    @classmethod
    def of(cls, policy: MutatingAdmissionPolicy) -> "MutationEvaluator":
        """Compile a policy. What does not compile is an error each time it is asked."""
        spec = policy.spec
        conditions = [one.expression for one in spec.match_conditions]
        composition = Composition.of(
            spec.variables, conditions, has_params=spec.param_kind is not None, messages=message
        )
        scope = composition.scope(messages=message)
        mutations = []
        for one in spec.mutations:
            part = one.json_patch if one.patch_type == "JSONPatch" else one.apply_configuration
            text = part.expression if part is not None else ""
            wanted = types.list_of(PATCH) if one.patch_type == "JSONPatch" else OBJECT
            mutations.append((one.patch_type, text, compiled(scope, text, wanted)))
        return cls(composition, tuple(mutations), spec.reinvocation_policy == "IfNeeded")

    def meant(self, variables: Mapping[str, Any], params: Any) -> bool:
        """Return whether a write meets the match conditions. Raises ConditionFailed."""
        conditions = self.composition.conditions
        return conditions is None or conditions.hold({**variables, "params": params})

    def mutated(
        self,
        at: int,
        variables: Mapping[str, Any],
        params: Any,
        patch: Callable[[str, Any], dict[str, Any]],
    ) -> dict[str, Any]:
        """Return what a mutation makes of the document; `patch` carries out its value. Raises MutationFailed."""
        kind, text, expression = self.mutations[at]
        if expression is None or isinstance(expression, CelError):
            raise MutationFailed(f"compilation error: {expression}")
        budget = Budget()
        try:
            value = expression.evaluate(self.composition.bind(variables, params, budget), budget)
            made: Any = operations(value) if kind == "JSONPatch" else configuration(value)
        except BudgetExceeded:
            raise MutationFailed(
                "validation failed due to running out of cost budget, no further validation rules will be run"
            ) from None
        except EvaluationError as error:
            raise MutationFailed(
                str(error)
                if str(error).startswith("type mismatch")
                else f"expression '{text}' resulted in error: {error}"
            ) from None
        return patch(kind, made)
