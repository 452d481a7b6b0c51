"""The command that runs schedulers."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reference_cluster.cli import shapes
from reference_cluster.cli.leadership import leadership_options
from reference_cluster.cli.options import kubeconfig, policy
from reference_cluster.cli.running import run

if TYPE_CHECKING:
    from kubelib.controllers.election import Timing
    from kubelib.sched.architectures import Architecture
    from kubelib.sched.policies.configuration import Configuration, Leading
    from kubelib.transactions.base import DecisionTime

ARCHITECTURES = ("monolithic", "multipath", "partitioned", "two-level", "shared-state")


@click.command(
    epilog="Example: kubelib scheduler --kubeconfig ./master/scheduler.kubeconfig"
    " --architecture shared-state --schedulers 4 --detection coarse"
)
@kubeconfig
@policy
@shapes.text(
    "--config",
    "FILE",
    "A KubeSchedulerConfiguration: all its profiles, in place of --policy and --scheduler-name.",
)
@shapes.choice("--architecture", ARCHITECTURES, "How schedulers share the cluster.", default="monolithic")
@click.option(
    "--scheduler-name",
    "name",
    default="default-scheduler",
    show_default=True,
    help="Whose Pods: those with this spec.schedulerName.",
)
@shapes.number(
    "--schedulers", 1, "How many share the work: of a shared-state or a partitioned architecture.", least=1
)
@shapes.number(
    "--only", None, "Run but this one of them, from 0; the others run elsewhere.", metavar="NUMBER"
)
@shapes.text(
    "--partition-label", "KEY", "Nodes and Pods with the same value of this label are in the same partition."
)
@shapes.choice(
    "--detection",
    ["fine", "coarse"],
    "When a claim conflicts: the node is too full, or has been given any Pod meanwhile.",
)
@shapes.choice(
    "--commit", ["incremental", "all-or-nothing"], "What lands if some claims conflict: the others, or none."
)
@click.option("--by-job", is_flag=True, help="Make the Pods of each controller a transaction of their own.")
@click.option(
    "--batch-policy",
    default="random",
    show_default=True,
    help="How nodes are chosen for batch Pods, where they have a path or a framework.",
)
@shapes.text(
    "--decision-time",
    "JOB[,TASK]",
    "Seconds that a decision takes at least, for a job and for each of its Pods.",
    default="0",
)
@shapes.text(
    "--batch-decision-time",
    "JOB[,TASK]",
    "The same for batch Pods, where they have a path or a framework.",
    default="0",
)
@shapes.seconds(
    "--offer-interval", 0.05, "Seconds that a resource manager waits for frameworks before it makes an offer."
)
@shapes.number("--offer-nodes", 0, "How many nodes an offer has at most; 0: all.")
@shapes.text("--bind-address", "ADDRESS", "Where figures are shown.", default="127.0.0.1")
@shapes.number("--secure-port", 0, "The port of /metrics; 0: figures are not shown.", most=65535)
@click.option(
    "--plugin-timeout",
    type=click.FloatRange(0),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="How long installed plug-ins may take for one decision; 0: as long as they like.",
)
@leadership_options
def scheduler(
    kubeconfig: Path,
    policy: str,
    config: str,
    plugin_timeout: float,
    bind_address: str,
    secure_port: int,
    leader_elect: bool | None,
    timing: "Timing",
    **options: Any,
) -> None:
    """Run a scheduler, until SIGINT or SIGTERM.

    Several may run at once, of different architectures and policies: no interleaving of their decisions binds a Pod twice or
    overcommits a node.
    """
    from kubelib.sched.guarding import Alarm
    from kubelib.sched.policies.configuration import Leading
    from reference_cluster.scheduler import (
        DEFAULT_SCHEDULER,
        SchedulerSettings,
        configuration_of,
        run_scheduler,
    )

    leading = Leading()
    if plugin_timeout:
        options["watch"] = Alarm(plugin_timeout)
    try:
        if config:
            if policy != "default" or options["name"] != DEFAULT_SCHEDULER:
                raise ValueError("--config stands for --policy and --scheduler-name: leave these out.")
            configuration = configuration_of(config)
            leading, timing = configuration.leading, _timing(configuration.leading, timing)
            architecture = _architecture(policy, config, configuration, **options)
        else:
            architecture = _architecture(policy, "", None, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    usual = DEFAULT_SCHEDULER in (architecture.name, *architecture.profiles) and architecture.only is None
    wanted = next((choice for choice in (leader_elect, leading.elect) if choice is not None), usual)
    settings = SchedulerSettings(
        architecture=architecture,
        elect=timing if wanted else None,
        address=(bind_address, secure_port) if secure_port else None,
        lease=leading.name,
    )
    run(lambda: run_scheduler(kubeconfig, settings))


def _timing(leading: "Leading", usual: "Timing") -> "Timing":
    """Return how a leader leads: as a file says, and otherwise as the options do."""
    from kubelib.controllers.election import Timing

    def chosen(told: float | None, otherwise: float) -> float:
        return told if told is not None else otherwise

    return Timing(
        lease=chosen(leading.lease, usual.lease),
        renew=chosen(leading.renew, usual.renew),
        retry=chosen(leading.retry, usual.retry),
    )


def _architecture(
    policy: str,
    config: str,
    configuration: "Configuration | None",
    *,
    architecture: str,
    batch_policy: str,
    decision_time: str,
    batch_decision_time: str,
    **others: Any,
) -> "Architecture":
    from kubelib.sched.architectures import Architecture
    from reference_cluster.scheduler import policy_named, profile_of

    usual = partial(policy_named, policy, others["name"])
    if configuration is not None:
        makers = {name: partial(profile_of, config, name) for name in configuration.policies}
        others["name"] = next(iter(makers))
        usual = makers.pop(others["name"])
        others["profiles"] = makers
        others["first_backoff"] = configuration.first_backoff
        others["longest_backoff"] = configuration.longest_backoff
    return Architecture(
        sharing=architecture,  # type: ignore[arg-type]
        policy=usual,
        batch_policy=lambda: policy_named(batch_policy, others["name"]),
        time=_time(decision_time),
        batch_time=_time(batch_decision_time),
        **others,
    )


def _time(text: str) -> "DecisionTime":
    from kubelib.transactions.base import DecisionTime

    job, _, task = text.partition(",")
    try:
        return DecisionTime(float(job or 0), float(task or 0))
    except ValueError as error:
        raise ValueError(f"{text!r} is no decision time: {error}") from None
