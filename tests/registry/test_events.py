"""Events are served in two groups and stored once."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from kubelib.api.errors import BadRequest, Conflict, Invalid, NotFound
from kubelib.api.meta import Key
from kubelib.labels import parse_field_selector
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch, Query
from kubelib.registry.generic import GenericRegistry
from kubelib.store import MemoryStore

KEY = Key("default", "e")
NEW: dict[str, Any] = {
    "apiVersion": "events.k8s.io/v1",
    "kind": "Event",
    "metadata": {"name": "e", "namespace": "default"},
    "eventTime": "2026-01-01T00:00:00.000000Z",
    "reportingController": "example.com/tester",
    "reportingInstance": "tester-1",
    "action": "Testing",
    "reason": "Tested",
    "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    "note": "hello",
    "type": "Normal",
}
OLD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "e", "namespace": "default"},
    "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    "reason": "Tested",
    "message": "hello",
    "type": "Warning",
    "count": 3,
    "source": {"component": "tester"},
    "firstTimestamp": "2026-01-01T00:00:00Z",
    "lastTimestamp": "2026-01-01T00:01:00Z",
}


class Forms:
    def __init__(self, registries: ResourceRegistries) -> None:
        self.newer: GenericRegistry = registries.of(registries.scheme.path("events.k8s.io", "v1", "events"))
        self.older: GenericRegistry = registries.of(registries.scheme.path("", "v1", "events"))


@pytest.fixture
async def forms() -> AsyncIterator[Forms]:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        yield Forms(registries)


def changed(tree: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**tree, "metadata": dict(tree["metadata"]), **fields}


async def test_what_is_written_in_one_form_is_read_in_the_other(forms: Forms) -> None:
    created = (await forms.newer.create(changed(NEW), namespace="default")).tree()
    assert created["apiVersion"] == "events.k8s.io/v1"
    read = (await forms.older.get(KEY)).tree()
    assert read["apiVersion"] == "v1"
    assert (read["message"], read["involvedObject"]["name"]) == ("hello", "p")
    assert read["reportingComponent"] == "example.com/tester"
    assert read["metadata"] == created["metadata"]
    await forms.older.delete(KEY)
    with pytest.raises(NotFound, match=r'events\.events\.k8s\.io "e" not found'):
        await forms.newer.get(KEY)
    await forms.older.create(changed(OLD), namespace="default")
    seen = (await forms.newer.get(KEY)).tree()
    assert (seen["note"], seen["deprecatedCount"], seen["deprecatedSource"]) == (
        "hello",
        3,
        {"component": "tester"},
    )


async def test_lists_select_by_the_names_of_their_form(forms: Forms) -> None:
    await forms.newer.create(changed(NEW), namespace="default")

    async def found(registry: GenericRegistry, fields: str) -> list[str]:
        query = Query(namespace="default", fields=parse_field_selector(fields))
        return [document.tree()["apiVersion"] for document in (await registry.list(query)).documents]

    assert await found(forms.newer, "regarding.name=p,reason=Tested") == ["events.k8s.io/v1"]
    assert await found(forms.newer, "regarding.name=q") == []
    assert await found(forms.newer, "metadata.name=e") == ["events.k8s.io/v1"]
    assert await found(forms.older, "involvedObject.name=p") == ["v1"]
    with pytest.raises(BadRequest, match=r"field label not supported: involvedObject\.name"):
        await found(forms.newer, "involvedObject.name=p")


async def test_each_form_is_watched_in_its_own(forms: Forms) -> None:
    since = (await forms.older.list()).resource_version
    async with forms.newer.watch(since=since) as newer, forms.older.watch(since=since) as older:
        await forms.newer.create(changed(NEW), namespace="default")
        with anyio.fail_after(60):
            [one], [other] = await newer.take(), await older.take()
    assert b'"note":"hello"' in one.line
    assert b'"message":"hello"' in other.line
    assert one.document.meta.resource_version == other.document.meta.resource_version


async def test_a_series_is_patched_as_recorders_do(forms: Forms) -> None:
    await forms.newer.create(changed(NEW), namespace="default")
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:05.000000Z"}
    document, created = await forms.newer.patch(KEY, Patch("strategic", {"series": series}))
    assert not created
    assert document.tree()["series"] == series
    assert (await forms.older.get(KEY)).tree()["series"] == series


async def test_an_update_of_an_older_version_conflicts(forms: Forms) -> None:
    first = (await forms.newer.create(changed(NEW), namespace="default")).tree()
    await forms.older.patch(KEY, Patch("merge", {"message": "changed"}))
    with pytest.raises(Conflict):
        await forms.newer.update(KEY, first)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"eventTime": None}, "eventTime"),
        ({"reportingController": "not/a/name"}, "reportingController"),
        ({"reportingInstance": ""}, "reportingInstance"),
        ({"action": ""}, "action"),
        ({"reason": "x" * 129}, "reason"),
        ({"note": "x" * 1025}, "message"),
        ({"type": "Other"}, "type"),
        ({"series": {"count": 1, "lastObservedTime": "2026-01-01T00:00:05.000000Z"}}, "series.count"),
        (
            {"eventTime": None, "regarding": {"kind": "Pod", "namespace": "elsewhere", "name": "p"}},
            "involvedObject.namespace",
        ),
        ({"deprecatedCount": 1}, "count"),
        ({"deprecatedSource": {"component": "kubelet"}}, "source"),
    ],
)
async def test_the_newer_form_must_say_more(forms: Forms, fields: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as caught:
        await forms.newer.create(changed(NEW, **fields), namespace="default")
    assert path in [cause.field for cause in caught.value.causes]
