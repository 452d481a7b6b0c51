"""Aggregated cluster roles hold the rules of the cluster roles that their selectors find."""

from collections.abc import Iterable

from kubelib.api.document import Document
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.api.rbac import ClusterRole, PolicyRule
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.labels import Selector, selector_from_label_selector

NAME = "clusterrole-aggregation-controller"


def gathered_rules(selectors: Iterable[Selector], roles: Iterable[ClusterRole]) -> tuple[PolicyRule, ...]:
    """Return the rules of the roles that the selectors find, each once: those of the first selector first, by the roles' names."""
    by_name = sorted(roles, key=lambda role: role.metadata.name)
    rules: dict[PolicyRule, None] = {}
    for selector in selectors:
        for role in by_name:
            if selector.matches(role.metadata.labels):
                rules.update(dict.fromkeys(role.rules))
    return tuple(rules)


class ClusterRoleAggregation:
    """Keeps the rules of one aggregated cluster role."""

    def __init__(self, informers: SharedInformers) -> None:
        self._registry = informers.client.resource(ClusterRole)
        self._roles = informers.of(ClusterRole).cache

    async def reconcile(self, key: Key) -> After | None:
        """Look at one cluster role."""
        role = self._roles.view(key)
        if role is None or role.aggregation_rule is None:
            return None
        selectors = [selector_from_label_selector(s) for s in role.aggregation_rule.cluster_role_selectors]
        others = (document.view(ClusterRole) for document in self._roles if document.meta.name != key.name)
        rules = gathered_rules(selectors, others)
        if rules != role.rules:
            try:
                await self._registry.update(replace(role, rules=rules))
            except NotFound:
                return None
        return None

    def aggregated(self, document: Document) -> tuple[Key, ...]:
        """Return every aggregated role: any role may be, or have been, a part of any of them."""
        return tuple(role.key for role in self._roles if b'"aggregationRule"' in role.raw)


def cluster_role_aggregation_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller that keeps aggregated cluster roles."""
    reconciler = ClusterRoleAggregation(informers)
    return Controller(
        NAME,
        reconciler,
        [(informers.of(ClusterRole), reconciler.aggregated)],
        recorder=recorder.source(NAME),
    )
