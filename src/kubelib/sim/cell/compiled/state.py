"""What a compiled run works on: some arrays, most of them of records, for arrays cost time whenever a function is called."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kubelib.sim.cell.base import Floats, Integers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Small = NDArray[np.int32]
    Marks = NDArray[np.uint8]
    Words = NDArray[np.uint64]
else:
    Small = Marks = Words = Any

Records = Any
"""An array of records, or one of them; their fields are attributes where they are compiled."""

SHEET = np.dtype(
    [
        ("horizon", "f8"),
        ("exact", "i8"),
        ("shared", "i8"),
        ("coarse", "i8"),
        ("together", "i8"),
        ("claimed", "i8"),
        ("releases", "i8"),
        ("noted", "i8"),
        ("open", "i8"),
        ("looking", "i8"),
        ("serial", "i8"),
        ("live", "i8"),
        ("arrived", "i8"),
        ("events", "i8"),
        ("end", "f8"),
        ("ticks", "i8"),
        ("last", "f8"),
        *((count, "i8") for count in ("prefilled", "offering", "begun", "offered", "summed", "pending")),
        *((seconds, "f8") for seconds in ("gathering", "deciding", "minimum", "total_cpu", "total_memory")),
        *((f"locked_{what}", "f8") for what in ("last", "cpu", "memory", "integral_cpu", "integral_memory")),
        *(
            (f"{what}_{resource}", "f8")
            for what in ("used", "looks", "integral")
            for resource in ("cpu", "memory")
        ),
    ]
)
"""What there is once: how schedulers share the cell (`shared` means on snapshots), how many tasks were claimed, releases there were,
entries the diary has, snapshots are equal to the shared state (`open`), snapshots there are, events are live, jobs arrived; what is in
use since `last`, and its sums, as `kubelib.sim.cell.state.Usage` has them."""

DIARY = np.dtype([("machine", "i8"), ("cpu", "f8"), ("memory", "f8"), ("sequence", "i8")])
"""What a machine was like before a change."""

JOB = np.dtype(
    [
        ("tasks", "i8"),
        ("left", "i8"),
        ("duration", "f8"),
        ("cpu", "f8"),
        ("memory", "f8"),
        ("chosen", "i8"),
        ("workload", "i8"),
        ("attempts", "i8"),
        ("task_attempts", "i8"),
        ("enqueued", "f8"),
        ("wait_first", "f8"),
        ("wait_full", "f8"),
        ("useful", "f8"),
        ("placed_at", "f8"),
        ("stuck", "i8"),
        ("abandoned", "i8"),
        ("follower", "i8"),
        ("begin", "i8"),
        ("end", "i8"),
        ("think", "f8"),
    ]
)
"""A job and what has become of it; `follower` is the next one in the queue or on an offer, `stuck` as of which release there was no
room, `begin`, `end` and `think` what was decided on an offer."""

STREAM = ("state_high", "state_low", "step_high", "step_low")
DESK = np.dtype(
    [
        ("first", "i8"),
        ("count", "i8"),
        ("in_block", "i8"),
        *((word, "u8") for word in (*STREAM, "java")),
        ("misses", "i8"),
        ("deciding", "i8"),
        ("asked", "i8"),
        ("head", "i8"),
        ("tail", "i8"),
        ("queued", "i8"),
        ("open", "i8"),
        ("looking", "i8"),
        ("noted", "i8"),
        ("since", "i8"),
        ("fruitless", "f8"),
        *((count, "i8") for count in ("retried", "landed", "refused", "no_room", "abandoned", "offers")),
        ("held_cpu", "f8"),
        ("held_memory", "f8"),
    ]
)
"""A scheduler: on which machines and with which random stream it places, its queue, its snapshot, its books."""

USEFUL, WASTED, BUSY, SUCCEEDED, FAILED = range(5)
"""What `State.days` has of each scheduler and day."""
T_JOB, T_TASK, SECONDS_USEFUL, SECONDS_WASTED = range(4)
"""What `State.paths` has of each scheduler and workload."""

EVENT = np.dtype(
    [
        ("time", "f8"),
        ("serial", "i8"),
        ("kind", "i8"),
        ("number", "i8"),
        ("job", "i8"),
        ("begin", "i8"),
        ("end", "i8"),
        ("think", "f8"),
    ]
)
"""An event to come; for tasks that end, which of the claimed ones."""

OFFER = np.dtype(
    [
        ("open", "i8"),
        ("head", "i8"),
        ("tail", "i8"),
        ("jobs", "i8"),
        ("cpu", "f8"),
        ("memory", "f8"),
    ]
)
"""An offer, the jobs on which was decided with it, and how much it is."""

RELEASE = np.dtype([("begin", "i8"), ("end", "i8")])


HALF = np.dtype([("first", "i8"), ("count", "i8"), ("left", "f8"), ("has_left", "i8")])
"""A part of some values that is being added up half by half, and what its first half has in all, if that is known."""
HALVES = 64
"""More than any array can be halved into."""


class State(NamedTuple):
    """All of it."""

    sheet: Records
    cpu_total: Floats
    memory_total: Floats
    cpu: Floats
    memory: Floats
    sequence: Integers
    turn: Integers
    """How many claims of the transaction that is looked at are on each machine: 0 at all other times."""
    diary: Records
    jobs: Records
    """Those of the workloads, then those of the prefill."""
    arrivals: Floats
    arriving: Integers
    desks: Records
    """The schedulers, then who places the prefill."""
    paths: Floats
    days: Floats
    pool: Small
    """By desk: draws for small jobs that are made beforehand, or all machines in the order of the paper's own procedure."""
    agenda: Records
    claims: Small
    """On which machine each task was claimed, in order."""
    recent: Records
    """Which claims were released last."""
    drawn: Small
    placed: Small
    seen: Integers
    eligible: Small
    fitting: Small
    fits: Marks
    """Which of the machines that are looked at have room, 1 or 0, filled up to whole eights with 0."""
    eights: Words
    """The same memory, eight machines at a time."""
    offers: Records
    amounts: Floats
    """What each offer has of each resource on each machine."""
    locked: Floats
    """What all offers together have, if `summed`; else there is one at most, which says it."""
    shown: Floats
    """By resource, what is not offered of machines: what a scheduler takes for used that looks at an offer."""
    halves: Records
