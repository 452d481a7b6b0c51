"""Registries that ask webhooks, configurations of these, and how they answer."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

from kubelib.api.codec import encode_tree
from kubelib.api.meta import Key
from kubelib.client.webhooks import HttpWebhooks
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import User, WriteOptions
from kubelib.registry.keys import store_key
from kubelib.registry.webhooks.services import ServiceResolver
from kubelib.store import MemoryStore, Put, Revision
from tests.hooks import CA, Hook, Request

Tree = dict[str, Any]
Decide = Callable[[Tree], Tree]
BUNDLE = base64.b64encode(CA).decode()
MUTATING, VALIDATING = "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"
JANE = User("jane", ("devs", "system:authenticated"), "42", (("scopes", ("a", "b")),))


class Api:
    """What a test asks of the registries as jane: warnings and audit annotations of all requests are kept."""

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
            given={"fieldManager": "tests"},
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


async def store_with(api: Api, kind: str, **fields: Any) -> None:
    """Change a stored configuration behind the back of validation."""
    registry = api.of(kind, "admissionregistration.k8s.io/v1")
    document = registry.cache.get(Key("", "c"))
    tree = document.tree()
    tree["webhooks"][0] |= fields
    raw = encode_tree(tree, registry.resource)
    expect = Revision(int(document.meta.resource_version))
    await registry.owner.cache.reached(
        await registry.store.commit(Put(store_key(registry.prefix, Key("", "c")), raw, expect))
    )
