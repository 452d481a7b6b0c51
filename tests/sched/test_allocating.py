"""Devices for claims: which a node can give them, in the cases that Kubernetes' allocator has."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest

from kubelib.api.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.api.resource import (
    AllocationResult,
    CapacityRequestPolicy,
    CapacityRequestPolicyRange,
    CapacityRequirements,
    CELDeviceSelector,
    Counter,
    CounterSet,
    Device,
    DeviceAllocationResult,
    DeviceAttribute,
    DeviceCapacity,
    DeviceClaim,
    DeviceClaimConfiguration,
    DeviceClass,
    DeviceClassConfiguration,
    DeviceClassSpec,
    DeviceConstraint,
    DeviceCounterConsumption,
    DeviceRequest,
    DeviceRequestAllocationResult,
    DeviceSelector,
    DeviceSubRequest,
    DeviceTaint,
    DeviceTaintRule,
    DeviceTaintRuleSpec,
    DeviceTaintSelector,
    DeviceToleration,
    ExactDeviceRequest,
    OpaqueDeviceConfiguration,
    ResourceClaim,
    ResourceClaimSpec,
    ResourceClaimStatus,
    ResourcePool,
    ResourceSlice,
    ResourceSliceSpec,
)
from kubelib.sched.allocating import Unallocatable
from kubelib.sched.devices import DeviceObject, Devices

DRIVER = "gpu.example.com"
VERSION = f"{DRIVER}/version"
CLAIM, POOL = "default/c0", f"{DRIVER}/p"


def cel(text: str) -> tuple[DeviceSelector, ...]:
    return (DeviceSelector(cel=CELDeviceSelector(expression=text)),) if text else ()


def at_least(size: str) -> str:
    return f"device.capacity['{DRIVER}'].memory.compareTo(quantity('{size}')) >= 0"


def device(name: str, memory: str = "", **options: Any) -> Device:
    """Make a device; attributes are texts, numbers or bools, ``version`` is one of a version."""
    kinds = {str: "string", int: "int_", bool: "bool_"}
    attributes = {
        key: DeviceAttribute(**{"version" if key == "version" else kinds[type(value)]: value})
        for key, value in options.pop("attributes", {}).items()
    }
    capacity = (
        {"memory": DeviceCapacity(value=memory, request_policy=options.pop("policy", None))} if memory else {}
    )
    takes = options.pop("takes", None)
    if takes:
        options["consumes_counters"] = (
            DeviceCounterConsumption(counter_set="s", counters={"memory": Counter(value=takes)}),
        )
    return Device(name=name, attributes=attributes, capacity=capacity, **options)


def offer(*devices: Device | str, name: str = "s1", pool: str = "p", generation: int = 1, count: int = 1, **spec: Any) -> ResourceSlice:  # fmt: skip
    if not spec.keys() & {"node_name", "all_nodes", "node_selector", "per_device_node_selection"}:
        spec["node_name"] = "n"
    made = tuple(device(d) if isinstance(d, str) else d for d in devices)
    whole = ResourcePool(name=pool, generation=generation, resource_slice_count=count)
    driver = spec.pop("driver", DRIVER)
    return ResourceSlice(
        metadata=ObjectMeta(name=name),
        spec=ResourceSliceSpec(driver=driver, pool=whole, devices=made, **spec),
    )


def shared(size: str, **options: Any) -> ResourceSlice:
    counters = CounterSet(name="s", counters={"memory": Counter(value=size)})
    return offer(name="counters", shared_counters=(counters,), count=2, **options)


def ask(name: str = "r", selector: str = "", count: int = 1, **options: Any) -> DeviceRequest:
    every = options.pop("every", False)
    exact = ExactDeviceRequest(
        device_class_name=options.pop("of", "gpu"),
        selectors=cel(selector),
        allocation_mode="All" if every else "ExactCount",
        count=0 if every else count,
        **options,
    )
    return DeviceRequest(name=name, exactly=exact)


def either(name: str, *others: tuple[str, str, int]) -> DeviceRequest:
    """Make a request with alternatives of names, selectors and counts; a count of 0 is for all."""
    return DeviceRequest(
        name=name,
        first_available=tuple(
            DeviceSubRequest(
                name=other,
                device_class_name="gpu",
                selectors=cel(selector),
                allocation_mode="ExactCount" if count else "All",
                count=count,
            )
            for other, selector, count in others
        ),
    )


def claim(*requests: DeviceRequest, name: str = "c0", **devices: Any) -> ResourceClaim:
    return ResourceClaim(
        metadata=ObjectMeta(name=name, namespace="default", uid=name),
        spec=ResourceClaimSpec(devices=DeviceClaim(requests=requests, **devices)),
    )


def having(*names: str, **result: Any) -> ResourceClaim:
    results = tuple(
        DeviceRequestAllocationResult(request="r", driver=DRIVER, pool="p", device=name, **result)
        for name in names
    )
    allocation = AllocationResult(devices=DeviceAllocationResult(results=results))
    return replace(claim(ask(), name="other"), status=ResourceClaimStatus(allocation=allocation))


def same(attribute: str, *requests: str) -> dict[str, Any]:
    return {"constraints": (DeviceConstraint(requests=requests, match_attribute=attribute),)}


def distinct(attribute: str, *requests: str) -> dict[str, Any]:
    return {"constraints": (DeviceConstraint(requests=requests, distinct_attribute=attribute),)}


CLASSES = (
    DeviceClass(
        metadata=ObjectMeta(name="gpu"), spec=DeviceClassSpec(selectors=cel(f"device.driver == '{DRIVER}'"))
    ),
    DeviceClass(metadata=ObjectMeta(name="any")),
)


def known(*things: DeviceObject) -> Devices:
    devices = Devices()
    for thing in (*CLASSES, *things):
        devices.put(thing)
    return devices


def selects(selector: NodeSelector) -> bool:
    """Return whether a node in zone a is selected."""
    return any(r.values == ("a",) for term in selector.node_selector_terms for r in term.match_expressions)


def only(devices: Devices, asked: ResourceClaim) -> AllocationResult:
    found = devices.allocate((asked,), "n", selects)
    assert found is not None
    return found[0]


def given(devices: Devices, *claims: ResourceClaim) -> str:
    """Return who got what: ``request=device``, claims apart by bars; - for nothing; or what is wrong."""
    try:
        found = devices.allocate(claims, "n", selects)
    except Unallocatable as error:
        return str(error)
    if found is None:
        return "-"
    return " | ".join(" ".join(f"{r.request}={r.device}" for r in one.devices.results) for one in found)


def in_zone(zone: str) -> NodeSelector:
    requirement = NodeSelectorRequirement(key="zone", operator="In", values=(zone,))
    return NodeSelector(node_selector_terms=(NodeSelectorTerm(match_expressions=(requirement,)),))


BIG, SMALL = (
    device("big", "8Gi", attributes={"version": "1.0.0"}),
    device("small", "4Gi", attributes={"version": "2.0.0"}),
)
V1, V2 = (device(f"v{n}", "1Gi", attributes={"version": f"{n}.0.0"}) for n in (1, 2))
TAINT = DeviceTaint(key="k", value="v", effect="NoSchedule")
TAINTED = device("bad", taints=(TAINT,))
PARTS = (device("a", "4Gi", takes="4Gi"), device("b", "6Gi", takes="6Gi"), device("c", "4Gi", takes="4Gi"))
TWO = [("one", at_least("8Gi"), 1), ("two", at_least("4Gi"), 1)]

CASES: Mapping[str, tuple[Sequence[DeviceObject], Sequence[ResourceClaim], str]] = {
    "one device": ([offer("d")], [claim(ask())], "r=d"),
    "another driver's": ([offer("d", driver="other.example")], [claim(ask())], "-"),
    "a class for all": ([offer("d", driver="other.example")], [claim(ask(of="any"))], "r=d"),
    "another node's": ([offer("d", node_name="m")], [claim(ask())], "-"),
    "all nodes'": ([offer("d", all_nodes=True)], [claim(ask())], "r=d"),
    "selected nodes'": ([offer("d", node_selector=in_zone("a"))], [claim(ask())], "r=d"),
    "other selected nodes'": ([offer("d", node_selector=in_zone("b"))], [claim(ask())], "-"),
    "each device its own nodes": (
        [offer(device("d", node_name="m"), device("e", all_nodes=True), per_device_node_selection=True)],
        [claim(ask())],
        "r=e",
    ),
    "in use": ([offer("d", "e"), having("d")], [claim(ask())], "r=e"),
    "in use by an administrator": ([offer("d"), having("d", admin_access=True)], [claim(ask())], "r=d"),
    "an administrator": ([offer("d"), having("d")], [claim(ask(admin_access=True))], "r=d"),
    "an administrator twice": ([offer("d")], [claim(ask(count=2, admin_access=True))], "-"),
    "too few": ([offer("d")], [claim(ask("r0")), claim(ask("r1"), name="c1")], "-"),
    "two of two pools": ([offer("d"), offer("e", name="s2", pool="q")], [claim(ask(count=2))], "r=d r=e"),
    "undone within a claim": ([offer(BIG, SMALL)], [claim(ask("r0", at_least("4Gi")), ask("r1", at_least("8Gi")))], "r0=small r1=big"),
    "undone in an earlier claim": (
        [offer(BIG, SMALL)],
        [claim(ask("r", at_least("4Gi"))), claim(ask("q", at_least("8Gi")), name="c1")],
        "r=small | q=big",
    ),
    "an obsolete slice": ([offer("old", name="s0"), offer("d", generation=2)], [claim(ask(count=1))], "r=d"),
    "an incomplete pool": ([offer("d", count=2)], [claim(ask())], "-"),
    "a duplicate": ([offer("d", count=2), offer("d", name="s2", count=2)], [claim(ask())], "invalid resource pools were encountered"),
    "another pool is invalid": (
        [offer("d", count=2), offer("d", name="s2", count=2), offer("e", name="s3", pool="q")],
        [claim(ask())],
        "r=e",
    ),
    "too many for a claim": ([offer(*(f"d{n:02}" for n in range(40)))], [claim(ask(count=33))], "-"),
    "all": ([offer("d"), offer("e", name="s2", pool="q")], [claim(ask(every=True))], "r=d r=e"),
    "all, and one of another driver": (
        [offer("d", "e"), offer("f", name="s2", driver="z.example")],
        [claim(ask("o", "device.driver == 'z.example'", of="any")), claim(ask(every=True), name="c1")],
        "o=f | r=d r=e",
    ),
    "all of none": ([offer()], [claim(ask(every=True))], "-"),
    "all of what is selected": ([offer(BIG, SMALL)], [claim(ask("r", at_least("8Gi"), every=True))], "r=big"),
    "all, of which one is in use": ([offer("d", "e"), having("d")], [claim(ask(every=True))], "-"),
    "all, and an administrator": ([offer("d", "e"), having("d")], [claim(ask(every=True, admin_access=True))], "r=d r=e"),
    "all of an incomplete pool": (
        [offer("d", count=2)],
        [claim(ask(every=True))],
        f"claim {CLAIM}, request r: asks for all devices, but resource pool {POOL} is currently being updated",
    ),
    "all of an invalid pool": (
        [offer("d", "d")],
        [claim(ask(every=True))],
        f"claim {CLAIM}, request r: asks for all devices, but resource pool {POOL} is currently invalid",
    ),
    "all against a constraint": (
        [offer(V1, V2)],
        [claim(ask(every=True), **same(VERSION))],
        f"claim {CLAIM}, request r: cannot add device {POOL}/v2 because a claim constraint would not be satisfied",
    ),
    "the same version": ([offer(V1, V2, SMALL)], [claim(ask(count=2), **same(VERSION))], "r=v2 r=small"),
    "not the same version": ([offer(V1, V2)], [claim(ask(count=2), **same(VERSION))], "-"),
    "without the attribute": ([offer("d")], [claim(ask(), **same(VERSION))], "-"),
    "the same version for some": (
        [offer(V1, V2, BIG)],
        [claim(ask("r0"), ask("r1"), ask("r2"), **same(VERSION, "r0", "r2"))],
        "r0=v1 r1=v2 r2=big",
    ),
    "another version": ([offer(V1, BIG, V2)], [claim(ask(count=2), **distinct(VERSION))], "r=v1 r=v2"),
    "no other version": ([offer(V1, BIG)], [claim(ask(count=2), **distinct(VERSION))], "-"),
    "what is selected has no such attribute": (
        [offer("d")],
        [claim(ask("r", f"device.attributes['{DRIVER}'].none"))],
        f"claim {CLAIM}: selector #0: CEL compile error: must evaluate to bool",
    ),
    "a selector that fails": (
        [offer("d")],
        [claim(ask("r", f"device.attributes['{DRIVER}'].none == 'x'"))],
        f"claim {CLAIM}: selector #0: CEL runtime error: no such key: none",
    ),
    "a domain that nobody names": ([offer("d")], [claim(ask("r", "!('x' in device.attributes['zz.example'])"))], "r=d"),
    "a version": (
        [offer(V1, V2)],
        [claim(ask("r", f"device.attributes['{DRIVER}'].version.isGreaterThan(semver('1.5.0'))"))],
        "r=v2",
    ),
    "the first that is available": ([offer(BIG, SMALL)], [claim(either("r", *TWO))], "r/one=big"),
    "the next that is available": ([offer(SMALL)], [claim(either("r", *TWO))], "r/two=small"),
    "a choice undone": ([offer(BIG, SMALL)], [claim(either("r", *TWO), ask("q", at_least("8Gi")))], "r/two=small q=big"),
    "a choice after a request": ([offer(BIG, SMALL)], [claim(ask("q", at_least("8Gi")), either("r", *TWO))], "q=big r/two=small"),
    "a choice of too many": ([offer("d")], [claim(either("r", ("one", "", 500), ("two", "", 1)))], "r/two=d"),
    "a choice of all": ([offer("d", "e"), having("d")], [claim(either("r", ("one", "", 0), ("two", "", 1)))], "r/two=e"),
    "a constraint for all alternatives": (
        [offer(BIG, SMALL, V1)],
        [claim(ask("q", at_least("8Gi")), either("r", ("one", at_least("2Gi"), 1), ("two", "", 1)), **same(VERSION, "q", "r"))],
        "q=big r/two=v1",
    ),
    "a constraint for one alternative": (
        [offer(BIG, SMALL)],
        [claim(ask("q", at_least("8Gi")), either("r", ("one", at_least("2Gi"), 1), ("two", "", 1)), **same(VERSION, "q", "r/one"))],
        "q=big r/two=small",
    ),
    "a part": ([offer(PARTS[0], count=2), shared("8Gi")], [claim(ask())], "r=a"),
    "parts that go together": ([offer(*PARTS, count=2), shared("8Gi")], [claim(ask("r0"), ask("r1"))], "r0=a r1=c"),
    "parts, and a choice": ([offer(*PARTS, count=2), shared("8Gi")], [claim(ask("q"), either("r", ("one", at_least("6Gi"), 1), ("two", "", 1)))], "q=a r/two=c"),
    "parts that are too large": ([offer(PARTS[1], count=2), shared("4Gi")], [claim(ask())], "-"),
    "parts of which some are in use": ([offer(*PARTS, count=2), shared("8Gi"), having("a")], [claim(ask("r", at_least("6Gi")))], "-"),
    "parts in use on another node": (
        [offer(device("a", takes="4Gi", node_name="m"), device("b", takes="6Gi", node_name="n"), count=2, per_device_node_selection=True), shared("8Gi", all_nodes=True), having("a")],
        [claim(ask())],
        "-",
    ),
    "parts of what there is not": ([offer(device("a", takes="1"))], [claim(ask())], "invalid resource pools were encountered"),
    "a taint": ([offer(TAINTED)], [claim(ask())], "-"),
    "a taint that is tolerated": ([offer(TAINTED)], [claim(ask(tolerations=(DeviceToleration(key="k", value="v"),)))], "r=bad"),
    "a taint that another is tolerated of": ([offer(TAINTED)], [claim(ask(tolerations=(DeviceToleration(key="k", value="w"),)))], "-"),
    "a taint that does nothing": ([offer(device("d", taints=(replace(TAINT, effect="None"),)))], [claim(ask())], "r=d"),
    "a rule's taint": (
        [offer("d"), DeviceTaintRule(metadata=ObjectMeta(name="t"), spec=DeviceTaintRuleSpec(device_selector=DeviceTaintSelector(driver=DRIVER), taint=TAINT))],
        [claim(ask())],
        "-",
    ),
    "a rule for another device": (
        [offer("d"), DeviceTaintRule(metadata=ObjectMeta(name="t"), spec=DeviceTaintRuleSpec(device_selector=DeviceTaintSelector(device="e"), taint=TAINT))],
        [claim(ask())],
        "r=d",
    ),
    "a rule for none": (
        [offer("d"), DeviceTaintRule(metadata=ObjectMeta(name="t"), spec=DeviceTaintRuleSpec(taint=TAINT))],
        [claim(ask())],
        "r=d",
    ),
    "a device that is not ready at once": ([offer(device("d", binding_conditions=("ready",)))], [claim(ask())], "-"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_claims_get_what_kubernetes_gives_them(case: str) -> None:
    things, claims, expected = CASES[case]
    assert given(known(*things), *claims) == expected


STEPS = CapacityRequestPolicy(
    default="1Gi", valid_range=CapacityRequestPolicyRange(min="1Gi", max="6Gi", step="2Gi")
)
CHOICE = CapacityRequestPolicy(default="2Gi", valid_values=("2Gi", "4Gi"))


def some(amount: str, name: str = "memory") -> dict[str, Any]:
    return {"capacity": CapacityRequirements(requests={name: amount})}


@pytest.mark.parametrize(
    ("policy", "wanted", "there", "expected"),
    [
        (None, {}, [], "8Gi"),
        (None, {}, ["1"], None),
        (None, some("5Gi"), [], "5Gi"),
        (None, some("5Gi"), ["3Gi"], "5Gi"),
        (None, some("5Gi"), ["2Gi", "2Gi"], None),
        (None, some("9Gi"), [], None),
        (None, some("1", "other"), [], None),
        (STEPS, {}, [], "1Gi"),
        (STEPS, some("1"), [], "1Gi"),
        (STEPS, some("2Gi"), [], "3Gi"),
        (STEPS, some("3Gi"), [], "3Gi"),
        (STEPS, some("4Gi"), ["4Gi"], None),
        (STEPS, some("6Gi"), [], None),
        (CHOICE, {}, [], "2Gi"),
        (CHOICE, some("1Gi"), [], "2Gi"),
        (CHOICE, some("3Gi"), [], "4Gi"),
        (CHOICE, some("5Gi"), [], None),
    ],
)
def test_devices_are_shared_by_what_claims_take_of_them(
    policy: CapacityRequestPolicy | None, wanted: dict[str, Any], there: list[str], expected: str | None
) -> None:
    devices = known(offer(device("d", "8Gi", policy=policy, allow_multiple_allocations=True)))
    for number, amount in enumerate(there):
        used = having("d", share_id=f"share-{number}", consumed_capacity={"memory": amount})
        devices.put(replace(used, metadata=replace(used.metadata, name=f"other-{number}")))
    found = devices.allocate((claim(ask(**wanted)),), "n", selects)
    if expected is None:
        assert found is None
        return
    assert found is not None
    (result,) = found[0].devices.results
    assert result.consumed_capacity == {"memory": expected} and result.share_id is not None


def test_a_claim_may_have_several_shares_of_one_device_unless_it_says_otherwise() -> None:
    one = device("d", "8Gi", attributes={"version": "1.0.0"}, allow_multiple_allocations=True)
    devices = known(offer(one))
    assert given(devices, claim(ask(count=2, **some("4Gi")))) == "r=d r=d"
    assert given(devices, claim(ask(count=3, **some("4Gi")))) == "-"
    assert given(devices, claim(ask(count=2, **some("4Gi")), **distinct(VERSION))) == "-"


def test_a_device_for_one_must_have_as_much_as_is_asked_for() -> None:
    devices = known(offer(device("small", "4Gi"), device("big", "8Gi")))
    assert given(devices, claim(ask(**some("6Gi")))) == "r=big"
    found = only(devices, claim(ask(**some("6Gi"))))
    assert (found.devices.results[0].share_id, found.devices.results[0].consumed_capacity) == (None, {})


def test_an_allocation_says_where_it_can_be_used_and_how_it_is_configured() -> None:
    def config(text: str) -> OpaqueDeviceConfiguration:
        return OpaqueDeviceConfiguration(driver=DRIVER, parameters={"is": text})

    own = DeviceClassSpec(config=(DeviceClassConfiguration(opaque=config("class")),))
    asked = claim(
        ask("r0", of="set"),
        ask("r1", of="set"),
        either("r2", ("one", "", 1)),
        config=(
            DeviceClaimConfiguration(opaque=config("all")),
            DeviceClaimConfiguration(opaque=config("one"), requests=("r2/one",)),
            DeviceClaimConfiguration(opaque=config("other"), requests=("r2/two",)),
        ),
    )
    devices = known(
        offer("d", "e", "f", node_selector=in_zone("a")),
        DeviceClass(metadata=ObjectMeta(name="set"), spec=own),
    )
    found = only(devices, asked)
    assert found.node_selector == in_zone("a")
    assert [(c.source, c.requests, c.opaque and c.opaque.parameters["is"]) for c in found.devices.config] == [
        ("FromClass", ("r0", "r1"), "class"),
        ("FromClaim", (), "all"),
        ("FromClaim", ("r2/one",), "one"),
    ]
    local = only(known(offer("d")), claim(ask()))
    name = NodeSelectorRequirement(key="metadata.name", operator="In", values=("n",))
    assert local.node_selector == NodeSelector(node_selector_terms=(NodeSelectorTerm(match_fields=(name,)),))
    anywhere = only(known(offer("d", all_nodes=True)), claim(ask()))
    assert anywhere.node_selector is None


def test_a_search_that_leads_nowhere_ends() -> None:
    names = [device(f"d{n:02}", attributes={"version": f"{n}.0.0"}) for n in range(30)]
    attribute = f"{DRIVER}/version"
    requests = (ask("r0", count=12), ask("r1", "device.driver == 'none'"))
    assert given(known(offer(*names)), claim(*requests, **distinct(attribute))) == (
        "timed out trying to allocate devices"
    )


def test_slices_and_rules_tell_whether_they_may_help() -> None:
    devices = known()
    assert devices.put(offer("d"))
    assert not devices.put(offer("d"))
    assert devices.put(offer("e"))
    assert given(devices, claim(ask())) == "r=e"
    rule = DeviceTaintRule(
        metadata=ObjectMeta(name="t"),
        spec=DeviceTaintRuleSpec(device_selector=DeviceTaintSelector(pool="p"), taint=TAINT),
    )
    assert not devices.put(rule)
    assert given(devices, claim(ask())) == "-"
    assert devices.put_rule("t", None)
    assert devices.pools.put_slice("s1", None)
    assert given(devices, claim(ask())) == "-"
    assert devices.put(offer("d"))
    assert devices.put(having("d"))
    assert given(devices, claim(ask())) == "-"
    assert devices.put_claim(having("d").key, None)
    assert given(devices, claim(ask())) == "r=d"


@pytest.mark.parametrize("seed", range(40))
def test_what_is_kept_of_nodes_that_can_give_devices_is_what_is_found_anew(seed: int) -> None:
    random = Random(seed)
    devices = known()
    asked = [(claim(ask(count=n)),) for n in (1, 2)] + [(claim(ask("r", at_least("4Gi"))),)]
    nodes = [(f"n{number}", selects) for number in range(4)]
    answers = set()
    for step in range(30):
        number = random.randrange(4)
        place = {"node_name": f"n{number}"} if random.random() < 0.9 or seed % 2 else {"all_nodes": True}
        match random.randrange(6):
            case 0 | 1:
                made = [device(f"d{n}", random.choice(["1Gi", "8Gi"])) for n in range(random.randrange(3))]
                devices.put(offer(*made, name=f"s{number}", pool=f"p{number}", generation=step, **place))
            case 2:
                devices.pools.put_slice(f"s{number}", None)
            case 3:
                result = having(f"d{random.randrange(2)}")
                given = DeviceRequestAllocationResult(
                    request="r", driver=DRIVER, pool=f"p{number}", device=f"d{random.randrange(2)}"
                )
                allocation = AllocationResult(devices=DeviceAllocationResult(results=(given,)))
                devices.put(replace(result, status=ResourceClaimStatus(allocation=allocation)))
            case 4:
                devices.put_claim(having().key, None)
            case 5:
                selector = DeviceTaintSelector(pool=f"p{number}")
                spec = DeviceTaintRuleSpec(device_selector=selector, taint=TAINT)
                rule = DeviceTaintRule(metadata=ObjectMeta(name="t"), spec=spec)
                devices.put_rule("t", rule if random.random() < 0.5 else None)
        for claims in asked:
            kept = list(devices.judge(claims, nodes))
            devices._judgements.clear()
            assert kept == list(devices.judge(claims, nodes)), step
            answers |= {judgement.problem for judgement in kept}
    assert answers == {"", "cannot allocate all claims"}
