"""Which Pods a term of affinity or spreading means: a value that the node table can count by."""

from collections.abc import Mapping

import attrs

from kubelib.api.core.affinity import PodAffinityTerm, TopologySpreadConstraint
from kubelib.api.machinery import LabelSelector
from kubelib.labels.selector import NOTHING, Requirement, Selector, selector_from_label_selector

Labels = Mapping[str, str]


@attrs.frozen
class PodSelector:
    """Pods by labels, in namespaces by name or by the namespaces' own labels."""

    labels: Selector
    namespaces: tuple[str, ...] = ()
    by_labels: Selector = NOTHING
    staying: bool = False
    """Whether Pods that are being deleted do not count."""

    def matches(self, namespace: str, labels: Labels, namespaces: Mapping[str, Labels]) -> bool:
        """Return whether a Pod is meant; `namespaces` has the labels of each namespace that is known."""
        if namespace not in self.namespaces and not self._by_labels(namespace, namespaces):
            return False
        return self.labels.matches(labels)

    def _by_labels(self, namespace: str, namespaces: Mapping[str, Labels]) -> bool:
        # Every namespace matches an empty selector, also one that we have not heard of yet.
        if self.by_labels.everything:
            return True
        known = namespaces.get(namespace)
        return known is not None and self.by_labels.matches(known)


@attrs.frozen
class PodTerm:
    """Pods, and the label of nodes whose value says what counts as the same place."""

    pods: PodSelector
    topology: str


@attrs.frozen
class SpreadTerm:
    """A topology spread constraint."""

    pods: PodSelector | None
    """Which Pods count; None for those of the same controller, as constraints that come from a profile have it."""
    topology: str
    max_skew: int
    required: bool
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


def _narrowed(
    selector: LabelSelector | None, labels: Labels, same: tuple[str, ...], different: tuple[str, ...] = ()
) -> Selector:
    """Return a selector that also asks for the Pod's own values of the labels `same`, and other ones of `different`."""
    wanted: Selector = selector_from_label_selector(selector)
    if selector is None:
        return wanted
    extra = [Requirement(key, "in", (labels[key],)) for key in same if key in labels]
    extra += [Requirement(key, "notin", (labels[key],)) for key in different if key in labels]
    return Selector((*wanted.requirements, *extra)) if extra else wanted


def pod_term(term: PodAffinityTerm, namespace: str, labels: Labels) -> PodTerm:
    """Take in a term of Pod (anti-)affinity as its Pod, with this namespace and these labels, means it."""
    chosen = _narrowed(term.label_selector, labels, term.match_label_keys, term.mismatch_label_keys)
    names = term.namespaces
    if not names and term.namespace_selector is None:
        names = (namespace,)
    by_labels = selector_from_label_selector(term.namespace_selector)
    return PodTerm(PodSelector(chosen, names, by_labels), term.topology_key)


def spread_term(constraint: TopologySpreadConstraint, namespace: str, labels: Labels) -> SpreadTerm:
    """Take in a topology spread constraint of a Pod with this namespace and these labels."""
    chosen = _narrowed(constraint.label_selector, labels, constraint.match_label_keys)
    return SpreadTerm(
        PodSelector(chosen, (namespace,), staying=True),
        constraint.topology_key,
        constraint.max_skew,
        constraint.when_unsatisfiable != "ScheduleAnyway",
        constraint.min_domains or 1,
        constraint.node_affinity_policy != "Ignore",
        constraint.node_taints_policy == "Honor",
    )
