"""Events: what happened to an object."""

from typing import ClassVar

from kubelib.api.core.references import ObjectReference
from kubelib.api.meta import MicroTime, Object, Time
from kubelib.api.model import Model


class EventSource(Model):
    """Who reported an event, and from where."""

    __proto__: ClassVar[str] = "1-2"

    component: str = ""
    host: str = ""


class EventSeries(Model):
    """How often an event was repeated."""

    __proto__: ClassVar[str] = "1-2"

    count: int = 0
    last_observed_time: MicroTime = ""


class Event(Object):
    """A report of something that happened to an object."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "Event"
    __proto__: ClassVar[str] = "2-15"
    __required__: ClassVar[str] = "metadata involvedObject"

    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    source: EventSource = EventSource()
    first_timestamp: Time | None = None
    last_timestamp: Time | None = None
    count: int = 0
    type: str = ""
    event_time: MicroTime = ""
    series: EventSeries | None = None
    action: str = ""
    related: ObjectReference | None = None
    reporting_component: str = ""
    reporting_instance: str = ""
