"""Nobody gives rights that they do not have: rules of roles and of those who bind them are held against the giver's own.

The rules are those of ``pkg/registry/rbac`` and ``validation.Covers`` in Kubernetes: whoever may ``escalate`` a role may write
anything into it, whoever may ``bind`` it may give it away, and all others must hold what they give.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kubelib.api.errors import not_found
from kubelib.api.meta import Key
from kubelib.api.rbac import ClusterRole, Role
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission import Attributes, Verb
from kubelib.registry.admission.ties import only_ties_change
from kubelib.server.authz import MASTERS
from kubelib.server.authz.rbac import RbacAuthorizer, Rule

GROUP = "rbac.authorization.k8s.io"
EVERYTHING: tuple[Rule, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
_ROLES = {"roles", "clusterroles"}
_BINDINGS = {"rolebindings", "clusterrolebindings"}


class EscalationCheck:
    """A plug-in of admission that lets nobody write a role or a binding that gives more than they have."""

    name = "RBACEscalation"

    def __init__(self, authorizer: RbacAuthorizer) -> None:
        self._authorizer = authorizer

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at roles and bindings that are written."""
        return (
            resource.group == GROUP and verb in ("create", "update") and resource.plural in _ROLES | _BINDINGS
        )

    async def validate(self, attributes: Attributes) -> None:
        """Refuse what gives too much."""
        if MASTERS in attributes.user.groups:
            return
        old = attributes.old or {}
        if attributes.old is not None and only_ties_change(old, attributes.tree):
            return
        if attributes.resource.plural in _ROLES:
            if _may(attributes, "escalate", attributes.resource.plural, attributes.key.name):
                return
            self._require_held(attributes, attributes.tree.get("rules") or ())
            if attributes.tree.get("aggregationRule") or old.get("aggregationRule"):
                self._require_everything(attributes)
        else:
            reference = attributes.tree.get("roleRef") or {}
            plural = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
            name = str(reference.get("name") or "")
            if _may(attributes, "bind", plural, name):
                return
            self._require_held(attributes, _role(attributes, plural, name).get("rules") or ())

    def _require_everything(self, attributes: Attributes) -> None:
        """Let only those who may do everything say what a role gathers: that may come to be anything."""
        held = self._authorizer.rules_in(attributes.user, attributes.key.namespace)
        if uncovered(held, EVERYTHING):
            raise attributes.forbidden("must have cluster-admin privileges to use the aggregationRule")

    def _require_held(self, attributes: Attributes, wanted: Sequence[Rule]) -> None:
        user, namespace = attributes.user, attributes.key.namespace
        held = self._authorizer.rules_in(user, namespace)
        missing = uncovered(held, wanted)
        if missing:
            groups = " ".join(f'"{group}"' for group in user.groups)
            shown = "\n".join(sorted({_shown(rule) for rule in _compact(missing)}))
            raise attributes.forbidden(
                f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{shown}'
            )


def _may(attributes: Attributes, verb: str, plural: str, name: str) -> bool:
    return attributes.may(verb, group=GROUP, resource=plural, namespace=attributes.key.namespace, name=name)


def _role(attributes: Attributes, plural: str, name: str) -> Tree:
    kind, namespace = (ClusterRole, "") if plural == "clusterroles" else (Role, attributes.key.namespace)
    document = attributes.cache(kind).get(Key(namespace, name))
    if document is None:
        raise not_found(f"{plural}.{GROUP}", name)
    return document.tree()


def uncovered(held: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """Return the parts of `wanted`, broken down to one verb, group, resource and name each, that no rule held covers."""
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(own, part) for own in held)]


def _compact(parts: Iterable[Rule]) -> Iterator[Rule]:
    """Yield parts of rules with the verbs for the same objects together; those about paths stay as they are."""
    verbs: dict[tuple[str, str, str], list[str]] = {}
    for part in parts:
        if "nonResourceURLs" in part:
            yield part
            continue
        name = (*part.get("resourceNames", ()), "")[0]
        verbs.setdefault((part["apiGroups"][0], part["resources"][0], name), []).append(part["verbs"][0])
    for (group, resource, name), found in verbs.items():
        named = {"resourceNames": [name]} if name else {}
        yield {
            "verbs": list(dict.fromkeys(found)), "apiGroups": [group], "resources": [resource], **named
        }  # fmt: skip


def _parts(rule: Rule) -> Iterator[Rule]:
    for verb in rule.get("verbs") or ():
        for url in rule.get("nonResourceURLs") or ():
            yield {"verbs": [verb], "nonResourceURLs": [url]}
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                part: dict[str, Any] = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                names = rule.get("resourceNames")
                if not names:
                    yield part
                for name in names or ():
                    yield {**part, "resourceNames": [name]}


def _covers(own: Rule, part: Rule) -> bool:
    """Return whether a rule allows all that a part (of one verb, group, resource and name) allows."""
    if not _has(own, "verbs", part["verbs"][0]):
        return False
    if urls := part.get("nonResourceURLs"):
        return any(
            path == urls[0] or (path.endswith("*") and urls[0].startswith(path[:-1]))
            for path in own.get("nonResourceURLs") or ()
        )
    if not _has(own, "apiGroups", part["apiGroups"][0]):
        return False
    resource = part["resources"][0]
    _, slash, subresource = resource.partition("/")
    resources = own.get("resources") or ()
    if not ("*" in resources or resource in resources or (slash and f"*/{subresource}" in resources)):
        return False
    names = own.get("resourceNames")
    return not names or (bool(part.get("resourceNames")) and part["resourceNames"][0] in names)


def _has(rule: Rule, field: str, wanted: str) -> bool:
    values = rule.get(field) or ()
    return "*" in values or wanted in values


def _shown(rule: Mapping[str, Any]) -> str:
    titles = {
        "apiGroups": "APIGroups", "resources": "Resources", "resourceNames": "ResourceNames",
        "nonResourceURLs": "NonResourceURLs", "verbs": "Verbs",
    }  # fmt: skip
    shown = (
        f"{title}:[{' '.join(chr(34) + value + chr(34) for value in rule[part])}]"
        for part, title in titles.items()
        if rule.get(part)
    )
    return "{" + ", ".join(shown) + "}"
