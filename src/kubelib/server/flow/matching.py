"""Which flow schema a request belongs to: subjects and rules of ``FlowSchema``, held against user and request."""

from collections.abc import Iterable, Sequence

import attrs

from kubelib.api.flowcontrol import (
    FlowSchema,
    NonResourcePolicyRule,
    PolicyRulesWithSubjects,
    ResourcePolicyRule,
    Subject,
)
from kubelib.registry.base import User
from kubelib.server.requestinfo import RequestInfo

ACCOUNT = "system:serviceaccount:"


@attrs.frozen(eq=False)
class Schema:
    """A flow schema as it is used."""

    name: str
    uid: str
    precedence: int
    level: str
    method: str
    """What tells flows apart: ``ByUser``, ``ByNamespace`` or nothing."""
    rules: tuple[PolicyRulesWithSubjects, ...]

    def matches(self, user: User, info: RequestInfo) -> bool:
        """Return whether a request belongs here."""
        return any(
            any(_is_subject(subject, user) for subject in rule.subjects)
            and (
                any(_resource(r, info) for r in rule.resource_rules)
                if info.resource
                else any(_path(r, info) for r in rule.non_resource_rules)
            )
            for rule in self.rules
        )

    def flow(self, user: User, info: RequestInfo) -> str:
        """Return what tells this request's flow from others of the schema."""
        match self.method:
            case "ByUser":
                return user.name
            case "ByNamespace":
                return info.namespace
        return ""


def schema_of(schema: FlowSchema) -> Schema:
    """Return a flow schema as it is used."""
    spec = schema.spec
    return Schema(
        schema.metadata.name,
        schema.metadata.uid,
        spec.matching_precedence,
        spec.priority_level_configuration.name,
        spec.distinguisher_method.type if spec.distinguisher_method is not None else "",
        spec.rules,
    )


def in_order(schemas: Iterable[Schema]) -> tuple[Schema, ...]:
    """Return schemas in the order in which they are asked."""
    return tuple(sorted(schemas, key=lambda schema: (schema.precedence, schema.name)))


def _is_subject(subject: Subject, user: User) -> bool:
    if subject.user is not None:
        return subject.user.name in ("*", user.name)
    if subject.group is not None:
        return subject.group.name == "*" or subject.group.name in user.groups
    account = subject.service_account
    if account is None or not user.name.startswith(ACCOUNT):
        return False
    namespace, _, name = user.name.removeprefix(ACCOUNT).partition(":")
    return namespace == account.namespace and account.name in ("*", name)


def _has(values: Sequence[str], wanted: str) -> bool:
    return "*" in values or wanted in values


def _resource(rule: ResourcePolicyRule, info: RequestInfo) -> bool:
    if not _has(rule.verbs, info.verb) or not _has(rule.api_groups, info.group):
        return False
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not _has(rule.resources, resource):
        return False
    if not info.namespace:
        return rule.cluster_scope
    return _has(rule.namespaces, info.namespace)


def _path(rule: NonResourcePolicyRule, info: RequestInfo) -> bool:
    if not _has(rule.verbs, info.verb):
        return False
    return any(
        url in ("*", info.path) or (url.endswith("/*") and info.path.startswith(url[:-1]))
        for url in rule.non_resource_urls
    )
