"""Discovery: which groups, versions and resources the server has, in the old form and aggregated."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from kubelib.api.codec import encode_json
from kubelib.api.paths import options_kind
from kubelib.api.scheme import Resource, Scheme

SUBRESOURCE_VERBS = {
    "approval": ["get", "patch", "update"],
    "status": ["get", "patch", "update"],
    "scale": ["get", "patch", "update"],
    "finalize": ["update"],
    "binding": ["create"],
    "eviction": ["create"],
    "token": ["create"],
    "log": ["get"],
    "exec": ["create", "get"],
    "attach": ["create", "get"],
    "portforward": ["create", "get"],
    "proxy": ["create", "delete", "get", "patch", "update"],
    "ephemeralcontainers": ["get", "patch", "update"],
    "resize": ["get", "patch", "update"],
}
_SUBRESOURCE_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}


Groups = Mapping[str, list[str]]
"""Groups and their versions, in order."""


def groups_of(scheme: Scheme) -> dict[str, list[str]]:
    """Return the versions of each named group, in order of registration."""
    groups: dict[str, list[str]] = {}
    for resource in scheme:
        versions = groups.setdefault(resource.group, [])
        if resource.version not in versions:
            versions.append(resource.version)
    return groups


def _subresources(resource: Resource) -> Sequence[str]:
    """Return the subresources in the order in which Kubernetes lists them: those of custom kinds as definitions have them."""
    return resource.subresources if resource.structure is not None else sorted(resource.subresources)


def _subresource_kind(resource: Resource, name: str) -> tuple[str, str, str]:
    kind = _SUBRESOURCE_KINDS.get(name)
    if kind is not None:
        return kind
    return resource.group, resource.version, options_kind(resource.kind, name) or resource.kind


def resource_list(scheme: Scheme, group: str, version: str) -> bytes | None:
    """Return the ``APIResourceList`` of a group and version, None if there is none."""
    resources: list[dict[str, Any]] = []
    for resource in sorted(scheme, key=lambda r: r.plural):
        if (resource.group, resource.version) != (group, version):
            continue
        entry: dict[str, Any] = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": resource.offered,
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        if "get" in resource.verbs:
            digest = hashlib.sha256(f"{group}/{version}/{resource.kind}".encode()).digest()
            entry["storageVersionHash"] = _base64(digest[:8])
        resources.append(entry)
        for name in _subresources(resource):
            of_group, of_version, kind = _subresource_kind(resource, name)
            sub: dict[str, Any] = {
                "name": f"{resource.plural}/{name}",
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": SUBRESOURCE_VERBS[name],
            }
            if (of_group, of_version) != (group, version):
                sub["group"], sub["version"] = of_group, of_version
            resources.append(sub)
    if not resources:
        return None
    group_version = f"{group}/{version}" if group else version
    return encode_json(
        {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version,
            "resources": resources,
        }
    )


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def group_tree(group: str, versions: list[str]) -> dict[str, Any]:
    """Return what an ``APIGroup`` says of a group; the first version is the preferred one."""
    named = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": named, "preferredVersion": named[0]}


def group_list(scheme: Scheme, groups: Groups | None = None) -> bytes:
    """Return the ``APIGroupList``; `groups` are all that there are, in order, when not only those of the scheme are."""
    every = groups_of(scheme) if groups is None else groups
    listed = [group_tree(group, versions) for group, versions in every.items() if group]
    return encode_json({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})


def group_document(scheme: Scheme, group: str, groups: Groups | None = None) -> bytes | None:
    """Return the ``APIGroup`` of a group, None if there is none."""
    versions = (groups_of(scheme) if groups is None else groups).get(group)
    if not group or versions is None:
        return None
    return encode_json({"kind": "APIGroup", "apiVersion": "v1", **group_tree(group, versions)})


def core_versions(address: str) -> bytes:
    """Return the ``APIVersions`` of the core group."""
    return encode_json(
        {
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
        }
    )


@functools.lru_cache(maxsize=128)
def wanted_form(accept: str) -> tuple[str, bytes]:
    """Return in which version a client takes discovery in one document, and the media type; empty if it does not.

    What a client names first it likes best.
    """
    for alternative in accept.split(","):
        media, *parameters = [part.strip() for part in alternative.split(";")]
        given = dict(part.split("=", 1) for part in parameters if "=" in part)
        if media == "application/json":
            wanted = given.get("as") == "APIGroupDiscoveryList" and given.get("g") == "apidiscovery.k8s.io"
            version = given.get("v", "")
            if wanted and version in ("v2", "v2beta1"):
                name = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                return version, name.encode()
            if "as" not in given:
                break
    return "", b""


def aggregated(
    scheme: Scheme,
    *,
    core: bool,
    version: str = "v2",
    groups: Groups | None = None,
    remote: Mapping[tuple[str, str], dict[str, Any]] | None = None,
) -> bytes:
    """Return the ``APIGroupDiscoveryList`` of the core group or of all named ones.

    `remote` are the documents of the versions that other servers answer for.
    """
    items = []
    remote = remote or {}
    for group, versions in (groups_of(scheme) if groups is None else groups).items():
        if bool(group) == core:
            continue
        items.append(
            {
                "metadata": {"name": group, "creationTimestamp": None}
                if group
                else {"creationTimestamp": None},
                "versions": [
                    remote.get((group, v)) or _aggregated_version(scheme, group, v) for v in versions
                ],
            }
        )
    return encode_json(
        {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }
    )


def _aggregated_version(scheme: Scheme, group: str, version: str) -> dict[str, Any]:
    resources = []
    for resource in sorted(scheme, key=lambda r: r.plural):
        if (resource.group, resource.version) != (group, version):
            continue
        entry: dict[str, Any] = {
            "resource": resource.plural,
            "responseKind": {"group": group, "version": version, "kind": resource.kind},
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "singularResource": resource.singular,
            "verbs": resource.offered,
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        if resource.subresources:
            entry["subresources"] = [
                {
                    "subresource": name,
                    "responseKind": dict(
                        zip(("group", "version", "kind"), _subresource_kind(resource, name), strict=True)
                    ),
                    "verbs": SUBRESOURCE_VERBS[name],
                }
                for name in _subresources(resource)
            ]
        resources.append(entry)
    return {"version": version, "freshness": "Current", "resources": resources}
