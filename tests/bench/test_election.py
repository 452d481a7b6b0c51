"""Leadership that changes hands: a leader that stops cleanly is followed within 0.5 s, however seldom copies try by themselves."""

from random import Random

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.api.meta import Key
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.clock import SYSTEM_CLOCK
from kubelib.controllers import LeaderElection
from kubelib.testing import Cluster

LEASE = Key("kube-system", "bench")
HANDOVERS = 20
"""How many there are in one round."""


class Led:
    """A component that says when it runs."""

    name = "led"

    def __init__(self) -> None:
        self.runs = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        self.runs.set()
        task_status.started()
        await anyio.sleep_forever()


async def _hand_over(client: HttpClient, times: int) -> list[float]:
    """Stop one leader after the other; return how long nobody led, in seconds each, in order of size."""
    random = Random(0)
    stopped: anyio.CancelScope | None = None
    gaps = []
    async with anyio.create_task_group() as group:

        async def take_part(election: LeaderElection, scope: anyio.CancelScope) -> None:
            with scope:
                await election.run()

        for number in range(times + 1):
            led, scope = Led(), anyio.CancelScope()
            election = LeaderElection(
                led, client, lease=LEASE, identity=str(number), clock=SYSTEM_CLOCK, random=random
            )
            group.start_soon(take_part, election, scope)
            if stopped is not None:
                await anyio.sleep(0.3)  # long enough to have found the lease held
                began = anyio.current_time()
                stopped.cancel()
            await led.runs.wait()
            if stopped is not None:
                gaps.append(anyio.current_time() - began)
            stopped = scope
        group.cancel_scope.cancel()
    return sorted(gaps)


def test_a_leader_is_followed(benchmark: BenchmarkFixture) -> None:
    """Twenty hand-overs between elections with default timing, over HTTPS; the gaps go into the extra information."""

    async def main() -> list[float]:
        async with Cluster() as cluster, HttpClient(load_connection([cluster.kubeconfig])) as client:
            return await _hand_over(client, 1 if benchmark.disabled else HANDOVERS)

    gaps = benchmark.pedantic(lambda: anyio.run(main), rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info.update(
        median_seconds=round(gaps[len(gaps) // 2], 3), longest_seconds=round(gaps[-1], 3), budget_seconds=0.5
    )
