"""What an agent counts of its own work, for its metrics."""

from collections import Counter

import attrs


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
