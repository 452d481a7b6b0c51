import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelib.api import codec
from kubelib.api.apps import ReplicaSet, ReplicaSetStatus
from kubelib.api.apps_sets import StatefulSet
from kubelib.api.builtin import SCHEME
from kubelib.api.codec import DecodeError
from kubelib.api.core.container import Container
from kubelib.api.core.container_status import ContainerStatus
from kubelib.api.core.pod import Pod, PodSpec, PodStatus
from kubelib.api.event_forms import event_as
from kubelib.api.events import Event as NewEvent
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.api.parsing import MAX_DEPTH

PODS = SCHEME.kind("v1", "Pod")
DEPLOYMENTS = SCHEME.kind("apps/v1", "Deployment")
SECRETS = SCHEME.kind("v1", "Secret")


def test_an_object_begins_with_kind_version_and_metadata() -> None:
    assert codec.encode(Pod()) == b'{"kind":"Pod","apiVersion":"v1","metadata":{}}'
    raw = codec.encode(Pod(spec=PodSpec(node_name="n"), metadata=ObjectMeta(name="a")))
    assert raw == b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{"nodeName":"n"}}'
    assert codec.decode(Pod, raw).spec.node_name == "n"


def test_required_fields_are_written_even_when_they_are_zero() -> None:
    pod = Pod(status=PodStatus(container_statuses=(ContainerStatus(name="c"),)))
    status = codec.to_tree(pod)["status"]["containerStatuses"][0]
    assert status == {"name": "c", "ready": False, "restartCount": 0, "image": "", "imageID": ""}
    assert codec.to_tree(ReplicaSet(status=ReplicaSetStatus()))["status"] == {"replicas": 0}


def test_the_stored_form_has_no_resource_version() -> None:
    tree = {"spec": {}, "metadata": {"resourceVersion": "7", "name": "a"}, "apiVersion": "x", "kind": "y"}
    stored = codec.encode_tree(tree, PODS)
    assert stored == b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{}}'
    served = codec.splice_resource_version(stored, 42)
    assert json.loads(served)["metadata"] == {"resourceVersion": "42", "name": "a"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"a":1',
        b"\xff",
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b"nul",
        b'{"a":1}x',
    ],
)
def test_json_that_is_none_is_refused_clearly(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        codec.parse_json(raw)


def test_a_document_of_many_shallow_parts_is_not_too_deep() -> None:
    raw = json.dumps([{"a": [{"b": 1}]}] * 1000).encode()
    assert len(codec.parse_json(raw)) == 1000
    deep: Any = 1
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert codec.parse_json(json.dumps(deep).encode()) == deep


@pytest.mark.parametrize(
    "raw",
    [
        b"a: [1,2",
        b"a: 1\nb: 2: 3",
        b"x: !!binary a",
        b"&a [*a]",
        b"? [a]\n: 1",
        b"\x00",
        b"x: .inf\ny: !!float .inf",
        b"[" * 5000,
        b"a: &a ["
        + b"x," * 100
        + b"]\nb: &b ["
        + b"*a," * 100
        + b"]\nc: &c ["
        + b"*b," * 100
        + b"]\nd: ["
        + b"*c," * 100
        + b"]",
    ],
)
def test_yaml_that_json_cannot_say_is_refused_clearly(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        codec.parse_yaml(raw)


def test_yaml_is_read_as_json_would_have_it() -> None:
    read = codec.parse_yaml(b"port: 22:22\nday: 2020-01-01\nmode: 0644\n7: x\nyes: y\nnone: ~\n")
    assert read == {"port": "22:22", "day": "2020-01-01", "mode": 0o644, "7": "x", "true": True, "none": None}


def test_types_of_yaml_that_json_does_not_have_are_passed_over() -> None:
    assert codec.parse_yaml(b"!!python/object:os.system x") == "x"
    assert codec.parse_yaml(b"a: !!binary aGk=\nb: !one {c: !two [1]}") == {"a": "hi", "b": {"c": [1]}}


def test_nulls_are_dropped_at_every_depth_but_kept_in_lists() -> None:
    assert codec.drop_nulls({"a": None, "b": {"c": None, "d": [None, {"e": None}]}}) == {
        "b": {"d": [None, {}]}
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"replicas": "3"}, "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"replicas": 3_000_000_000}, "json: cannot unmarshal number into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (
            {"template": {"spec": {"containers": "x"}}},
            "json: cannot unmarshal string into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            {"template": {"spec": {"containers": [{"image": 5}]}}},
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string",
        ),
        (
            {"template": {"metadata": {"labels": {"a": 1}}}},
            "json: cannot unmarshal number into Go struct field ObjectMeta.spec.template.metadata.labels of type string",
        ),
        ([], "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
        (
            {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": True}}}]}}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)  # fmt: skip
def test_a_wrong_type_is_named_as_kubernetes_names_it(spec: Any, message: str) -> None:
    with pytest.raises(DecodeError) as refused:
        codec.check_types({"metadata": {"name": "x"}, "spec": spec}, DEPLOYMENTS)
    assert str(refused.value) == f'Deployment in version "v1" cannot be handled as a Deployment: {message}'


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(DecodeError, match="parsing time"):
        codec.check_types({"metadata": {"creationTimestamp": "yesterday"}}, PODS)


def test_quantities_may_be_numbers_and_become_text() -> None:
    pod = {
        "spec": {
            "containers": [{"resources": {"limits": {"cpu": 1, "memory": 0.5}}}],
            "volumes": [{"emptyDir": {"sizeLimit": 5}}],
        }
    }
    codec.check_types(pod, PODS)
    spec: Any = pod["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "0.5"}
    assert spec["volumes"][0]["emptyDir"]["sizeLimit"] == "5"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("<none>", 0),
        ("YWJj*", 4),
        ("YWJj ZGVm", 4),
        ("YW\nJj!", 5),
        ("YWJ", 0),
        ("YWJjZA", 4),
        ("YWJj\nZA", 5),
        ("YQ=", 3),
        ("YQ=\nx", 3),
        ("=", 0),
        ("Y===", 1),
        ("YWI=YWI=", 4),
        ("YQ==\n\nx", 6),
        ("YWJjé", 4),
        ("YWI=é", 4),
    ],
)
def test_what_is_not_base64_is_refused_where_go_stops(text: str, position: int) -> None:
    """The positions are those of Go's encoding/base64."""
    with pytest.raises(DecodeError) as refused:
        codec.check_types({"data": {"good": "YQ==", "wrong": text}}, SECRETS)
    why = f"illegal base64 data at input byte {position}"
    assert str(refused.value) == f'Secret in version "v1" cannot be handled as a Secret: {why}'


@pytest.mark.parametrize(
    ("text", "written"),
    [("YW\r\nJj\n", "YWJj"), ("YQ=\n=\n", "YQ=="), ("\n", ""), ("YWI=\n", "YWI="), ("", "")],
)
def test_base64_may_have_line_breaks(text: str, written: str) -> None:
    secret: Any = {"data": {"a": text, "b": "YQ=="}}
    codec.check_types(secret, SECRETS)
    assert secret["data"] == {"a": written, "b": "YQ=="}


def test_unknown_fields_are_found_with_their_paths() -> None:
    tree = {
        "kind": "Pod", "apiVersion": "v1", "foo": 1, "metadata": {"labels": {"any": "x"}, "nam": ""},
        "spec": {"containers": [{"name": "a"}, {"nme": "b", "env": [{"valu": 1}]}], "volumes": [{"emptyDir": {}, "emptydir": {}}]},
    }  # fmt: skip
    assert codec.unknown_fields(tree, Pod) == [
        "foo",
        "metadata.nam",
        "spec.containers[1].nme",
        "spec.containers[1].env[0].valu",
        "spec.volumes[0].emptydir",
    ]


@pytest.mark.parametrize(
    ("spec", "written"),
    [
        ({"hostNetwork": False, "nodeName": "", "nodeSelector": {}, "volumes": []}, {}),
        ({"enableServiceLinks": False, "priority": 0, "securityContext": {}}, None),  # pointers, in Go
        ({"containers": []}, None),  # required
        ({"hostNetwork": True, "nodeName": "n", "nodeSelector": {"a": ""}, "tolerations": [{}]}, None),
        ({"tolerations": [{"key": "", "operator": "Exists"}]}, {"tolerations": [{"operator": "Exists"}]}),
        ({"affinity": {"nodeAffinity": {}, "podAffinity": None}}, None),
        ({"overhead": {"cpu": 0}, "terminationGracePeriodSeconds": -1}, None),
    ],
)
def test_zeros_are_dropped_where_kubernetes_does_not_write_them(
    spec: dict[str, Any], written: dict[str, Any] | None
) -> None:
    tree = {"metadata": {"labels": {}, "name": "p"}, "spec": copy.deepcopy(spec)}
    assert not codec.is_exact(tree, Pod)
    codec.drop_zeros(tree, Pod)
    assert tree == {"metadata": {"name": "p"}, "spec": spec if written is None else written}


@pytest.mark.parametrize(
    ("change", "exact"),
    [
        ({}, True),
        ({"foo": 1}, False),
        ({"spec": {"containers": [{"name": "a", "kind": "Pod"}]}}, False),
        ({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 1 << 31}]}]}}, False),
        ({"spec": {"containers": [{"name": 1}]}}, False),
        ({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}, "status": {"phase": "Running"}}, True),
        ({"spec": {"volumes": [{"name": "v", "emptydir": {}}]}}, False),
        ({"metadata": {"ownerReferences": [{"kind": "Node", "apiVersion": "v1"}]}}, True),
    ],
)
def test_a_document_is_exact_if_neither_its_types_nor_its_fields_need_a_second_look(
    change: dict[str, Any], exact: bool
) -> None:
    tree = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "labels": {"any": "x"}}, **change}
    assert codec.is_exact(tree, Pod) is exact


CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}


@pytest.mark.parametrize(
    ("claim", "unknown"),
    [
        (CLAIM, []),
        ({**CLAIM, "odd": 1}, ["spec.volumeClaimTemplates[0].odd"]),
        ({"metadata": {"kind": "x"}}, ["spec.volumeClaimTemplates[0].metadata.kind"]),
    ],
)
def test_an_object_in_another_says_its_kind_and_version(claim: dict[str, Any], unknown: list[str]) -> None:
    tree = {"kind": "StatefulSet", "apiVersion": "apps/v1", "spec": {"volumeClaimTemplates": [claim]}}
    assert codec.unknown_fields(tree, StatefulSet) == unknown
    assert codec.is_exact(tree, StatefulSet) is not bool(unknown)
    found = [f'unknown field "{path}"' for path in unknown]
    assert codec.strict_findings(json.dumps(tree).encode(), StatefulSet) == found


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'{"a":1,"b":2}', []),
        (b'{"a":1, "a":2}', ["a"]),
        (b'{"a":1,"a":1}', ["a"]),
        (b'{"spec":{"x":1,"y":[{"c":1},{"c":1,"c":2,"c":3}]}}', ["spec.y[1].c"]),
        (b'{"a":"<\\u003c"}', []),
        (b'{ "a" : "b\\":c" , "d":\n[{"e" :null}] }', []),
        (b'{"a": "x\\u0022: y", "b": 1, "b": 2}', ["b"]),
        (b'{"a": "x\\": y", "b" : 1, "b"\t: 2}', ["b"]),
        (b'{"a": "\\u003a", "b": 1, "b": 2}', ["b"]),
        (b'{"a": "\\u003A", "b": 1}', []),
        (b"{", []),
    ],
)
def test_members_named_twice_are_found_with_their_paths(raw: bytes, found: list[str]) -> None:
    assert codec.duplicate_fields(raw) == found


def test_typed_writes_keep_what_the_class_does_not_know() -> None:
    stored = {
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "future": 1},
        "spec": {
            "containers": [{"name": "a", "image": "1", "new": True}, {"name": "b", "image": "1", "new": False}],
            "other": {"x": 1},
        },
    }  # fmt: skip
    pod = codec.decode(Pod, codec.encode_json(stored))
    first, second = pod.spec.containers
    changed = replace(
        pod, spec=replace(pod.spec, containers=(replace(second, image="2"), Container(name="c"), first))
    )
    written = codec.overlay(stored, codec.to_tree(pod), codec.to_tree(changed))
    assert written["metadata"] == {"name": "a", "future": 1}
    assert written["spec"]["other"] == {"x": 1}
    assert written["spec"]["containers"] == [
        {"name": "b", "image": "2", "new": False},
        {"name": "c"},
        {"name": "a", "image": "1", "new": True},
    ]


def test_typed_writes_can_remove_what_the_class_knows() -> None:
    stored = {"metadata": {"labels": {"a": "1", "b": "2"}, "future": 1}, "spec": {"nodeName": "n"}}
    after = {"metadata": {"labels": {"a": "1"}}}
    before = {"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"nodeName": "n"}}
    assert codec.overlay(stored, before, after) == {"metadata": {"labels": {"a": "1"}, "future": 1}}


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "a", "b"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(trees, trees)
def test_an_overlay_over_a_tree_that_is_wholly_known_gives_the_new_tree(before: Any, after: Any) -> None:
    assert codec.overlay(before, before, after) == after


@given(trees, trees)
def test_an_overlay_without_a_change_changes_nothing(tree: Any, seen: Any) -> None:
    assert codec.overlay(tree, seen, seen) == tree


def test_an_event_has_two_forms_and_both_lead_back() -> None:
    core = {
        "kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}, "reason": "R",
        "message": "m", "source": {"component": "c"}, "firstTimestamp": "t", "lastTimestamp": "t", "count": 3,
        "type": "Normal", "reportingComponent": "c", "reportingInstance": "i",
    }  # fmt: skip
    new = event_as(core, "events.k8s.io/v1")
    assert (new["apiVersion"], new["regarding"], new["note"], new["deprecatedCount"]) == (
        "events.k8s.io/v1",
        {"kind": "Pod"},
        "m",
        3,
    )
    assert codec.unknown_fields(new, NewEvent) == []
    assert event_as(new, "v1") == core
    assert event_as(core, "v1") is core
    with pytest.raises(ValueError, match="no form"):
        event_as(core, "v2")
