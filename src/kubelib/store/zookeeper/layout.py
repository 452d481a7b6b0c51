"""What is where in ZooKeeper, and how it is written there.

    /format             what this is
    /head               the latest revision and the number of the latest batch
    /log/0000000042     a batch: some commits, one after the other, with what they wrote and what was there before
    /data/a7/KEY        one key as it is, in one of 256 folders
    /compacted          the latest revision whose history somebody wanted forgotten

Every write replaces ``/head`` if it is as expected, adds one batch, and brings the keys up to date, in one transaction. So the
numbers of batches have no gaps, a batch that is not there yet is waited for by its name, and whoever has read all batches
knows what every key is.
"""

import zlib
from urllib.parse import quote

import msgspec

FORMAT = 1
HEAD, LOG, DATA, MARKER, COMPACTED = "/head", "/log", "/data", "/format", "/compacted"
FOLDERS = tuple(f"{DATA}/{number:02x}" for number in range(256))
LIMIT = 1_000_000
"""Bytes that one transaction may have: somewhat less than ZooKeeper's jute.maxbuffer, which is 1 MiB unless set."""
OVERHEAD = 80
"""Bytes that one operation has beside its path and its data."""

_COMPRESSED, _PLAIN = b"z", b"p"
_WORTH_COMPRESSING = 512


class Marker(msgspec.Struct):
    """What ``/format`` says."""

    format: int


class Head(msgspec.Struct):
    """What ``/head`` says."""

    revision: int
    batch: int


class Node(msgspec.Struct, array_like=True):
    """One key as it is."""

    key: str
    value: bytes
    created: int
    modified: int
    expires: float
    """When its lease ends, in seconds since 1970; 0 for no lease."""


class Write(msgspec.Struct, array_like=True):
    """One key written, or deleted where there is no value."""

    key: str
    value: bytes | None
    expires: float
    previous: bytes | None
    previous_created: int
    previous_modified: int


class Commit(msgspec.Struct, array_like=True):
    """All that was written at one revision."""

    revision: int
    writes: list[Write]


class Batch(msgspec.Struct, array_like=True):
    """Commits that were carried out together."""

    id: str
    """Whose batch it is: how a writer recognizes its own when the answer was lost."""
    commits: list[Commit]


_decode_node = msgspec.msgpack.Decoder(Node).decode
_decode_batch = msgspec.msgpack.Decoder(Batch).decode
_encode = msgspec.msgpack.Encoder().encode


def pack(value: Node | Batch) -> bytes:
    """Return what is stored of a value."""
    raw = _encode(value)
    if len(raw) >= _WORTH_COMPRESSING:
        small = zlib.compress(raw, 1)
        if len(small) < len(raw):
            return _COMPRESSED + small
    return _PLAIN + raw


def _unpacked(data: bytes) -> bytes:
    return zlib.decompress(data[1:]) if data[:1] == _COMPRESSED else data[1:]


def founding(base: int) -> list[tuple[str, str, bytes]]:
    """Return the transaction that makes a new store, whose revisions begin after `base`."""
    empty = (LOG, DATA, *FOLDERS)
    return [
        ("create", MARKER, msgspec.json.encode(Marker(FORMAT))),
        ("create", HEAD, msgspec.json.encode(Head(base, 0))),
        ("create", COMPACTED, b"%d" % base),
        *(("create", path, b"") for path in empty),
    ]


def read_head(data: bytes) -> Head:
    """Read ``/head``. Raises `msgspec.DecodeError` for what is none."""
    return msgspec.json.decode(data, type=Head)


def unpack_node(data: bytes) -> Node:
    """Read a key's node. Raises `msgspec.DecodeError` and `zlib.error` for what is none."""
    return _decode_node(_unpacked(data))


def unpack_batch(data: bytes) -> Batch:
    """Read a batch. Raises `msgspec.DecodeError` and `zlib.error` for what is none."""
    return _decode_batch(_unpacked(data))


def batch_path(number: int) -> str:
    """Return where a batch is."""
    return f"{LOG}/{number:010d}"


def key_path(key: str) -> str:
    """Return where a key is."""
    return f"{FOLDERS[zlib.crc32(key.encode()) & 0xFF]}/{quote(key, safe='')}"
