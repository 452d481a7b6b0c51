"""Providers of nodes by name: further ones register in the entry point group ``kubelib.node_providers``."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import entry_points
from typing import Any

from kubelib.sched.elastic.base import NodeProvider, NodeTemplate

ENTRY_POINTS = "kubelib.node_providers"

OpenProvider = Callable[
    [Sequence[NodeTemplate], Mapping[str, Any]], AbstractAsyncContextManager[NodeProvider]
]
"""Opens a provider of nodes of templates, of which it may know more, or only its own; options are what its user has written for it.

Raises ValueError, in one sentence, for what it cannot use.
"""


def provider_named(name: str, builtin: Mapping[str, OpenProvider]) -> OpenProvider:
    """Return what opens the provider `name`: one of `builtin`, or one that is installed. Raises ValueError, naming those that there are."""
    if name in builtin:
        return builtin[name]
    installed = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in installed:
        known = ", ".join((*builtin, *sorted(installed)))
        raise ValueError(f"There is no provider of nodes {name!r}: choose one of {known}.")
    try:
        found: OpenProvider = installed[name].load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"The provider of nodes {name!r} cannot be loaded: {error}.") from None
    return found
