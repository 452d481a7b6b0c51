"""Rules of the annotations that say things about Pods which fields say today."""

from collections.abc import Iterator
from typing import Any

import msgspec

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.placement import toleration_problems
from kubelib.api.validation.problems import each, forbidden, invalid, quote

MIRROR = "kubernetes.io/config.mirror"
"""Marks the Pod that stands for a static one of a node."""
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerations"
_SECCOMP, _SECCOMP_OF = (
    "seccomp.security.alpha.kubernetes.io/pod",
    "container.seccomp.security.alpha.kubernetes.io/",
)
_APP_ARMOR_OF = "container.apparmor.security.beta.kubernetes.io/"
_OF_PROFILES = (_SECCOMP, _SECCOMP_OF, _APP_ARMOR_OF)
_LOCAL = "localhost/"
_DEFAULTS = ("runtime/default", "docker/default")


def all_containers(spec: Tree, path: str) -> Iterator[tuple[Tree, str]]:
    """Yield all containers of a Pod with their paths."""
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for at, container in enumerate(spec.get(part) or ()):
            yield container, f"{path}.{part}[{at}]"


def annotation_value_problems(annotations: Tree, spec: Tree, path: str, problems: list[Problem]) -> None:
    """Check what a Pod's annotations say."""
    mirrored = annotations.get(MIRROR)
    if mirrored is not None and not spec.get("nodeName"):
        why = "must set spec.nodeName if mirror pod annotation is set"
        problems.append(invalid(f"{path}[{MIRROR}]", mirrored, why))
    if annotations.get(_TOLERATIONS):
        _tolerations(annotations[_TOLERATIONS], path, problems)
    cost = annotations.get(_DELETION_COST)
    if cost is not None and not _is_cost(cost):
        problems.append(invalid(f"{path}[{_DELETION_COST}]", cost, "must be a 32bit integer"))
    if not any(name.startswith(_OF_PROFILES) for name in annotations):
        return
    for key, value in annotations.items():
        if key == _SECCOMP or key.startswith(_SECCOMP_OF):
            problems += each(f"{path}.{key}", value, _seccomp_messages(value))
    for key, value in annotations.items():
        if key.startswith(_APP_ARMOR_OF):
            name = key.removeprefix(_APP_ARMOR_OF)
            if all(container.get("name") != name for container, _ in all_containers(spec, "")):
                problems.append(invalid(f"{path}[{key}]", name, "container not found"))
            if value not in ("", "runtime/default", "unconfined") and not value.startswith(_LOCAL):
                problems.append(
                    invalid(f"{path}[{key}]", value, f"invalid AppArmor profile name: {quote(value)}")
                )


def _is_cost(text: str) -> bool:
    try:
        cost = int(text)
    except ValueError:
        return False
    return -(2**31) <= cost < 2**31 and str(cost) == text


def _tolerations(text: str, path: str, problems: list[Problem]) -> None:
    try:
        tolerations = msgspec.json.decode(text, type=list[dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problems.append(invalid(path, _TOLERATIONS, str(error)))
        return
    toleration_problems(tolerations, f"{path}.{_TOLERATIONS}", problems)


def _seccomp_messages(profile: str) -> list[str]:
    if profile in (*_DEFAULTS, "unconfined"):
        return []
    if profile.startswith(_LOCAL):
        return texts.descending(profile.removeprefix(_LOCAL))
    return ["must be a valid seccomp profile"]


def profile_problems(annotations: Tree, spec: Tree, path: str, problems: list[Problem]) -> None:
    """Check that the profiles of a Pod are the same in its fields and in its annotations."""
    if not any(name.startswith(_OF_PROFILES) for name in annotations):
        return
    context = spec.get("securityContext") or {}
    seccomp = context.get("seccompProfile")
    if seccomp and _SECCOMP in annotations:
        _match(annotations[_SECCOMP], seccomp, f"{path}.securityContext.seccompProfile", "seccomp", problems)
    windows = (spec.get("os") or {}).get("name") == "windows"
    for container, here in all_containers(spec, path):
        own = container.get("securityContext") or {}
        profile, noted = (
            own.get("seccompProfile"),
            annotations.get(_SECCOMP_OF + (container.get("name") or "")),
        )
        if profile and noted is not None:
            _match(noted, profile, f"{here}.securityContext.seccompProfile", "seccomp", problems)
    for container, here in () if windows else all_containers(spec, path):
        own = container.get("securityContext") or {}
        profile = own.get("appArmorProfile") or context.get("appArmorProfile")
        noted = annotations.get(_APP_ARMOR_OF + (container.get("name") or ""))
        if profile and noted is not None:
            _match(noted, profile, f"{here}.securityContext.appArmorProfile", "apparmor", problems)


def _match(noted: str, profile: Tree, path: str, what: str, problems: list[Problem]) -> None:
    kind = profile.get("type")
    defaults = _DEFAULTS if what == "seccomp" else _DEFAULTS[:1]
    if (
        (kind == "Unconfined" and noted != "unconfined")
        or (kind == "RuntimeDefault" and noted not in defaults)
        or (kind == "Localhost" and not noted.startswith(_LOCAL))
    ):
        problems.append(forbidden(f"{path}.type", f"{what} type in annotation and field must match"))
    elif kind == "Localhost" and noted.removeprefix(_LOCAL) != profile.get("localhostProfile"):
        problems.append(
            forbidden(f"{path}.localhostProfile", f"{what} profile in annotation and field must match")
        )


def annotation_update_problems(new: Tree, old: Tree, problems: list[Problem]) -> None:
    """Check that a Pod keeps those of its annotations that nodes went by."""
    annotations, before = (tree["metadata"].get("annotations") or {} for tree in (new, old))
    if annotations == before:
        return
    path = "metadata.annotations"
    for key, value in before.items():
        if annotations.get(key) != value:
            if key.startswith(_APP_ARMOR_OF):
                problems.append(forbidden(f"{path}[{key}]", "may not remove or update AppArmor annotations"))
            if key == MIRROR:
                problems.append(forbidden(f"{path}[{key}]", "may not remove or update mirror pod annotation"))
    for key in annotations:
        if key not in before:
            if key.startswith(_APP_ARMOR_OF):
                problems.append(forbidden(f"{path}[{key}]", "may not add AppArmor annotations"))
            if key == MIRROR:
                problems.append(forbidden(f"{path}[{key}]", "may not add mirror pod annotation"))
