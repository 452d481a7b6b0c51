"""What the codec costs per document: a Pod of 2 KB."""

import base64
import json
from pathlib import Path
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.api import codec
from kubelib.api.builtin import SCHEME
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.protobuf import decode_protobuf, message_to_tree

PODS = SCHEME.of(Pod)
TREE: dict[str, Any] = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {
        "name": "web-1",
        "namespace": "default",
        "uid": "u" * 36,
        "labels": {"app": "web", "tier": "front"},
    },
    "spec": {
        "containers": [
            {
                "name": f"c{number}",
                "image": "registry.example/web:1.2.3",
                "env": [{"name": f"NAME_{n}", "value": "some value"} for n in range(8)],
                "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 10},
            }
            for number in range(2)
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "nodeName": "node-1",
    },
    "status": {"phase": "Running", "podIP": "10.0.0.1", "startTime": "2026-01-02T03:04:05Z"},
}
RAW = codec.encode_tree(TREE, PODS)


def test_decode(benchmark: BenchmarkFixture) -> None:
    assert benchmark(codec.decode, Pod, RAW).metadata.name == "web-1"


def test_encode_tree(benchmark: BenchmarkFixture) -> None:
    assert benchmark(codec.encode_tree, TREE, PODS) == RAW


def test_splice_resource_version(benchmark: BenchmarkFixture) -> None:
    assert b'"resourceVersion":"12345"' in benchmark(codec.splice_resource_version, RAW, 12345)


def test_peek(benchmark: BenchmarkFixture) -> None:
    assert benchmark(Document, RAW).meta.labels["app"] == "web"


def test_check_types(benchmark: BenchmarkFixture) -> None:
    assert benchmark(codec.check_types, TREE, PODS) is None


def test_unknown_fields(benchmark: BenchmarkFixture) -> None:
    assert benchmark(codec.unknown_fields, TREE, Pod) == []


def test_duplicate_fields(benchmark: BenchmarkFixture) -> None:
    assert benchmark(codec.duplicate_fields, RAW) == []


def test_to_tree(benchmark: BenchmarkFixture) -> None:
    pod = codec.decode(Pod, RAW)
    assert benchmark(codec.to_tree, pod)["spec"]["nodeName"] == "node-1"


def test_read_protobuf(benchmark: BenchmarkFixture) -> None:
    captured = json.loads((Path(__file__).parents[1] / "api/data/kubectl-1.37-protobuf.json").read_text())
    body = base64.b64decode(captured["create deployment web --image=nginx:1.25 --replicas=3 --port=80"])
    cls = SCHEME.kind("apps/v1", "Deployment").cls
    assert benchmark(lambda: message_to_tree(decode_protobuf(body)[2], cls))["spec"]["replicas"] == 3
