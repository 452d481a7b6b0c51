"""Descriptions of what holds data, and of every kind that has no description of its own."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from reference_cluster.cli.describe.page import Page, Tree


def describe_config_map(tree: Tree, events: Sequence[Tree] | None, now: datetime) -> str:
    """Return the description of a ConfigMap."""
    page = Page()
    page.heading(tree)
    lines = ["", "Data", "===="]
    for key, value in sorted((tree.get("data") or {}).items()):
        lines += [f"{key}:", "----", *str(value).split("\n"), ""]
    lines += ["", "BinaryData", "===="]
    for key, value in sorted((tree.get("binaryData") or {}).items()):
        lines.append(f"{key}: {len(base64.b64decode(value))} bytes")
    lines.append("")
    tail = Page()
    tail.events(events, now)
    return page.text() + "\n".join(lines) + "\n" + tail.text()


def describe_secret(tree: Tree) -> str:
    """Return the description of a Secret: how long its values are, never what they are."""
    page = Page()
    page.heading(tree)
    page.line(0, "")
    page.line(0, "Type:", tree.get("type", ""))
    page.line(0, "")
    page.line(0, "Data")
    page.line(0, "====")
    for key, value in sorted((tree.get("data") or {}).items()):
        page.line(0, f"{key}:", f"{len(base64.b64decode(value))} bytes")
    return page.text()


def describe_service_account(tree: Tree, events: Sequence[Tree] | None, now: datetime) -> str:
    """Return the description of a ServiceAccount."""
    page = Page()
    page.heading(tree)
    page.pairs(0, "Image pull secrets:", [s.get("name", "") for s in tree.get("imagePullSecrets") or ()])
    page.events(events, now)
    return page.text()


_SHORT = {"Api": "API", "Ip": "IP", "Uid": "UID", "Url": "URL", "Id": "ID"}


def _title(name: str) -> str:
    """Return a field's name as words.

    >>> _title("apiVersion"), _title("podIP"), _title("clusterIPs"), _title("uid")
    ('API Version', 'Pod IP', 'Cluster I Ps', 'UID')
    """
    words: list[str] = []
    for at, letter in enumerate(name):
        follows = (
            at > 0
            and letter.isupper()
            and (not name[at - 1].isupper() or (at + 1 < len(name) and name[at + 1].islower()))
        )
        if at == 0 or follows:
            words.append(letter.upper() if at == 0 else letter)
        else:
            words[-1] += letter
    return " ".join(_SHORT.get(word, word) for word in words)


_SKIPPED = (
    "metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.managedFields",
    "metadata.selfLink",
)  # fmt: skip


def describe_anything(tree: Tree, events: Sequence[Tree] | None, now: datetime) -> str:
    """Return the description of an object of any kind: all its fields."""
    page = Page()
    meta = tree["metadata"]
    page.line(0, "Name:", meta["name"])
    page.line(0, "Namespace:", meta.get("namespace", ""))
    page.labels(meta.get("labels"))
    page.annotations(meta.get("annotations"))
    _fields(page, 0, tree, "")
    page.events(events, now)
    return page.text()


def _fields(page: Page, indent: int, tree: Mapping[str, Any], path: str) -> None:
    shown = [(name, value) for name, value in tree.items() if f"{path}{name}" not in _SKIPPED]
    for name, value in sorted(shown, key=lambda item: _title(item[0])):
        title = f"{_title(name)}:"
        match value:
            case dict():
                page.line(indent, title)
                _fields(page, indent + 2, value, f"{path}{name}.")
            case list():
                page.line(indent, title)
                for item in value:
                    match item:
                        case dict():
                            _fields(page, indent + 2, item, f"{path}{name}.")
                        case _:
                            page.line(indent + 2, _plain(item))
            case _:
                page.line(indent, title, _plain(value))


def _plain(value: Any) -> str:
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
    return str(value)


def describe_role(tree: Tree) -> str:
    """Return the description of a Role or ClusterRole."""
    page = Page()
    meta = tree["metadata"]
    page.line(0, "Name:", meta["name"])
    page.labels(meta.get("labels"))
    page.annotations(meta.get("annotations"))
    page.line(0, "PolicyRule:")
    page.table(
        2, ("Resources", "Non-Resource URLs", "Resource Names", "Verbs"), _rule_rows(tree.get("rules") or ())
    )
    return page.text()


def _rule_rows(rules: Sequence[Tree]) -> list[tuple[str, ...]]:
    """Return one row for each resource or path, in kubectl's order: by verbs, group, resource, name."""
    verbs: dict[tuple[str, str, str, str], list[str]] = {}

    def allow(key: tuple[str, str, str, str], allowed: Sequence[str]) -> None:
        known = verbs.setdefault(key, [])
        known += [verb for verb in allowed if verb not in known]

    for rule in rules:
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                for name in rule.get("resourceNames") or [""]:
                    allow((group, resource, name, ""), rule["verbs"])
        for url in rule.get("nonResourceURLs") or ():
            allow(("", "", "", url), rule["verbs"])

    def place(item: tuple[tuple[str, str, str, str], list[str]]) -> tuple[str, ...]:
        return (f"{' '.join(item[1])}]", *(f"{part}]" for part in item[0]))

    rows: list[tuple[str, ...]] = []
    for (group, resource, name, url), allowed in sorted(verbs.items(), key=place):
        main, slash, part = resource.partition("/")
        shown = f"{main}.{group}{slash}{part}" if group else resource
        rows.append((shown, f"[{url}]", f"[{name}]", f"[{' '.join(allowed)}]"))
    return rows


def describe_role_binding(tree: Tree) -> str:
    """Return the description of a RoleBinding or ClusterRoleBinding."""
    page = Page()
    meta, role = tree["metadata"], tree["roleRef"]
    page.line(0, "Name:", meta["name"])
    page.labels(meta.get("labels"))
    page.annotations(meta.get("annotations"))
    page.line(0, "Role:")
    page.line(2, "Kind:", role.get("kind", ""))
    page.line(2, "Name:", role.get("name", ""))
    page.line(0, "Subjects:")
    rows = [
        (s.get("kind", ""), s.get("name", ""), s.get("namespace", "")) for s in tree.get("subjects") or ()
    ]
    page.table(2, ("Kind", "Name", "Namespace"), rows)
    return page.text()
