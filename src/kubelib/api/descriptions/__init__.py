"""What each field of the built-in kinds means, in a sentence, for ``kubectl explain``.

Most names mean the same wherever they occur; `classes` has those that do not. Fields that hold an object and are not named
here are described by the object's class. Nobody needs these texts before a document is built: import them late.
"""

from kubelib.api.descriptions import classes, cluster, common, devices, pods, storage

FIELDS = {**devices.FIELDS, **cluster.FIELDS, **storage.FIELDS, **pods.FIELDS, **common.FIELDS}
"""Descriptions by JSON name."""

_ENDINGS = {key[1:]: text for key, text in classes.FIELDS.items() if key.startswith("*")}


def description(cls: str, field: str) -> str:
    """Return what a field means in the class called `cls`, empty if nobody says."""
    text = classes.FIELDS.get(f"{cls}.{field}")
    if text is not None:
        return text
    whole = f"{cls}.{field}"
    for ending, text in _ENDINGS.items():
        if whole.endswith(ending):
            return text
    return FIELDS.get(field, "")
