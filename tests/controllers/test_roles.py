from kubelib.api.rbac import ClusterRole, PolicyRule
from kubelib.controllers.builtin.clusterroleaggregation import gathered_rules
from kubelib.labels import selector_from_match_labels
from kubelib.testing.objects import make_meta


def test_rules_are_gathered_selector_by_selector_and_each_once() -> None:
    def rule(resource: str) -> PolicyRule:
        return PolicyRule(verbs=("get",), resources=(resource,))

    def role(name: str, part: str, *resources: str) -> ClusterRole:
        return ClusterRole(
            metadata=make_meta(name, "", labels={"part": part}), rules=tuple(map(rule, resources))
        )

    roles = [role("c", "first", "pods"), role("b", "second", "pods", "nodes"), role("a", "first", "services")]
    selectors = [selector_from_match_labels({"part": part}) for part in ("second", "first")]
    assert gathered_rules(selectors, roles) == (rule("pods"), rule("nodes"), rule("services"))
