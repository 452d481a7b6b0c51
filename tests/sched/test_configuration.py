import re
from importlib.metadata import EntryPoint
from random import Random

import pytest

from kubelib.sched.base import Policy
from kubelib.sched.cycle import Cycle
from kubelib.sched.nodes import NodeInfo
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import configuration, default_policy, per_node
from kubelib.sched.policies.configuration import ConfigurationError, read_configuration
from kubelib.testing.policy import PolicySuite, fill, make_infos, make_table

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def read(profile: str, scheduler: str = "default-scheduler") -> Policy:
    return read_configuration(f"{HEAD}profiles:\n- {profile}", default_policy(), scheduler)


def weights(policy: Policy) -> dict[str, float]:
    return {score.name: weight for score, weight in policy.scores}


PACKING = """{plugins: {score: {disabled: [{name: "*"}], enabled: [{name: NodeResourcesFit, weight: 5}]}},
   pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}]}"""


class TestPolicyFromAFile(PolicySuite):
    @pytest.fixture
    def policy(self) -> Policy:
        return read(PACKING)


def test_a_profile_that_says_nothing_is_the_default_policy() -> None:
    policy, usual = read("{}"), default_policy()
    assert [f.name for f in policy.filters] == [f.name for f in usual.filters]
    assert weights(policy) == weights(usual)


def test_plug_ins_are_switched_on_and_off_and_weighted() -> None:
    policy = read(
        "{plugins: {score: {disabled: [{name: SelectorSpread}], enabled: [{name: ImageLocality, weight: 7}]}}}"
    )
    assert weights(policy) == {**{k: v for k, v in weights(default_policy()).items() if k != "SelectorSpread"}, "ImageLocality": 7.0}  # fmt: skip
    policy = read(
        "{plugins: {multiPoint: {disabled: [{name: TaintToleration}]}, filter: {disabled: [{name: NodePorts}]}}}"
    )
    names = {f.name for f in policy.filters}
    assert {f.name for f in default_policy().filters} - names == {"TaintToleration", "NodePorts"}
    assert "TaintToleration" not in weights(policy)


def test_a_policy_from_a_file_places_as_it_says() -> None:
    packed, spread = make_table(), make_table()
    few = make_infos(4)
    assert len(set(fill(Cycle(packed, read(PACKING), Random(1)), few))) == 1
    assert len(set(fill(Cycle(spread, read("{}"), Random(1)), few))) == 4


def test_each_scheduler_has_its_own_profile() -> None:
    both = "{}\n- {schedulerName: bare, plugins: {score: {disabled: [{name: '*'}]}}}"
    assert read(both, "bare").scores == ()
    assert read(both).scores


def test_plug_ins_of_others_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("Odd", "tests.sched.test_configuration:make_odd", configuration.PLUGINS)
    monkeypatch.setattr(configuration, "entry_points", lambda group: [point] if group == point.group else [])
    policy = read("{plugins: {multiPoint: {enabled: [{name: Odd}]}}}")
    table = make_table()
    places = fill(Cycle(table, policy, Random(1)), make_infos(6))
    assert all(int(place[-1]) % 2 for place in places if place)
    assert any(places)


def make_odd() -> object:
    def odd(pod: PodInfo, node: NodeInfo) -> bool:
        return bool(int(node.name[-1]) % 2)

    return per_node(odd, name="Odd")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "the configuration is no YAML"),
        ("a: 1", "the configuration is no KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1"),
        (HEAD + "parallelism: 3", 'the configuration: "parallelism" is not supported'),
        (HEAD + "profiles: [{schedulerName: x}]", "no profile is for 'default-scheduler'; there are: x"),
        (HEAD + "profiles: [{}, {}]", "profiles[1].schedulerName: 'default-scheduler' is there twice"),
        (HEAD + "profiles: [{plugins: {bind: {}}}]", 'plugins: "bind" is not supported'),
        (HEAD + "profiles: [{plugins: {score: {enabled: [{name: Nope}]}}}]", "plugins.score: no plug-in 'Nope'; there are: "),
        (HEAD + "profiles: [{plugins: {score: {enabled: [{name: NodePorts}]}}}]", "NodePorts is no score plug-in"),
        (HEAD + "profiles: [{plugins: {score: {enabled: [{name: ImageLocality, weight: -1}]}}}]", "must be a number above 0"),
        (HEAD + "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Odd}}}]}]", "'Odd' is not among"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(why)):
        read_configuration(text, default_policy())
