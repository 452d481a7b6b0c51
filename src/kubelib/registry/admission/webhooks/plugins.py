"""The plug-ins MutatingAdmissionWebhook and ValidatingAdmissionWebhook.

The rules and messages are those of ``k8s.io/apiserver/pkg/admission/plugin/webhook``.
"""

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from kubelib.api import codec
from kubelib.api.admissionregistration import MutatingWebhookConfiguration, ValidatingWebhookConfiguration
from kubelib.api.errors import ApiError
from kubelib.api.patch import apply_json_patch
from kubelib.api.scheme import Resource, Tree, UnknownKind
from kubelib.clock import new_uid
from kubelib.registry.admission.base import Attributes, Verb
from kubelib.registry.admission.webhooks.base import (
    CallFailed,
    ConditionFailed,
    Hook,
    Invocation,
    denied,
    failed,
    internal,
    no_dry_run,
)
from kubelib.registry.admission.webhooks.configuration import Configuration, Hooks
from kubelib.registry.admission.webhooks.documents import Forms, settle
from kubelib.registry.admission.webhooks.figures import WebhookFigures
from kubelib.registry.admission.webhooks.review import Answer, answer_of, question
from kubelib.registry.webhooks.base import WebhookFailed

if TYPE_CHECKING:
    from kubelib.registry.registries import ResourceRegistries

log = logging.getLogger("kubelib.registry")


class _WebhookPlugin:
    """What both plug-ins share: whom to ask, and how."""

    name: str
    kind: Configuration
    mutating: bool

    def __init__(self) -> None:
        self._hooks: Hooks | None = None
        self.figures = WebhookFigures("admit" if self.mutating else "validating")

    def attach(self, registries: "ResourceRegistries") -> None:
        """Follow the configurations, where the scheme has such."""
        with contextlib.suppress(UnknownKind):
            self._hooks = Hooks(registries, self.kind)

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at what some webhook is configured for."""
        return self._hooks is not None and self._hooks.any_meant(verb, resource, subresource)

    def _meant(self, attributes: Attributes) -> tuple[Invocation, ...]:
        assert self._hooks is not None
        form = attributes.options.requested or attributes.resource
        return self._hooks.meant(attributes.verb, form, attributes.subresource)

    async def _selected(self, invocation: Invocation, attributes: Attributes, forms: Forms) -> bool:
        """Return whether a webhook wants to see this very object. Raises ApiError."""
        hook = invocation.hook
        if not hook.selectors.match(attributes):
            return False
        await forms.prepare(invocation.form)
        if hook.conditions is None:
            return True
        try:
            return hook.conditions.match(attributes, invocation.form, *forms.of(invocation.form))
        except ConditionFailed as error:
            if hook.fails_open:
                log.warning("webhook %s is not asked: %s", hook.name, error)
                return False
            raise attributes.forbidden(str(error)) from None

    async def _ask(self, invocation: Invocation, attributes: Attributes, forms: Forms) -> Answer:
        """Ask a webhook, and count that. Raises CallFailed, ApiError."""
        hook, operation, begun = invocation.hook, attributes.verb.upper(), anyio.current_time()

        def note(code: int, *, rejected: bool, error: str = "") -> None:
            seconds = anyio.current_time() - begun
            self.figures.note(hook.name, operation, seconds, code, rejected=rejected, error=error)

        try:
            answer = await self._answer(invocation, attributes, forms)
        except CallFailed:
            note(0, rejected=not hook.fails_open, error="calling_webhook_error")
            raise
        except ApiError as error:
            note(error.code, rejected=True)
            raise
        note(200, rejected=False)
        return answer

    async def _answer(self, invocation: Invocation, attributes: Attributes, forms: Forms) -> Answer:
        """Ask a webhook and take in what it says beside its decision. Raises CallFailed, ApiError."""
        hook = invocation.hook
        if attributes.dry_run and not hook.pure:
            raise no_dry_run(hook)
        uid = new_uid(attributes.registries.random)
        body = question(invocation, attributes, uid, *forms.of(invocation.form))
        caller = attributes.registries.webhooks
        if caller is None:
            raise CallFailed("failed to call webhook: this API server calls no webhooks")
        remaining = anyio.current_effective_deadline() - anyio.current_time()
        try:
            raw = await caller.call(hook.client, body, timeout=max(0.001, min(hook.timeout, remaining)))
        except WebhookFailed as error:
            raise CallFailed(f"failed to call webhook: {error}") from None
        answer = answer_of(raw, hook.version, uid, mutating=self.mutating)
        for name, value in answer.annotations.items():
            attributes.annotate(f"{hook.name}/{name}", value)
        for warning in answer.warnings:
            attributes.warn(warning)
        if not answer.allowed:
            raise denied(hook, answer.status)
        return answer

    def _tolerate(
        self, hook: Hook, attributes: Attributes, error: CallFailed, round_: int, index: int, kind: str
    ) -> None:
        """Go on without a webhook that may fail; raise what the client hears of another."""
        if not hook.fails_open:
            raise failed(hook, error) from None
        log.warning("failed calling webhook %s, failing open: %s", hook.name, error)
        attributes.annotate(
            f"failed-open.{kind}.webhook.admission.k8s.io/round_{round_}_index_{index}", hook.name
        )


@attrs.define(eq=False)
class _Memory:
    """What the first round of a write leaves for the second."""

    reinvocable: set[str] = attrs.Factory(set)
    """Who wants to be asked again, once others have changed what it has seen."""
    due: set[str] = attrs.Factory(set)
    """Who is asked in the second round."""
    output: Tree | None = None
    """The document as webhooks left it."""

    def changed(self) -> None:
        self.due |= self.reinvocable
        self.reinvocable.clear()


class MutatingAdmissionWebhook(_WebhookPlugin):
    """Asks the webhooks of MutatingWebhookConfigurations, one after the other, each about what the one before has made."""

    name = "MutatingAdmissionWebhook"
    kind = MutatingWebhookConfiguration
    mutating = True

    async def mutate(self, attributes: Attributes) -> None:
        """Let webhooks change the document. Raises ApiError."""
        reinvocation = attributes.reinvocation
        memory: _Memory = reinvocation.memory.setdefault(self.name, _Memory())
        if reinvocation.again and memory.output != attributes.tree:
            memory.changed()
        asked = False
        forms = Forms(attributes)
        for index, invocation in enumerate(self._meant(attributes)):
            hook = invocation.hook
            if reinvocation.again and hook.identity not in memory.due:
                continue
            if not await self._selected(invocation, attributes, forms):
                continue
            asked = True
            if await self._invoke(invocation, attributes, forms, index):
                memory.changed()
                reinvocation.wanted = True
                forms = Forms(attributes)
            if hook.reinvocable:
                memory.reinvocable.add(hook.identity)
        if asked and not reinvocation.again:
            # Whoever comes later in the chain may change it: then it is not what webhooks have agreed to.
            memory.output = codec.copied(attributes.tree)

    async def _invoke(self, invocation: Invocation, attributes: Attributes, forms: Forms, index: int) -> bool:
        """Ask one webhook, and carry out its patch; return whether that has changed the document."""
        hook, round_ = invocation.hook, int(attributes.reinvocation.again)
        changed = False
        try:
            answer = await self._ask(invocation, attributes, forms)
            if answer.patch:
                changed = await self._patch(invocation, attributes, forms, answer.patch)
        except CallFailed as error:
            self._tolerate(hook, attributes, error, round_, index, "mutation")
        finally:
            note = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
            attributes.annotate(
                f"mutation.webhook.admission.k8s.io/round_{round_}_index_{index}",
                codec.encode_json(note).decode(),
            )
        return changed

    @staticmethod
    async def _patch(invocation: Invocation, attributes: Attributes, forms: Forms, patch: list[Any]) -> bool:
        hook, form = invocation.hook, invocation.form
        if attributes.verb not in ("create", "update"):
            raise internal(
                f"admission webhook {hook.quoted} attempted to modify the object, which is not supported for this operation"
            )
        tree, _ = forms.of(form)
        try:
            patched = apply_json_patch(tree, patch)
        except ApiError as error:
            raise internal(error.message) from None
        except RecursionError:
            raise internal("the patched document is nested too deeply") from None
        if _is_still(patched, tree):  # otherwise it is refused as it is
            form, patched = attributes.resource, await forms.back(form, patched)
        return settle(attributes, forms, form, patched)


def _is_still(patched: Any, tree: Tree | None) -> bool:
    """Whether a patch has left alone what makes a document one of its kind."""
    return (
        tree is not None
        and isinstance(patched, dict)
        and isinstance(patched.get("metadata"), dict)
        and all(patched.get(part) == tree[part] for part in ("kind", "apiVersion"))
    )


class ValidatingAdmissionWebhook(_WebhookPlugin):
    """Asks the webhooks of ValidatingWebhookConfigurations, all at once."""

    name = "ValidatingAdmissionWebhook"
    kind = ValidatingWebhookConfiguration
    mutating = False

    async def validate(self, attributes: Attributes) -> None:
        """Let webhooks refuse the document. Raises ApiError."""
        forms = Forms(attributes)
        meant = [i for i in self._meant(attributes) if await self._selected(i, attributes, forms)]
        refusals: dict[int, ApiError] = {}

        async def ask(index: int, invocation: Invocation) -> None:
            try:
                try:
                    await self._ask(invocation, attributes, forms)
                except CallFailed as error:
                    self._tolerate(invocation.hook, attributes, error, 0, index, "validating")
            except ApiError as error:
                refusals[index] = error

        if len(meant) == 1:
            await ask(0, meant[0])
        elif meant:
            async with anyio.create_task_group() as group:
                for index, invocation in enumerate(meant):
                    group.start_soon(ask, index, invocation)
        if refusals:
            raise refusals[min(refusals)]
