"""Bodies that are none, in every form and at every kind of endpoint: they are refused, cost little, and leave nothing behind."""

import gc
import gzip
import http.client
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import anyio
import attrs
import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.protobuf import encode_protobuf
from kubelib.testing.cluster import Cluster, ClusterOptions
from tests.api.documents import Generator
from tests.server.definitions import OPEN, definition

MAPS = "/api/v1/namespaces/default/configmaps"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
PROTOBUF = "application/vnd.kubernetes.protobuf"
WRITTEN = ("application/json", "application/yaml", PROTOBUF, "text/plain", "")
PATCHED = (
    "application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json",
    "application/apply-patch+yaml", "application/json",
)  # fmt: skip
TARGETS = (
    ("POST", MAPS, WRITTEN),
    ("PUT", f"{MAPS}/target", WRITTEN[:1]),
    ("PATCH", f"{MAPS}/target", PATCHED),
    ("DELETE", f"{MAPS}/none", WRITTEN[:2]),
    ("POST", WIDGETS, WRITTEN[:2]),
    ("PATCH", f"{WIDGETS}/target", PATCHED[:4:3]),
    ("PUT", f"{WIDGETS}/target/scale", WRITTEN[:1]),
    ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", WRITTEN[:2]),
    ("POST", "/api/v1/namespaces/default/pods/none/eviction", WRITTEN[:1]),
    ("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", WRITTEN[:1]),
)
DEEP = 10_000
MANY = 2_000


def _named(**more: Any) -> bytes:
    return json.dumps(
        {"metadata": {"name": "x", "finalizers": 1, **more.pop("metadata", {})}, **more}
    ).encode()


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a list of one": b"[1]",
    "a text": b'"x"',
    "a number": b"1",
    "half": b'{"metadata":{"name":"x"',
    "two": b'{"a":1}{"b":2}',
    "zero bytes": b"\x00" * 100,
    "a mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"metadata":{}}'.encode("utf-16"),
    "no UTF-8": b'{"metadata":{"name":"\xff\xfe"}}',
    "a surrogate": b'{"metadata":{"name":"\xed\xa0\x80"}}',
    "an escaped surrogate": b'{"metadata":{"name":"\\ud800"}}',
    "numbers": b'{"metadata":{"generation":1e999,"name":"x"},"spec":-1e999}',
    "long numbers": b'{"metadata":{"generation":%s}}' % (b"9" * 5000),
    "large numbers": b'{"gracePeriodSeconds":18446744073709551616,"spec":{"replicas":18446744073709551616}}',
    "not a number": b'{"spec":{"replicas":NaN,"x":Infinity}}',
    "the same twice": b'{"metadata":{"name":"x","name":7,"finalizers":1},"metadata":{"finalizers":2}}',
    "deep objects": b'{"metadata":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep lists": b'{"spec":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep and open": b"[" * DEEP,
    "deep operations": b'[{"op":"add","path":"/data/x","value":' + b"[" * DEEP + b"]" * DEEP + b"}]",
    "deep YAML": b"- " * DEEP + b"a",
    "labels": _named(metadata={"labels": {f"l{number}": "v" for number in range(MANY)}}),
    "members": _named(**{f"m{number}": number for number in range(MANY)}),
    "a long name": _named(metadata={"name": "x" * 100_000}),
    "a bomb": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(7)),
    "itself": b"a: &a [*a]\n",
    "a command": b"!!python/object/apply:os.system ['exit 1']",
    "compressed": gzip.compress(b'{"metadata":{"name":"x"}}'),
    "half compressed": gzip.compress(b'{"metadata":{"name":"x"}}' * 100)[:-20],
    "magic": b"k8s\x00",
    "magic and garbage": b"k8s\x00" + bytes(range(256)) * 8,
    "magic and lengths": b"k8s\x00\x0a" + b"\xff" * 9 + b"\x01",
    "magic and depth": b"k8s\x00" + b"\x12\x7f" * DEEP,
    "too many operations": b"[" + b",".join([b"{}"] * 10_001) + b"]",
    "operations without end": b'[{"op":"add","path":"/data/\xc2\xb2","value":"1"},{"op":"add","path":"/metadata/finalizers/\xc2\xb2"}]',
    "copies": json.dumps([{"op": "copy", "from": "", "path": f"/data/x{number}"} for number in range(60)]).encode(),
    "moves": b'[{"op":"move","from":"","path":"/data/x"},{"op":"move","from":"/data","path":"/data/y"}]',
    "directives": b'{"$patch":"delete","metadata":{"$patch":"replace"},"$setElementOrder/x":7,"$retainKeys":[1]}',
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        cluster.apply(
            definition(
                "widgets",
                "Widget",
                {"type": "object", "properties": {"size": {"type": "integer"}, "open": OPEN}},
                subresources={
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
                },
            )
        )
        cluster.apply({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "target"}})
        cluster.apply(
            {
                "kind": "Widget",
                "apiVersion": "example.com/v1",
                "metadata": {"name": "target"},
                "spec": {"size": 1},
            }
        )
        yield cluster


@attrs.frozen
class Answer:
    code: int
    body: bytes


class Wire:
    """One connection, without what a client does besides."""

    def __init__(self, cluster: Cluster) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(cluster.url).netloc, timeout=60)
        self._headers = {"Authorization": f"Bearer {cluster.token}"}

    def ask(self, method: str, path: str, kind: str = "", body: bytes | None = None) -> Answer:
        query = "&" if "?" in path else "?"
        headers = self._headers | ({"Content-Type": kind} if kind else {})
        self._connection.request(
            method, f"{path}{query}dryRun=All&fieldManager=me", body=body, headers=headers
        )
        answer = self._connection.getresponse()
        return Answer(answer.status, answer.read())

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def wire(cluster: Cluster) -> Iterator[Wire]:
    wire = Wire(cluster)
    yield wire
    wire.close()


def _round(wire: Wire) -> Counter[int]:
    """Send every body to every target in every form."""
    codes: Counter[int] = Counter()
    for method, path, kinds in TARGETS:
        for kind in kinds:
            for name, body in BODIES.items():
                answer = wire.ask(method, path, kind, body)
                assert answer.code < 500, (method, path, kind, name, answer.body[:500])
                if answer.code >= 400:
                    status = json.loads(answer.body)
                    assert (status["kind"], status["code"]) == ("Status", answer.code)
                codes[answer.code] += 1
    return codes


def _memory() -> tuple[int, int]:
    """Return how many small pieces of memory are in use, and how many bytes the process has."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return sys.getallocatedblocks(), pages * os.sysconf("SC_PAGE_SIZE")


async def _tasks() -> int:
    return len(anyio.get_running_tasks())


def test_what_is_no_body_is_refused_in_every_form_and_nothing_of_it_is_kept(
    cluster: Cluster, wire: Wire
) -> None:
    before = json.loads(wire.ask("GET", MAPS).body)["items"]
    codes = _round(wire)
    assert codes[400] > codes.total() / 2
    assert codes[415]
    tasks, files = cluster.call(_tasks), len(os.listdir("/proc/self/fd"))
    blocks, resident = _memory()
    assert _round(wire) == codes
    # What a second, equal round has left: nothing for each request, no document, no body, no connection.
    after = _memory()
    assert after[0] < blocks + codes.total()
    assert after[1] < resident + 64 * 1024 * 1024
    assert cluster.call(_tasks) <= tasks + 1
    assert len(os.listdir("/proc/self/fd")) <= files + 4
    assert json.loads(wire.ask("GET", MAPS).body)["items"] == before


def test_messages_of_protocol_buffers_with_a_few_wrong_bytes_are_understood_or_refused(
    wire: Wire,
) -> None:
    """Each kind's own message, changed in one place: lengths, numbers of fields, wire types, times, texts."""
    codes: Counter[int] = Counter()
    for number, resource in enumerate(r for r in SCHEME if "create" in r.verbs):
        random = Random(number)
        tree = Generator(random).document(resource)
        tree["metadata"].pop("namespace", None)
        good = encode_protobuf(tree, resource.cls)
        prefix = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
        place = f"{prefix}/{'namespaces/default/' if resource.namespaced else ''}{resource.plural}"
        for _ in range(12):
            bad, at = bytearray(good), random.randrange(4, len(good))
            match random.randrange(4):
                case 0:
                    bad[at] ^= 1 << random.randrange(8)
                case 1:
                    bad[at] = random.randrange(256)
                case 2:
                    bad[at : at + 1] = b"\xff" * random.randrange(1, 11)
                case 3:
                    del bad[at : at + random.randrange(1, 9)]
            answer = wire.ask("POST", place, PROTOBUF, bytes(bad))
            assert answer.code < 500, (resource.kind, bytes(bad), answer.body[:500])
            codes[answer.code] += 1
    assert codes[400] > 100
    assert codes[422] > 10
