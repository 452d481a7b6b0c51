import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

import kubelib.api
from kubelib.api import builtin
from kubelib.api.core.container import Container
from kubelib.api.core.pod import Pod, PodSpec
from kubelib.api.core.volumes import Volume
from kubelib.api.document import RECENT_VIEWS, Document, Documents, Reading, SeenDocument, served_size
from kubelib.api.fields import field_types
from kubelib.api.merging import merge_facts
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import Model, json_fields, json_name, replace, required_fields
from kubelib.api.protobuf import field_numbers


def every_class() -> Iterator[type[Model]]:
    for info in pkgutil.walk_packages(kubelib.api.__path__, "kubelib.api."):
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Model) and value.__module__ == info.name:
                yield value


CLASSES = sorted(set(every_class()) - {Model}, key=lambda cls: (cls.__module__, cls.__qualname__))


def test_there_are_hundreds_of_classes() -> None:
    assert len(CLASSES) > 330


@pytest.mark.parametrize(
    ("name", "json"),
    [("pod_ip", "podIP"), ("cluster_ips", "clusterIPs"), ("uid", "uid"), ("continue_", "continue")],
)
def test_json_names_follow_from_attribute_names(name: str, json: str) -> None:
    assert json_name(name) == json


def test_every_class_can_be_made_from_nothing_and_is_then_empty() -> None:
    for cls in CLASSES:
        assert msgspec.json.encode(cls()) == b"{}", cls


def test_every_class_is_frozen() -> None:
    pod = Pod(metadata=ObjectMeta(name="a"))
    with pytest.raises(AttributeError):
        pod.spec = PodSpec()  # type: ignore[misc]
    assert replace(pod, spec=PodSpec(node_name="n")).spec.node_name == "n"
    assert pod.spec.node_name == ""


def test_required_and_merged_fields_exist() -> None:
    for cls in CLASSES:
        names = set(json_fields(cls))  # type: ignore[arg-type]
        assert set(required_fields(cls)) <= names, cls
        assert set(vars(cls).get("__merge__", {})) <= names, cls
        for name, fact in merge_facts(cls).items():  # type: ignore[arg-type]
            model = field_types(cls)[name].model  # type: ignore[arg-type]
            if fact.map_keys:
                assert model is not None and set(fact.map_keys) <= set(json_fields(model)), (cls, name)  # type: ignore[arg-type]


def test_every_field_of_every_kind_has_one_protobuf_number() -> None:
    for cls in CLASSES:
        if not cls.__module__.endswith(("meta", "document")):
            numbers = field_numbers(cls)  # type: ignore[arg-type]
            assert all(number > 0 for number in numbers)
            covered = [name for name in numbers.values() if isinstance(name, str)]
            assert len(covered) == len(set(covered))


def test_fields_of_a_source_are_flattened_into_the_volume() -> None:
    volume = msgspec.json.decode(b'{"name":"v","emptyDir":{"sizeLimit":"1Gi"}}', type=Volume)
    assert volume.empty_dir is not None
    assert volume.empty_dir.size_limit == "1Gi"
    assert msgspec.json.encode(volume) == b'{"emptyDir":{"sizeLimit":"1Gi"},"name":"v"}'


def test_lists_merge_by_the_keys_that_kubernetes_declares() -> None:
    pod, container = merge_facts(PodSpec), merge_facts(Container)
    assert pod["containers"].map_keys == ("name",)
    assert pod["tolerations"].list_type == "atomic"
    assert pod["volumes"].patch_strategy == ("merge", "retainKeys")
    assert pod["nodeSelector"].map_type == "atomic"
    assert container["ports"].map_keys == ("containerPort", "protocol")
    assert container["ports"].patch_merge_key == "containerPort"
    assert container["volumeMounts"].patch_merge_key == "mountPath"
    assert not container["command"].strategic
    assert merge_facts(ObjectMeta)["finalizers"].list_type == "set"
    assert merge_facts(ObjectMeta)["ownerReferences"].map_keys == ("uid",)


def test_an_atomic_class_is_not_inherited() -> None:
    volume_fields = merge_facts(Volume)
    assert "configMap" not in volume_fields
    assert merge_facts(PodSpec)["imagePullSecrets"].map_keys == ("name",)


def test_every_kind_of_the_scheme_says_who_it_is() -> None:
    for resource in builtin.SCHEME:
        assert resource.kind == resource.cls.kind
        assert resource.api_version == resource.cls.api_version


def test_a_document_is_decoded_once_and_shares_its_view() -> None:
    document = Document(
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"n","uid":"u"},"spec":{"x":1}}'
    )
    assert document.key == Key("n", "a")
    view = document.view(Pod)
    assert document.view(Pod) is view
    assert document.tree()["spec"] == {"x": 1}
    assert [pod.metadata.name for pod in Documents([document], Pod)] == ["a"]


def test_only_recent_views_are_kept() -> None:
    raw = b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}'
    first = Document(raw)
    view = first.view(Pod)
    for _ in range(RECENT_VIEWS + 1):
        Document(raw).view(Pod)
    assert first.view(Pod) is not view
    assert first.view(Pod) == view


def test_times_are_read_in_utc() -> None:
    pod = msgspec.json.decode(b'{"metadata":{"creationTimestamp":"2026-01-02T03:04:05Z"}}', type=Pod)
    assert pod.metadata.creation_timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_stored_document_is_served_with_its_version_and_holds_no_second_copy() -> None:
    value = b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u"},"spec":{"nodeName":"n"}}'
    document = Document.stored(value, 7)
    assert document.raw == value.replace(b'"name":"a"', b'"resourceVersion":"7","name":"a"')
    assert (document.meta.name, document.meta.resource_version) == ("a", "7")
    assert document.tree()["metadata"]["resourceVersion"] == "7"
    assert document.view(Pod).metadata.resource_version == "7"
    assert any(held is value for held in (getattr(document, name) for name in Document.__slots__))


@pytest.mark.parametrize("revisions", [(7,), (9, 10), (10, 99), (99, 100, 1000), (0, 5), (0,), ()])
def test_documents_are_together_as_large_as_what_is_served_of_them(revisions: tuple[int, ...]) -> None:
    value = b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p"}}'
    documents = [
        Document.stored(value, revision) if revision else Document(value + b" " * len(revisions))
        for revision in revisions
    ]
    seen = SeenDocument.through(Reading(lambda stored: stored + b"  "), value, 7)
    for some in (documents, [*documents, seen]):
        assert served_size(some) == sum(len(document.raw) for document in some)
