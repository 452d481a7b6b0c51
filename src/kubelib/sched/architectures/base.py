"""Architectures: how several schedulers share one cluster. Values, and what they have in common."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args
from zlib import crc32

import attrs

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.informers import Component
from kubelib.sched.base import Policy, Watch
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import group_of
from kubelib.sched.policies import default_policy, random_policy
from kubelib.sched.queue import FIRST_BACKOFF, LONGEST_BACKOFF, SchedulingQueue
from kubelib.transactions.base import Commit, DecisionTime, Detection
from kubelib.transactions.figures import Books

Sharing = Literal["monolithic", "multipath", "partitioned", "two-level", "shared-state"]
SHARINGS: tuple[Sharing, ...] = get_args(Sharing)
AT_ONCE = DecisionTime(0.0, 0.0)
MakePolicy = Callable[[], Policy]


@attrs.frozen(kw_only=True)
class Architecture:
    """How the Pods of one ``spec.schedulerName`` are scheduled, and by how many schedulers.

    *monolithic*: one scheduler, one policy. *multipath*: one scheduler that decides about batch Pods by a quick policy of their own.
    *partitioned*: each scheduler has nodes and Pods of its own. *two-level*: a resource manager offers what is free to two frameworks, one for
    services and one for batch Pods, one at a time. *shared-state*: each scheduler has Pods of its own and sees all nodes; transactions
    decide who was quicker. Times are in seconds, by the event loop's clock.
    """

    sharing: Sharing = "monolithic"
    name: str = "default-scheduler"
    policy: MakePolicy = default_policy
    profiles: Mapping[str, MakePolicy] = {}
    """Policies for Pods of further names: the same schedulers decide about them, on one table and with one queue."""
    batch_policy: MakePolicy = random_policy
    """For batch Pods, where they have a path or a framework of their own."""
    schedulers: int = 1
    """How many schedulers, or partitions."""
    only: int | None = None
    """The number of the one scheduler, from 0, that is run here: the others are run elsewhere. None: all of them."""
    partition_label: str = ""
    """Nodes, and Pods, with the same value of this label are in the same partition; others are spread by name."""
    detection: Detection = "fine"
    commit: Commit = "incremental"
    by_job: bool = False
    """Whether the Pods of each controller are a transaction of their own."""
    time: DecisionTime = AT_ONCE
    """How long decisions take at least: to study schedulers that are slower than these."""
    batch_time: DecisionTime = AT_ONCE
    first_backoff: float = FIRST_BACKOFF
    longest_backoff: float = LONGEST_BACKOFF
    """How many seconds a Pod that fitted nowhere waits at least, after the first time and at most."""
    watch: Watch | None = None
    """What limits the time of plug-ins that are not this library's: `kubelib.sched.guarding.Alarm`."""
    offer_interval: float = 0.05
    """How long the resource manager waits for more frameworks to ask before it makes an offer."""
    offer_nodes: int = 0
    """How many nodes an offer has at most; 0: all that have anything free."""

    def __attrs_post_init__(self) -> None:
        if self.sharing not in SHARINGS:
            raise ValueError(f"{self.sharing!r} is no architecture: choose among {', '.join(SHARINGS)}.")
        if self.schedulers < 1:
            raise ValueError(f"{self.schedulers} schedulers are none: give a number above 0.")
        if self.schedulers > 1 and self.sharing not in ("partitioned", "shared-state"):
            raise ValueError(
                f"A {self.sharing} architecture has one scheduler: give one, or share the cluster in another way."
            )
        if self.profiles and self.sharing == "two-level":
            raise ValueError("The frameworks of a two-level architecture have one profile.")
        if self.name in self.profiles:
            raise ValueError(f"There are two profiles for {self.name}.")
        if self.only is not None and not 0 <= self.only < self.schedulers:
            raise ValueError(
                f"There is no scheduler number {self.only}: they are numbered from 0 to {self.schedulers - 1}."
            )
        if self.partition_label and self.sharing != "partitioned":
            raise ValueError("Only a partitioned architecture has a label of partitions.")
        if self.sharing != "shared-state" and (self.detection != "fine" or self.commit != "incremental"):
            raise ValueError(
                "Coarse detection and transactions that land all or nothing are those of shared-state architectures."
            )
        if not self.offer_interval >= 0 or self.offer_nodes < 0:
            raise ValueError("The interval and the size of offers must not be below 0.")

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of the schedulers that are run here."""
        return range(self.schedulers) if self.only is None else (self.only,)

    def made(self, make: MakePolicy) -> Policy:
        """Make a policy, whose plug-ins are watched."""
        policy = make()
        return policy if self.watch is None else attrs.evolve(policy, watch=self.watch)

    def title(self, number: int) -> str:
        """Return how the scheduler of a number is called in figures and transactions."""
        return f"{self.name}-{number}" if self.schedulers > 1 else self.name


@attrs.frozen
class Member:
    """One scheduler of an architecture, as figures see it."""

    books: Books
    queue: SchedulingQueue


@attrs.frozen
class Assembly:
    """An architecture, ready to run: its components, and its schedulers' books."""

    architecture: Architecture
    components: tuple[Component, ...]
    members: tuple[Member, ...]
    tables: tuple[NodeTable, ...]
    """The cluster as it is known here. Of partitions each is a part."""


def part_of(text: str, parts: int) -> int:
    """Return to which of so many parts a text belongs: the same in every process.

    >>> part_of("node-1", 4), part_of("node-2", 4), part_of("node-3", 4)
    (3, 1, 3)
    """
    return crc32(text.encode()) % parts


def job_of(pod: Pod) -> str:
    """Return what belongs together: a Pod's group, the uid of its controller, or its own."""
    group = group_of(pod)
    if group is not None:
        return str(group)
    owners = pod.metadata.owner_references
    return next((owner.uid for owner in owners if owner.controller), "") or pod.metadata.uid


def pods_of(number: int, parts: int, label: str = "") -> Callable[[Pod], bool]:
    """Return what says whether a Pod is one of a scheduler's. Those of one controller have the same scheduler."""

    def ours(pod: Pod) -> bool:
        value = pod.metadata.labels.get(label) if label else None
        return part_of(value if value is not None else job_of(pod), parts) == number

    return ours


def nodes_of(number: int, parts: int, label: str = "") -> Callable[[Node], bool]:
    """Return what says whether a node is one of a partition's."""

    def ours(node: Node) -> bool:
        value = node.metadata.labels.get(label) if label else None
        return part_of(value if value is not None else node.metadata.name, parts) == number

    return ours
