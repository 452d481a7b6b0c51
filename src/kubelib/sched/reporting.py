"""What a scheduler says of Pods: Events, conditions, and the node that is promised to one."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import anyio

from kubelib.api.core.pod import Pod, PodStatus
from kubelib.api.errors import ApiError, ServiceUnavailable
from kubelib.api.meta import Key, Object, ObjectMeta
from kubelib.api.scheduling_v1beta1 import PodGroup
from kubelib.api.times import format_time
from kubelib.client.base import Client
from kubelib.clock import Clock
from kubelib.registry.base import Patch, Registry
from kubelib.sched.following import Following
from kubelib.sched.pods import PodInfo

log = logging.getLogger("kubelib.sched")

INITIALLY_SCHEDULED = "PodGroupInitiallyScheduled"
LONGEST = 1024
"""How many characters of a refusal are in its Event."""
TRIES = 3
PAUSE = 0.5
"""Seconds until what could not be reported is reported again."""


class Recorder(Protocol):
    """Where Events go."""

    def normal(self, about: Object, reason: str, message: str) -> None:
        """Report something ordinary."""
        ...

    def warning(self, about: Object, reason: str, message: str) -> None:
        """Report something wrong."""
        ...


class Reporter:
    """Tells the cluster what was decided about Pods."""

    def __init__(
        self,
        client: Client,
        following: Following,
        *,
        clock: Clock,
        recorder: Recorder | None,
        limit: anyio.CapacityLimiter,
        recorders: Mapping[str, Recorder] | None = None,
    ) -> None:
        """Make one. Events about Pods that name a scheduler of `recorders` go there, others to the `recorder`."""
        self._pods = client.resource(Pod)
        self._groups = client.resource(PodGroup)
        self._following = following
        self._clock = clock
        self._recorder = recorder
        self._recorders = recorders or {}
        self._limit = limit

    def bound(self, pod: PodInfo, node: str) -> None:
        """Say that a Pod is on a node."""
        self.normal(pod, "Scheduled", f"Successfully assigned {pod.key} to {node}")

    def normal(self, pod: PodInfo, reason: str, message: str) -> None:
        """Record an ordinary Event about a Pod."""
        recorder = self._recorders.get(pod.scheduler, self._recorder)
        if recorder is not None:
            recorder.normal(reference(pod), reason, message)

    def warning(self, pod: PodInfo, reason: str, message: str) -> None:
        """Record an Event about something wrong with a Pod."""
        recorder = self._recorders.get(pod.scheduler, self._recorder)
        if recorder is not None:
            recorder.warning(reference(pod), reason, _shortened(message))

    async def refused(self, pod: PodInfo, reason: str, message: str, remind: bool = False) -> None:
        """Say in the Pod's condition, and in an Event, why it has no node; and which one is promised to it.

        What has been said is not said again, but for an Event with `remind`.
        """
        document = self._following.document(pod)
        if document is None:
            return
        status = document.view(Pod).status
        change = self._promise(pod, status)
        known = next((c for c in status.conditions if c.type == "PodScheduled"), None)
        said = known is not None and (known.status, known.reason, known.message) == ("False", reason, message)
        if remind or not said:
            self.warning(pod, "FailedScheduling", message)
        if not said or (known is not None and known.observed_generation != document.meta.generation):
            since = format_time(self._clock.now())
            if known is not None and known.status == "False" and known.last_transition_time is not None:
                since = format_time(known.last_transition_time)
            change["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": reason,
                    "message": message,
                    "lastTransitionTime": since,
                    "observedGeneration": document.meta.generation,
                }
            ]
        if change:
            await self.patch_status(pod, change)

    async def promised(self, pod: PodInfo) -> None:
        """Say in the Pod's status which node is promised to it."""
        document = self._following.document(pod)
        if document is not None and (change := self._promise(pod, document.view(Pod).status)):
            await self.patch_status(pod, change)

    def _promise(self, pod: PodInfo, status: PodStatus) -> dict[str, object]:
        nominated = self._following.table.nominated_node(pod.uid)
        return {} if status.nominated_node_name == nominated else {"nominatedNodeName": nominated or None}

    async def grouped(self, key: Key, message: str) -> None:
        """Say in a group's condition that enough of its Pods have nodes, or, with a message, why not. Once they had, that is never taken back."""
        group = self._following.group(key)
        if group is None:
            return
        reason = "Unschedulable" if message else "Scheduled"
        known = next((c for c in group.status.conditions if c.type == INITIALLY_SCHEDULED), None)
        if known is not None and (
            known.status == "True" or (known.reason, known.message) == (reason, message)
        ):
            return
        condition = {
            "type": INITIALLY_SCHEDULED,
            "status": "False" if message else "True",
            "observedGeneration": group.metadata.generation,
            "lastTransitionTime": format_time(
                known.last_transition_time
                if known is not None and message and known.last_transition_time is not None
                else self._clock.now()
            ),
            "reason": reason,
            "message": message,
        }
        await self._patch(self._groups, key, group.metadata.uid, {"conditions": [condition]})

    async def patch_status(self, pod: PodInfo, change: dict[str, object]) -> None:
        """Change a Pod's status, if it still is that Pod."""
        await self._patch(self._pods, pod.key, pod.uid, change)

    async def _patch(self, registry: Registry[Any], key: Key, uid: str, change: dict[str, object]) -> None:
        patch = Patch("strategic", {"metadata": {"uid": uid}, "status": change})
        for attempt in range(TRIES):
            if attempt:
                await anyio.sleep(PAUSE)
            try:
                async with self._limit:
                    await registry.patch(key, patch, subresource="status")
            except (ServiceUnavailable, OSError) as error:
                log.debug("reporting on %s: %s", key, error)
            except ApiError as error:
                log.debug("reporting on %s: %s", key, error)
                return
            else:
                return


def _shortened(message: str) -> str:
    return message if len(message) <= LONGEST else f"{message[: LONGEST - 4]} ..."


def reference(pod: PodInfo) -> Pod:
    """Return a Pod of which only the identity matters."""
    return Pod(metadata=ObjectMeta(name=pod.key.name, namespace=pod.key.namespace, uid=pod.uid))
