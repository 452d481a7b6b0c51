"""Alibaba's ``openb`` (cluster-trace-gpu-v2023): a list of nodes and lists of pods, CSV with headers.

A pod is a job of one task. GPUs are a further resource, ``gpu``: a pod that shares one (``gpu_milli``) asks for a part, and all of a node's are
one amount, so that what is left of several GPUs may serve a pod that needs a whole one. A pod goes only to the models that it names. Pods of QoS ``BE`` are batch jobs, all others service jobs, with the priority 9.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from kubelib.sim.cell.base import Cell, Job, Machines, Workload
from kubelib.sim.cell.workloads import PRODUCTION, Day
from kubelib.sim.traces.google import Trace, label
from kubelib.sim.traces.schema import Fields, TraceError, grouped, rows_of

_NONE = ("", "nan")


def read(paths: Sequence[Path]) -> Trace:
    """Return the pods and nodes of some lists, known by their columns. Raises `TraceError`."""
    cell: Cell | None = None
    jobs: dict[str, list[Job]] = {"batch": [], "service": []}
    left_out: Counter[str] = Counter()
    for path in paths:
        rows = [Fields(path, line, row) for line, row in rows_of(path)]
        if not rows:
            raise TraceError(f"{path} has no rows.")
        if rows[0].has("sn"):
            cell = grouped(map(_node, rows))
        else:
            for row in rows:
                _read_pod(row, jobs, left_out)
    if not any(jobs.values()):
        raise TraceError("There are no pods that ran: name a list of pods.")
    first = min(job.submit for kind in jobs.values() for job in kind)
    batch, service = (
        Workload.of(kind, [_since(job, first) for job in found]) for kind, found in jobs.items()
    )
    return Trace(Day(batch, service, Workload.of("prefill", [])), cell, left_out)


def _since(job: Job, first: float) -> Job:
    from attrs import evolve

    return evolve(job, submit=job.submit - first)


def _node(row: Fields) -> Machines:
    model = row.text("model")
    gpus = row.whole("gpu", least=0)
    return Machines(
        1,
        row.number("cpu_milli") / 1000,
        row.number("memory_mib") / 1024,
        {} if model in _NONE else {"model": label(model)},
        {"gpu": float(gpus)} if gpus else {},
    )


def _read_pod(row: Fields, jobs: dict[str, list[Job]], left_out: Counter[str]) -> None:
    if row.text("scheduled_time") in _NONE or row.text("deletion_time") in _NONE:
        left_out["pods that never ran"] += 1
        return
    submit, began, ended = (row.number(name, above=False) for name in ("creation_time", "scheduled_time", "deletion_time"))  # fmt: skip
    if ended <= began:
        left_out["pods that ran for no time"] += 1
        return
    batch = row.text("qos") == "BE"
    gpus = row.whole("num_gpu", least=0)
    # of several GPUs all are whole
    share = row.number("gpu_milli") / 1000 if gpus == 1 and row.has("gpu_milli") else 1.0
    constraint, spec = "", row.text("gpu_spec")
    if gpus and spec not in _NONE:
        constraint = f"model in ({','.join(sorted(label(model) for model in spec.split('|')))})"
    jobs["batch" if batch else "service"].append(
        Job(
            submit=submit,
            tasks=1,
            duration=ended - began,
            cpu=max(row.number("cpu_milli", above=False) / 1000, 0.001),
            memory=max(row.number("memory_mib", above=False) / 1024, 0.001),
            priority=0 if batch else PRODUCTION,
            constraint=constraint,
            more={"gpu": gpus * share} if gpus else {},
        )
    )
