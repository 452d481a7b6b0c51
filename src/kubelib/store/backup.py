"""A store in a file: to keep it, and to move it to another store.

The file is gzip of lines of JSON: a head, one line for each key, and a foot that says that it is whole. A store that is made from it
begins at the revision at which it was written, so that what clients remember of the old one is past and never mistaken for something
else.
"""

import base64
import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from attrs import frozen

from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.store.base import ABSENT, Put, Revision, Store, StoreError, StoreUnavailable
from kubelib.store.urls import open_store

FORMAT = 1
PAGE = 1_000
"""How many entries are read from the store at once."""
TOGETHER = 100
"""How many entries are committed at once: fewer than etcd's limit of 128."""
_BYTES_TOGETHER = 400_000


@frozen
class Summary:
    """What a backup holds."""

    entries: int
    revision: Revision


class BackupDamaged(StoreError):
    """The file is not a backup, or not a whole one."""


class NothingStored(StoreError):
    """There is nothing to back up."""


async def write_backup(store: Store, path: Path) -> Summary:
    """Write everything as of now to a new file; it is there when it is whole.

    Raises `StoreError` and OSError; `NothingStored` if there is nothing, so that no good backup is replaced by none.
    """
    if not (await store.list("/", limit=1)).entries:
        raise NothingStored(f"there is nothing in the store: {path} is not written")
    temporary = path.with_name(f".{path.name}.part")
    count = 0
    try:
        temporary.unlink(missing_ok=True)
        # Secrets are in it: from its first byte on it is for nobody else
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile("", "wb", 3, raw) as file:
            page = await store.list("/", limit=PAGE)
            revision = page.revision
            file.write(
                msgspec.json.encode({"kubelib": "backup", "format": FORMAT, "revision": revision}) + b"\n"
            )
            while True:
                for entry in page.entries:
                    file.write(_line(entry.key, entry.value))
                count += len(page.entries)
                if not page.next_key:
                    break
                page = await store.list("/", limit=PAGE, start=page.next_key, at=revision)
            file.write(msgspec.json.encode({"entries": count}) + b"\n")
        temporary.replace(path)
    except OSError as error:
        if error.filename in (temporary, str(temporary)):
            error.filename = str(path)  # the name that the caller knows
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return Summary(count, revision)


def _line(key: str, value: bytes) -> bytes:
    quoted = msgspec.json.encode(key)
    if value[:1] == b"{" and value[-1:] == b"}" and b"\n" not in value and _is_json(value):
        return b'{"key":%s,"json":%s}\n' % (quoted, value)
    return b'{"key":%s,"base64":"%s"}\n' % (quoted, base64.b64encode(value))


def _is_json(value: bytes) -> bool:
    try:
        msgspec.json.decode(value)
    except msgspec.DecodeError:
        return False
    return True


class _Record(msgspec.Struct):
    key: str = ""
    json: msgspec.Raw = msgspec.Raw(b"")
    base64: str = ""
    entries: int = -1


class _Head(msgspec.Struct):
    kubelib: str
    format: int
    revision: int


def _read(path: Path) -> Iterator[Any]:
    """Yield the head, then each key and value. Raises `BackupDamaged` when the end is not reached."""
    count = 0
    try:
        with gzip.open(path, "rb") as file:
            head = msgspec.json.decode(file.readline(), type=_Head)
            if head.kubelib != "backup":
                raise BackupDamaged(f"{path} is not a backup")
            if head.format > FORMAT:
                raise BackupDamaged(
                    f"{path} was written by a newer kubelib (format {head.format}): use that version"
                )
            yield head
            for line in file:
                record = msgspec.json.decode(line, type=_Record)
                if record.entries >= 0:
                    if record.entries != count:
                        raise BackupDamaged(f"{path} has {count} entries and should have {record.entries}")
                    if file.read(1):
                        raise BackupDamaged(f"{path} goes on after its end: it is damaged")
                    return
                raw = bytes(record.json)
                yield record.key, raw or base64.b64decode(record.base64)
                count += 1
    except (gzip.BadGzipFile, msgspec.DecodeError, zlib.error):
        raise BackupDamaged(f"{path} is not a backup, or is damaged") from None
    except EOFError:
        pass
    raise BackupDamaged(f"{path} ends too early: it is not whole")


async def restore_backup(path: Path, url: str, *, clock: Clock = SYSTEM_CLOCK) -> Summary:
    """Make a new store at `url` of a backup. The whole file is looked at before anything is written.

    Raises `BackupDamaged`, OSError, `StoreError`, and `StoreUnavailable` when there is something at `url` already.
    """
    records = _read(path)
    head = next(records)
    for _ in records:  # to the end: a backup that is not whole restores nothing
        pass
    async with open_store(url, clock=clock, base=Revision(head.revision)) as store:
        if (await store.list("/", limit=1)).entries or await store.revision() < head.revision:
            raise StoreUnavailable(
                "there is a store already: restore into a new one, nothing has been changed"
            )
        count, puts, size = 0, list[Put](), 0
        records = _read(path)
        next(records)
        for key, value in records:
            if puts and (len(puts) == TOGETHER or size + len(value) > _BYTES_TOGETHER):
                await store.commit(*puts)
                puts, size = [], 0
            puts.append(Put(key, value, ABSENT))
            size += len(value)
            count += 1
        if puts:
            await store.commit(*puts)
        return Summary(count, await store.revision())
