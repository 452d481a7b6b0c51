"""Encryption at rest: a store over a store, of which only whoever has the keys can read what is to be secret."""

import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kubelib.api.core.config import ConfigMap, Secret
from kubelib.api.meta import Key as ObjectKey
from kubelib.api.meta import ObjectMeta
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.keys import prefix_of_name
from kubelib.store import ABSENT, MemoryStore, Put, Revision, Store, StoreCorrupt, SupportsObserve, open_store
from kubelib.store.encryption import (
    IDENTITY,
    EncryptionError,
    Key,
    Rule,
    encrypted,
    read_configuration,
)
from kubelib.testing.store import Open, StoreSuite
from tests.engines import PREFIXES, Etcd

OLD, NEW, PLAIN = Key("old", os.urandom(32)), Key("new", os.urandom(16)), Key(IDENTITY, b"")


def over(store: Store, *keys: Key) -> Store:
    return encrypted(store, [Rule(("/secret/",), keys)])


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    async with open_store(url) as store:
        yield encrypted(store, [Rule(("/",), (NEW, OLD))])


class TestOverSqlite(StoreSuite):
    durable = True

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Open:
        return lambda: opened(f"sqlite://{tmp_path}/store")


@pytest.mark.external
class TestOverEtcd(StoreSuite):
    durable = True
    remote = True

    @pytest.fixture
    def open_store(self, etcd: Etcd) -> Open:
        url = etcd.url(next(PREFIXES))
        return lambda: opened(url)


async def test_only_what_the_rules_name_is_in_cipher_and_the_same_value_never_twice_the_same() -> None:
    async with MemoryStore() as below:
        store = over(below, NEW)
        for key in ("/secret/a", "/secret/b", "/open/a"):
            await store.commit(Put(key, b"hello", ABSENT))
        raw = [entry.value for entry in (await below.list("/")).entries]
        assert raw[0] == b"hello"
        assert all(
            value.startswith(b"kubelib:enc:aesgcm:v1:new:") and b"hello" not in value for value in raw[1:]
        )
        assert raw[1] != raw[2]
        assert [entry.value for entry in (await store.list("/")).entries] == [b"hello"] * 3


async def test_keys_are_rotated_by_writing_again() -> None:
    async with MemoryStore() as below:
        revision = await over(below, PLAIN).commit(Put("/secret/a", b"1", ABSENT))
        assert (await below.get("/secret/a")).value == b"1"  # type: ignore[union-attr]
        store = over(below, OLD, PLAIN)
        assert (await store.get("/secret/a")).value == b"1"  # type: ignore[union-attr]
        revision = await store.commit(Put("/secret/a", b"2", revision))
        store = over(below, NEW, OLD)
        assert (await store.get("/secret/a")).value == b"2"  # type: ignore[union-attr]
        await store.commit(Put("/secret/a", b"2", revision))
        assert (await over(below, NEW).get("/secret/a")).value == b"2"  # type: ignore[union-attr]
        with pytest.raises(StoreCorrupt, match="encrypted with the key 'new', which the configuration lacks"):
            await over(below, OLD).get("/secret/a")


async def test_what_was_changed_moved_or_is_not_encrypted_is_not_taken_for_good() -> None:
    async with MemoryStore() as below:
        store = over(below, NEW)
        await store.commit(Put("/secret/a", b"1", ABSENT))
        raw = (await below.get("/secret/a")).value  # type: ignore[union-attr]
        await below.commit(Put("/secret/moved", raw, ABSENT), Put("/secret/changed", raw[:-1] + b"x", ABSENT))
        await below.commit(Put("/secret/plain", b"1", ABSENT))
        for key in ("moved", "changed"):
            with pytest.raises(StoreCorrupt, match=f"/secret/{key} does not open"):
                await store.get(f"/secret/{key}")
        with pytest.raises(StoreCorrupt, match="add the provider identity"):
            await store.get("/secret/plain")


async def test_observers_and_watches_see_values_in_the_clear() -> None:
    async with MemoryStore() as below:
        store = over(below, NEW)
        assert isinstance(store, SupportsObserve)
        seen: list[bytes] = []
        store.observe(lambda changes: seen.extend(c.entry.value for c in changes if c.entry))
        async with store.watch("/", since=Revision(0)) as watch:
            await store.commit(Put("/secret/a", b"1", ABSENT))
            (change,) = await watch.take()
        assert change.entry is not None and [change.entry.value] == seen == [b"1"]


async def test_a_cluster_keeps_its_secrets_secret(tmp_path: Path) -> None:
    rules = read_configuration(configuration(NEW), prefix_of_name)
    url = f"sqlite://{tmp_path}/store"
    async with open_store(url) as below, ResourceRegistries(encrypted(below, rules)) as registries:
        await registries.bootstrap()
        client = LocalClient(registries)
        meta = ObjectMeta(name="a", namespace="default")
        await client.resource(Secret).create(Secret(metadata=meta, string_data={"password": "hunter2"}))
        await client.resource(ConfigMap).create(ConfigMap(metadata=meta, data={"colour": "hunter2"}))
        secret = await client.resource(Secret).get(ObjectKey("default", "a"))
        assert base64.b64decode(secret.data["password"]) == b"hunter2"
        raw = {entry.key: entry.value for entry in (await below.list("/registry/core/")).entries}
        assert b"hunter2" in raw["/registry/core/configmaps/default/a"]
        assert base64.b64encode(b"hunter2") not in raw["/registry/core/secrets/default/a"]


async def test_secrets_whose_keys_nobody_has_named_are_not_taken_for_damage() -> None:
    rules = read_configuration(configuration(NEW), prefix_of_name)
    async with MemoryStore() as below:
        async with ResourceRegistries(encrypted(below, rules)) as registries:
            await registries.bootstrap()
            client = LocalClient(registries)
            meta = ObjectMeta(name="a", namespace="default")
            await client.resource(Secret).create(Secret(metadata=meta))
        async with ResourceRegistries(below) as registries:
            for _ in range(2):  # and it is never taken for an empty list
                with pytest.raises(
                    StoreCorrupt, match=r"a is encrypted with the key .*--encryption-provider-config"
                ):
                    registries.cache_of(Secret)
        await below.commit(Put("/registry/core/configmaps/default/x", b"junk", ABSENT))
        async with ResourceRegistries(below) as registries:
            with pytest.raises(StoreCorrupt, match="configmaps/default/x is no object, but b'junk'"):
                registries.cache_of(ConfigMap)


async def test_a_write_that_changes_nothing_renews_what_is_kept_with_an_old_key() -> None:
    async with MemoryStore() as below:
        written: list[bool] = []
        for keys in ((PLAIN,), (OLD, PLAIN), (OLD, PLAIN), (NEW, OLD), (NEW, OLD), (PLAIN, NEW)):
            store = encrypted(below, [Rule((prefix_of_name("secrets"),), keys)])
            async with ResourceRegistries(store) as registries:
                await registries.bootstrap()
                secrets = LocalClient(registries).resource(Secret)
                if not written:
                    meta = ObjectMeta(name="a", namespace="default")
                    await secrets.create(Secret(metadata=meta, data={"password": "aHVudGVyMg=="}))
                before = await secrets.get(ObjectKey("default", "a"))
                after = await secrets.update(before)
                written.append(after.metadata.resource_version != before.metadata.resource_version)
                entry = await below.get("/registry/core/secrets/default/a")
                assert entry is not None
                sealed = f"kubelib:enc:aesgcm:v1:{keys[0].name}:".encode() if keys[0].name else b"{"
                assert entry.value.startswith(sealed)
        assert written == [False, True, False, True, False, True]


def configuration(*keys: Key) -> dict[str, Any]:
    made = [{"name": key.name, "secret": base64.b64encode(key.secret).decode()} for key in keys]
    return {
        "kind": "EncryptionConfiguration",
        "apiVersion": "apiserver.config.k8s.io/v1",
        "resources": [
            {
                "resources": ["secrets", "widgets.example.com"],
                "providers": [{"aesgcm": {"keys": made}}, {"identity": {}}],
            }
        ],
    }


def test_a_configuration_is_read_as_kubernetes_writes_it() -> None:
    (rule,) = read_configuration(configuration(NEW, OLD), prefix_of_name)
    assert rule.prefixes == ("/registry/core/secrets/", "/registry/example.com/widgets/")
    assert rule.keys == (NEW, OLD, PLAIN)
    assert prefix_of_name("*.*") == "/registry/"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "Config"}, "not an EncryptionConfiguration"),
        ({"resources": []}, "at least one"),
        ({"resources": [{"resources": ["secrets"]}]}, "needs resources and providers"),
        ({"resources": [{"resources": ["secrets"], "providers": [{"kms": {}}]}]}, "no provider 'kms' here"),
        (
            {
                "resources": [
                    {
                        "resources": ["secrets"],
                        "providers": [{"aesgcm": {"keys": [{"name": "k", "secret": "c2hvcnQ="}]}}],
                    }
                ]
            },
            "16, 24 or 32 bytes",
        ),
        (
            {
                "resources": [
                    {
                        "resources": ["secrets"],
                        "providers": [{"aesgcm": {"keys": [{"name": "k", "secret": "?"}]}}],
                    }
                ]
            },
            "not base64",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_says_why(change: dict[str, Any], said: str) -> None:
    with pytest.raises(EncryptionError, match=said):
        read_configuration(configuration(NEW) | change, prefix_of_name)
