"""Four schedulers of different architectures and policies, each a process, on a thousand nodes, killed at random moments."""

from collections.abc import Callable
from pathlib import Path

from reference_cluster.contention import SCHEDULERS, Settings, contend


async def test_schedulers_that_are_killed_while_they_contend_lose_nothing_and_overcommit_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    said: list[str] = []
    verdict = await contend(tmp_path, Settings(nodes=1000, pods=600, kills=4), said.append)
    for line in verdict.lines():
        record_property("figures", f"four schedulers on 1,000 nodes: {line}")
    logs = {path.name: path.read_text()[-2000:] for path in tmp_path.glob("*.log")}
    assert (verdict.overcommitted, verdict.lost, verdict.twice) == (0, 0, 0), logs
    assert (verdict.bound, verdict.kills) == (600, 4)
    # All of them took part, and they were in each other's way.
    took_part = {name.removesuffix("-0").removesuffix("-1") for name in verdict.transactions}
    assert took_part >= set(SCHEDULERS)
    assert sum(counts.get("failed", 0) for counts in verdict.transactions.values()) > 0
