"""Admission webhooks see who manages which fields, and may change it."""

import pytest

from kubelib.api.meta import Key
from kubelib.registry.base import Patch
from tests.hooks import hook
from tests.server.webhooks.asking import (
    MUTATING,
    VALIDATING,
    Api,
    Tree,
    add,
    agree,
    answering,
    asked,
    config_map,
    patch,
    rule,
)


def managers(tree: Tree | None) -> list[tuple[str, str]]:
    assert tree is not None
    return [(e["manager"], e["operation"]) for e in tree["metadata"].get("managedFields") or ()]


@pytest.mark.parametrize("kind", [MUTATING, VALIDATING])
async def test_webhooks_see_who_manages_which_fields(api: Api, kind: str) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(kind, seen)
        made = await api.create(config_map())
        change = Patch("apply", {**config_map(), "data": {"b": "2"}}, "applier", force=True)
        await api.of("ConfigMap").patch(Key("default", "x"), change, options=api.options())
        await api.of("ConfigMap").delete(Key("default", "x"), options=api.options())
    created, applied, deleted = asked(seen)
    assert created["object"]["metadata"]["managedFields"] == made["metadata"]["managedFields"]
    assert managers(applied["oldObject"]) == [("tests", "Update")]
    both = [("applier", "Apply"), ("tests", "Update")]
    assert managers(applied["object"]) == managers(deleted["oldObject"]) == both


async def test_a_webhook_may_change_who_manages_which_fields(api: Api) -> None:
    path = "/metadata/managedFields/0"
    async with hook(answering(lambda request: patch(add(f"{path}/manager", "other")))) as seen:
        await api.configure(MUTATING, seen)
        assert managers(await api.create(config_map())) == [("other", "Update")]
    async with hook(
        answering(lambda request: patch({"op": "remove", "path": "/metadata/managedFields"}))
    ) as seen:
        await api.configure(MUTATING, seen, name="d", rules=[rule("secrets")])
        secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s", "namespace": "default"}}
        assert managers(await api.create(secret)) == []


@pytest.mark.parametrize(
    ("part", "value", "why"),
    [
        ("operation", "Guess", "operation must be `Apply` or `Update`"),
        ("apiVersion", "", "apiVersion must not be empty"),
        ("fieldsType", "", "missing fieldsType in managed fields entry 0"),
        ("fieldsType", "V2", 'invalid fieldsType "V2" in managed fields entry 0'),
    ],
)
async def test_managed_fields_that_make_no_sense_are_passed_over(
    api: Api, part: str, value: str, why: str
) -> None:
    operation = add(f"/metadata/managedFields/0/{part}", value)
    async with hook(answering(lambda request: patch(operation, add("/data/b", "2")))) as seen:
        await api.configure(MUTATING, seen)
        made = await api.create(config_map())
    assert made["data"] == {"a": "1", "b": "2"}
    assert managers(made) == [("tests", "Update")]
    [warning] = api.warnings
    assert warning.startswith(".metadata.managedFields was in an invalid state after admission; ")
    assert warning.endswith(f"please fix your requests: {why}")
