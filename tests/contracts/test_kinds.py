"""Every stable kind that Kubernetes publishes: its name, its scope, its verbs and its subresources, as others generated them."""

import importlib
import pkgutil
from typing import Any

import lightkube.resources
import pytest
from lightkube.core.resource import NamespacedResource

from kubelib.api.builtin import SCHEME
from kubelib.server.discovery import SUBRESOURCE_VERBS

VERBS = {"post": "create", "put": "update"}
ELSEWHERE = {"global_list", "global_watch"}
"""Verbs of a namespaced kind in all namespaces at once."""
OURS = {(resource.group, resource.version, resource.kind): resource for resource in SCHEME}
BETA = {"podgroups", "workloads"}
"""Kinds of groups that kubelib serves as a beta."""


def published() -> dict[str, Any]:
    """Return the published classes of stable versions, of kinds and of subresources."""
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(lightkube.resources.__path__):
        version = module.name.rpartition("_")[2]
        if version.removeprefix("v").isdigit():
            names = vars(importlib.import_module(f"lightkube.resources.{module.name}"))
            found |= {
                f"{module.name}.{name}": cls for name, cls in names.items() if hasattr(cls, "_api_info")
            }
    return found


PUBLISHED = published()
KINDS = sorted(name for name, cls in PUBLISHED.items() if cls._api_info.parent is None)
SUBRESOURCES = sorted(name for name, cls in PUBLISHED.items() if cls._api_info.parent is not None)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_has_its_verbs_and_its_scope(name: str) -> None:
    cls = PUBLISHED[name]
    info = cls._api_info
    ours = OURS[info.resource.group, info.resource.version, info.resource.kind]
    assert ours.plural == info.plural
    assert ours.namespaced == issubclass(cls, NamespacedResource)
    verbs = {VERBS.get(verb, verb) for verb in info.verbs if verb not in ELSEWHERE}
    # The published paths of watches are there for ComponentStatuses too, and answer 405.
    assert set(ours.verbs) == verbs - ({"watch"} if info.plural == "componentstatuses" else set())


@pytest.mark.parametrize("name", SUBRESOURCES)
def test_a_subresource_has_its_verbs(name: str) -> None:
    info = PUBLISHED[name]._api_info
    ours = next(
        resource
        for resource in OURS.values()
        if (resource.group, resource.version, resource.plural)
        == (info.parent.group, info.parent.version, info.plural)
    )
    assert info.action in ours.subresources
    assert {VERBS.get(verb, verb) for verb in info.verbs} <= set(SUBRESOURCE_VERBS[info.action])


def test_there_are_no_other_kinds() -> None:
    known = {(i.group, i.version, i.kind) for i in (PUBLISHED[name]._api_info.resource for name in KINDS)}
    extra = {resource.plural for key, resource in OURS.items() if key not in known}
    assert extra == BETA | {"transactions"}
