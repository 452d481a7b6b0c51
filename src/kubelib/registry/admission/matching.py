"""Which writes a configuration is about: rules, equivalent resources and selectors, as webhooks and policies share them.

The rules are those of ``k8s.io/apiserver/pkg/admission/plugin/webhook/predicates``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from kubelib.api.admissionregistration import RuleWithOperations
from kubelib.api.errors import not_found
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource, Scheme
from kubelib.labels import EVERYTHING, Selector, selector_from_label_selector
from kubelib.registry.admission.base import Attributes, Verb

_EXEMPT = {
    "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
}  # fmt: skip


def is_exempt(resource: Resource) -> bool:
    """Return whether a resource configures admission itself: nothing else may keep an administrator from repairing it."""
    return resource.group == "admissionregistration.k8s.io" and resource.plural in _EXEMPT


def rule_matches(rule: RuleWithOperations, verb: Verb, resource: Resource, subresource: str) -> bool:
    """Return whether a rule is about such writes to a resource; names of objects are not looked at."""
    return (
        _one_of(rule.operations, verb.upper())
        and _one_of(rule.api_groups, resource.group)
        and _one_of(rule.api_versions, resource.version)
        and (rule.scope in ("", "*") or (rule.scope == "Namespaced") == resource.namespaced)
        and any(_names(text, resource.plural, subresource) for text in rule.resources)
    )


def _one_of(wanted: Sequence[str], value: str) -> bool:
    return "*" in wanted or value in wanted


def _names(text: str, plural: str, subresource: str) -> bool:
    name, _, part = text.partition("/")
    return name in ("*", plural) and part in ("*", subresource)


def equivalents(scheme: Scheme, resource: Resource) -> list[Resource]:
    """Return the other forms in which the same objects are served: other versions, another group."""
    return [
        other
        for other in scheme
        if other is not resource
        and (other.plural, other.storage_group) == (resource.plural, resource.storage_group)
    ]


def matched_form(
    rules: Sequence[RuleWithOperations],
    verb: Verb,
    resource: Resource,
    subresource: str,
    *,
    scheme: Scheme | None,
) -> Resource | None:
    """Return the form of a resource that the rules are about, that of the request before others; None for none.

    With a `scheme`, other forms count too: ``matchPolicy: Equivalent``.
    """
    for rule in rules:
        if rule_matches(rule, verb, resource, subresource):
            return resource
    if scheme is not None:
        others = equivalents(scheme, resource)
        for rule in rules:
            for other in others:
                if rule_matches(rule, verb, other, subresource):
                    return other
    return None


@attrs.frozen
class Selectors:
    """Which namespaces and objects a configuration is about."""

    namespaces: Selector = EVERYTHING
    objects: Selector = EVERYTHING

    @classmethod
    def of(cls, namespaces: LabelSelector | None, objects: LabelSelector | None) -> "Selectors":
        """Return what two selectors of a configuration say. Absent ones select everything. Raises ValueError."""
        return cls(
            EVERYTHING if namespaces is None else selector_from_label_selector(namespaces),
            EVERYTHING if objects is None else selector_from_label_selector(objects),
        )

    def match(self, attributes: Attributes) -> bool:
        """Return whether a write is meant. Raises NotFound for a namespace that is not there."""
        return self._match_object(attributes) and self._match_namespace(attributes)

    def _match_object(self, attributes: Attributes) -> bool:
        if self.objects.everything:
            return True
        if attributes.verb == "delete":
            return self.objects.matches(labels_of(attributes.tree))
        return self.objects.matches(labels_of(attributes.tree)) or (
            attributes.old is not None and self.objects.matches(labels_of(attributes.old))
        )

    def _match_namespace(self, attributes: Attributes) -> bool:
        if self.namespaces.everything:
            return True
        labels = namespace_labels(attributes)
        return labels is None or self.namespaces.matches(labels)


def labels_of(tree: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the labels of an object."""
    meta = tree.get("metadata")
    labels = meta.get("labels") if isinstance(meta, dict) else None
    return labels if isinstance(labels, dict) else {}


def namespace_of(attributes: Attributes) -> str:
    """Return the namespace of a write as admission sees it: that of a Namespace is itself."""
    if (attributes.resource.group, attributes.resource.plural) == ("", "namespaces"):
        return attributes.key.name
    return attributes.key.namespace


def namespace_labels(attributes: Attributes) -> Mapping[str, str] | None:
    """Return the labels of a write's namespace, of a Namespace its new ones; None for what is in none. Raises NotFound."""
    namespace = namespace_of(attributes)
    is_namespace = (attributes.resource.group, attributes.resource.plural) == ("", "namespaces")
    if is_namespace and attributes.verb in ("create", "update"):
        return labels_of(attributes.tree)
    if not namespace:
        return None
    document = attributes.registries.namespaces.cache.get(Key("", namespace))
    if document is None:
        if not attributes.registries.check_namespaces:
            return {}
        raise not_found("namespaces", namespace)
    return document.meta.labels
