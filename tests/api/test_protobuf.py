import base64
import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelib.api.authentication import TokenRequest
from kubelib.api.builtin import SCHEME
from kubelib.api.codec import DecodeError
from kubelib.api.core.config import ConfigMap
from kubelib.api.core.pod import Pod
from kubelib.api.fields import FieldType, field_types
from kubelib.api.machinery import DeleteOptions
from kubelib.api.model import Model
from kubelib.api.protobuf import MAGIC, decode_protobuf, encode_protobuf, message_to_tree, tree_to_message

CAPTURED: dict[str, str] = json.loads((Path(__file__).parent / "data/kubectl-1.37-protobuf.json").read_text())
"""Bodies that kubectl 1.37 sent, by its command line, in base64."""


def class_of(api_version: str, kind: str) -> type[Model]:
    return TokenRequest if kind == "TokenRequest" else SCHEME.kind(api_version, kind).cls


def read(command: str) -> dict[str, Any]:
    api_version, kind, message = decode_protobuf(base64.b64decode(CAPTURED[command]))
    return {"apiVersion": api_version, "kind": kind, **message_to_tree(message, class_of(api_version, kind))}


def test_a_deployment_that_kubectl_sent_is_read() -> None:
    assert read("create deployment web --image=nginx:1.25 --replicas=3 --port=80") == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {
                            "name": "nginx",
                            "image": "nginx:1.25",
                            "ports": [{"containerPort": 80}],
                            "resources": {},
                        }
                    ]
                },
            },
            "strategy": {},
        },
        "status": {},
    }


@pytest.mark.parametrize(
    ("command", "path", "value"),
    [
        ("create configmap cm --from-literal=a=1 --from-literal=b=two", ("data",), {"a": "1", "b": "two"}),
        ("create configmap cmbin --from-file=cap/bin.dat", ("binaryData", "bin.dat"), base64.b64encode(b"\x00\xff\x01bin").decode()),
        ("create secret generic s --from-literal=user=admin --from-literal=pw=geheim", ("data", "user"), "YWRtaW4="),
        ("create quota q --hard=cpu=1,memory=2Gi,pods=10 --scopes=BestEffort", ("spec", "hard", "memory"), "2Gi"),
        ("create token robot --duration=1h --audience=me", ("spec",), {"audiences": ["me"], "expirationSeconds": 3600}),
        ("create service clusterip svc --tcp=80:8080", ("spec", "ports", 0, "targetPort"), 8080),
        ("create service nodeport np --tcp=80:web", ("spec", "ports", 0, "targetPort"), "web"),
        ("create poddisruptionbudget pdb --selector=app=web --min-available=50%", ("spec", "minAvailable"), "50%"),
        ("create priorityclass pc --value=1000 --description=high", ("value",), 1000),
        ("autoscale deployment web --min=2 --max=5 --cpu=80%", ("spec", "metrics", 0, "resource", "target", "averageUtilization"), 80),
        ("create ingress ing --rule=a.example/p*=svc:80,tls=sec", ("spec", "rules", 0, "http", "paths", 0, "pathType"), "Prefix"),
        ("auth can-i create pods", ("spec", "resourceAttributes", "verb"), "create"),
        ("create role r --verb=get,list --resource=pods,deployments.apps", ("rules", 1, "apiGroups"), ["apps"]),
    ],
)  # fmt: skip
def test_what_kubectl_sent_is_read(command: str, path: tuple[str | int, ...], value: Any) -> None:
    found: Any = read(command)
    for step in path:
        found = found[step]
    assert found == value


@pytest.mark.parametrize("command", CAPTURED)
def test_what_kubectl_sent_survives_a_round_trip(command: str) -> None:
    tree = read(command)
    cls = class_of(tree["apiVersion"], tree["kind"])
    assert message_to_tree(decode_protobuf(encode_protobuf(tree, cls))[2], cls) == {
        name: value for name, value in tree.items() if name not in ("kind", "apiVersion")
    }


def _sample(cls: type[Model], random: Random, depth: int) -> dict[str, Any]:
    return {
        name: _field(kind, random, depth)
        for name, kind in field_types(cls).items()  # type: ignore[arg-type]
        if depth < 7 or kind.model is None
    }


def _field(kind: FieldType, random: Random, depth: int) -> Any:
    def one() -> Any:
        if kind.model is not None:
            return _sample(kind.model, random, depth + 1)
        match kind.scalar:
            case "int32" | "int64":
                return random.choice([-1, 1, 2**31 - 1])
            case "bool":
                return True
            case "time":
                return "2026-01-02T03:04:05Z"
            case "microtime":
                return "2026-01-02T03:04:05.000006Z"
            case "quantity":
                return "64Mi"
            case "bytes":
                return "AP8="
            case "int-or-string":
                return random.choice([8080, "50%"])
            case "strings":
                return ["a", "b"]
            case "double":
                return 2.5
            case "schema-or-bool" | "schema-or-array" | "schema-or-strings":
                return {"type": "string"}
            case "any":
                return {"f:spec": {"x": [1]}}
        return "text é"

    if kind.shape == "list":
        return [one()]
    return {"key": one()} if kind.shape == "map" else one()


@pytest.mark.parametrize(
    "resource", list(SCHEME), ids=lambda resource: f"{resource.kind}.{resource.api_version}"
)
def test_every_field_of_every_kind_survives_a_round_trip(resource: Any) -> None:
    tree = _sample(resource.cls, Random(1), 0)
    assert message_to_tree(tree_to_message(tree, resource.cls), resource.cls) == tree


def test_zero_values_are_left_out_unless_they_mean_something() -> None:
    tree = {
        "spec": {"hostNetwork": False, "automountServiceAccountToken": False, "priority": 0, "nodeName": ""}
    }
    read_back = message_to_tree(tree_to_message(tree, Pod), Pod)
    assert read_back == {"spec": {"automountServiceAccountToken": False, "priority": 0}}


def test_options_of_a_deletion_are_read() -> None:
    options = {
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
        "propagationPolicy": "Foreground",
        "dryRun": ["All"],
    }
    assert message_to_tree(tree_to_message(options, DeleteOptions), DeleteOptions) == options


def test_fields_of_newer_versions_are_passed_over() -> None:
    message = tree_to_message({"metadata": {"name": "a"}}, Pod) + b"\xfa\x7f\x03new" + b"\xf8\x7f\x05"
    assert message_to_tree(message, Pod) == {"metadata": {"name": "a"}}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"k8s",
        MAGIC + b"\x0a\xff",
        MAGIC + b"\x0b",
        MAGIC + b"\x00\x00",
        MAGIC + b"\x0a\x02\x0a\x05",
        MAGIC + b"\x1a\x04gzip",
    ],
)
def test_an_envelope_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_protobuf(raw)


@given(st.binary(max_size=80))
def test_no_bytes_do_worse_than_being_refused(raw: bytes) -> None:
    for cls in (Pod, ConfigMap):
        with suppress(DecodeError):
            message_to_tree(raw, cls)


@given(st.sampled_from(sorted(CAPTURED)), st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_does_no_worse_than_being_refused(command: str, at: int, byte: int) -> None:
    raw = bytearray(base64.b64decode(CAPTURED[command]))
    raw[at % len(raw)] = byte
    with suppress(DecodeError):
        message_to_tree(decode_protobuf(bytes(raw))[2], Pod)
