"""What an agent counts of its own work, for its metrics."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import attrs

from kubelib.exposition import Histogram

DURATIONS = tuple(0.005 * 2.5**step for step in range(14))
"""Bounds of the classes of durations, in seconds: the kubelet's."""


@attrs.define
class Counts:
    """How often things have happened since the agent was started."""

    pods: int = 0
    """Pods of which a container was started for the first time."""
    containers: int = 0
    failures: Counter[str] = attrs.Factory(Counter)
    """Starts that failed, by reason."""
    evictions: Counter[str] = attrs.Factory(Counter)
    """By signal."""
    probes: Counter[tuple[str, str, str, str, str, str]] = attrs.Factory(Counter)
    """By container, namespace, Pod, its uid, kind of probe, and result."""
    fallbacks: int = 0
    """Hooks that were called over HTTP since nobody spoke TLS."""
    operations: dict[str, Histogram] = attrs.Factory(dict)
    """How long the runtime took for what it was asked to do, in seconds, by the kubelet's names; to start a container is to create it too."""
    failed_operations: Counter[str] = attrs.Factory(Counter)

    @contextmanager
    def operation(self, kind: str) -> Iterator[None]:
        """Count what the runtime is asked to do within the context, and how long it takes."""
        began = anyio.current_time()
        try:
            yield
        except Exception:
            self.failed_operations[kind] += 1
            raise
        finally:
            self.operations.setdefault(kind, Histogram(DURATIONS)).add(anyio.current_time() - began)
