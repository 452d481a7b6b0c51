"""`kubelib explain-scheduling` and `kubelib what-if`: what a scheduler would decide, and why, without any effect."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from kubelib.client.http import HttpClient
from reference_cluster.cli.client import documents_of, namespace_option, print_tree
from reference_cluster.cli.resources import find_resource, path_of, run, table_text

if TYPE_CHECKING:
    from random import Random

    from kubelib.api.core.pod import Pod
    from kubelib.api.scheduling_v1beta1 import PodGroup
    from kubelib.sched.base import Policy
    from kubelib.sched.explaining import Explanation, GroupVerdict, NodeVerdict
    from kubelib.sched.forecasting import Forecast
    from kubelib.sched.pods import PodInfo

MOST_PODS = 100_000
"""Up to so many Pods of one file are looked at."""
NOWHERE = 3
"""The exit code if a Pod would go nowhere."""

policy_option = click.option(
    "--policy",
    "policy_name",
    default="default",
    show_default=True,
    help="How nodes are chosen, as the scheduler was told: a policy's name, or a file with profiles (.yaml, .json).",
)
output_option = click.option(
    "--output", "-o", type=click.Choice(["", "json", "yaml"]), default="", help="The form, if not a table."
)


@click.command("explain-scheduling", epilog="Example: kubelib explain-scheduling web -n shop")
@click.argument("pod")
@namespace_option
@policy_option
@output_option
@click.pass_context
def explain_scheduling(
    ctx: click.Context, pod: str, namespace: str | None, policy_name: str, output: str
) -> None:
    """Show what every filter and score says of every node for a Pod, and where it would go now."""

    async def main(client: HttpClient) -> "Explanation":
        from kubelib.api.core.pod import Pod
        from kubelib.api.meta import Key
        from kubelib.clock import SYSTEM_CLOCK
        from kubelib.sched.explaining import explain
        from kubelib.sched.snapshot import take_snapshot

        name = pod.removeprefix("pods/").removeprefix("pod/")
        wanted = await client.resource(Pod).get(Key(namespace or client.connection.namespace, name))
        policy = _policy(policy_name, wanted.spec.scheduler_name)
        snapshot = await take_snapshot(client, SYSTEM_CLOCK.now())
        snapshot.promise({wanted.spec.scheduler_name})
        with _plugins(policy):
            return explain(snapshot, wanted, policy, _random())

    explanation = run(ctx, main)
    if output:
        print_tree(_explanation_tree(explanation), output)
    else:
        click.echo("\n\n".join([*_sentences(explanation), *_tables(explanation)]))


@click.command("what-if", epilog="Example: kubelib what-if -f web.yaml")
@click.option(
    "--filename",
    "-f",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="Pods, or what makes Pods; - is standard input.",
)
@namespace_option
@policy_option
@output_option
@click.pass_context
def what_if(
    ctx: click.Context, files: tuple[str, ...], namespace: str | None, policy_name: str, output: str
) -> None:
    """Show where Pods of files would go, and what would have to move. Nothing is created.

    Exit code 3 says that some would go nowhere.
    """
    documents = documents_of(files)

    async def main(client: HttpClient) -> "Forecast":
        from kubelib.api.scheduling_v1beta1 import PodGroup
        from kubelib.clock import SYSTEM_CLOCK
        from kubelib.sched import forecasting
        from kubelib.sched.policies import POLICIES
        from kubelib.sched.snapshot import take_snapshot

        pods: list[PodInfo] = []
        groups: list[PodGroup] = []
        for document in documents:
            if (document.get("apiVersion"), document["kind"]) == (PodGroup.api_version, PodGroup.kind):
                groups.append(_pod_group(document, namespace or client.connection.namespace))
                continue
            pods += await _pods_of(client, document, namespace or client.connection.namespace, len(pods))
        if not pods:
            raise click.ClickException("there are no Pods to place, and nothing that makes any")
        schedulers = {pod.scheduler for pod in pods}
        if len(schedulers) > 1 and policy_name not in POLICIES:
            # A file has a profile for each, and an installed policy may be meant for one of them.
            raise click.ClickException(f"these Pods name several schedulers: {', '.join(sorted(schedulers))}")
        policy = _policy(policy_name, next(iter(schedulers)))
        snapshot = await take_snapshot(client, SYSTEM_CLOCK.now())
        snapshot.promise(schedulers)
        for group in groups:
            snapshot.groups.put(group.key, group)
        with _plugins(policy):
            return forecasting.what_if(snapshot, pods, policy, _random())

    forecast = run(ctx, main)
    if output:
        print_tree(_forecast_tree(forecast), output)
    else:
        click.echo(_forecast_text(forecast))
    if not forecast.complete:
        ctx.exit(NOWHERE)


def _policy(name: str, scheduler: str) -> "Policy":
    from reference_cluster.scheduler import policy_named

    try:
        return policy_named(name, scheduler)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _plugins(policy: "Policy") -> Iterator[None]:
    """Say in a sentence what goes wrong in a policy: its filters and scores may be anybody's."""
    from kubelib.sched.guarding import BadPlugin

    try:
        yield
    except BadPlugin as error:
        raise click.ClickException(f"the policy {policy.name} failed: {error}") from error
    except Exception as error:
        raise click.ClickException(
            f"the policy {policy.name} failed: {type(error).__name__}: {error}"
        ) from error


def _random() -> "Random":
    from kubelib.clock import system_random

    return system_random()


def _pod_group(document: dict[str, Any], namespace: str) -> "PodGroup":
    """Return a group of a file as it would be."""
    from kubelib.api import codec
    from kubelib.api.model import replace
    from kubelib.api.scheduling_v1beta1 import PodGroup

    try:
        codec.check_types(document, find_resource("podgroups"))
        group = codec.decode(PodGroup, json.dumps(document).encode())
    except codec.DecodeError as error:
        raise click.ClickException(str(error)) from None
    meta = replace(group.metadata, namespace=group.metadata.namespace or namespace)
    return replace(group, metadata=meta)


async def _pods_of(
    client: HttpClient, document: dict[str, Any], namespace: str, already: int
) -> list["PodInfo"]:
    """Return the Pods that an object would be, or would make: as the server would complete them, which it is asked in a dry run."""
    import attrs

    from kubelib.api import codec
    from kubelib.api.meta import Key
    from kubelib.sched.forecasting import UnknownMaker, made_by
    from kubelib.sched.pods import PodInfo

    resource = find_resource(document["kind"])
    try:
        codec.check_types(document, resource)
        pod, count = made_by(codec.decode(resource.cls, json.dumps(document).encode()))
    except UnknownMaker as error:
        click.echo(f"left out: {error}", err=True)
        return []
    except codec.DecodeError as error:
        raise click.ClickException(str(error)) from None
    if already + count > MOST_PODS:
        raise click.ClickException(f"these are more than {MOST_PODS} Pods")
    if count <= 0:
        return []
    where = pod.metadata.namespace or namespace
    complete = PodInfo.of(await _dry_run(client, pod, where))
    base, owner = pod.metadata.name, ""
    if resource.plural != "pods":
        base, owner = pod.metadata.generate_name.removesuffix("-"), f"what-if-{already}"
    names = [f"{base}-{n + 1}" for n in range(count)] if owner else [base or complete.key.name]
    return [
        attrs.evolve(
            complete,
            key=Key(where, name),
            uid=f"what-if-{already + number}",
            owner=owner,
            shape=(*complete.shape, owner),
        )
        for number, name in enumerate(names)
    ]


async def _dry_run(client: HttpClient, pod: "Pod", namespace: str) -> "Pod":
    from kubelib.api import codec

    answer = await client.request(
        "POST",
        path_of(find_resource("pods"), namespace),
        query={"dryRun": "All"},
        body=codec.encode(pod),
    )
    return codec.decode(type(pod), answer.body)


# What is shown of an explanation


def _sentences(explanation: "Explanation") -> list[str]:
    it = explanation
    lines = [f"Pod {it.pod} {_whereabouts(it)}."]
    if it.scheduler != "default-scheduler":
        lines.append(f"It is {it.scheduler}'s to place, and judged here by the policy {it.policy}.")
    if it.nominated:
        lines.append(f"Room on {it.nominated} is promised to it.")
    if it.group is not None:
        lines.append(_group(it.group))
    would = "Judged now, it would go to" if it.state == "waiting" else "If it waited now, it would go to"
    if it.node:
        chance = f", one of {it.equals} that are equally good" if it.equals > 1 else ""
        lines.append(f"{would} {it.node}{chance}. Nobody has to leave for it.")
        return ["\n".join(lines)]
    lines.append(f"{would} no node: {it.message}")
    if it.plan is not None:
        victims = ", ".join(f"{v.key} (priority {v.priority})" for v in it.plan.victims)
        budgets = f", {it.plan.violations} of them against a disruption budget" if it.plan.violations else ""
        lines.append(f"Preemption would help: {victims} would have to leave {it.plan.node}{budgets}.")
    return ["\n".join(lines)]


def _group(it: "GroupVerdict") -> str:
    if it.minimum is None:
        return f"It belongs to the pod group {it.group.name}, which is not there."
    enough = "Enough of them can be placed now." if not it.message else "Too few of them can be placed now."
    return (
        f"It is placed with the pod group {it.group.name} only: {it.bound} others have a node, {it.waiting} wait with it,"
        f" and minCount is {it.minimum}. {enough}"
    )


def _whereabouts(it: "Explanation") -> str:
    return {
        "waiting": "waits for a node",
        "gated": f"waits behind scheduling gates ({', '.join(it.gates)}): no scheduler looks at it until they are gone",
        "bound": f"is on {it.bound} and stays there; it is judged as if it were not",
        "leaving": "is being deleted: no scheduler looks at it",
        "ended": "has ended: no scheduler looks at it",
    }[it.state]


def _tables(explanation: "Explanation") -> list[str]:
    nodes = explanation.nodes
    if not nodes:
        return []
    filters = list(nodes[0].filters)
    blocks = [
        _table(
            ["Node", "Fits", *filters, "Reasons"],
            [
                [
                    n.node,
                    _yes(n.fits),
                    *(_yes(not n.filters[f]) for f in filters),
                    "; ".join(_reasons(n)) or "-",
                ]
                for n in nodes
            ],
        )
    ]
    scored = [node for node in nodes if node.scores]
    if scored:
        scores = scored[0].scores
        blocks.append(
            _table(
                ["Node", *(f"{name} (x{score.weight:g})" for name, score in scores.items()), "Total"],
                [[n.node, *(f"{s.points:.1f}" for s in n.scores.values()), f"{n.total:.1f}"] for n in scored],
            )
        )
    if any(node.preemption or node.victims for node in nodes):
        rows = [[n.node, ", ".join(map(str, n.victims)) or "-", n.preemption or "-"] for n in nodes]
        blocks.append(_table(["Node", "Victims", "Why preemption does not help"], rows))
    return blocks


def _reasons(node: "NodeVerdict") -> list[str]:
    failed = [reason for reasons in node.filters.values() for reason in reasons]
    return failed + [f"{reason} beside what is promised to others" for reason in node.promised]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    definitions = [{"name": name, "priority": 0} for name in columns]
    return table_text(
        [{"columnDefinitions": definitions, "rows": [{"cells": cells} for cells in rows]}], wide=False
    )


def _explanation_tree(it: "Explanation") -> dict[str, Any]:
    tree: dict[str, Any] = {
        "pod": str(it.pod),
        "schedulerName": it.scheduler,
        "policy": it.policy,
        "state": it.state,
        "schedulingGates": list(it.gates),
        "nodeName": it.bound,
        "nominatedNodeName": it.nominated,
        "wouldGoTo": it.node,
        "equallyGood": it.equals,
        "message": it.message,
        "preemption": None,
        "podGroup": None,
        "nodes": [_node_tree(node) for node in it.nodes],
    }
    if it.group is not None:
        tree["podGroup"] = {
            "name": it.group.group.name,
            "minCount": it.group.minimum,
            "bound": it.group.bound,
            "waiting": it.group.waiting,
            "message": it.group.message,
        }
    if it.plan is not None:
        tree["preemption"] = {
            "node": it.plan.node,
            "victims": [str(victim.key) for victim in it.plan.victims],
            "disruptionBudgetViolations": it.plan.violations,
        }
    return tree


def _node_tree(node: "NodeVerdict") -> dict[str, Any]:
    return {
        "node": node.node,
        "fits": node.fits,
        "filters": [
            {"name": name, "passes": not reasons, "reasons": list(reasons)}
            for name, reasons in node.filters.items()
        ],
        "promised": list(node.promised),
        "scores": [{"name": n, "points": s.points, "weight": s.weight} for n, s in node.scores.items()],
        "total": node.total if node.scores else None,
        "victims": [str(victim) for victim in node.victims],
        "preemption": node.preemption,
    }


# What is shown of a forecast


def _forecast_text(forecast: "Forecast") -> str:
    rows = []
    for placement in forecast.placements:
        note = placement.message
        if placement.victims:
            note = f"after {', '.join(map(str, placement.victims))} left"
            if placement.violations:
                note += f", {placement.violations} of them against a disruption budget"
        rows.append([str(placement.pod), placement.node or "<none>", note or "-"])
    blocks = [_table(["Pod", "Node", "Note"], rows)]
    if forecast.moves:
        moved = [[str(m.pod), m.origin, m.node or "<none>", m.message or "-"] for m in forecast.moves]
        blocks.append(_table(["Would leave", "From", "Its like to", "Note"], moved))
    return "\n\n".join(blocks)


def _forecast_tree(forecast: "Forecast") -> dict[str, Any]:
    return {
        "complete": forecast.complete,
        "placements": [
            {
                "pod": str(placement.pod),
                "node": placement.node,
                "message": placement.message,
                "victims": [str(victim) for victim in placement.victims],
                "disruptionBudgetViolations": placement.violations,
            }
            for placement in forecast.placements
        ],
        "moves": [
            {"pod": str(move.pod), "from": move.origin, "to": move.node, "message": move.message}
            for move in forecast.moves
        ],
    }
