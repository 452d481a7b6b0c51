"""The webhooks that are configured, and an index from writes to those that are meant."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kubelib.api.admissionregistration import (
    MutatingWebhook,
    MutatingWebhookConfiguration,
    ValidatingWebhook,
    ValidatingWebhookConfiguration,
)
from kubelib.api.document import Document
from kubelib.api.scheme import Resource
from kubelib.registry.admission.base import Verb
from kubelib.registry.admission.matching import Selectors, is_exempt, matched_form
from kubelib.registry.admission.webhooks.base import Hook, Invocation
from kubelib.registry.admission.webhooks.conditions import conditions_of

if TYPE_CHECKING:
    from kubelib.registry.registries import ResourceRegistries

Configuration = type[MutatingWebhookConfiguration] | type[ValidatingWebhookConfiguration]
DEFAULT_TIMEOUT = 10
_VERSIONS = ("v1", "v1beta1")


class Hooks:
    """The webhooks of all configurations of a kind, in the order of the configurations' names."""

    def __init__(self, registries: "ResourceRegistries", kind: Configuration) -> None:
        self._scheme = registries.scheme
        self._kind = kind
        self._cache = registries.cache_of(kind)
        self._forget = registries.admission.forget
        self._hooks: tuple[Hook, ...] | None = None
        self._read: dict[str, tuple[str, tuple[Hook, ...]]] = {}
        self._index: dict[tuple[Verb, str, str, bool, str], tuple[Invocation, ...]] = {}
        self._kinds: object = None
        self._cache.on_change(self._changed)

    def _changed(self) -> None:
        self._hooks = None
        self._index.clear()
        self._forget()

    def _all(self) -> tuple[Hook, ...]:
        if self._hooks is None:
            read: dict[str, tuple[str, tuple[Hook, ...]]] = {}
            for document in sorted(self._cache.all(), key=lambda document: document.meta.name):
                known = self._read.get(document.meta.uid)
                if known is None or known[0] != document.meta.resource_version:
                    known = (document.meta.resource_version, tuple(self._hooks_of(document)))
                read[document.meta.uid] = known
            self._read = read
            self._hooks = tuple(hook for _, hooks in read.values() for hook in hooks)
        return self._hooks

    def _hooks_of(self, document: Document) -> Iterator[Hook]:
        webhooks: Sequence[MutatingWebhook | ValidatingWebhook] = document.view(self._kind).webhooks
        trees = document.tree().get("webhooks") or ()
        for position, (webhook, tree) in enumerate(zip(webhooks, trees, strict=True)):
            known = [version for version in webhook.admission_review_versions if version in _VERSIONS]
            yield Hook(
                configuration=document.meta.name,
                name=webhook.name,
                position=position,
                client=tree.get("clientConfig") or {},
                rules=webhook.rules,
                equivalent=webhook.match_policy != "Exact",
                selectors=Selectors.of(webhook.namespace_selector, webhook.object_selector),
                conditions=conditions_of(webhook.match_conditions),
                fails_open=webhook.failure_policy == "Ignore",
                timeout=float(webhook.timeout_seconds or DEFAULT_TIMEOUT),
                pure=webhook.side_effects in ("None", "NoneOnDryRun"),
                version=known[0] if known else "v1",
                reinvocable=isinstance(webhook, MutatingWebhook)
                and webhook.reinvocation_policy == "IfNeeded",
            )

    def meant(self, verb: Verb, resource: Resource, subresource: str) -> tuple[Invocation, ...]:
        """Return the webhooks that are about such writes, whatever the object, each with the form that it wants."""
        if self._scheme.generation != self._kinds:
            self._kinds = self._scheme.generation
            self._index.clear()
        key = (verb, resource.api_version, resource.plural, resource.namespaced, subresource)
        found = self._index.get(key)
        if found is None:
            found = self._index[key] = tuple(self._match(verb, resource, subresource))
        return found

    def _match(self, verb: Verb, resource: Resource, subresource: str) -> Iterator[Invocation]:
        if is_exempt(resource):
            return
        for hook in self._all():
            scheme = self._scheme if hook.equivalent else None
            form = matched_form(hook.rules, verb, resource, subresource, scheme=scheme)
            if form is not None:
                yield Invocation(hook, form)

    def any_meant(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Return whether a write to the resource, in whatever form it is asked for, may mean a webhook."""
        forms = [
            other
            for other in self._scheme
            if (other.plural, other.storage_group) == (resource.plural, resource.storage_group)
        ]
        return any(self.meant(verb, form, subresource) for form in forms or [resource])
