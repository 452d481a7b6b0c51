"""What Kubernetes says of a document that is of another kind, or in another version, than whoever reads it asks for."""

import functools

from kubelib.api.checking import json_type
from kubelib.api.meta import Object
from kubelib.api.parsing import DecodeError
from kubelib.api.scheme import Resource, Scheme, Tree, UnknownKind

UNREADABLE = "couldn't get version/kind; json parse error: "
_NOT_SERVED = {
    "admissionregistration.k8s.io": (
        "admissionregistration.k8s.io/v1beta1",
        "admissionregistration.k8s.io/v1alpha1",
    ),
    "apiextensions.k8s.io": ("apiextensions.k8s.io/v1beta1",),
    "apiregistration.k8s.io": ("apiregistration.k8s.io/v1beta1",),
    "apps": ("apps/v1beta1", "apps/v1beta2", "extensions/v1beta1"),
    "authentication.k8s.io": ("authentication.k8s.io/v1beta1", "authentication.k8s.io/v1alpha1"),
    "authorization.k8s.io": ("authorization.k8s.io/v1beta1",),
    "autoscaling": ("autoscaling/v2beta1", "autoscaling/v2beta2"),
    "batch": ("batch/v1beta1",),
    "certificates.k8s.io": ("certificates.k8s.io/v1beta1",),
    "coordination.k8s.io": ("coordination.k8s.io/v1beta1",),
    "discovery.k8s.io": ("discovery.k8s.io/v1beta1",),
    "events.k8s.io": ("events.k8s.io/v1beta1",),
    "flowcontrol.apiserver.k8s.io": tuple(
        f"flowcontrol.apiserver.k8s.io/v1beta{number}" for number in (1, 2, 3)
    ),
    "networking.k8s.io": ("networking.k8s.io/v1beta1", "extensions/v1beta1"),
    "node.k8s.io": ("node.k8s.io/v1beta1", "node.k8s.io/v1alpha1"),
    "policy": ("policy/v1beta1",),
    "rbac.authorization.k8s.io": ("rbac.authorization.k8s.io/v1beta1", "rbac.authorization.k8s.io/v1alpha1"),
    "scheduling.k8s.io": ("scheduling.k8s.io/v1beta1", "scheduling.k8s.io/v1alpha1"),
    "storage.k8s.io": ("storage.k8s.io/v1beta1", "storage.k8s.io/v1alpha1"),
}
"""Versions of groups that are not served any more, and that Kubernetes still can read."""
_OF_SCALE = ("apps/v1beta1", "apps/v1beta2", "extensions/v1beta1")


@functools.cache
def form_of(cls: type[Object]) -> Resource:
    """Return what bodies of a kind are read by that is no resource itself, as those of many subresources."""
    group, _, version = cls.api_version.rpartition("/")
    return Resource(group=group, version=version, kind=cls.kind, plural=f"{cls.kind.lower()}s", cls=cls)


def identity(tree: Tree) -> tuple[str, str]:
    """Return what a document says of its kind and its API version, each empty if nothing. Raises DecodeError."""
    for name in ("kind", "apiVersion"):
        if (value := tree.get(name)) is not None and not isinstance(value, str):
            why = f"json: cannot unmarshal {json_type(value)} into Go struct field .{name} of type string"
            raise DecodeError(f"{UNREADABLE}{why}")
    version = tree.get("apiVersion") or ""
    if version.count("/") > 1:
        raise DecodeError(f"unexpected GroupVersion string: {version}")
    return tree.get("kind") or "", version


def why_unreadable(kind: str, api_version: str, resource: Resource, scheme: Scheme) -> str:
    """Return why Kubernetes cannot read what is of a kind as an object of a resource; empty for another version of the same."""
    try:
        other = scheme.kind(api_version, kind)
    except UnknownKind:
        outdated = _OF_SCALE if kind == "Scale" else _NOT_SERVED.get(resource.storage_group, ())
        if kind == resource.kind and api_version in outdated:
            return ""
        return f'no kind "{kind}" is registered for version "{api_version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    if (other.storage_group, other.kind) == (resource.storage_group, resource.kind):
        return ""
    version, package = api_version.rpartition("/")[2], resource.group.partition(".")[0] or "core"
    return f"converting ({version}.{kind}) to ({package}.{resource.kind}): unknown conversion"
