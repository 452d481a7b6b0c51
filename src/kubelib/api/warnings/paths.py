"""Paths in volumes that hide one another: two files of one name, or a file where there is to be a directory."""

from collections.abc import Iterable, Iterator
from typing import Any

from kubelib.api.scheme import Tree
from kubelib.api.validation.problems import quote

Entry = tuple[str, str, str | None]
"""A path, and in words where it is from: empty if that goes without saying, else what it is and what its name is, if it has one."""

_WITH_PATHS = {"configMap", "downwardAPI", "projected", "secret"}
"""The volumes whose files have paths."""


def overlapping_paths(volumes: Iterable[Tree]) -> Iterator[str]:
    """Tell of the paths that overlap within each volume."""
    for volume in volumes:
        if _WITH_PATHS.isdisjoint(volume):
            continue
        name = volume.get("name") or ""
        for what, items, shown in _single(volume):
            for said in _overlaps((item.get("path") or "", "", None) for item in items):
                yield f"volume {quote(name)} ({what}{shown}): overlapping paths: {said}"
        if (projected := volume.get("projected")) is None:
            continue
        entries: list[Entry] = []
        for source in projected.get("sources") or ():
            if not any(value is not None for value in source.values()):
                yield f"volume {quote(name)} (Projected) has no sources provided"
            entries += _projected(source)
        for said in _overlaps(entries):
            yield f"volume {quote(name)} (Projected): overlapping paths: {said}"


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
            name = None if field == "downwardAPI" else part.get("name") or ""
            yield from ((item.get("path") or "", what, name) for item in part.get("items") or ())
    if token := source.get("serviceAccountToken"):
        yield token.get("path") or "", "ServiceAccountToken", None
    if bundle := source.get("clusterTrustBundle"):
        name = bundle.get("name") or bundle.get("signerName") or ""
        yield bundle.get("path") or "", "ClusterTrustBundle", name
    if certificate := source.get("podCertificate"):
        yield certificate.get("certificateChainPath") or "", "PodCertificate chain", None
        yield certificate.get("keyPath") or "", "PodCertificate key", None
        yield certificate.get("credentialBundlePath") or "", "PodCertificate credential bundle", None


def _overlaps(entries: Iterable[Entry]) -> Iterator[str]:
    entries = list(entries)
    if len({path.partition("/")[0] for path, _, _ in entries}) == len(entries):
        return  # what is within the same directory begins alike
    seen: list[Entry] = []
    for path, what, name in entries:
        entry = (path.rstrip("/"), what, name)
        for other in seen if entry[0] else ():
            if other[0] and (_is_within(entry[0], other[0]) or _is_within(other[0], entry[0])):
                yield f"{_shown(entry)} with {_shown(other)}"
        seen.append(entry)


def _is_within(path: str, other: str) -> bool:
    return path.startswith(other) and f"{path}/".startswith(f"{other}/")


def _shown(entry: Entry) -> str:
    path, what, name = entry
    if not what:
        return quote(path)
    return f"{quote(path)} ({what})" if name is None else f"{quote(path)} ({what} {quote(name)})"
