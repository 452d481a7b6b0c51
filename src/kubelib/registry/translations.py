"""Which kinds are served in a form that is not the stored one, and how the two become each other."""

from typing import TYPE_CHECKING

from kubelib.api.autoscaler_forms import V1, autoscaler_as_v1, autoscaler_as_v2
from kubelib.api.event_forms import CORE, EVENTS, event_as
from kubelib.api.scheme import Resource, Tree

if TYPE_CHECKING:
    from kubelib.registry.secondform import Translation

# Of the fields that a v1 Event is selected by, those that an events.k8s.io Event has under another name.
_EVENT_FIELDS = {
    "reason": "reason",
    "type": "type",
    "reportingController": "reportingComponent",
    **{
        f"regarding.{name}": f"involvedObject.{name}"
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    },
}


def _to_core(tree: Tree) -> Tree:
    return event_as(tree, CORE)


def _to_events(tree: Tree) -> Tree:
    return event_as(tree, EVENTS)


def translation_of(resource: Resource) -> "Translation":
    """Return how documents of a resource are translated. Raises LookupError if its form is the stored one."""
    from kubelib.registry.secondform import Translation

    if (resource.group, resource.kind) == ("events.k8s.io", "Event"):
        return Translation(_to_core, _to_events, _EVENT_FIELDS)
    if (resource.api_version, resource.kind) == (V1, "HorizontalPodAutoscaler"):
        return Translation(autoscaler_as_v2, autoscaler_as_v1, {})
    raise LookupError(f"{resource.kind} of {resource.api_version} has no other form")
