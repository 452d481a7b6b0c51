"""What is counted of webhooks: how often each was asked and how long that took, whom it refused, and whom it could not."""

from collections import Counter
from collections.abc import Iterator

import attrs

from kubelib.exposition import Histogram, Sample

BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
"""Of Kubernetes' histogram of durations, in seconds."""


@attrs.define
class WebhookFigures:
    """The figures of one plug-in; the labels are those of Kubernetes' metrics."""

    kind: str
    """``admit`` or ``validating``."""
    durations: dict[tuple[str, str, bool], Histogram] = attrs.Factory(dict)
    """By webhook, operation, and whether the request was refused."""
    requests: Counter[tuple[str, str, int, bool]] = attrs.Factory(Counter)
    """By webhook, operation, status (0 for no answer), and whether the request was refused."""
    rejections: Counter[tuple[str, str, str, int]] = attrs.Factory(Counter)
    """By webhook, operation, what went wrong beside that, and status."""
    opened: Counter[str] = attrs.Factory(Counter)
    """Requests that went on without the webhook."""

    def note(
        self, hook: str, operation: str, seconds: float, code: int, *, rejected: bool, error: str = ""
    ) -> None:
        """Count one question. `error` says what went wrong when it was asked, if anything did."""
        self.durations.setdefault((hook, operation, rejected), Histogram(BOUNDS)).add(seconds)
        self.requests[hook, operation, code, rejected] += 1
        if rejected:
            self.rejections[hook, operation, error or "no_error", code] += 1
        elif error:
            self.opened[hook] += 1

    def samples(self) -> Iterator[tuple[str, Sample]]:
        """Return the figures: each with its metric, below ``apiserver_admission_webhook_``."""
        for (name, operation, rejected), durations in sorted(self.durations.items()):
            asked = {**self._labels(name, operation), "rejected": str(rejected).lower()}
            for sample in durations.samples(asked):
                yield "admission_duration_seconds", sample
        for (name, operation, code, rejected), count in sorted(self.requests.items()):
            asked = {**self._labels(name, operation), "rejected": str(rejected).lower(), "code": str(code)}
            yield "request_total", Sample(count, asked)
        for (name, operation, error, code), count in sorted(self.rejections.items()):
            why = {"error_type": error, "rejection_code": str(code)}
            yield "rejection_count", Sample(count, {**self._labels(name, operation), **why})
        for name, count in sorted(self.opened.items()):
            yield "fail_open_count", Sample(count, {"name": name, "type": self.kind})

    def _labels(self, name: str, operation: str) -> dict[str, str]:
        return {"name": name, "operation": operation, "type": self.kind}
