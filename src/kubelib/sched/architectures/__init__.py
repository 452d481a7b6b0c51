"""Architectures: several schedulers on one cluster, of the same parts, in a daemon, in a program or in simulated time.

assembly = assemble(Architecture(sharing="shared-state", schedulers=4), client, random=Random(1), clock=clock)
async with anyio.create_task_group() as tasks:
    for component in assembly.components:
        await tasks.start(component.run)
"""

from collections.abc import Mapping
from random import Random

from kubelib.client.base import Client
from kubelib.clock import Clock
from kubelib.sched.architectures.base import (
    SHARINGS,
    Architecture,
    Assembly,
    Member,
    Sharing,
    nodes_of,
    part_of,
    pods_of,
)
from kubelib.sched.architectures.twolevel import (
    Framework,
    ResourceManager,
    batch_framework,
    service_framework,
)
from kubelib.sched.reporting import Recorder
from kubelib.sched.scheduler import Path, Scheduler, Terms

__all__ = [
    "SHARINGS",
    "Architecture",
    "Assembly",
    "Framework",
    "Member",
    "ResourceManager",
    "Sharing",
    "assemble",
    "batch_framework",
    "part_of",
    "service_framework",
]


def assemble(
    architecture: Architecture,
    client: Client,
    *,
    random: Random,
    clock: Clock,
    recorder: Recorder | None = None,
    recorders: Mapping[str, Recorder] | None = None,
) -> Assembly:
    """Return the components of an architecture, which are to be run on one event loop. Further profiles have their `recorders`."""
    if architecture.sharing == "two-level":
        return _two_level(architecture, client, random, clock, recorder)
    schedulers = [
        Scheduler(
            client,
            random=Random(random.getrandbits(64)),
            policy=architecture.made(architecture.policy),
            name=architecture.name,
            clock=clock,
            recorder=recorder,
            terms=_terms(architecture, number),
            title=architecture.title(number),
            profiles={name: architecture.made(make) for name, make in architecture.profiles.items()},
            recorders=recorders,
        )
        for number in architecture.numbers
    ]
    return Assembly(
        architecture,
        tuple(schedulers),
        tuple(Member(scheduler.books, scheduler.queue) for scheduler in schedulers),
        tuple(scheduler.table for scheduler in schedulers),
    )


def _terms(architecture: Architecture, number: int) -> Terms:
    count, label = architecture.schedulers, architecture.partition_label
    several = count > 1
    paths: tuple[Path, ...] = ()
    if architecture.sharing == "multipath":
        paths = (Path("batch", architecture.made(architecture.batch_policy), architecture.batch_time),)
    return Terms(
        pods=pods_of(number, count, label) if several else None,
        nodes=nodes_of(number, count, label) if several and architecture.sharing == "partitioned" else None,
        paths=paths,
        time=architecture.time,
        detection=architecture.detection,
        commit=architecture.commit,
        first_backoff=architecture.first_backoff,
        longest_backoff=architecture.longest_backoff,
        by_job=architecture.by_job or architecture.commit == "all-or-nothing",
    )


def _two_level(
    architecture: Architecture, client: Client, random: Random, clock: Clock, recorder: Recorder | None
) -> Assembly:
    frameworks = (
        service_framework(architecture.name, architecture.made(architecture.policy), architecture.time),
        batch_framework(
            architecture.name, architecture.made(architecture.batch_policy), architecture.batch_time
        ),
    )
    for framework in frameworks:
        framework.queue.first_backoff = architecture.first_backoff
        framework.queue.longest_backoff = architecture.longest_backoff
    manager = ResourceManager(
        client,
        frameworks,
        random=random,
        name=architecture.name,
        clock=clock,
        recorder=recorder,
        interval=architecture.offer_interval,
        offer_nodes=architecture.offer_nodes,
    )
    members = tuple(Member(framework.books, framework.queue) for framework in frameworks)
    return Assembly(architecture, (manager,), members, (manager.table,))
