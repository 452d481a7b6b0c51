"""Since when the addresses behind a Service should be what they are: by that is measured how fast proxies follow."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from kubelib.api.core.pod import Pod
from kubelib.api.core.service import Service
from kubelib.api.meta import Key
from kubelib.api.times import format_time
from kubelib.controllers.pods import condition_of

LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"
"""The annotation of Endpoints and EndpointSlices that says it."""

Changes = Mapping[object, datetime]
"""When a Service came, and when each of its Pods became ready or unready."""


class TriggerTimes:
    """What of each Service's changes has been seen before."""

    def __init__(self) -> None:
        self._seen: dict[Key, Changes] = {}

    def next(self, service: Service, pods: Sequence[Pod]) -> str:
        """Return when the earliest change happened that has not been seen before; empty if there is none."""
        changes: dict[object, datetime] = {}
        came = service.metadata.creation_timestamp
        if came is not None:
            changes[None] = came
        for pod in pods:
            ready = condition_of(pod, "Ready")
            if ready is not None and ready.last_transition_time is not None:
                changes[pod.metadata.name] = ready.last_transition_time
        before = self._seen.get(service.key)
        self._seen[service.key] = changes
        if before is None:
            return format_time(came) if came is not None else ""
        new = [date for what, date in changes.items() if what not in before or date > before[what]]
        return format_time(min(new)) if new else ""

    def forget(self, service: Key) -> None:
        """Forget a Service that is gone."""
        self._seen.pop(service, None)


def triggered(annotations: Mapping[str, str], since: str) -> dict[str, str]:
    """Return annotations that say since when, or nothing if that is not known."""
    rest = {name: value for name, value in annotations.items() if name != LAST_CHANGE}
    return {**rest, LAST_CHANGE: since} if since else rest
