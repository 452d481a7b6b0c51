"""The parts that columns are made of: what is at a path, ages, labels, lists that stop after a few items."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from kubelib.api.scheme import Column, Tree
from kubelib.api.times import human_duration, parse_time

Cell = Callable[[Tree, datetime], Any]

NONE = "<none>"


def at(tree: Any, *path: str | int) -> Any:
    """Return what is at a path in a tree, or None."""
    for step in path:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def field(*path: str | int, default: Any = "") -> Cell:
    """Return a cell that shows what is at a path."""

    def cell(tree: Tree, now: datetime) -> Any:
        found = at(tree, *path)
        return default if found is None else found

    return cell


def age_of(text: Any, now: datetime) -> str:
    """Return how long ago a time stamp was."""
    if not text:
        return "<unknown>"
    try:
        return human_duration(now - parse_time(text))
    except ValueError:
        return "<unknown>"


def _age(tree: Tree, now: datetime) -> str:
    return age_of(at(tree, "metadata", "creationTimestamp"), now)


NAME = Column("Name", field("metadata", "name"), format="name")
PLAIN_NAME = Column("Name", field("metadata", "name"))
"""The name where Kubernetes does not say that it is one: kubectl writes no kind before it."""
AGE = Column("Age", _age)


def labels_text(labels: Mapping[str, str] | None) -> str:
    """Return labels, or a selector of equalities, as ``a=b,c=d``."""
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def containers(path: Sequence[str], part: str) -> Cell:
    """Return a cell that shows one part of every container of the Pod spec at a path."""

    def cell(tree: Tree, now: datetime) -> str:
        return ",".join(str(c.get(part, "")) for c in at(tree, *path, "containers") or ())

    return cell


def selector_cell(tree: Tree, now: datetime) -> str:
    """Show a selector of equalities."""
    return labels_text(at(tree, "spec", "selector"))


def go_selector_text(selector: Tree) -> str:
    """Return a label selector in the form of Go's types, in which Kubernetes shows it here and there."""
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{one.get('key', '')},Operator:{one.get('operator', '')},"
        f"Values:[{' '.join(one.get('values') or ())}],}},"
        for one in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


def label_selector_text(selector: Any) -> str:
    """Return a ``metav1.LabelSelector`` as text."""
    if selector is None:
        return NONE
    parts = [(k, f"{k}={v}") for k, v in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression.get("key", ""), expression.get("operator")
        values = ",".join(sorted(expression.get("values") or ()))
        text = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }.get(operator, key)
        parts.append((key, text))
    return ",".join(text for _, text in sorted(parts, key=lambda part: part[0])) or NONE


def label_selector_cell(tree: Tree, now: datetime) -> str:
    """Show a ``metav1.LabelSelector``."""
    return label_selector_text(at(tree, "spec", "selector"))


def condition(tree: Tree, kind: str) -> Mapping[str, Any]:
    """Return the condition of a type, empty if there is none."""
    return next((c for c in at(tree, "status", "conditions") or () if c.get("type") == kind), {})


def count(*path: str) -> Cell:
    """Return a cell that shows the number at a path, 0 if there is none."""
    return lambda tree, now: at(tree, *path) or 0


def some_of(items: Sequence[str], *, total: int | None = None, empty: str = NONE) -> str:
    """Return the first three of `items`, and how many more of `total` there are."""
    total = len(items) if total is None else total
    if not items:
        return empty
    return ",".join(items[:3]) + (f" + {total - 3} more..." if total > 3 else "")


def template(*path: str) -> tuple[Column, Column]:
    """Return the columns of the containers and images of the Pod spec at a path, shown wide."""
    return (
        Column("Containers", containers(path, "name"), wide=True),
        Column("Images", containers(path, "image"), wide=True),
    )


DEFAULT = (NAME, AGE)
"""What kinds without columns of their own show."""
