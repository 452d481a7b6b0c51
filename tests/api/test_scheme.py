import pytest

from kubelib.api.builtin import SCHEME, builtin_scheme
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Object
from kubelib.api.scheme import Resource, Scheme, UnknownKind


class Widget(Object):
    """A custom kind."""

    api_version = "example.com/v1"
    kind = "Widget"

    size: int = 0


WIDGETS = Resource(group="example.com", version="v1", kind="Widget", plural="widgets", cls=Widget)


def test_a_kind_is_found_by_class_by_kind_and_by_path() -> None:
    assert SCHEME.of(Pod) is SCHEME.kind("v1", "Pod") is SCHEME.path("", "v1", "pods")


def test_a_resource_knows_its_names() -> None:
    deployments = SCHEME.kind("apps/v1", "Deployment")
    assert deployments.api_version == "apps/v1"
    assert deployments.group_resource == "deployments.apps"
    assert deployments.singular == "deployment"
    assert SCHEME.of(Pod).group_resource == "pods"


def test_custom_kinds_come_and_go() -> None:
    scheme = builtin_scheme()
    before = len(scheme)
    scheme.add(WIDGETS)
    assert scheme.of(Widget) is WIDGETS
    assert WIDGETS.singular == "widget"
    assert len(scheme) == before + 1
    scheme.remove(WIDGETS)
    assert len(scheme) == before
    with pytest.raises(UnknownKind):
        scheme.of(Widget)
    with pytest.raises(UnknownKind):
        scheme.kind("example.com/v1", "Widget")
    with pytest.raises(UnknownKind):
        scheme.path("example.com", "v1", "widgets")


def test_an_empty_scheme_has_nothing() -> None:
    assert list(Scheme()) == []


def test_names_by_which_users_type_kinds_do_not_clash() -> None:
    stored_here = [r for r in SCHEME if (r.storage_group, r.storage_version) == (r.group, r.version)]
    names = [name for resource in stored_here for name in (resource.plural, *resource.short_names)]
    assert len(names) == len(set(names))


def test_all_means_what_it_means_in_kubernetes() -> None:
    everyday = {resource.plural for resource in SCHEME if "all" in resource.categories}
    assert everyday == {
        "pods", "replicationcontrollers", "services", "daemonsets", "deployments", "replicasets", "statefulsets",
        "horizontalpodautoscalers", "cronjobs", "jobs",
    }  # fmt: skip


def test_reviews_and_bindings_can_only_be_created() -> None:
    for kind in (
        "TokenReview",
        "SubjectAccessReview",
        "SelfSubjectAccessReview",
        "SelfSubjectRulesReview",
        "Binding",
    ):
        (resource,) = [resource for resource in SCHEME if resource.kind == kind]
        assert resource.verbs == ("create",)


def test_pods_can_be_selected_by_these_fields() -> None:
    assert SCHEME.of(Pod).selectable == {
        "spec.nodeName": "", "spec.restartPolicy": "", "spec.schedulerName": "", "spec.serviceAccountName": "",
        "spec.hostNetwork": "false", "status.phase": "", "status.podIP": "", "status.podIPs": "",
        "status.nominatedNodeName": "", "spec.host": "",
    }  # fmt: skip
