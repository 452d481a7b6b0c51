"""The two forms of an event, which is stored once: ``v1`` and ``events.k8s.io/v1``."""

from kubelib.api.scheme import Tree

_NEW_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_OLD_NAMES = {new: old for old, new in _NEW_NAMES.items()}
CORE, EVENTS = "v1", "events.k8s.io/v1"


def event_as(tree: Tree, api_version: str) -> Tree:
    """Return an event of either form in the form of `api_version`; nothing is changed in place.

    Converting there and back gives the same event. Raises ValueError for another version.
    """
    if api_version not in (CORE, EVENTS):
        raise ValueError(f"events have no form {api_version!r}")
    if tree.get("apiVersion") == api_version:
        return tree
    names = _NEW_NAMES if api_version == EVENTS else _OLD_NAMES
    converted = {names.get(name, name): value for name, value in tree.items()}
    return {**converted, "apiVersion": api_version}
