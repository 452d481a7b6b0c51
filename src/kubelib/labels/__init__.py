"""Labels and selectors: pure values with Kubernetes' grammar, printing and errors, and indexes over them."""

from kubelib.labels.fields import EVERY_FIELD, FieldRequirement, FieldSelector, parse_field_selector
from kubelib.labels.index import LabelIndex, SelectorIndex
from kubelib.labels.parse import SelectorError, parse_selector
from kubelib.labels.selector import (
    EVERYTHING,
    NOTHING,
    Requirement,
    Selector,
    selector_from_label_selector,
    selector_from_match_labels,
)

__all__ = [
    "EVERYTHING",
    "EVERY_FIELD",
    "NOTHING",
    "FieldRequirement",
    "FieldSelector",
    "LabelIndex",
    "Requirement",
    "Selector",
    "SelectorError",
    "SelectorIndex",
    "parse_field_selector",
    "parse_selector",
    "selector_from_label_selector",
    "selector_from_match_labels",
]
