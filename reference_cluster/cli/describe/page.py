"""The layout of descriptions: lines of cells, aligned as kubectl aligns them, and the parts that many kinds share."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kubelib.api.times import human_duration, parse_time

Tree = Mapping[str, Any]

_HIDDEN = ("kubectl.kubernetes.io/last-applied-configuration",)
_LONGEST_ANNOTATION = 140
GAP = 2
"""Spaces between columns."""


def align(lines: Sequence[str]) -> str:
    """Return lines whose cells end with tabs as text.

    A column is as wide as its widest cell, over all consecutive lines that have a cell there: elastic tab stops.

    >>> print(align(["Name:\\tweb", "Namespace:\\tdefault"]))
    Name:       web
    Namespace:  default
    """
    rows = [line.split("\t") for line in lines]
    column = 0
    while any(len(row) - 1 > column for row in rows):
        start = 0
        while start < len(rows):
            if len(rows[start]) - 1 <= column:
                start += 1
                continue
            end = start
            while end < len(rows) and len(rows[end]) - 1 > column:
                end += 1
            width = max(len(row[column]) for row in rows[start:end]) + GAP
            for row in rows[start:end]:
                row[column] = row[column].ljust(width)
            start = end
        column += 1
    return "\n".join("".join(row) for row in rows)


class Page:
    """A description that grows line by line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, indent: int, *cells: Any) -> None:
        """Add a line of cells, `indent` spaces in."""
        self.lines.append(" " * indent + "\t".join(str(cell) for cell in cells))

    def text(self) -> str:
        """Return the whole."""
        return align(self.lines) + "\n"

    def pairs(self, indent: int, title: str, pairs: Iterable[str]) -> None:
        """Add a title and, beside it, one line for each text; ``<none>`` if there is none."""
        first = True
        for pair in pairs:
            self.line(indent, title if first else "", pair)
            first = False
        if first:
            self.line(indent, title, "<none>")

    def labels(self, labels: Mapping[str, str] | None, *, title: str = "Labels:", indent: int = 0) -> None:
        """Add labels."""
        self.pairs(indent, title, [f"{key}={value}" for key, value in sorted((labels or {}).items())])

    def annotations(self, annotations: Mapping[str, str] | None, *, indent: int = 0) -> None:
        """Add annotations, without those that tools keep for themselves; long ones begin on a line of their own."""
        texts = []
        for key, value in sorted((annotations or {}).items()):
            if key in _HIDDEN:
                continue
            trimmed = value.removesuffix("\n")
            if len(trimmed) + len(key) + 2 > _LONGEST_ANNOTATION or "\n" in trimmed:
                texts.append(f"{key}:")
                for part in trimmed.split("\n"):
                    short = (
                        part
                        if len(part) <= _LONGEST_ANNOTATION - 2
                        else part[: _LONGEST_ANNOTATION - 2] + "..."
                    )
                    texts.append(f"  {short}")
            else:
                texts.append(f"{key}: {trimmed}")
        self.pairs(indent, "Annotations:", texts)

    def heading(self, tree: Tree) -> None:
        """Add what every description begins with: name, namespace, labels, annotations."""
        meta = tree["metadata"]
        self.line(0, "Name:", meta["name"])
        if meta.get("namespace"):
            self.line(0, "Namespace:", meta["namespace"])
        self.labels(meta.get("labels"))
        self.annotations(meta.get("annotations"))

    def table(
        self, indent: int, header: Sequence[str], rows: Iterable[Sequence[Any]], *, ruler: Sequence[str] = ()
    ) -> None:
        """Add a table with a ruler under its header."""
        self.line(indent, *header)
        self.line(indent, *(ruler or ["-" * len(name) for name in header]))
        for row in rows:
            self.line(indent, *row)

    def events(self, events: Sequence[Tree] | None, now: datetime) -> None:
        """Add what happened to the object; nothing if that is not to be shown."""
        if events is None:
            return
        if not events:
            self.line(0, "Events:", "<none>")
            return
        self.line(0, "Events:")
        ordered = sorted(events, key=_last_time)
        rows = [
            (
                e.get("type", ""),
                e.get("reason", ""),
                _interval(e, now),
                _source(e),
                _message(e),
            )
            for e in ordered
        ]
        self.table(
            2,
            ("Type", "Reason", "Age", "From", "Message"),
            rows,
            ruler=("----", "------", "----", "----", "-------"),
        )


def _last_time(event: Tree) -> datetime:
    text = (
        (event.get("series") or {}).get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
    )
    return parse_time(text) if text else datetime.min.replace(tzinfo=UTC)


def _message(event: Tree) -> str:
    """Return what happened, and to which part of the object."""
    part = (event.get("involvedObject") or {}).get("fieldPath", "")
    message = str(event.get("message", "")).strip()
    return f"{part}: {message}" if part else message


def _interval(event: Tree, now: datetime) -> str:
    first = event.get("firstTimestamp") or event.get("eventTime")
    since_first = age(first, now)
    if series := event.get("series"):
        return f"{age(series.get('lastObservedTime'), now)} (x{series.get('count', 0)} over {since_first})"
    if (event.get("count") or 0) > 1:
        return f"{age(event.get('lastTimestamp'), now)} (x{event['count']} over {since_first})"
    return since_first


def _source(event: Tree) -> str:
    return str((event.get("source") or {}).get("component") or event.get("reportingComponent") or "")


def age(text: str | None, now: datetime) -> str:
    """Return how long ago a time was."""
    return human_duration(now - parse_time(text)) if text else "<unknown>"


def date(text: str | None, *, absent: str = "<unset>") -> str:
    """Return a time as descriptions show it, in the local time zone."""
    if not text:
        return absent
    return parse_time(text).astimezone().strftime("%a, %d %b %Y %H:%M:%S %z")


def selector_text(labels: Mapping[str, str] | None) -> str:
    """Return a selector of equalities, ``<none>`` if there is none."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


def controller_of(tree: Tree) -> str:
    """Return ``Kind/name`` of the owner that controls an object, empty if none does."""
    for owner in tree["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return f"{owner['kind']}/{owner['name']}"
    return ""


def present(tree: Tree, *names: str) -> Iterator[tuple[str, Any]]:
    """Yield the fields of some names that are there and not empty."""
    for name in names:
        if tree.get(name):
            yield name, tree[name]
