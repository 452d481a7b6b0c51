"""What is counted of admission: how long each step and each plug-in took, and whether it refused."""

from collections.abc import Iterator
from typing import Final, Literal

from kubelib.exposition import Histogram, Sample

BOUNDS: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
"""Of Kubernetes' histograms, in seconds."""

Step = Literal["admit", "validate"]


class AdmissionFigures:
    """Durations in seconds, by the event loop's clock."""

    def __init__(self) -> None:
        self._durations: dict[tuple[str, str, Step, bool], Histogram] = {}

    def of(self, name: str, operation: str, step: Step, *, rejected: bool = False) -> Histogram:
        """Return where the durations of a plug-in are counted; those of a whole step have no name."""
        key = (name, operation, step, rejected)
        durations = self._durations.get(key)
        if durations is None:
            durations = self._durations[key] = Histogram(BOUNDS)
        return durations

    def samples(self, *, steps: bool) -> Iterator[Sample]:
        """Return the durations of whole steps, or those of plug-ins."""
        for (name, operation, step, rejected), durations in sorted(self._durations.items()):
            if bool(name) is not steps and durations.count:
                labels = {"operation": operation.upper(), "rejected": str(rejected).lower(), "type": step}
                yield from durations.samples({**labels, "name": name} if name else labels)
