"""Thousands of clients watch over TLS, each something else: what a write costs that one of them sees, and what they cost in memory."""

from pathlib import Path
from urllib.parse import quote

import anyio
from pytest_benchmark.fixture import BenchmarkFixture

from tests.bench.budgets import within
from tests.bench.test_server import Line, Server, line

WATCHERS, SMALLER, WRITES = 10_000, 500, 300
MAPS = "/api/v1/namespaces/default/configmaps"


def test_a_write_that_one_of_ten_thousand_different_clients_sees(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    """Budget: twice what it costs when that one is alone, and 150 KB of memory for each connection with its watch."""
    others = WATCHERS if benchmark.enabled else WATCHERS // SMALLER
    writes = WRITES if benchmark.enabled else 3
    server = Server(tmp_path / "data")

    async def main() -> None:
        writer, one = await line(server, admin=True), await line(server, admin=True)
        body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"w","labels":{"app":"w"}}}'
        await writer.ask("POST", MAPS, body)
        await one.watch(f"{MAPS}?watch=1&resourceVersion=0&labelSelector=app%3Dw")
        await one.lines(1)

        async def spent() -> float:
            before = server.cpu()
            for number in range(writes):
                await writer.ask(
                    "PATCH", f"{MAPS}/w", b'{"data":{"n":"%d"}}' % number, "application/merge-patch+json"
                )
                await one.lines(1)
            return server.cpu() - before

        async def watch(number: int) -> Line:
            selector = f"app=app-{number},rare!=r{number}" if number % 2 else f"team in (t{number},u{number})"
            watcher = await line(server, admin=True)
            await watcher.watch(f"{MAPS}?watch=1&resourceVersion=0&labelSelector={quote(selector)}")
            return watcher

        alone, resident = await spent(), server.resident()
        everybody = [await watch(number) for number in range(others)]
        within(benchmark, "kb_per_watcher", (server.resident() - resident) / others / 1000, 150)
        within(benchmark, "ratio", await spent() / max(alone, 0.01), 2.0)
        for each in (*everybody, one, writer):
            await each.close()

    try:
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            anyio.run, args=(main,), kwargs={"backend_options": {"use_uvloop": True}}, rounds=1
        )
    finally:
        server.stop()
