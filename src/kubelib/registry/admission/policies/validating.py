"""The plug-in ValidatingAdmissionPolicy.

The rules and messages are those of ``k8s.io/apiserver/pkg/admission/plugin/policy/validating``.
"""

import contextlib
import json
from typing import TYPE_CHECKING, Any

from kubelib.api.admissionregistration import ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding
from kubelib.api.document import Document
from kubelib.api.scheme import Resource, UnknownKind
from kubelib.registry.admission.base import Attributes, Verb
from kubelib.registry.admission.policies.base import BoundBy, CacheParams, ConfigurationError, PolicyDenied
from kubelib.registry.admission.policies.configuration import Policies, Policy
from kubelib.registry.admission.webhooks.base import ConditionFailed
from kubelib.registry.admission.webhooks.documents import Forms

if TYPE_CHECKING:
    from kubelib.registry.admission.policies.evaluation import Decision, PolicyEvaluator, Verdict
    from kubelib.registry.registries import ResourceRegistries

LONGEST_ANNOTATION = 10 * 1024
KIND = "ValidatingAdmissionPolicy"


def _compile(document: Document) -> "PolicyEvaluator":
    # CEL is loaded by the first policy.
    from kubelib.registry.admission.policies.evaluation import PolicyEvaluator

    return PolicyEvaluator.of(document.view(ValidatingAdmissionPolicy))


class ValidatingAdmissionPolicyPlugin:
    """Refuses, warns of, or notes writes that break the ValidatingAdmissionPolicies that are bound."""

    name = KIND

    def __init__(self) -> None:
        self._policies: Policies[PolicyEvaluator] | None = None

    def attach(self, registries: "ResourceRegistries") -> None:
        """Follow policies and bindings, where the scheme has such."""
        with contextlib.suppress(UnknownKind):
            self._policies = Policies(
                registries, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, _compile
            )

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at what some policy is about."""
        return self._policies is not None and self._policies.any_meant(verb, resource, subresource)

    async def validate(self, attributes: Attributes) -> None:
        """Ask the policies. Raises ApiError."""
        assert self._policies is not None
        asked = attributes.options.requested or attributes.resource
        run = _Run(attributes)
        for policy in self._policies.meant(attributes.verb, asked, attributes.subresource):
            form = policy.matching.match(attributes)
            if form is not None:
                await run.prepare(form)
                run.ask(policy, form)
        if run.denied is not None:
            raise run.denied


class _Run:
    """One write on its way through the policies."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self._forms = Forms(attributes)
        self._params = CacheParams(attributes.registries)
        self._variables: dict[str, dict[str, Any]] = {}
        self.denied: PolicyDenied | None = None
        """The first refusal: all policies are asked, since others may warn."""

    async def prepare(self, form: Resource) -> None:
        """Convert the documents into the form that a policy is about."""
        await self._forms.prepare(form)

    def ask(self, policy: "Policy[PolicyEvaluator]", form: Resource) -> None:
        """Ask a policy by each of its bindings."""
        notes: dict[str, list[str]] = {}
        for binding in policy.bindings:
            try:
                if binding.matching is not None and binding.matching.match(self._attributes) is None:
                    continue
                params = self._found(policy, binding)
            except ConfigurationError as error:
                if not policy.fails_open:
                    self._deny(policy, binding, f"failed to configure binding: {error}")
                continue
            for one in params:
                verdict = self._judged(policy, form, one)
                for decision in verdict.decisions:
                    self._act(policy, binding, decision)
                for note in verdict.notes:
                    if note.error:
                        if not policy.fails_open:
                            self._deny(policy, binding, note.error)
                    elif note.value not in notes.setdefault(note.key, []):
                        notes[note.key].append(note.value[:LONGEST_ANNOTATION])
        for key, values in notes.items():
            self._attributes.annotate(f"{policy.name}/{key}", ", ".join(values))

    def _found(self, policy: "Policy[PolicyEvaluator]", binding: BoundBy) -> list[Document | None]:
        if policy.params is None:
            return [None]
        return self._params.find(policy.params, binding.params, self._attributes.key.namespace)

    def _judged(
        self, policy: "Policy[PolicyEvaluator]", form: Resource, params: Document | None
    ) -> "Verdict":
        from kubelib.registry.admission.expressions import variables_of
        from kubelib.registry.admission.policies.evaluation import Decision, Verdict

        variables = self._variables.get(form.api_version)
        if variables is None:
            variables = variables_of(self._attributes, form, *self._forms.of(form))
            self._variables[form.api_version] = variables
        try:
            return policy.evaluator.judge(variables, params.tree() if params is not None else None)
        except ConditionFailed as error:
            return Verdict((Decision(denied=True, message=str(error), reason="error"),))

    def _act(self, policy: "Policy[PolicyEvaluator]", binding: BoundBy, decision: "Decision") -> None:
        failed = decision.reason == "error"
        if failed and policy.fails_open:
            return
        for action in binding.actions:
            match action:
                case "Deny":
                    self._deny(policy, binding, decision.message, "" if failed else decision.reason)
                case "Warn":
                    self._attributes.warn(
                        f"Validation failed for {KIND} '{policy.name}' with binding '{binding.name}': {decision.message}"
                    )
                case "Audit":
                    self._note(policy, binding, decision)

    def _deny(
        self, policy: "Policy[PolicyEvaluator]", binding: BoundBy, message: str, reason: str = ""
    ) -> None:
        if self.denied is None:
            self.denied = PolicyDenied(self._attributes, KIND, policy.name, binding.name, message, reason)

    def _note(self, policy: "Policy[PolicyEvaluator]", binding: BoundBy, decision: "Decision") -> None:
        failure = {
            "message": decision.message,
            "policy": policy.name,
            "binding": binding.name,
            "expressionIndex": decision.expression,
            "validationActions": list(binding.actions),
        }
        text = json.dumps([failure], separators=(",", ":"))
        self._attributes.annotate("validation.policy.admission.k8s.io/validation_failure", text)
