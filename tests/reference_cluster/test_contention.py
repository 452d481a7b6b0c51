"""Schedulers of different architectures and policies, each a process, on a thousand nodes, killed at random moments; servers too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reference_cluster.contenders import SCHEDULERS
from reference_cluster.contention import Settings, Verdict, contend
from tests.engines import PREFIXES, Etcd


def judge(verdict: Verdict, directory: Path, settings: Settings) -> None:
    logs = {path.name: path.read_text()[-2000:] for path in directory.glob("*.log")}
    assert (verdict.overcommitted, verdict.lost, verdict.twice) == (0, 0, 0), logs
    assert verdict.bound == settings.pods
    assert (verdict.kills, verdict.server_kills) == (settings.kills, settings.server_kills)
    # All of them took part.
    took_part = {name.removesuffix("-0").removesuffix("-1") for name in verdict.transactions}
    assert took_part >= set(SCHEDULERS)
    assert verdict.stranger[0] > 0


async def test_schedulers_that_are_killed_while_they_contend_lose_nothing_and_overcommit_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    said: list[str] = []
    settings = Settings(nodes=1000, pods=600, kills=4)
    verdict = await contend(tmp_path, settings, said.append)
    for line in verdict.lines():
        record_property("figures", f"five schedulers on 1,000 nodes: {line}")
    judge(verdict, tmp_path, settings)
    # They were in each other's way.
    assert sum(counts.get("failed", 0) for counts in verdict.transactions.values()) > 0


async def test_nothing_is_lost_when_api_servers_are_killed_in_the_middle_of_it_as_well(
    tmp_path: Path, etcd: Etcd, record_property: Callable[[str, object], None]
) -> None:
    said: list[str] = []
    settings = Settings(
        nodes=1000, pods=400, kills=1, servers=3, server_kills=3, store=etcd.url(next(PREFIXES))
    )
    verdict = await contend(tmp_path, settings, said.append)
    for line in verdict.lines():
        record_property("figures", f"five schedulers and three API servers on etcd, 1,000 nodes: {line}")
    judge(verdict, tmp_path, settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [(Settings(servers=2), "need a store that they can share"), (Settings(nodes=10), "at most 32")],
    ids=["servers that share nothing", "more pods than there is room for"],
)
async def test_what_cannot_be_run_is_refused_in_a_sentence(
    tmp_path: Path, settings: Settings, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await contend(tmp_path, settings, print)
