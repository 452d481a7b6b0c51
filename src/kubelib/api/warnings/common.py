"""What is told of parts that several kinds have."""

from collections.abc import Iterator
from typing import Any

from kubelib.api.quantity import canonical, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import quote

_NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}
VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SHOWN = {"storageos": "storageOS"}


def at(tree: Any, path: str) -> Any:
    """Return what is at a path, None where there is nothing."""
    for step in path.split("."):
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree


def label_message(label: str) -> str:
    """Return what is told of a label of nodes, empty if it is a good one."""
    return _NODE_LABELS.get(label, "")


def of_volume(source: Tree, path: str) -> Iterator[str]:
    """Tell of kinds of volumes that are not made any more."""
    for plugin, message in VOLUMES.items() if not VOLUMES.keys().isdisjoint(source) else ():
        if source.get(plugin) is not None:
            yield f"{path}.{_SHOWN.get(plugin, plugin)}: {message}"


def of_term(term: Tree, path: str, *, values: bool = False) -> Iterator[str]:
    """Tell of the expressions by which nodes are chosen, and of their values too where asked to."""
    for number, expression in enumerate(term.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{number}]"
        if message := label_message(key := expression.get("key") or ""):
            yield f"{here}.key: {key} is {message}"
        for which, value in enumerate(expression.get("values") or () if values else ()):
            for message in texts.label_value(value):
                yield f"{here}.values[{which}]: {value} is invalid, {message}"


def fractions(amounts: Tree | None, path: str, *resources: str) -> Iterator[str]:
    """Tell of amounts of bytes that are no whole numbers."""
    for resource in resources if amounts else ():
        text = amounts.get(resource)  # type: ignore[union-attr]
        if text is not None and parse_quantity(str(text)).nano % 10**9:
            shown = quote(canonical(str(text)))
            yield f"{path}[{resource}]: fractional byte value {shown} is invalid, must be an integer"


def of_claim(spec: Tree | None, path: str) -> Iterator[str]:
    """Tell of what a claim asks for."""
    resources = (spec or {}).get("resources") or {}
    for part in ("requests", "limits"):
        yield from fractions(resources.get(part), f"{path}.resources.{part}", "storage")
