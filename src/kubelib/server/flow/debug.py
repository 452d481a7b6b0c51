"""``/debug/api_priority_and_fairness``: levels, queues and waiting requests as tables of comma-separated values."""

from collections.abc import Iterable, Sequence

import anyio

from kubelib.server.flow import FlowControl

_LEVELS = (
    "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
    "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests",
)  # fmt: skip
_QUEUES = (
    "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
    "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum",
)  # fmt: skip
_REQUESTS = (
    "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
    "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime",
)  # fmt: skip


def dump(flow: FlowControl, what: str) -> bytes | None:
    """Return ``dump_priority_levels``, ``dump_queues`` or ``dump_requests``; None for anything else."""
    flow.refresh()
    match what:
        case "dump_priority_levels":
            return _table(_LEVELS, _levels(flow))
        case "dump_queues":
            return _table(_QUEUES, _queues(flow))
        case "dump_requests":
            return _table(_REQUESTS, _requests(flow))
    return None


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    lines = [", ".join(head), *(", ".join(map(str, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def _levels(flow: FlowControl) -> Iterable[Sequence[object]]:
    for name, level in sorted(flow.levels.items()):
        refused = {
            reason: sum(tally.refused.get(reason, 0) for tally in level.tallies.values())
            for reason in ("concurrency-limit", "queue-full", "time-out", "cancelled")
        }
        yield (
            name,
            sum(1 for queue in level.queues if queue.waiting),
            str(not level.executing and not level.in_queue).lower(),
            "false",
            level.in_queue,
            level.executing,
            sum(tally.dispatched for tally in level.tallies.values()),
            refused["concurrency-limit"] + refused["queue-full"],
            refused["time-out"],
            refused["cancelled"],
        )


def _queues(flow: FlowControl) -> Iterable[Sequence[object]]:
    for name, level in sorted(flow.levels.items()):
        for queue in level.queues:
            seats = queue.seats
            yield (
                name,
                queue.number,
                len(queue.waiting),
                0,
                0,
                f"{queue.finish:.8f}ss",
                seats,
                seats,
                f"{seats}ss",
            )


def _requests(flow: FlowControl) -> Iterable[Sequence[object]]:
    now = anyio.current_time()
    for name, level in sorted(flow.levels.items()):
        for queue in level.queues:
            for index, waiting in enumerate(queue.waiting):
                age = f"-{now - waiting.since:.3f}s"
                yield (
                    name, waiting.schema, queue.number, index, waiting.flow.replace(",", " "), age, waiting.width, 0, "0s", "",
                )  # fmt: skip
