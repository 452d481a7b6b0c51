"""Paths in volumes that hide one another: two files of one name, or a file where there is to be a directory."""

from collections.abc import Iterable, Iterator
from typing import Any

from kubelib.api.scheme import Tree
from kubelib.api.validation.problems import quote

Entry = tuple[str, str]
"""A path, and in words where it is from; empty if that goes without saying."""


def overlapping_paths(volumes: Iterable[Tree]) -> Iterator[str]:
    """Tell of the paths that overlap within each volume."""
    for volume in volumes:
        name = quote(volume.get("name") or "")
        for what, items, shown in _single(volume):
            for said in _overlaps((item.get("path") or "", "") for item in items):
                yield f"volume {name} ({what}{shown}): overlapping paths: {said}"
        if (projected := volume.get("projected")) is None:
            continue
        entries: list[Entry] = []
        for source in projected.get("sources") or ():
            if not any(value is not None for value in source.values()):
                yield f"volume {name} (Projected) has no sources provided"
            entries += _projected(source)
        for said in _overlaps(entries):
            yield f"volume {name} (Projected): overlapping paths: {said}"


def _single(volume: Tree) -> Iterator[tuple[str, list[Any], str]]:
    for field, what, key in (
        ("configMap", "ConfigMap", "name"),
        ("secret", "Secret", "secretName"),
        ("downwardAPI", "DownwardAPI", ""),
    ):
        if source := volume.get(field):
            yield what, source.get("items") or [], f" {quote(source.get(key) or '')}" if key else ""


def _projected(source: Tree) -> Iterator[Entry]:
    for field, what in (("configMap", "ConfigMap"), ("secret", "Secret"), ("downwardAPI", "DownwardAPI")):
        if part := source.get(field):
            shown = what if field == "downwardAPI" else f"{what} {quote(part.get('name') or '')}"
            yield from ((item.get("path") or "", shown) for item in part.get("items") or ())
    if token := source.get("serviceAccountToken"):
        yield token.get("path") or "", "ServiceAccountToken"
    if bundle := source.get("clusterTrustBundle"):
        name = bundle.get("name") or bundle.get("signerName") or ""
        yield bundle.get("path") or "", f"ClusterTrustBundle {quote(name)}"
    if certificate := source.get("podCertificate"):
        yield certificate.get("certificateChainPath") or "", "PodCertificate chain"
        yield certificate.get("keyPath") or "", "PodCertificate key"
        yield certificate.get("credentialBundlePath") or "", "PodCertificate credential bundle"


def _overlaps(entries: Iterable[Entry]) -> Iterator[str]:
    seen: list[Entry] = []
    for path, source in entries:
        entry = (path.rstrip("/"), source)
        for other in seen if entry[0] else ():
            if other[0] and (_is_within(entry[0], other[0]) or _is_within(other[0], entry[0])):
                yield f"{_shown(entry)} with {_shown(other)}"
        seen.append(entry)


def _is_within(path: str, other: str) -> bool:
    return f"{path}/".startswith(f"{other}/")


def _shown(entry: Entry) -> str:
    path, source = entry
    return f"{quote(path)} ({source})" if source else quote(path)
