"""Values encrypted at rest: a store that hands others' bytes on, and keeps some of its own in cipher.

Keys stay readable, as they are what a store is searched by. A value is bound to its key: one that somebody moved within the store does
not open. The configuration is that of Kubernetes (``EncryptionConfiguration``): the first provider of a rule encrypts, all of them
may decrypt, so that a new key is put in front of the old one, everything is written again, and the old one is taken out.
"""

import base64
import binascii
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
from attrs import frozen

from kubelib.store.base import (
    Change,
    Entry,
    Operation,
    Page,
    Put,
    Revision,
    Store,
    StoreCorrupt,
    SupportsObserve,
    Watch,
    most_operations,
)

_MARK = b"kubelib:enc:aesgcm:v1:"
_NONCE = 12
_LENGTHS = (16, 24, 32)
IDENTITY = ""
"""In place of a key's name: what is not encrypted is taken, or written, as it is."""

Changes = tuple[Change, ...]
Operations = list[Operation]


class EncryptionError(ValueError):
    """The configuration of encryption cannot be used; the message says why."""


@frozen
class Key:
    """A key of AES, by the name under which values say that they were encrypted with it. Without a name: no encryption."""

    name: str
    secret: bytes = attrs.field(repr=False)


@frozen
class Rule:
    """How the values under some prefixes are kept: the first key encrypts, each may decrypt."""

    prefixes: tuple[str, ...]
    keys: tuple[Key, ...]


def read_configuration(tree: Any, prefix_of: Callable[[str], str]) -> tuple[Rule, ...]:
    """Read an ``EncryptionConfiguration``. `prefix_of` returns where the objects of a resource are, ``secrets`` or ``name.group``.

    Raises `EncryptionError`.
    """
    if not isinstance(tree, dict) or tree.get("kind") != "EncryptionConfiguration":
        raise EncryptionError("it is not an EncryptionConfiguration of apiserver.config.k8s.io/v1")
    rules = []
    for at, rule in enumerate(tree.get("resources") or ()):
        keys: list[Key] = []
        for number, provider in enumerate(rule.get("providers") or ()):
            keys += _keys(provider, f"resources[{at}].providers[{number}]")
        if not keys or not rule.get("resources"):
            raise EncryptionError(f"resources[{at}] needs resources and providers")
        rules.append(Rule(tuple(map(prefix_of, rule["resources"])), tuple(keys)))
    if not rules:
        raise EncryptionError("resources: at least one is needed")
    return tuple(rules)


def _keys(provider: Any, path: str) -> list[Key]:
    if not isinstance(provider, dict) or len(provider) != 1:
        raise EncryptionError(f"{path} names one provider: aesgcm or identity")
    ((name, settings),) = provider.items()
    if name == "identity":
        return [Key(IDENTITY, b"")]
    if name != "aesgcm":
        raise EncryptionError(f"{path}: there is no provider {name!r} here: use aesgcm or identity")
    keys = []
    for number, key in enumerate((settings or {}).get("keys") or ()):
        try:
            secret = base64.b64decode(key.get("secret") or "", validate=True)
        except (binascii.Error, ValueError):
            raise EncryptionError(f"{path}.aesgcm.keys[{number}].secret is not base64") from None
        if len(secret) not in _LENGTHS or not key.get("name") or ":" in key["name"]:
            raise EncryptionError(
                f"{path}.aesgcm.keys[{number}] needs a name without a colon, and a secret of 16, 24 or 32 bytes in base64"
            )
        keys.append(Key(key["name"], secret))
    if not keys:
        raise EncryptionError(f"{path}.aesgcm.keys: at least one is needed")
    return keys


def unreadable(key: str, value: bytes) -> StoreCorrupt:
    """Return what to raise for a value that should be a document and is none."""
    if value.startswith(_MARK):
        name = value[len(_MARK) :].partition(b":")[0].decode(errors="replace")
        return StoreCorrupt(
            f"{key} is encrypted with the key {name!r}, and encryption is not configured: use --encryption-provider-config"
        )
    return StoreCorrupt(f"{key} is no object, but {value[:20]!r}…: restore the store from a backup")


class _Cipher:
    """What one rule does to values."""

    def __init__(self, rule: Rule) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._first = rule.keys[0].name
        self._plain = any(key.name == IDENTITY for key in rule.keys)
        self._keys = {key.name: AESGCM(key.secret) for key in rule.keys if key.name != IDENTITY}

    def encrypt(self, key: str, value: bytes) -> bytes:
        if self._first == IDENTITY:
            return value
        nonce = os.urandom(_NONCE)
        sealed = self._keys[self._first].encrypt(nonce, value, key.encode())
        return _MARK + self._first.encode() + b":" + nonce + sealed

    def is_outdated(self, value: bytes) -> bool:
        """Return whether a value is kept otherwise than `encrypt` would keep it now."""
        if self._first == IDENTITY:
            return value.startswith(_MARK)
        return not value.startswith(_MARK + self._first.encode() + b":")

    def decrypt(self, key: str, value: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if not value.startswith(_MARK):
            if self._plain:
                return value
            raise StoreCorrupt(
                f"{key} is not encrypted, and the configuration does not allow that: add the provider identity"
            )
        name, _, sealed = value[len(_MARK) :].partition(b":")
        cipher = self._keys.get(name.decode(errors="replace"))
        if cipher is None:
            raise StoreCorrupt(
                f"{key} is encrypted with the key {name.decode(errors='replace')!r}, which the configuration lacks"
            )
        try:
            return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], key.encode())
        except InvalidTag:
            raise StoreCorrupt(
                f"{key} does not open with its key {name.decode()!r}: it was damaged or moved"
            ) from None


class EncryptedStore:
    """A store over another one; see `encrypted`."""

    def __init__(self, store: Store, rules: Sequence[Rule]) -> None:
        self._store = store
        self._ciphers = [
            (prefix, cipher) for rule in rules for cipher in [_Cipher(rule)] for prefix in rule.prefixes
        ]

    def _of(self, key: str) -> _Cipher | None:
        for prefix, cipher in self._ciphers:
            if key.startswith(prefix):
                return cipher
        return None

    def _read(self, entry: Entry | None) -> Entry | None:
        if entry is None or (cipher := self._of(entry.key)) is None:
            return entry
        return attrs.evolve(entry, value=cipher.decrypt(entry.key, entry.value))

    def _read_all(self, changes: Changes) -> Changes:
        if not any(self._of(change.key) for change in changes):
            return changes
        return tuple(
            attrs.evolve(c, entry=self._read(c.entry), previous=self._read(c.previous)) for c in changes
        )

    @property
    def most_operations(self) -> int:
        """How many operations one commit may have; 0 if there is no limit."""
        return most_operations(self._store)

    async def get(self, key: str) -> Entry | None:
        """Return the key's latest entry, or None."""
        return self._read(await self._store.get(key))

    async def is_outdated(self, key: str) -> bool:
        """Return whether the key's value is not encrypted, or not with the first key; see `kubelib.store.base.SupportsRenewal`."""
        if (cipher := self._of(key)) is None:
            return False
        entry = await self._store.get(key)
        return entry is not None and cipher.is_outdated(entry.value)

    async def list(self, prefix: str, *, limit: int = 0, start: str = "", at: Revision | None = None) -> Page:
        """Return a page of entries; see `kubelib.store.base.Store`."""
        page = await self._store.list(prefix, limit=limit, start=start, at=at)
        entries = tuple(entry for entry in map(self._read, page.entries) if entry is not None)
        return attrs.evolve(page, entries=entries)

    async def commit(self, *operations: Operation) -> Revision:
        """Carry out all operations or none; see `kubelib.store.base.Store`."""
        done: Operations = []
        for operation in operations:
            if isinstance(operation, Put) and (cipher := self._of(operation.key)) is not None:
                value = cipher.encrypt(operation.key, operation.value)
                done.append(attrs.evolve(operation, value=value))
            else:
                done.append(operation)
        return await self._store.commit(*done)

    def watch(self, prefix: str, *, since: Revision) -> AbstractAsyncContextManager[Watch]:
        """Report every change after `since`; see `kubelib.store.base.Store`."""
        return self._watch(prefix, since)

    @asynccontextmanager
    async def _watch(self, prefix: str, since: Revision) -> AsyncIterator[Watch]:
        async with self._store.watch(prefix, since=since) as watch:
            yield _Watch(watch, self._read_all)

    async def compact(self, before: Revision) -> None:
        """Forget the history before revision `before`."""
        await self._store.compact(before)

    async def revision(self) -> Revision:
        """Return the revision of the latest commit."""
        return await self._store.revision()


class _Observable(EncryptedStore):
    """Over a store that can call back at once."""

    def observe(self, callback: Callable[[Changes], None]) -> Callable[[], None]:
        """Call `callback` on the loop with all changes of each commit, before the committer goes on."""
        assert isinstance(self._store, SupportsObserve)
        return self._store.observe(lambda changes: callback(self._read_all(changes)))


class _Watch:
    def __init__(self, watch: Watch, read: Callable[[Changes], Changes]) -> None:
        self._watch = watch
        self._read = read

    @property
    def progress(self) -> Revision:
        return self._watch.progress

    async def take(self) -> Changes:
        return self._read(await self._watch.take())


def encrypted(store: Store, rules: Sequence[Rule]) -> Store:
    """Return a store that keeps the values that the rules name encrypted in `store`; with no rules, `store` itself."""
    if not rules:
        return store
    return _Observable(store, rules) if isinstance(store, SupportsObserve) else EncryptedStore(store, rules)
