"""Where objects are in the store: ``/registry/<group>/<plural>/[namespace/]name``, the core group written ``core``."""

from kubelib.api.meta import Key
from kubelib.api.scheme import Resource

ROOT = "/registry/"


def prefix_of(resource: Resource) -> str:
    """Return what the store keys of a resource's objects begin with."""
    return f"{ROOT}{resource.storage_group or 'core'}/{resource.plural}/"


def prefix_of_name(name: str) -> str:
    """Return what the store keys of a resource begin with, by its name as ``secrets`` or ``widgets.example.com``; ``*.*`` is all."""
    plural, _, group = name.partition(".")
    if plural == "*":
        return ROOT if group == "*" else f"{ROOT}{group or 'core'}/"
    return f"{ROOT}{group or 'core'}/{plural}/"


def store_key(prefix: str, key: Key) -> str:
    """Return the store key of an object."""
    return f"{prefix}{key.namespace}/{key.name}" if key.namespace else prefix + key.name


def split_store_key(key: str) -> tuple[str, Key] | None:
    """Return the prefix and the object key of a store key; None if it is not an object's."""
    parts = key.split("/")
    if len(parts) == 6:
        return f"{ROOT}{parts[2]}/{parts[3]}/", Key(parts[4], parts[5])
    if len(parts) == 5:
        return f"{ROOT}{parts[2]}/{parts[3]}/", Key("", parts[4])
    return None
