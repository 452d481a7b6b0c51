"""Controllers in a process of their own learn of custom kinds from their definitions, and look after their objects."""

from pathlib import Path
from random import Random

import anyio
import pytest

from kubelib.api.apiextensions import CustomResourceDefinition
from kubelib.api.codec import decode, encode_json
from kubelib.api.core.config import ConfigMap
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key, Object, ObjectMeta, OwnerReference
from kubelib.api.scheme import Resource, UnknownKind
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import Connection
from kubelib.clock import SYSTEM_CLOCK
from kubelib.controllers.builtin import builtin_controllers
from kubelib.controllers.manager import Manager
from kubelib.testing.cluster import Cluster
from tests.server.definitions import definition

KEY = Key("default", "a")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_what_a_custom_object_owns_is_collected_from_afar(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        connection = Connection(server=cluster.url, token=cluster.token)
        async with HttpClient(connection) as client, anyio.create_task_group() as group:
            components = builtin_controllers(client, clock=SYSTEM_CLOCK, random=Random(1), discover=True)
            await group.start(Manager(components).run)
            definitions = client.resource(CustomResourceDefinition)
            tree = definition("widgets", "Widget")
            await definitions.create(decode(CustomResourceDefinition, encode_json(tree)))

            def known() -> Resource | None:
                try:
                    return client.scheme.kind("example.com/v1", "Widget")
                except UnknownKind:
                    return None

            with anyio.fail_after(60):
                while (resource := known()) is None:
                    await anyio.sleep(0.01)
                cls: type[Object] = resource.cls
                meta = ObjectMeta(name="a", namespace="default")
                owner = await client.resource(cls).create(cls(metadata=meta))
                reference = OwnerReference(
                    api_version="example.com/v1", kind="Widget", name="a", uid=owner.metadata.uid
                )
                owned = ObjectMeta(name="a", namespace="default", owner_references=(reference,))
                await client.resource(ConfigMap).create(ConfigMap(metadata=owned))
                await client.resource(cls).delete(KEY)
                with pytest.raises(NotFound):
                    while True:
                        await client.resource(ConfigMap).get(KEY)
                        await anyio.sleep(0.05)
                await definitions.delete(Key("", "widgets.example.com"))
                while known() is not None:
                    await anyio.sleep(0.01)
            group.cancel_scope.cancel()
