"""Admission webhooks: who is asked about what, what becomes of the answers, and that none of them can break the server."""

import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import anyio
import httpx
import pytest

from kubelib.api.errors import ApiError, BadRequest, Forbidden, InternalError, Invalid
from kubelib.api.meta import Key
from kubelib.client.webhooks import CONNECTIONS_PER_SERVER, HttpWebhooks
from kubelib.registry import ResourceRegistries
from kubelib.registry.admission.webhooks.figures import WebhookFigures
from kubelib.registry.base import Patch, Query, User, WriteOptions
from kubelib.registry.webhooks.services import ServiceResolver
from kubelib.store import MemoryStore
from kubelib.testing.cluster import Cluster
from kubelib.testing.webhooks import mutated, on
from tests.hooks import CA, Hook, Request, hook
from tests.server.definitions import CRDS, definition

Tree = dict[str, Any]
Decide = Callable[[Tree], Tree]
BUNDLE = base64.b64encode(CA).decode()
MUTATING, VALIDATING = "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"
JANE = User("jane", ("devs", "system:authenticated"), "42", (("scopes", ("a", "b")),))


class Api:
    def __init__(self, registries: ResourceRegistries) -> None:
        self.registries = registries
        self.warnings: list[str] = []
        self.notes: dict[str, str] = {}

    def of(self, kind: str, version: str = "v1") -> Any:
        return self.registries.of(self.registries.scheme.kind(version, kind))

    def options(self, **options: Any) -> WriteOptions:
        return WriteOptions(
            user=JANE,
            manager="tests",
            warn=self.warnings.append,
            annotate=lambda name, value: self.notes.update({name: value}),
            **options,
        )

    async def create(self, tree: Tree, subresource: str = "", **options: Any) -> Tree:
        meta = tree["metadata"]
        document = await self.of(tree["kind"], tree["apiVersion"]).create(
            deepcopy(tree),
            namespace=meta.get("namespace", ""),
            subresource=subresource,
            options=self.options(**options),
        )
        result: Tree = document.tree()
        return result

    async def configure(self, kind: str, at: Hook | str, *, name: str = "c", **fields: Any) -> None:
        """Configure a webhook that is asked of all that happens to ConfigMaps, unless `fields` say something else."""
        await self.create(configuration(kind, at, name=name, **fields))


def configuration(kind: str, at: Hook | str, *, name: str = "c", **fields: Any) -> Tree:
    url = at if isinstance(at, str) else at.url
    return {
        "kind": kind,
        "apiVersion": "admissionregistration.k8s.io/v1",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": f"{name}.example.com",
                "clientConfig": {"url": url, "caBundle": BUNDLE},
                "rules": [rule("configmaps")],
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                **fields,
            }
        ],
    }


def rule(*resources: str, operations: tuple[str, ...] = ("*",), group: str = "", version: str = "v1") -> Tree:
    return {
        "operations": list(operations),
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": list(resources),
    }


def answering(decide: Decide) -> Callable[[Request], Any]:
    async def behave(request: Request) -> None:
        asked = request.tree["request"]
        response = {"uid": asked["uid"], "allowed": True, **decide(asked)}
        review = {"kind": "AdmissionReview", "apiVersion": request.tree["apiVersion"], "response": response}
        await request.reply(json.dumps(review).encode())

    return behave


def patch(*operations: Tree) -> Tree:
    return {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}


def add(path: str, value: Any) -> Tree:
    return {"op": "add", "path": path, "value": value}


def agree(request: Tree) -> Tree:
    return {}


def asked(at: Hook) -> list[Tree]:
    return [request.tree["request"] for request in at.requests]


def config_map(name: str = "x", data: Tree | None = None, **meta: Any) -> Tree:
    return {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", **meta},
        "data": data or {"a": "1"},
    }


POD: Tree = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "p", "namespace": "default"},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}
DEPLOYMENT: Tree = {
    "kind": "Deployment",
    "apiVersion": "apps/v1",
    "metadata": {"name": "d", "namespace": "default"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    },
}


@asynccontextmanager
async def opened() -> AsyncIterator[Api]:
    async with (
        MemoryStore() as store,
        ResourceRegistries(store) as registries,
        HttpWebhooks(ServiceResolver(registries)) as registries.webhooks,
    ):
        await registries.bootstrap()
        yield Api(registries)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with opened() as api:
        yield api


# What is asked


async def test_a_webhook_sees_the_whole_request(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen)
        created = await api.create(config_map())
        maps = api.of("ConfigMap")
        changed = {**created, "data": {"a": "2"}}
        await maps.update(Key("default", "x"), deepcopy(changed), options=api.options())
        await maps.delete(Key("default", "x"), grace=0, propagation="Background", options=api.options())
    create, update, delete = asked(seen)
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    resource = {"group": "", "version": "v1", "resource": "configmaps"}
    assert {name: create[name] for name in create.keys() - {"uid", "object", "options"}} == {
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "name": "x",
        "namespace": "default",
        "operation": "CREATE",
        "userInfo": {
            "username": "jane",
            "uid": "42",
            "groups": ["devs", "system:authenticated"],
            "extra": {"scopes": ["a", "b"]},
        },
        "oldObject": None,
        "dryRun": False,
    }
    assert create["object"]["data"] == {"a": "1"}
    assert create["options"] == {
        "kind": "CreateOptions",
        "apiVersion": "meta.k8s.io/v1",
        "fieldManager": "tests",
        "fieldValidation": "Warn",
    }
    assert (update["operation"], update["object"]["data"], update["oldObject"]["data"]) == (
        "UPDATE",
        {"a": "2"},
        {"a": "1"},
    )
    assert (delete["operation"], delete["object"], delete["oldObject"]["data"]) == (
        "DELETE",
        None,
        {"a": "2"},
    )
    assert delete["options"] == {
        "kind": "DeleteOptions",
        "apiVersion": "meta.k8s.io/v1",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Background",
    }
    assert len({request["uid"] for request in (create, update, delete)}) == 3


async def test_each_object_of_a_collection_is_asked_about(api: Api) -> None:
    def keep_b(request: Tree) -> Tree:
        return {"allowed": request["name"] != "b"}

    async with hook(answering(keep_b)) as seen:
        for name in "abc":
            await api.create(config_map(name))
        await api.configure(VALIDATING, seen, rules=[rule("configmaps", operations=("DELETE",))])
        with pytest.raises(ApiError, match="denied the request without explanation"):
            await api.of("ConfigMap").delete_collection(Query("default"), options=api.options())
    assert api.of("ConfigMap").cache.get(Key("default", "b")) is not None


RULES = [
    (rule("configmaps"), True),
    (rule("*"), True),
    (rule("*/*"), True),
    (rule("configmaps/*"), True),
    (rule("configmaps/status"), False),
    (rule("pods"), False),
    (rule("configmaps", group="*", version="*"), True),
    (rule("configmaps", group="apps"), False),
    (rule("configmaps", version="v2"), False),
    (rule("configmaps", operations=("CREATE", "DELETE")), True),
    (rule("configmaps", operations=("UPDATE",)), False),
    ({**rule("configmaps"), "scope": "Namespaced"}, True),
    ({**rule("configmaps"), "scope": "Cluster"}, False),
]


@pytest.mark.parametrize(("rules", "is_asked"), RULES)
async def test_rules_say_who_is_asked(api: Api, rules: Tree, is_asked: bool) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen, rules=[rules])
        await api.create(config_map())
    assert bool(seen.requests) == is_asked


async def test_nobody_is_asked_about_the_configurations_themselves(api: Api) -> None:
    """A webhook that refuses everything must not keep its own configuration from being taken away."""
    async with hook(answering(lambda request: {"allowed": False})) as seen:
        everything = {**rule("*/*", group="*", version="*"), "scope": "*"}
        await api.configure(VALIDATING, seen, name="a", rules=[everything])
        await api.configure(MUTATING, seen, name="b", rules=[everything])
        with pytest.raises(ApiError):
            await api.create(config_map())
        for kind, name in ((VALIDATING, "a"), (MUTATING, "b")):
            version = "admissionregistration.k8s.io/v1"
            await api.of(kind, version).delete(Key("", name), options=api.options())
        await api.create(config_map())
    assert len(seen.requests) == 1


async def test_selectors_look_at_the_namespace_and_at_both_objects(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        labelled = {"matchLabels": {"team": "a"}}
        await api.configure(VALIDATING, seen, name="objects", objectSelector=labelled)
        made = await api.create(config_map("with", labels={"team": "a"}))
        await api.create(config_map("without"))
        made["metadata"]["labels"] = {}
        await api.of("ConfigMap").update(Key("default", "with"), made, options=api.options())
        assert [(request["operation"], request["name"]) for request in asked(seen)] == [
            ("CREATE", "with"),
            ("UPDATE", "with"),  # it was selected before
        ]
        seen.requests.clear()
        version = "admissionregistration.k8s.io/v1"
        await api.of(VALIDATING, version).delete(Key("", "objects"))
        rules = [rule("configmaps", "namespaces")]
        await api.configure(VALIDATING, seen, name="namespaces", namespaceSelector=labelled, rules=rules)
        await api.create(config_map("a"))
        space = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n", "labels": {"team": "a"}}}
        await api.create(space)
        await api.create({**config_map("b"), "metadata": {"name": "b", "namespace": "n"}})
    assert [(r["resource"]["resource"], r["name"], r["namespace"]) for r in asked(seen)] == [
        ("namespaces", "n", "n"),
        ("configmaps", "b", "n"),
    ]


async def test_equivalent_forms_of_a_resource_count_unless_the_policy_is_exact(api: Api) -> None:
    autoscaler = {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v1",
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "targetCPUUtilizationPercentage": 50,
        },
    }

    def raise_maximum(request: Tree) -> Tree:
        return patch({"op": "replace", "path": "/spec/maxReplicas", "value": 9})

    async with hook(answering(raise_maximum)) as loose, hook(answering(agree)) as exact:
        v2 = [rule("horizontalpodautoscalers", group="autoscaling", version="v2")]
        await api.configure(MUTATING, loose, rules=v2)
        await api.configure(VALIDATING, exact, rules=v2, matchPolicy="Exact")
        made = await api.create(autoscaler)
    [request] = asked(loose)
    assert request["kind"]["version"] == request["resource"]["version"] == "v2"
    assert request["requestKind"]["version"] == request["requestResource"]["version"] == "v1"
    assert request["object"]["apiVersion"] == "autoscaling/v2"
    assert request["object"]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    assert (made["apiVersion"], made["spec"]["maxReplicas"]) == ("autoscaling/v1", 9)
    assert not exact.requests


async def test_the_requested_form_is_preferred(api: Api) -> None:
    event = {
        "kind": "Event",
        "apiVersion": "events.k8s.io/v1",
        "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "action": "Look",
        "reason": "Because",
        "type": "Normal",
        "reportingController": "t/t",
        "reportingInstance": "t",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    }
    async with hook(answering(agree)) as seen:
        rules = [rule("events", group="events.k8s.io"), rule("events")]
        await api.configure(VALIDATING, seen, rules=rules)
        await api.create(event)
    [request] = asked(seen)
    assert request["resource"]["group"] == "events.k8s.io"
    assert request["object"]["regarding"]["name"] == "p"


async def test_subresources_are_asked_about_as_such(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        scales = [rule("deployments/scale", "deployments/status", group="apps"), rule("pods/eviction")]
        await api.configure(VALIDATING, seen, rules=scales)
        made = await api.create(DEPLOYMENT)
        deployments, key = api.of("Deployment", "apps/v1"), Key("default", "d")
        await deployments.patch(
            key, Patch("merge", {"spec": {"replicas": 5}}), subresource="scale", options=api.options()
        )
        made["status"] = {"replicas": 1}
        made["metadata"].pop("resourceVersion")
        await deployments.update(key, made, subresource="status", options=api.options())
    scale, status = asked(seen)
    assert scale["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert scale["resource"] == {"group": "apps", "version": "v1", "resource": "deployments"}
    assert (scale["subResource"], scale["requestSubResource"]) == ("scale", "scale")
    assert (scale["oldObject"]["spec"], scale["object"]["spec"]) == ({"replicas": 1}, {"replicas": 5})
    assert (status["subResource"], status["kind"]["kind"]) == ("status", "Deployment")


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


# What is answered


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


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (None, 400, "without explanation"),
        ({"message": "no"}, 400, ": no"),
        ({"reason": "Forbidden", "code": 403}, 403, ": Forbidden"),
        ({"message": "no", "code": 200, "status": "Success"}, 400, ": no"),
        ({"message": "no", "code": 99999}, 400, ": no"),
    ],
)
async def test_a_refusal_is_told_in_the_webhook_s_words(
    api: Api, status: Tree | None, code: int, message: str
) -> None:
    response = {"allowed": False, **({"status": status} if status else {})}
    async with hook(answering(lambda request: response)) as seen:
        await api.configure(VALIDATING, seen)
        with pytest.raises(ApiError) as refused:
            await api.create(config_map())
    told = refused.value.status()
    between = "" if message.startswith(":") else " "
    assert told["message"] == f'admission webhook "c.example.com" denied the request{between}{message}'
    assert told["code"] == refused.value.code == code
    assert told["status"] == "Failure"


async def test_warnings_and_annotations_are_passed_on(api: Api) -> None:
    said = {"warnings": ["careful", "very"], "auditAnnotations": {"why": "because"}}
    async with hook(answering(lambda request: said)) as seen:
        await api.configure(VALIDATING, seen)
        await api.create(config_map())
    assert api.warnings == ["careful", "very"]
    assert api.notes["c.example.com/why"] == "because"


async def test_validating_webhooks_are_asked_at_once_and_one_refusal_is_enough(api: Api) -> None:
    together = anyio.Event()
    waiting = 0

    async def behave(request: Request) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 3:
            together.set()
        with anyio.fail_after(60):
            await together.wait()
        await answering(lambda r: {"allowed": request.target.startswith("/hook?")})(request)

    async with hook(behave) as seen:
        for name in ("a", "b"):
            await api.configure(VALIDATING, seen, name=name)
        await api.configure(VALIDATING, f"https://localhost:{seen.port}/no", name="no")
        with pytest.raises(ApiError, match=r'admission webhook "no\.example\.com" denied'):
            await api.create(config_map())


async def test_a_validating_webhook_sees_no_object_that_is_invalid_anyway(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen)
        with pytest.raises(Invalid):
            await api.create(config_map("not valid!"))
    assert not seen.requests


# Dry runs


@pytest.mark.parametrize("kind", [MUTATING, VALIDATING])
async def test_side_effects_refuse_a_dry_run(api: Api, kind: str) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(kind, seen, sideEffects="NoneOnDryRun")
        await api.create(config_map(), dry_run=True)
        assert asked(seen)[0]["dryRun"] is True
        assert asked(seen)[0]["options"]["dryRun"] == ["All"]
        # What v1 no longer allows may still be stored from before.
        await store_with(api, kind, sideEffects="Some")
        with pytest.raises(BadRequest) as refused:
            await api.create(config_map(), dry_run=True)
        assert refused.value.message == 'admission webhook "c.example.com" does not support dry run'
        await api.create(config_map())


async def store_with(api: Api, kind: str, **fields: Any) -> None:
    """Change a stored configuration behind the back of validation."""
    from kubelib.api.codec import encode_tree
    from kubelib.registry.keys import store_key
    from kubelib.store import Put, Revision

    registry = api.of(kind, "admissionregistration.k8s.io/v1")
    document = registry.cache.get(Key("", "c"))
    tree = document.tree()
    tree["webhooks"][0] |= fields
    raw = encode_tree(tree, registry.resource)
    expect = Revision(int(document.meta.resource_version))
    await registry.owner.cache.reached(
        await registry.store.commit(Put(store_key(registry.prefix, Key("", "c")), raw, expect))
    )


# Failures


ELSEWHERE = 1
"""A port where nobody listens: whoever followed a redirection would say so."""


async def garbage(request: Request) -> None:
    await request.reply(b"<html>")


async def nothing(request: Request) -> None:
    await request.reply(b"{}")


async def null(request: Request) -> None:
    await request.reply(b"null")


async def deep(request: Request) -> None:
    await request.reply(b'{"response":' * 100_000)


async def wrong_types(request: Request) -> None:
    await request.reply(b'{"response":{"allowed":"yes"}}')


async def closes(request: Request) -> None:
    await request.stream.aclose()


async def breaks(request: Request) -> None:
    await request.reply(b"oh", "500 Internal Server Error")


async def floods(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    while True:
        await request.stream.send(piece)


async def redirects(request: Request) -> None:
    await request.reply(b"", "302 Found", f"location: https://localhost:{ELSEWHERE}/hook\r\n")


async def redirects_for_good(request: Request) -> None:
    await request.reply(b"", "308 Permanent Redirect", f"location: {request.target}\r\n")


async def never_ends_its_head(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await request.stream.send(b"x: " + b"y" * 65536 + b"\r\n")


async def is_no_http(request: Request) -> None:
    await request.stream.send(b"SSH-2.0-OpenSSH_9.9\r\n" * 10)
    await request.stream.aclose()


async def compresses(request: Request) -> None:
    await request.reply(gzip.compress(b" " * 100_000_000), headers="content-encoding: gzip\r\n")


async def breaks_off(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    await request.stream.aclose()


async def other_kind(request: Request) -> None:
    uid = request.tree["request"]["uid"]
    await request.reply(json.dumps({"response": {"uid": uid, "allowed": True}}).encode())


UNUSABLE = [
    (garbage, "failed to call webhook: couldn't get version/kind; json parse error: "),
    (nothing, "received invalid webhook response: webhook response was absent"),
    (null, "failed to call webhook: couldn't get version/kind; json parse error: "),
    (deep, "failed to call webhook: couldn't get version/kind; json parse error: "),
    (wrong_types, "failed to call webhook: couldn't get version/kind; json parse error: "),
    (closes, r'failed to call webhook: Post "https://localhost:\d+/hook\?timeout=5s": EOF'),
    (breaks, r'failed to call webhook: an error on the server \("oh"\) has prevented the request'),
    (floods, "failed to call webhook: Post .*: the answer is longer than"),
    (redirects, "failed to call webhook: the server responded with the status code 302 but"),
    (redirects_for_good, "failed to call webhook: the server responded with the status code 308 but"),
    (never_ends_its_head, "failed to call webhook: Post .*: unexpected EOF"),
    (is_no_http, "failed to call webhook: Post .*: "),
    (compresses, "failed to call webhook: the answer is compressed"),
    (breaks_off, "failed to call webhook: Post .*: unexpected EOF"),
    (
        other_kind,
        r"received invalid webhook response: expected webhook response of .*, Kind=AdmissionReview, got /, Kind=",
    ),
    (
        answering(lambda request: {"uid": "another"}),
        'received invalid webhook response: expected response.uid="[-0-9a-f]*", got "another"',
    ),
]


@pytest.mark.parametrize("kind", [MUTATING, VALIDATING])
@pytest.mark.parametrize(("behave", "message"), UNUSABLE)
async def test_an_unusable_answer_counts_by_the_failure_policy(
    api: Api, kind: str, behave: Any, message: str
) -> None:
    async with hook(behave) as seen:
        await api.configure(kind, seen, timeoutSeconds=5, failurePolicy="Fail")
        prefix = 'Internal error occurred: failed calling webhook "c.example.com": '
        with pytest.raises(InternalError, match=prefix + message):
            await api.create(config_map())
        version = "admissionregistration.k8s.io/v1"
        await api.of(kind, version).delete(Key("", "c"))
        await api.configure(kind, seen, timeoutSeconds=5, failurePolicy="Ignore")
        await api.create(config_map())
    name = "mutation" if kind == MUTATING else "validating"
    assert api.notes[f"failed-open.{name}.webhook.admission.k8s.io/round_0_index_0"] == "c.example.com"


BAD_PATCHES = [
    ({"patch": "e30="}, "webhook returned response.patch but not response.patchType"),
    ({"patchType": "JSONPatch"}, "webhook returned response.patchType but not response.patch"),
    ({"patchType": "JSONPatch", "patch": "e30="}, "received undecodable patch in webhook response"),
    ({"patchType": "JSONPatch", "patch": "!"}, "received undecodable patch in webhook response"),
    ({"patchType": "Merge", "patch": "e30="}, 'unsupported patch type "Merge"'),
]


@pytest.mark.parametrize(("response", "message"), BAD_PATCHES)
async def test_a_patch_that_is_none_counts_by_the_failure_policy(
    api: Api, response: Tree, message: str
) -> None:
    async with hook(answering(lambda request: response)) as seen:
        await api.configure(MUTATING, seen)
        with pytest.raises(InternalError, match=message):
            await api.create(config_map())
        await store_with(api, MUTATING, failurePolicy="Ignore")
        assert (await api.create(config_map()))["data"] == {"a": "1"}


async def test_a_validating_webhook_may_not_patch(api: Api) -> None:
    async with hook(answering(lambda request: patch(add("/data/b", "2")))) as seen:
        await api.configure(VALIDATING, seen)
        with pytest.raises(InternalError, match=r"validating webhook may not return response\.patch"):
            await api.create(config_map())


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


async def test_webhooks_are_counted(api: Api) -> None:
    """By their names, and by what became of the requests; the figures are those of Kubernetes."""

    def decide(request: Tree) -> Tree:
        return {"allowed": request["object"]["data"] != {"bad": "yes"}, "status": {"code": 451}}

    async with hook(answering(decide)) as seen:
        await api.configure(VALIDATING, seen, name="strict")
        await api.configure(MUTATING, "https://127.0.0.1:1/", name="away", failurePolicy="Ignore")
        await api.create(config_map())
        with pytest.raises(ApiError):
            await api.create(config_map("y", {"bad": "yes"}))
        await api.configure(MUTATING, "https://127.0.0.1:1/", name="must")
        with pytest.raises(InternalError):
            await api.create(config_map("z"))
    figures = {
        (
            metric + sample.suffix,
            ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items(), key=lambda i: (i[0] == "le", i))),
        ): sample.value
        for plugin in api.registries.admission.plugins
        if isinstance(found := getattr(plugin, "figures", None), WebhookFigures)
        for metric, sample in found.samples()
    }

    def of(name: str, kind: str, **labels: Any) -> str:
        known = {**labels, "name": f"{name}.example.com", "operation": "CREATE", "type": kind}
        return ",".join(f'{label}="{known[label]}"' for label in sorted(known))

    accepted, refused = (
        of("strict", "validating", rejected="false"),
        of("strict", "validating", rejected="true"),
    )
    assert figures["admission_duration_seconds_count", accepted] == 1
    assert figures["admission_duration_seconds_bucket", f'{refused},le="+Inf"'] == 1
    assert figures["request_total", of("strict", "validating", code=451, rejected="true")] == 1
    told = of("strict", "validating", error_type="no_error", rejection_code=451)
    assert figures["rejection_count", told] == 1
    assert figures["fail_open_count", 'name="away.example.com",type="admit"'] == 3
    away = of("must", "admit", error_type="calling_webhook_error", rejection_code=0)
    assert figures["rejection_count", away] == 1


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


# In time


async def hangs(request: Request) -> None:
    await anyio.sleep_forever()


async def trickles(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        await request.stream.send(b" ")
        await anyio.sleep(0.02)


@pytest.mark.parametrize("behave", [hangs, trickles])
@pytest.mark.parametrize("kind", [MUTATING, VALIDATING])
async def test_a_webhook_that_hangs_costs_its_time_and_no_more(api: Api, kind: str, behave: Any) -> None:
    async with hook(behave) as seen:
        await api.configure(kind, seen, timeoutSeconds=1)
        with anyio.fail_after(60), pytest.raises(InternalError, match="context deadline exceeded"):
            await api.create(config_map())
        await store_with(api, kind, failurePolicy="Ignore")
        with anyio.fail_after(60):
            await api.create(config_map())


async def test_a_request_that_is_given_up_leaves_nothing_behind(api: Api) -> None:
    async with hook(hangs) as seen:
        await api.configure(MUTATING, seen, timeoutSeconds=30)
        with anyio.move_on_after(0.3):
            await api.create(config_map())
        assert len(seen.requests) == 1
        await store_with(api, MUTATING, failurePolicy="Ignore", timeoutSeconds=1)
    assert api.of("ConfigMap").cache.get(Key("default", "x")) is None


async def test_a_webhook_that_causes_what_it_is_asked_about_comes_to_an_end(api: Api) -> None:
    """Each call makes the next: the calls of one webhook at a time are limited, and each takes its time and no more."""
    async with anyio.create_task_group() as group:
        depth = 0

        async def again(request: Request) -> None:
            nonlocal depth
            depth += 1
            try:
                await api.create(config_map(f"again-{depth}"))
            except ApiError as error:
                await request.reply(json.dumps({"message": str(error)}).encode(), "500 Internal Server Error")

        async with hook(again) as seen, hook(answering(agree)) as other:
            await api.configure(MUTATING, seen, timeoutSeconds=1)
            with anyio.fail_after(60), pytest.raises(InternalError, match="context deadline exceeded"):
                await api.create(config_map())
            assert depth <= CONNECTIONS_PER_SERVER + 1
            # Meanwhile others are asked and answer.
            await api.configure(MUTATING, other, name="d", rules=[rule("secrets")])
            with anyio.fail_after(60):
                await api.of("Secret").create(
                    {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}},
                    namespace="default",
                    options=api.options(),
                )
            assert len(asked(other)) == 1
        group.cancel_scope.cancel()


async def test_changes_of_the_configuration_hold_at_once(api: Api) -> None:
    async with hook(answering(lambda request: {"allowed": False})) as seen:
        version = "admissionregistration.k8s.io/v1"
        for _ in range(3):
            await api.create(config_map(), dry_run=True)
            await api.configure(VALIDATING, seen)
            with pytest.raises(ApiError):
                await api.create(config_map(), dry_run=True)
            await api.of(VALIDATING, version).delete(Key("", "c"))


async def test_a_service_is_asked_at_its_endpoints(api: Api) -> None:
    meta = {"name": "web", "namespace": "default"}
    async with hook(answering(agree), "web.default.svc") as seen:
        service = {"namespace": "default", "name": "web", "path": "/mutate", "port": 8443}
        client = {"service": service, "caBundle": BUNDLE}
        await api.configure(MUTATING, "", clientConfig=client)
        url = r'Post "https://web.default.svc:8443/mutate\?timeout=10s": '
        with pytest.raises(InternalError, match=url + 'service "web" not found'):
            await api.create(config_map())
        ports = [{"port": 8443, "targetPort": seen.port}]
        await api.create({"kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": {"ports": ports}})
        with pytest.raises(InternalError, match=url + 'no endpoints available for service "web"'):
            await api.create(config_map())
        subset = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": seen.port}]}
        endpoints = {"kind": "Endpoints", "apiVersion": "v1", "metadata": meta, "subsets": [subset]}
        await api.create(endpoints)
        await api.create(config_map())
    [request] = seen.requests
    assert request.headers["host"] == "web.default.svc:8443"
    assert request.target == "/mutate?timeout=10s"


async def test_an_older_review_is_asked_and_answered_in_its_own_way(api: Api) -> None:
    def bare(request: Tree) -> Tree:
        return {"uid": "", "patch": patch(add("/data/b", "2"))["patch"]}

    async with hook(answering(bare)) as seen:
        await api.configure(MUTATING, seen, admissionReviewVersions=["v2", "v1beta1"])
        made = await api.create(config_map())
    assert seen.requests[0].tree["apiVersion"] == "admission.k8s.io/v1beta1"
    assert made["data"] == {"a": "1", "b": "2"}


async def test_where_nobody_calls_webhooks_they_fail(api: Api) -> None:
    api.registries.webhooks = None
    await api.configure(VALIDATING, "https://localhost:1/")
    with pytest.raises(InternalError, match="this API server calls no webhooks"):
        await api.create(config_map())


async def test_many_writes_share_a_few_connections(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen, timeoutSeconds=30)
        async with anyio.create_task_group() as group:
            for number in range(120):
                group.start_soon(api.create, config_map(f"x-{number}"))
    assert len(seen.requests) == 120
    assert seen.most_open <= 32


async def test_a_webhook_that_cannot_select_a_namespace_is_not_passed_over(api: Api) -> None:
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen, namespaceSelector={"matchLabels": {"a": "b"}})
        with pytest.raises(ApiError, match='namespaces "none" not found'):
            await api.create({**config_map(), "metadata": {"name": "x", "namespace": "none"}})


# Custom resources


SIZE: Tree = {"type": "object", "properties": {"size": {"type": "integer"}, "old": {"type": "integer"}}}


def resize(review: Tree) -> Tree:
    return mutated(review, lambda tree: tree["spec"].update(size=tree["spec"]["size"] + 1))


def convert(review: Tree) -> Tree:
    """Move the size to where the wanted version has it."""
    wanted = review["request"]["desiredAPIVersion"]
    converted = []
    for tree in review["request"]["objects"]:
        size = tree["spec"].pop("old", None) if wanted.endswith("v2") else tree["spec"].pop("size", None)
        tree["spec"]["size" if wanted.endswith("v2") else "old"] = size
        converted.append({**tree, "apiVersion": wanted})
    return {"convertedObjects": converted, "result": {"status": "Success"}}


def test_a_custom_resource_is_seen_in_the_version_that_a_rule_names(kubelib_cluster: Cluster) -> None:
    versions = [
        {
            "name": name,
            "served": True,
            "storage": name == "v1",
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": SIZE}}},
        }
        for name in ("v1", "v2")
    ]
    tree = definition("boxes", "Box", versions=versions)
    served = kubelib_cluster.serve_webhook(convert, path="/convert")
    webhook = {"clientConfig": served.client_config, "conversionReviewVersions": ["v1"]}
    tree["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    boxes = "/apis/example.com/v1/namespaces/default/boxes"
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, trust_env=False, timeout=60) as client:
        assert client.post(CRDS, json=tree).status_code == 201
        rules = [on("boxes", "CREATE", "UPDATE", group="example.com", version="v2")]
        seen = kubelib_cluster.webhook(resize, mutating=True, rules=rules)
        kind = {"kind": "Box", "apiVersion": "example.com/v1"}
        answer = client.post(boxes, json={**kind, "metadata": {"name": "b"}, "spec": {"old": 1}})
        assert answer.status_code == 201, answer.text
        assert answer.json()["apiVersion"] == "example.com/v1"
        assert answer.json()["spec"] == {"old": 2}
        changed = {**answer.json(), "spec": {"old": 10}}
        assert client.put(f"{boxes}/b", json=changed).json()["spec"] == {"old": 11}
    create, update = [review["request"] for review in seen.asked]
    assert create["kind"] == {"group": "example.com", "version": "v2", "kind": "Box"}
    assert create["requestKind"]["version"] == "v1"
    assert create["object"]["spec"] == {"size": 1}
    assert (update["oldObject"]["spec"], update["object"]["spec"]) == ({"size": 2}, {"size": 10})


async def test_match_conditions_say_who_is_asked(api: Api) -> None:
    conditions = [
        {"name": "not-jane", "expression": "request.userInfo.username != 'jane'"},
    ]
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen, matchConditions=conditions)
        await api.create(config_map("a"))
        other = WriteOptions(user=User("joe"))
        tree = config_map("b")
        await api.of("ConfigMap").create(tree, namespace="default", options=other)
    assert [request["name"] for request in asked(seen)] == ["b"]


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_a_condition_without_a_value_counts_by_the_failure_policy(api: Api, policy: str) -> None:
    conditions = [{"name": "none", "expression": "object.data.missing == 'x'"}]
    async with hook(answering(agree)) as seen:
        await api.configure(VALIDATING, seen, matchConditions=conditions, failurePolicy=policy)
        if policy == "Ignore":
            await api.create(config_map())
        else:
            with pytest.raises(Forbidden, match="no such key: missing"):
                await api.create(config_map())
    assert not seen.requests
