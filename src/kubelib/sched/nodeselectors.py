"""Which nodes a node selector matches: what policies judge by, and what says where devices can be used."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from kubelib.api.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kubelib.sched.arrays import BoolColumn, Rows
from kubelib.sched.columns import CodedColumn

_WHOLE = re.compile("[+-]?[0-9]+")


class NodeLabels(Protocol):
    """Names and labels of nodes by row: a `kubelib.sched.nodes.NodeTable` has them."""

    @property
    def size(self) -> int:
        """How many rows there are."""
        ...

    @property
    def rows(self) -> Mapping[str, int]:
        """The rows by name."""
        ...

    def label(self, key: str) -> CodedColumn[str | None]:
        """Return the values of a label; None where a node does not have it."""
        ...


def named(names: Sequence[str], nodes: NodeLabels, rows: Rows) -> BoolColumn:
    """Return which nodes have one of the names."""
    found = np.zeros(nodes.size, bool)
    for name in names:
        row = nodes.rows.get(name)
        if row is not None:
            found[row] = True
    return found[rows]


def _meets(requirement: NodeSelectorRequirement, nodes: NodeLabels, rows: Rows) -> BoolColumn | bool:
    values, column = requirement.values, nodes.label(requirement.key)
    match requirement.operator:
        case "In":
            return column.among(values, rows)
        case "NotIn":
            return ~column.among(values, rows)
        case "Exists":
            return ~column.among((None,), rows)
        case "DoesNotExist":
            return column.among((None,), rows)
        case "Gt" | "Lt":
            bound = _whole(values[0]) if len(values) == 1 else None
            if bound is None:
                return False
            above = requirement.operator == "Gt"

            def compare(value: str | None) -> bool:
                number = _whole(value)
                return number is not None and (number > bound if above else number < bound)

            return column.judge(compare, rows)
    return False


def _whole(text: str | None) -> int | None:
    # Python would also take 1_000 and digits of other scripts.
    return int(text) if text and _WHOLE.fullmatch(text) else None


def term_matches(term: NodeSelectorTerm, nodes: NodeLabels, rows: Rows) -> BoolColumn | bool:
    """Return which nodes a node selector term matches; an empty one matches none."""
    if not term.match_expressions and not term.match_fields:
        return False
    result: BoolColumn | bool = True
    for requirement in term.match_expressions:
        result = _meets(requirement, nodes, rows) & result
    for requirement in term.match_fields:
        those = named(requirement.values, nodes, rows)
        result = (~those if requirement.operator == "NotIn" else those) & result
    return result


def selector_matches(selector: NodeSelector, nodes: NodeLabels, rows: Rows) -> BoolColumn | bool:
    """Return which nodes one of the terms of a node selector matches."""
    result: BoolColumn | bool = False
    for term in selector.node_selector_terms:
        result = term_matches(term, nodes, rows) | result
    return result
