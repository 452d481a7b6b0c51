"""Events in the form of events.k8s.io."""

from typing import ClassVar

from kubelib.api.core.event import EventSource
from kubelib.api.core.references import ObjectReference
from kubelib.api.meta import MicroTime, Object, Time
from kubelib.api.model import Model


class EventSeries(Model):
    """How often an event was repeated, and when last."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "count lastObservedTime"

    count: int = 0
    last_observed_time: MicroTime = ""


class Event(Object):
    """A report of something that happened to an object."""

    api_version: ClassVar[str] = "events.k8s.io/v1"
    kind: ClassVar[str] = "Event"
    __proto__: ClassVar[str] = "2-15"
    __required__: ClassVar[str] = "eventTime"

    event_time: MicroTime = ""
    series: EventSeries | None = None
    reporting_controller: str = ""
    reporting_instance: str = ""
    action: str = ""
    reason: str = ""
    regarding: ObjectReference = ObjectReference()
    related: ObjectReference | None = None
    note: str = ""
    type: str = ""
    deprecated_source: EventSource = EventSource()
    deprecated_first_timestamp: Time | None = None
    deprecated_last_timestamp: Time | None = None
    deprecated_count: int = 0
