"""Objects in several versions that a webhook makes of each other, and what a webhook may not do."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kubelib.api.apiextensions import CustomResourceDefinition
from kubelib.api.errors import ApiError, InternalError
from kubelib.api.meta import Key
from kubelib.api.scheme import Tree
from kubelib.client.webhooks import HttpWebhooks
from kubelib.labels import parse_field_selector
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch, Query
from kubelib.registry.webhooks import CannotConnect, ServiceTarget
from kubelib.store import MemoryStore
from tests.hooks import CA, Request, hook

GROUP = "stable.example.com"
KEY = Key("default", "a")


def _version(name: str, properties: list[str], *, storage: bool, served: bool = True) -> Tree:
    schema = {"type": "object", "properties": {field: {"type": "string"} for field in properties}}
    return {
        "name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": schema},
        "selectableFields": [{"jsonPath": f".{field}"} for field in properties],
    }  # fmt: skip


def crontabs(url: str, *, stored: str = "v1") -> Tree:
    config = {"url": url, "caBundle": base64.b64encode(CA).decode()}
    return {
        "kind": "CustomResourceDefinition",
        "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": f"crontabs.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab"},
            "versions": [
                _version("v1", ["hostPort"], storage=stored == "v1"),
                _version("v2", ["host", "port"], storage=stored == "v2"),
            ],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]},
            },
        },
    }


def converted(tree: Tree, version: str) -> Tree:
    """What the webhook of Kubernetes' own end-to-end tests does."""
    new = {**tree, "apiVersion": version}
    if version.endswith("/v2") and "hostPort" in new:
        new["host"], new["port"] = new.pop("hostPort").split(":")
    if version.endswith("/v1") and "host" in new:
        new["hostPort"] = f"{new.pop('host')}:{new.pop('port')}"
    return new


Spoil = Callable[[Tree], Any]


@asynccontextmanager
async def served(spoil: Spoil = lambda response: response) -> AsyncIterator[tuple[ResourceRegistries, Any]]:
    """Run registries with the definition, and its webhook, whose responses are spoilt."""

    async def convert(request: Request) -> None:
        asked = request.tree["request"]
        objects = [converted(tree, asked["desiredAPIVersion"]) for tree in asked["objects"]]
        response = {"uid": asked["uid"], "result": {"status": "Success"}, "convertedObjects": objects}
        review = {
            "kind": "ConversionReview",
            "apiVersion": request.tree["apiVersion"],
            "response": spoil(response),
        }
        await request.reply(json.dumps(review).encode())

    def nowhere(target: ServiceTarget) -> tuple[str, int]:
        raise CannotConnect(f'service "{target.name}" not found')

    async with (
        hook(convert) as running,
        HttpWebhooks(nowhere) as caller,
        MemoryStore() as store,
        ResourceRegistries(store) as registries,
    ):
        registries.webhooks = caller
        await registries.bootstrap()
        definitions = registries.of(registries.scheme.of(CustomResourceDefinition))
        await definitions.create(crontabs(running.url))
        yield registries, running


def of(registries: ResourceRegistries, version: str) -> Any:
    return registries.of(registries.scheme.path(GROUP, version, "crontabs"))


def crontab(version: str, name: str = "a", **fields: str) -> Tree:
    return {
        "kind": "CronTab",
        "apiVersion": f"{GROUP}/{version}",
        "metadata": {"name": name, "labels": {"a": "b"}},
        **fields,
    }


async def test_what_is_written_in_one_version_is_read_in_the_other() -> None:
    async with served() as (registries, running):
        v1, v2 = of(registries, "v1"), of(registries, "v2")
        await v1.create(crontab("v1", hostPort="here:80"), namespace="default")
        assert running.requests == []
        found = (await v2.get(KEY)).tree()
        assert (found["apiVersion"], found["host"], found["port"]) == (f"{GROUP}/v2", "here", "80")
        assert "hostPort" not in found
        await v2.create(crontab("v2", "b", host="there", port="81"), namespace="default")
        assert (await v1.get(Key("default", "b"))).tree()["hostPort"] == "there:81"
        listed = (await v2.list(limit=5)).documents
        assert [document.tree()["host"] for document in listed] == ["here", "there"]
        asked = len(running.requests)
        await v2.list()
        assert len(running.requests) == asked, "what was converted is remembered"
        patched, _ = await v2.patch(KEY, Patch("merge", {"port": "90"}))
        assert patched.tree()["port"] == "90"
        assert patched.meta.uid == found["metadata"]["uid"]
        assert (await v1.get(KEY)).tree()["hostPort"] == "here:90"
        deleted = await v2.delete(KEY)
        assert deleted.finished


async def test_each_version_selects_and_watches_by_its_own_fields() -> None:
    async with served() as (registries, _):
        v1, v2 = of(registries, "v1"), of(registries, "v2")
        await v1.create(crontab("v1", "a", hostPort="here:80"), namespace="default")
        await v1.create(crontab("v1", "b", hostPort="there:80"), namespace="default")
        query = Query(fields=parse_field_selector("host=here"))
        assert [d.meta.name for d in (await v2.list(query)).documents] == ["a"]
        with pytest.raises(ApiError, match="field label not supported: host"):
            await v1.list(query)
        async with v2.watch(query) as watch:
            with anyio.fail_after(60):
                [first] = await watch.take()
                await v1.patch(Key("default", "b"), Patch("merge", {"hostPort": "here:81"}))
                [second] = await watch.take()
                await v1.patch(Key("default", "a"), Patch("merge", {"hostPort": "away:81"}))
                [third] = await watch.take()
        assert [(e.type, e.document.meta.name) for e in (first, second, third)] == [
            ("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"),
        ]  # fmt: skip
        assert second.document.tree()["port"] == "81"


async def test_the_stored_version_can_change() -> None:
    async with served() as (registries, running):
        await of(registries, "v1").create(crontab("v1", hostPort="here:80"), namespace="default")
        definitions = registries.of(registries.scheme.of(CustomResourceDefinition))
        name = Key("", f"crontabs.{GROUP}")
        current = (await definitions.get(name)).tree()
        current["spec"] = crontabs(running.url, stored="v2")["spec"]
        updated, _ = await definitions.update(name, current)
        assert updated.tree()["status"]["storedVersions"] == ["v1", "v2"]
        v1, v2 = of(registries, "v1"), of(registries, "v2")
        assert (await v2.get(KEY)).tree()["host"] == "here"
        assert (await v1.get(KEY)).tree()["hostPort"] == "here:80"
        await v1.patch(KEY, Patch("merge", {"hostPort": "there:80"}))
        page = await registries.store.list(f"/registry/{GROUP}/")
        assert [json.loads(entry.value)["apiVersion"] for entry in page.entries] == [f"{GROUP}/v2"]
        assert (await v1.get(KEY)).tree()["hostPort"] == "there:80"
        current = (await definitions.get(name)).tree()
        current["spec"]["versions"] = current["spec"]["versions"][1:]
        with pytest.raises(
            ApiError, match=r"missing from spec\.versions; v1 was previously a storage version"
        ):
            await definitions.update(name, current)


def _renamed(response: Tree) -> Tree:
    for tree in response["convertedObjects"]:
        tree["metadata"] = {**tree["metadata"], "name": "other"}
    return response


def _relabelled(response: Tree) -> Tree:
    for tree in response["convertedObjects"]:
        tree["metadata"] = {
            **tree["metadata"],
            "labels": {"new": "label"},
            "finalizers": ["not.its/business"],
        }
    return response


def _with_meta(**changed: Any) -> Spoil:
    def spoil(response: Tree) -> Tree:
        for tree in response["convertedObjects"]:
            tree["metadata"] = {**tree["metadata"], **changed}
        return response

    return spoil


def _as(**changed: Any) -> Spoil:
    def spoil(response: Tree) -> Tree:
        response["convertedObjects"] = [{**tree, **changed} for tree in response["convertedObjects"]]
        return response

    return spoil


OF_ONE = "returned invalid object: "
AT_ONE = "returned invalid object at index 0: "
OF_LIST = "returned invalid converted object at index 1: "
SPOILT: list[tuple[Spoil, str]] = [
    (_with_meta(uid="other"), f"{OF_ONE}must have the same UID: "),
    (_with_meta(namespace="x"), f"{OF_ONE}must have the same namespace: default != x"),
    (_renamed, f"{OF_ONE}must have the same name: a != other"),
    (_as(metadata=None), f"{OF_ONE}must have the same name: a != "),
    (_as(metadata="text"), f"{OF_ONE}must have the same name: a != "),
    (_as(kind="Secret"), f"{AT_ONE}invalid kind (expected CronTab, received Secret)"),
    (_as(apiVersion="v1"), f"{AT_ONE}invalid groupVersion (expected {GROUP}/v2, received v1)"),
    (_with_meta(labels=["a"]), "returned invalid metadata: invalid metadata.labels of type []interface {} in converted object"),
    (_with_meta(annotations={"a": 1}), "returned invalid metadata: metadata.annotations[a] must be a string, but is int64 in converted object"),
    (_with_meta(annotations={"-": "x"}), 'returned invalid metadata: metadata.annotation: Invalid value: "-": '),
    (lambda r: {**r, "convertedObjects": [1]}, "returned invalid "),
    (lambda r: {**r, "convertedObjects": "all"}, "returned 0 objects, expected 1"),
    (lambda r: {**r, "convertedObjects": []}, "returned 0 objects, expected 1"),
    (lambda r: {**r, "convertedObjects": r["convertedObjects"] * 10_000}, "returned 10000 objects, expected 1"),
    (lambda r: {**r, "result": 7}, "failed: response.result.status was '', not 'Success'"),
    (lambda r: {**r, "result": {"status": "Failure"}}, "failed: response.result.status was 'Failure', not 'Success'"),
    (lambda r: {**r, "result": {"status": "Failure", "message": "no way"}}, "failed: no way"),
    (lambda r: None, "failed: no response provided"),
    (lambda r: "nonsense", "failed: no response provided"),
    (lambda r: {**r, "uid": "other"}, 'failed: expected response.uid="'),
]  # fmt: skip
"""What is wrong with an answer, and what is said of that."""
OF_LISTS = {
    OF_ONE: OF_LIST,
    AT_ONE: OF_LIST,
    "returned invalid metadata: ": "returned invalid metadata in object at index 1: ",
}


@pytest.mark.parametrize(
    ("spoil", "why"), [pytest.param(*case, id=str(number)) for number, case in enumerate(SPOILT)]
)
async def test_a_webhook_that_does_not_do_its_duty_is_an_error_and_no_more(spoil: Spoil, why: str) -> None:
    async with served(spoil) as (registries, _):
        await of(registries, "v1").create(crontab("v1", hostPort="here:80"), namespace="default")
        v2 = of(registries, "v2")
        with pytest.raises(InternalError) as caught:
            await v2.get(KEY)
        assert f"conversion webhook for {GROUP}/v1, Kind=CronTab {why}" in caught.value.message
        with pytest.raises(InternalError) as caught:
            await v2.list()
        for of_one, of_list in OF_LISTS.items():
            why = why.replace(of_one, of_list)
        assert f"conversion webhook for {GROUP}/v1, Kind=CronTabList {why}" in caught.value.message
        assert (await of(registries, "v1").get(KEY)).tree()["hostPort"] == "here:80"


async def test_no_verb_of_a_version_does_anything_that_cannot_be_converted() -> None:
    async with served(lambda response: {**response, "convertedObjects": []}) as (registries, _):
        v1, v2 = of(registries, "v1"), of(registries, "v2")
        meta = (await v1.create(crontab("v1", hostPort="here:80"), namespace="default")).tree()["metadata"]
        same = {**crontab("v2", host="here", port="80"), "metadata": meta}
        annotated = Patch("merge", {"metadata": {"annotations": {"a": "b"}}}, "me")
        acts: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: v2.get(KEY),
            lambda: v2.list(),
            lambda: v2.create(crontab("v2", "b", host="here", port="80"), namespace="default"),
            lambda: v2.update(KEY, same),
            lambda: v2.patch(KEY, annotated),
            lambda: v2.delete(KEY),
            lambda: v2.delete_collection(Query()),
        )
        for act in acts:
            with pytest.raises(InternalError, match=r"returned 0 objects, expected 1"):
                await act()
        document = await v1.get(KEY)
        assert document.meta.resource_version == meta["resourceVersion"]


async def test_a_webhook_changes_no_metadata_but_labels_and_annotations() -> None:
    async with served(_relabelled) as (registries, _):
        await of(registries, "v1").create(crontab("v1", hostPort="here:80"), namespace="default")
        meta = (await of(registries, "v2").get(KEY)).tree()["metadata"]
        assert meta["labels"] == {"new": "label"}
        assert "finalizers" not in meta


async def test_what_is_stored_in_an_old_version_is_renewed_by_a_write_that_changes_nothing() -> None:
    """So Kubernetes' guides move objects to another version: read all, and write them back."""
    async with served() as (registries, running):
        await of(registries, "v1").create(crontab("v1", hostPort="here:80"), namespace="default")
        definitions = registries.of(registries.scheme.of(CustomResourceDefinition))
        name = Key("", f"crontabs.{GROUP}")
        current = (await definitions.get(name)).tree()
        current["spec"] = crontabs(running.url, stored="v2")["spec"]
        await definitions.update(name, current)
        written = []
        for version in ("v1", "v2", "v1"):
            crontab_registry = of(registries, version)
            same = (await crontab_registry.get(KEY)).tree()
            document, _ = await crontab_registry.update(KEY, same)
            written.append(document.meta.resource_version != same["metadata"]["resourceVersion"])
            page = await registries.store.list(f"/registry/{GROUP}/")
            assert [json.loads(entry.value)["apiVersion"] for entry in page.entries] == [f"{GROUP}/v2"]
        assert written == [True, False, False]
