import re
from importlib.metadata import EntryPoint
from random import Random
from typing import Any

import pytest

from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import OwnerReference
from kubelib.sched import policies
from kubelib.sched.base import Policy
from kubelib.sched.cycle import Cycle
from kubelib.sched.nodes import NodeInfo
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy, load_policy, per_node, profiles
from kubelib.sched.policies.arguments import ConfigurationError
from kubelib.sched.policies.configuration import read_configuration, read_profiles
from kubelib.sched.policies.neighbours import PrefersEven
from kubelib.testing.objects import make_pod
from kubelib.testing.policy import PolicySuite, fill, make_infos, make_table
from tests.sched.layouts import points
from tests.sched.test_storage import claim_volume, make_capacity, make_claim, make_class, make_driver

FIT = "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: "
HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


EVEN = "{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}"


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


@pytest.mark.parametrize(
    "args",
    ["defaultingType: System", "defaultingType: List", f"defaultingType: List, defaultConstraints: [{EVEN}]"],
)
def test_default_constraints_stand_for_spreading_the_pods_of_a_controller(args: str) -> None:
    config = f"pluginConfig: [{{name: PodTopologySpread, args: {{{args}}}}}]"
    policy, usual = read(f"{{{config}}}"), weights(default_policy())
    assert weights(policy) == {n: w for n, w in usual.items() if n not in ("SelectorSpread", "ZoneSpread")}
    owner = OwnerReference(
        api_version="v1", kind="ReplicationController", name="rc", uid="rc", controller=True
    )
    pod = PodInfo.of(make_pod(owners=(owner,)))
    even = next(score for score, _ in policy.scores if isinstance(score, PrefersEven))
    assert even.concerns(pod, make_table()) == (args != "defaultingType: List")
    kept = read(f"{{{config}, plugins: {{score: {{enabled: [{{name: SelectorSpread, weight: 3}}]}}}}}}")
    assert weights(kept)["SelectorSpread"] == 3


def test_a_policy_from_a_file_places_as_it_says() -> None:
    packed, spread = make_table(), make_table()
    few = make_infos(4)
    assert len(set(fill(Cycle(packed, read(PACKING), Random(1)), few))) == 1
    assert len(set(fill(Cycle(spread, read("{}"), Random(1)), few))) == 4


def test_each_scheduler_has_its_own_profile() -> None:
    both = "{schedulerName: default-scheduler}\n- {schedulerName: bare, plugins: {score: {disabled: [{name: '*'}]}}}"
    assert read(both, "bare").scores == ()
    assert read(both).scores


def test_plug_ins_of_others_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("Odd", "tests.sched.test_configuration:make_odd", profiles.PLUGINS)
    monkeypatch.setattr(profiles, "entry_points", lambda group: [point] if group == point.group else [])
    policy = read("{plugins: {multiPoint: {enabled: [{name: Odd}]}}}")
    table = make_table()
    places = fill(Cycle(table, policy, Random(1)), make_infos(6))
    assert all(int(place[-1]) % 2 for place in places if place)
    assert any(places)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_module_anywhere:make", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("tests.sched.test_configuration:nothing", "AttributeError: .*has no attribute 'nothing'"),
        ("tests.sched.test_configuration:make_broken", "ZeroDivisionError: oops"),
    ],
)
def test_a_plug_in_that_cannot_be_made_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, value: str, why: str
) -> None:
    point = EntryPoint("Odd", value, profiles.PLUGINS)
    monkeypatch.setattr(profiles, "entry_points", lambda group: [point])
    with pytest.raises(ConfigurationError, match=f"plugins.multiPoint: 'Odd' of .* cannot be used: {why}"):
        read("{plugins: {multiPoint: {enabled: [{name: Odd}]}}}")
    monkeypatch.setattr(policies, "entry_points", lambda group: [point])
    with pytest.raises(LookupError, match=f"'Odd' of .* cannot be used: {why}"):
        load_policy("Odd")


def make_broken() -> object:
    raise ZeroDivisionError("oops")


def make_odd() -> object:
    def odd(pod: PodInfo, node: NodeInfo) -> bool:
        return bool(int(node.name[-1]) % 2)

    return per_node(odd, name="Odd")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "the configuration is no YAML"),
        ("a: 1", "the configuration is no KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1"),
        (HEAD + "extenders: []", 'the configuration: "extenders" is not supported'),
        (HEAD + "parallelism: 0", "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        (HEAD + "parallelism: many", "parallelism: must be a whole number"),
        (HEAD + "percentageOfNodesToScore: 101", "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
        (HEAD + "profiles: [{percentageOfNodesToScore: -1}]", "profiles[0].percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]"),
        (HEAD + "podInitialBackoffSeconds: 0", "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
        (HEAD + "podInitialBackoffSeconds: 3\npodMaxBackoffSeconds: 2", "podMaxBackoffSeconds: Invalid value: 2: must be greater than or equal to PodInitialBackoffSeconds"),
        (HEAD + "leaderElection: {resourceLock: endpoints}", 'leaderElection.resourceLock: Invalid value: "endpoints": resourceLock value must be "leases"'),
        (HEAD + "leaderElection: {leaseDuration: soon}", "leaderElection.leaseDuration: "),
        (HEAD + "profiles: [{schedulerName: x}]", "no profile is for 'default-scheduler'; there are: x"),
        (HEAD + "profiles: [{}, {}]", "profiles[0].schedulerName: Required value"),
        (HEAD + "profiles: [{schedulerName: x}, {schedulerName: z}, {schedulerName: x}]", 'profiles[2].schedulerName: Duplicate value: "profiles[0].schedulerName"'),
        (HEAD + "profiles: [{schedulerName: x}, {schedulerName: z, plugins: {queueSort: {enabled: [{name: PrioritySort}]}}}]",
         'profiles[1].plugins.queueSort: Invalid value: {"enabled":[{"name":"PrioritySort"}]}: must be the same for all profiles'),
        (HEAD + "profiles: [{plugins: {queueSort: {enabled: [{name: PrioritySort}, {name: Other}]}}}]", "profiles[0].plugins.queueSort.Enabled: Invalid value: 2: only one queue sort plugin can be enabled"),
        (HEAD + "profiles: [{plugins: {multiPoint: {disabled: [{name: '*'}]}}}]", "profiles[0]: no queue sort plugin is enabled"),
        (HEAD + "profiles: [{plugins: {bind: {disabled: [{name: DefaultBinder}]}}}]", 'profiles[0]: at least one bind plugin is needed for profile with scheduler name "default-scheduler"'),
        (HEAD + "profiles: [{plugins: {permit: {}}}]", 'plugins: "permit" is not supported'),
        (HEAD + "profiles: [{pluginConfig: [{name: NodeAffinity}, {name: NodeAffinity}]}]", 'profiles[0].pluginConfig[1]: Duplicate value: "NodeAffinity"'),
        (HEAD + "profiles: [{pluginConfig: [{name: NodeAffinity, args: {kind: NodeResourcesFitArgs}}]}]", 'profiles[0].pluginConfig[0].args: Invalid value: "NodeResourcesFitArgs": has to match plugin args'),
        (HEAD + "profiles: [{pluginConfig: [{name: NodeAffinity, args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: 1}}}]}]", "profiles[0].pluginConfig[0].args.addedAffinity: "),
        *(
            (HEAD + f"profiles: [{{pluginConfig: [{{name: PodTopologySpread, args: {{{args}}}}}]}}]", f"profiles[0].pluginConfig[0].args.{why}")
            for args, why in (
                ("defaultingType: Odd", 'defaultingType: Unsupported value: "Odd": supported values: "List", "System"'),
                (f"defaultConstraints: [{EVEN}]", 'defaultingType: Invalid value: "System": when .defaultConstraints are not empty'),
                ("defaultingType: List, defaultConstraints: [{maxSkew: 0}]", "defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)"),
                ("defaultingType: List, defaultConstraints: [{maxSkew: 1}]", "defaultConstraints[0].topologyKey: Required value: can not be empty"),
                ("defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: a/b/c}]", 'defaultConstraints[0].topologyKey: Invalid value: "a/b/c": a qualified name must consist of '),
                ("defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z}]", "defaultConstraints[0].whenUnsatisfiable: Required value: can not be empty"),
                ("defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: Never}]", 'defaultConstraints[0].whenUnsatisfiable: Unsupported value: "Never"'),
                ("defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}]",
                 "defaultConstraints[0].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod"),
                (f"defaultingType: List, defaultConstraints: [{EVEN}, {EVEN}]", 'defaultConstraints[1]: Duplicate value: "{zone, ScheduleAnyway}"'),
                ("defaultingType: List, defaultConstraints: [{maxSkew: many}]", "defaultConstraints[0]: "),
            )
        ),
        *(
            (HEAD + f"profiles: [{{pluginConfig: [{{name: NodeResourcesFit, args: {{{args}}}}}]}}]", f"profiles[0].pluginConfig[0].args.{why}")
            for args, why in (
                ("ignoredResources: [a, 'b c']", 'ignoredResources[1]: Invalid value: "b c": name part must consist of '),
                ("ignoredResources: [1]", "ignoredResources[0]: must be a text"),
                ("ignoredResourceGroups: [example.com/gpu]", 'ignoredResourceGroups[0]: Invalid value: "example.com/gpu": resource group name can\'t contain \'/\''),
                ("ignoredResourceGroups: ['']", 'ignoredResourceGroups[0]: Invalid value: "": name part must be non-empty'),
            )
        ),
        (HEAD + "profiles: [{pluginConfig: [{name: Odd}]}]", "profiles[0].pluginConfig[0]: Odd takes no arguments here"),
        (HEAD + "profiles: [{plugins: {score: {enabled: [{name: Nope}]}}}]", "profiles[0].plugins.score: no plug-in 'Nope'; there are: "),
        (HEAD + "profiles: [{plugins: {score: {enabled: [{name: NodePorts}]}}}]", "NodePorts is no score plug-in"),
        (HEAD + "profiles: [{plugins: {score: {enabled: [{name: ImageLocality, weight: -1}]}}}]", "must be a number above 0"),
        (HEAD + "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Odd}}}]}]", 'scoringStrategy.type: Unsupported value: "Odd": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"'),
        (HEAD + FIT + "{type: RequestedToCapacityRatio}}}]}]", "scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio"),
        (HEAD + FIT + "{type: RequestedToCapacityRatio, requestedToCapacityRatio: {}}}}]}]", "scoringStrategy.requestedToCapacityRatio.shape: Required value: at least one point must be specified"),
        (HEAD + FIT + "{type: MostAllocated, requestedToCapacityRatio: {}}}}]}]", "scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio"),
        (HEAD + "profiles: [{pluginConfig: [{name: NodeResourcesBalancedAllocation, args: {resources: [{name: cpu}, {name: cpu}]}}]}]", 'args.resources[1].name: Duplicate value: "cpu"'),
        (HEAD + FIT + "{type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 5, score: 11}]}}}}]}]", "shape[0].score: Invalid value: 11: not in valid range [0, 10]"),
        (HEAD + FIT + "{type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 5}, {utilization: 5}]}}}}]}]", "shape[1].utilization: Invalid value: 5: values must be sorted in increasing order"),
        (HEAD + FIT + "{resources: [{name: cpu, weight: 101}]}}}]}]", "scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]"),
        (HEAD + FIT + "{resources: [{weight: 1}]}}}]}]", "scoringStrategy.resources[0].name: Required value"),
        (HEAD + "profiles: [{pluginConfig: [{name: NodeResourcesBalancedAllocation, args: {resources: [{name: cpu, weight: 2}]}}]}]", "args.resources[0].weight: Invalid value: 2: must be 1"),
        (HEAD + "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]}]", "args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"),
        (HEAD + "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {ignorePreferredTermsOfExistingPods: 1}}]}]", "args.ignorePreferredTermsOfExistingPods: must be true or false"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(why)):
        read_configuration(text, default_policy())


def test_a_file_says_everything_of_a_scheduler() -> None:
    text = f"""{HEAD}
parallelism: 8
percentageOfNodesToScore: 50
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 30
leaderElection: {{leaderElect: false, leaseDuration: 30s, renewDeadline: 20s, retryPeriod: 5s, resourceLock: leases, resourceName: mine}}
profiles:
- schedulerName: usual
- schedulerName: polite
  plugins:
    queueSort: {{}}
    postFilter: {{disabled: [{{name: DefaultPreemption}}]}}
    bind: {{enabled: [{{name: DefaultBinder}}]}}
"""
    found = read_profiles(text, default_policy())
    assert list(found.policies) == ["usual", "polite"]
    assert [policy.preempts for policy in found.policies.values()] == [True, False]
    assert (found.first_backoff, found.longest_backoff) == (2.0, 30.0)
    leading = found.leading
    assert (leading.elect, leading.lease, leading.renew, leading.retry, leading.name) == (
        False,
        30.0,
        20.0,
        5.0,
        "mine",
    )
    assert list(read_profiles(HEAD, default_policy()).policies) == ["default-scheduler"]


ARGS = """{pluginConfig: [
  {name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio, resources: [{name: example.com/gpu, weight: 5}, {name: cpu}],
    requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}}}},
  {name: NodeResourcesBalancedAllocation, args: {resources: [{name: cpu, weight: 1}, {name: example.com/gpu}]}},
  {name: InterPodAffinity, args: {hardPodAffinityWeight: 7, ignorePreferredTermsOfExistingPods: true}},
  {name: VolumeBinding, args: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}},
  {name: NodeAffinity, args: {addedAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [
    {weight: 9, preference: {matchExpressions: [{key: zone, operator: In, values: [a]}]}}]}}}]}"""


def test_plug_ins_are_set_up_by_their_arguments() -> None:
    usual, policy = read("{}"), read(ARGS)
    assert len(policy.scores) == len(usual.scores), "each stands for the usual one"
    found = {type(score).__name__: (score, weight) for score, weight in policy.scores}
    ratio: Any = found["RequestedToCapacityRatio"][0]
    assert ratio.resources == {"example.com/gpu": 5.0, "cpu": 1.0}
    balance: Any = found["BalancedAllocation"][0]
    assert balance.resources == ("cpu", "example.com/gpu")
    assert {name: weight for name, (_, weight) in found.items()}["LikesCompany"] == 2.0
    table = make_table()
    full: Any = found["PrefersSpace"][0]
    for thing in (
        make_driver(counts=True),
        make_class("late"),
        make_claim("c", size=9),
        make_capacity("k", "late", LabelSelector(), capacity="10"),
    ):
        table.volumes.put(thing)
    given = points(full, make_pod(volumes=(claim_volume("c"),)), table)
    assert set(given.values()) == {90.0}
    row = next(row for name, row in table.rows.items() if name == "node-1")
    table.labels[row] = {**table.labels[row], "zone": "a"}
    (pod,) = make_infos(1)
    added: Any = found["PrefersNodeAffinity"][0]
    assert added.concerns(pod, table)
    assert float(added.score(pod, table, slice(0, table.size))[row]) == 100.0


ADDED = """{pluginConfig: [{name: NodeAffinity, args: {apiVersion: kubescheduler.config.k8s.io/v1, kind: NodeAffinityArgs,
   addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
     {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-1, node-2]}]}]}}}}]}"""


def test_a_profile_keeps_its_pods_to_some_nodes() -> None:
    table = make_table()
    cycle = Cycle(table, read(ADDED), Random(1))
    places = [place for place in fill(cycle, make_infos(30)) if place]
    assert set(places) == {"node-1", "node-2"}
    (pod,) = make_infos(1)
    assert "node(s) didn't match scheduler-enforced node affinity" in cycle.reasons_on(
        pod, table.rows["node-0"]
    )
