"""What admission webhooks may change of a request, and what stays as it is."""

import json
from typing import Any

import pytest

from kubelib.api.errors import ApiError, BadRequest, InternalError, Invalid
from kubelib.api.meta import Key
from kubelib.registry.base import Patch
from tests.hooks import hook
from tests.server.webhooks.asking import (
    DEPLOYMENT,
    MUTATING,
    POD,
    Api,
    Decide,
    Tree,
    add,
    agree,
    answering,
    asked,
    config_map,
    patch,
    rule,
)


async def test_a_scale_can_be_changed_and_refused(api: Api) -> None:
    def at_most_three(request: Tree) -> Tree:
        wanted = request["object"]["spec"].get("replicas", 0)
        if wanted > 100:
            return {"allowed": False, "status": {"message": "that is too many"}}
        return patch({"op": "replace", "path": "/spec/replicas", "value": 3}) if wanted > 3 else {}

    async with hook(answering(at_most_three)) as seen:
        await api.configure(MUTATING, seen, rules=[rule("deployments/scale", group="apps")])
        await api.create(DEPLOYMENT)
        deployments, key = api.of("Deployment", "apps/v1"), Key("default", "d")
        ten = Patch("merge", {"spec": {"replicas": 10}})
        scaled, _ = await deployments.patch(key, ten, subresource="scale", options=api.options())
        assert scaled.tree()["spec"] == {"replicas": 3}
        many = Patch("merge", {"spec": {"replicas": 1000}})
        with pytest.raises(ApiError, match="that is too many"):
            await deployments.patch(key, many, subresource="scale", options=api.options())
        assert (await deployments.get(key)).tree()["spec"]["replicas"] == 3


async def test_a_patch_is_carried_out_and_defaulted(api: Api) -> None:
    def sidecar(request: Tree) -> Tree:
        return patch(add("/spec/containers/-", {"name": "side", "image": "car"}))

    async with hook(answering(sidecar)) as seen:
        await api.configure(MUTATING, seen, rules=[rule("pods", operations=("CREATE",))])
        made = await api.create(POD)
    main, side = made["spec"]["containers"]
    assert side["name"] == "side"
    assert side["imagePullPolicy"] == main["imagePullPolicy"]
    assert json.loads(api.notes["mutation.webhook.admission.k8s.io/round_0_index_0"]) == {
        "configuration": "c",
        "webhook": "c.example.com",
        "mutated": True,
    }


async def test_webhooks_are_asked_in_the_order_of_the_names_and_see_each_other_s_changes(api: Api) -> None:
    def count(request: Tree) -> Tree:
        return patch(add("/data/seen", request["object"]["data"].get("seen", "") + "|"))

    async with hook(answering(count)) as one, hook(answering(count)) as two:
        await api.configure(MUTATING, two, name="b")
        await api.configure(MUTATING, one, name="a")
        made = await api.create(config_map())
    assert made["data"]["seen"] == "||"
    assert "seen" not in asked(one)[0]["object"]["data"]
    assert asked(two)[0]["object"]["data"]["seen"] == "|"


@pytest.mark.parametrize(("policy", "rounds"), [("IfNeeded", 2), ("Never", 1)])
async def test_who_wants_it_is_asked_again_once_others_have_changed_the_object(
    api: Api, policy: str, rounds: int
) -> None:
    def later(request: Tree) -> Tree:
        return patch(add("/data/later", "1"))

    async with hook(answering(agree)) as first, hook(answering(later)) as second:
        await api.configure(MUTATING, first, name="a", reinvocationPolicy=policy)
        await api.configure(MUTATING, second, name="b", reinvocationPolicy=policy)
        await api.create(config_map())
    assert len(first.requests) == rounds
    assert len(second.requests) == 1
    assert asked(first)[-1]["object"]["data"] == ({"a": "1", "later": "1"} if rounds == 2 else {"a": "1"})


async def test_webhooks_that_undo_each_other_come_to_an_end(api: Api) -> None:
    def flip(to: str) -> Decide:
        return lambda request: patch(add("/data/flag", to))

    async with hook(answering(flip("on"))) as on, hook(answering(flip("off"))) as off:
        await api.configure(MUTATING, on, name="a", reinvocationPolicy="IfNeeded")
        await api.configure(MUTATING, off, name="b", reinvocationPolicy="IfNeeded")
        await api.create(config_map())
    assert (len(on.requests), len(off.requests)) == (2, 2)


HARMFUL = [
    ([add("/metadata/namespace", "kube-system")], BadRequest, "namespace of the provided object"),
    ([add("/kind", "Secret")], InternalError, "cannot change the kind"),
    ([add("/metadata", "no object")], InternalError, "not an object"),
    ([{"op": "remove", "path": ""}], InternalError, "doc is missing path"),
    ([{"op": "replace", "path": "", "value": []}], InternalError, "not an object"),
    ([add("/data", ["a", "list"])], InternalError, ""),
    ([add("/data/bad key!", "1")], Invalid, "data"),
    ([add("/data/a/b/c", 1)], InternalError, "doc is missing path"),
    ([{"op": "test", "path": "/data/a", "value": "other"}], InternalError, "testing value /data/a failed"),
    ([{"op": "jump"}], InternalError, ""),
    (["nothing"], InternalError, "cannot unmarshal string"),
    (
        [{"op": "copy", "from": "/data", "path": f"/data/x{i}"} for i in range(40)],
        InternalError,
        "accumulated size increase of copy",
    ),
]


@pytest.mark.parametrize(("operations", "error", "message"), HARMFUL)
async def test_a_patch_that_does_harm_refuses_the_request_whatever_the_policy(
    api: Api, operations: list[Any], error: type[ApiError], message: str
) -> None:
    async with hook(answering(lambda request: patch(*operations))) as seen:
        await api.configure(MUTATING, seen, failurePolicy="Ignore")
        with pytest.raises(error, match=message or None):
            await api.create(config_map())
    assert api.of("ConfigMap").cache.get(Key("default", "x")) is None


async def test_what_the_server_decides_alone_stays(api: Api) -> None:
    def everything(request: Tree) -> Tree:
        return patch(
            add("/metadata/uid", "mine"),
            add("/metadata/generation", 99),
            add("/metadata/creationTimestamp", "1999-01-01T00:00:00Z"),
            add("/metadata/deletionTimestamp", "1999-01-01T00:00:00Z"),
            add("/status", {"phase": "Succeeded"}),
            add("/metadata/labels", {"ours": "yes"}),
        )

    async with hook(answering(everything)) as seen:
        await api.configure(MUTATING, seen, rules=[rule("pods", operations=("CREATE",))])
        made = await api.create(POD)
    meta = made["metadata"]
    assert meta["labels"] == {"ours": "yes"}
    assert meta["uid"] != "mine"
    assert not meta["creationTimestamp"].startswith("1999")
    assert "deletionTimestamp" not in meta
    assert meta["generation"] == 1
    assert made["status"]["phase"] == "Pending"


async def test_the_identity_of_an_object_is_immutable_for_webhooks_too(api: Api) -> None:
    async with hook(answering(lambda request: patch(add("/metadata/name", "other")))) as seen:
        made = await api.create(config_map())
        await api.configure(MUTATING, seen, rules=[rule("configmaps", operations=("UPDATE",))])
        made["data"] = {"b": "2"}
        with pytest.raises(Invalid, match=r'metadata\.name: Invalid value: "other": field is immutable'):
            await api.of("ConfigMap").update(Key("default", "x"), made, options=api.options())


async def test_a_webhook_may_name_what_is_created(api: Api) -> None:
    async with hook(answering(lambda request: patch(add("/metadata/name", "renamed")))) as seen:
        await api.configure(MUTATING, seen, rules=[rule("configmaps", operations=("CREATE",))])
        made = await api.create(config_map())
        assert made["metadata"]["name"] == "renamed"
        assert (await api.of("ConfigMap").get(Key("default", "renamed"))).tree()["data"] == {"a": "1"}
        with pytest.raises(ApiError, match='configmaps "renamed" already exists'):
            await api.create(config_map())


@pytest.mark.parametrize("operation", ["delete", "connect"])
async def test_what_is_no_write_of_a_document_cannot_be_patched(api: Api, operation: str) -> None:
    async with hook(answering(lambda request: patch(add("/x", 1)))) as seen:
        await api.create(POD)
        rules = [rule("pods", "pods/exec", operations=("DELETE", "CONNECT"))]
        await api.configure(MUTATING, seen, rules=rules)
        with pytest.raises(InternalError, match="not supported for this operation"):
            if operation == "delete":
                await api.of("Pod").delete(Key("default", "p"), options=api.options())
            else:
                tree = {"kind": "PodExecOptions", "apiVersion": "v1", "command": ["ls"]}
                key = Key("default", "p")
                await api.of("Pod").admit("connect", key, tree, None, api.options(), "exec")
    [request] = asked(seen)
    if operation == "connect":
        assert request["kind"]["kind"] == "PodExecOptions"
        assert request["operation"] == "CONNECT"
        assert "options" not in request or request["options"] is None


async def test_an_older_review_is_asked_and_answered_in_its_own_way(api: Api) -> None:
    def bare(request: Tree) -> Tree:
        return {"uid": "", "patch": patch(add("/data/b", "2"))["patch"]}

    async with hook(answering(bare)) as seen:
        await api.configure(MUTATING, seen, admissionReviewVersions=["v2", "v1beta1"])
        made = await api.create(config_map())
    assert seen.requests[0].tree["apiVersion"] == "admission.k8s.io/v1beta1"
    assert made["data"] == {"a": "1", "b": "2"}
