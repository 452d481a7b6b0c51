"""The plug-in MutatingAdmissionPolicy.

The rules and messages are those of ``k8s.io/apiserver/pkg/admission/plugin/policy/mutating``.
"""

import contextlib
from typing import TYPE_CHECKING, Any

import attrs

from kubelib.api.admissionregistration import MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding
from kubelib.api.codec import copied
from kubelib.api.document import Document
from kubelib.api.errors import ApiError
from kubelib.api.patch import apply_json_patch
from kubelib.api.patch.comparing import faults_of
from kubelib.api.patch.shapes import ATOMIC, Shape, field_in
from kubelib.api.patch.values import merge
from kubelib.api.scheme import Resource, Tree, UnknownKind
from kubelib.registry.admission.base import Attributes, Verb
from kubelib.registry.admission.policies.base import (
    CacheParams,
    ConfigurationError,
    MutationFailed,
    PoliciesDenied,
)
from kubelib.registry.admission.policies.configuration import Policies, Policy
from kubelib.registry.admission.webhooks.base import ConditionFailed
from kubelib.registry.admission.webhooks.documents import Forms, settle

if TYPE_CHECKING:
    from kubelib.registry.admission.policies.mutation import MutationEvaluator
    from kubelib.registry.registries import ResourceRegistries

KIND = "MutatingAdmissionPolicy"


def _compile(document: Document) -> "MutationEvaluator":
    # CEL is loaded by the first policy.
    from kubelib.registry.admission.policies.mutation import MutationEvaluator

    return MutationEvaluator.of(document.view(MutatingAdmissionPolicy))


@attrs.define(eq=False)
class _Memory:
    """What the first round of a write leaves for the second."""

    reinvocable: set[str] = attrs.Factory(set)
    due: set[str] = attrs.Factory(set)
    output: Tree | None = None

    def changed(self) -> None:
        """Ask those that want it again: the document is not what they have seen."""
        self.due |= self.reinvocable
        self.reinvocable.clear()


class MutatingAdmissionPolicyPlugin:
    """Changes writes as the MutatingAdmissionPolicies that are bound say."""

    name = KIND

    def __init__(self) -> None:
        self._policies: Policies[MutationEvaluator] | None = None

    def attach(self, registries: "ResourceRegistries") -> None:
        """Follow policies and bindings, where the scheme has such."""
        with contextlib.suppress(UnknownKind):
            self._policies = Policies(
                registries, MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, _compile
            )

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at what some policy is about: documents that are written, so no deletes and connections."""
        return (
            self._policies is not None
            and verb in ("create", "update")
            and self._policies.any_meant(verb, resource, subresource)
        )

    async def mutate(self, attributes: Attributes) -> None:
        """Let the policies change the document. Raises ApiError."""
        assert self._policies is not None
        reinvocation = attributes.reinvocation
        memory: _Memory = reinvocation.memory.setdefault(self.name, _Memory())
        if reinvocation.again and memory.output != attributes.tree:
            memory.changed()
        asked = attributes.options.requested or attributes.resource
        run = _Run(attributes, memory)
        meant = self._policies.meant(attributes.verb, asked, attributes.subresource)
        for policy in meant:
            form = policy.matching.match(attributes)
            if form is not None:
                run.ask(policy, form)
        if meant and not reinvocation.again:
            memory.output = copied(attributes.tree)
        if run.refusals:
            raise PoliciesDenied(attributes, run.refusals)


class _Run:
    """One write on its way through the policies."""

    def __init__(self, attributes: Attributes, memory: _Memory) -> None:
        self._attributes = attributes
        self._memory = memory
        self._params = CacheParams(attributes.registries)
        self.refusals: list[str] = []

    def ask(self, policy: "Policy[MutationEvaluator]", form: Resource) -> None:
        """Carry out a policy's mutations, for each binding and each of its parameters."""
        for binding in policy.bindings:
            params: list[Document | None] = [None]
            try:
                if binding.matching is not None and binding.matching.match(self._attributes) is None:
                    continue
                if policy.params is not None:
                    params = self._params.find(policy.params, binding.params, self._attributes.key.namespace)
            except ConfigurationError as error:
                self._refuse(policy, binding.name, f"failed to configure binding: {error}")
                continue
            for one in params:
                self._invoke(policy, binding.name, form, one)

    def _refuse(self, policy: "Policy[MutationEvaluator]", binding: str, why: str) -> None:
        if not policy.fails_open:
            self.refusals.append(f"policy '{policy.name}' with binding '{binding}' denied request: {why}")

    def _invoke(
        self, policy: "Policy[MutationEvaluator]", binding: str, form: Resource, params: Document | None
    ) -> None:
        from kubelib.registry.admission.expressions import variables_of

        attributes, reinvocation = self._attributes, self._attributes.reinvocation
        identity = f"{policy.name}/{binding}/{params.meta.namespace if params else ''}/{params.meta.name if params else ''}"
        if reinvocation.again and identity not in self._memory.due:
            return
        given = params.tree() if params is not None else None
        changed = False
        evaluator = policy.evaluator
        try:
            variables = variables_of(attributes, form, *Forms(attributes).of(form))
            if not evaluator.meant(variables, given):
                return
            for at in range(len(evaluator.mutations)):
                forms = Forms(attributes)
                tree, old = forms.of(form)
                if tree is None:
                    return
                variables = variables_of(attributes, form, tree, old)
                try:
                    patched = evaluator.mutated(
                        at, variables, given, lambda kind, value: _patched(attributes, form, kind, value)
                    )
                except MutationFailed as error:
                    self._refuse(policy, binding, str(error))
                    continue
                changed = settle(attributes, forms, form, patched) or changed
        except ConditionFailed as error:
            self._refuse(policy, binding, str(error))
            return
        if changed:
            self._memory.changed()
            reinvocation.wanted = True
        if evaluator.reinvocable:
            self._memory.reinvocable.add(identity)


def _patched(attributes: Attributes, form: Resource, kind: str, value: Any) -> Tree:
    """Return the document with a mutation carried out. Raises MutationFailed."""
    tree, _ = Forms(attributes).of(form)
    assert tree is not None
    if kind == "JSONPatch":
        try:
            patched: Tree = apply_json_patch(tree, value)
        except (ApiError, RecursionError) as error:
            why = (
                error.message if isinstance(error, ApiError) else "the patched document is nested too deeply"
            )
            raise MutationFailed(f"JSON Patch: {why}") from None
        return patched
    shape = attributes.registries.of(form).shape
    atomic = list(_atomic_parts(value, shape, ""))
    if atomic:
        raise MutationFailed(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
            + ", ".join(atomic)
        )
    # Kind and version say what it is, and belong to no kind's fields.
    fields = {name: part for name, part in value.items() if name not in ("kind", "apiVersion")}
    if faults := list(faults_of(fields, shape)):
        text = faults[0] if len(faults) == 1 else "\n  ".join(["errors:", *faults])
        raise MutationFailed(f"error applying patch: failed to convert patch object to typed object: {text}")
    merged: Tree = merge(copied(tree), value, shape)
    return merged


def _atomic_parts(value: Any, shape: Shape, path: str) -> "list[str]":
    if isinstance(value, dict):
        if shape.kind == "atomic":
            return [path]
        return [
            part
            for key, inner in value.items()
            for part in _atomic_parts(inner, field_in(shape, key), f"{path}.{key}")
        ]
    if isinstance(value, list):
        if shape.kind not in ("keyed", "set"):
            return [path]
        inner_shape = shape.item or ATOMIC
        return [
            part
            for at, inner in enumerate(value)
            if isinstance(inner, dict)
            for part in _atomic_parts(inner, inner_shape, f"{path}[{at}]")
        ]
    return []
