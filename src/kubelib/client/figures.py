"""What a client has asked of its servers, and how long they took, under client-go's names."""

from collections.abc import Awaitable, Iterator

import anyio

from kubelib.client.base import Answer
from kubelib.exposition import Histogram, Sample, family

BOUNDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Of client-go's histogram, in seconds."""
NO_ANSWER = "<error>"
"""What stands for the status where there was no answer."""


class ClientFigures:
    """Requests since the client was made, by server and method: there are few of both."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, str], int] = {}
        """By status, method and server."""
        self._durations: dict[tuple[str, str], Histogram] = {}
        """By method and server."""

    def answered(self, method: str, url: str, status: int | None) -> None:
        """Count a request to a server; None if there was no answer."""
        key = (NO_ANSWER if status is None else str(status), method, _host(url))
        self._answers[key] = self._answers.get(key, 0) + 1

    async def timed(self, method: str, url: str, answer: Awaitable[Answer]) -> Answer:
        """Wait for an answer, and count what it was and how long it took. Raises what is raised instead of it."""
        began = anyio.current_time()
        status: int | None = None
        try:
            found = await answer
            status = found.status
            return found
        finally:
            key = (method, _host(url))
            durations = self._durations.get(key)
            if durations is None:
                durations = self._durations[key] = Histogram(BOUNDS)
            durations.add(anyio.current_time() - began)
            self.answered(method, url, status)

    def families(self) -> Iterator[list[str]]:
        """Return the metrics."""
        yield family(
            "rest_client_requests_total",
            "counter",
            "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host.",
            (
                Sample(count, {"code": code, "host": host, "method": method})
                for (code, method, host), count in sorted(self._answers.items())
            ),
        )
        yield family(
            "rest_client_request_duration_seconds",
            "histogram",
            "[ALPHA] Request latency in seconds. Broken down by verb, and host.",
            (
                sample
                for (method, host), durations in sorted(self._durations.items())
                for sample in durations.samples({"host": host, "verb": method})
            ),
        )


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]
