"""Registries with the built-in plug-ins of admission, and objects to create in them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import pytest

from kubelib.api.errors import ApiError, Forbidden
from kubelib.clock import LoopClock
from kubelib.registry import ResourceRegistries
from kubelib.registry.admission import default_admission
from kubelib.registry.base import User, WriteOptions
from kubelib.store import MemoryStore

Tree = dict[str, Any]
JANE = WriteOptions(user=User("jane"))


class Api:
    """What a test asks of the registries, and the words of a refusal."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self.registries = registries

    def of(self, kind: str, version: str = "v1") -> Any:
        return self.registries.of(self.registries.scheme.kind(version, kind))

    async def create(self, tree: Tree, **options: Any) -> Tree:
        namespace = tree["metadata"].get("namespace", "")
        document = await self.of(tree["kind"], tree["apiVersion"]).create(
            deepcopy(tree), namespace=namespace, options=WriteOptions(**options)
        )
        result: Tree = document.tree()
        return result

    async def refused(self, tree: Tree, **options: Any) -> str:
        with pytest.raises(ApiError) as raised:
            await self.create(tree, **options)
        assert isinstance(raised.value, Forbidden)
        assert raised.value.status()["code"] == 403
        return raised.value.message


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[Api]:
    options.setdefault("admission", default_admission(disable=["ServiceAccount"]))
    async with MemoryStore() as store, ResourceRegistries(store, clock=LoopClock(), **options) as registries:
        await registries.bootstrap()
        yield Api(registries)


def thing(kind: str, version: str = "v1", name: str = "x", namespace: str = "default", **parts: Any) -> Tree:
    meta = {"name": name, **({"namespace": namespace} if namespace else {}), **parts.pop("metadata", {})}
    return {"kind": kind, "apiVersion": version, "metadata": meta, **parts}


def pod(name: str = "p", resources: Tree | None = None, **spec: Any) -> Tree:
    container = {"name": "c", "image": "i", **({"resources": resources} if resources else {})}
    return thing("Pod", name=name, spec={"containers": [container], **spec})


def claim(size: str, **spec: Any) -> Tree:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return thing("PersistentVolumeClaim", spec=spec)


async def account(api: Api, name: str = "default", **parts: Any) -> None:
    await api.create(thing("ServiceAccount", name=name, **parts))
