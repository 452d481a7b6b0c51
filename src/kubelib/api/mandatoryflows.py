"""The flow schemas and priority levels that every cluster has, whose specifications nobody changes."""

from typing import Any

Tree = dict[str, Any]

EVERY_RESOURCE: Tree = {
    "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"],
}  # fmt: skip
EVERY_PATH: Tree = {"verbs": ["*"], "nonResourceURLs": ["*"]}


def everything(subjects: list[Tree]) -> Tree:
    """Return a rule for all that some do."""
    return {"subjects": subjects, "resourceRules": [EVERY_RESOURCE], "nonResourceRules": [EVERY_PATH]}


def groups(*names: str) -> list[Tree]:
    """Return groups as subjects."""
    return [{"kind": "Group", "group": {"name": name}} for name in names]


FLOW_SCHEMAS: dict[str, Tree] = {
    "exempt": {
        "priorityLevelConfiguration": {"name": "exempt"},
        "matchingPrecedence": 1,
        "rules": [everything(groups("system:masters"))],
    },
    "catch-all": {
        "priorityLevelConfiguration": {"name": "catch-all"},
        "matchingPrecedence": 10000,
        "rules": [everything(groups("system:unauthenticated", "system:authenticated"))],
        "distinguisherMethod": {"type": "ByUser"},
    },
}
PRIORITY_LEVELS: dict[str, Tree] = {
    "exempt": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    "catch-all": {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
    },
}


def fixed(kind: str, name: str, spec: Tree) -> Tree | None:
    """Return what the specification of an object must be; None if that is left to its owner.

    How much the exempt level lends, and what its share is, may be changed.
    """
    wanted = (FLOW_SCHEMAS if kind == "FlowSchema" else PRIORITY_LEVELS).get(name)
    if wanted is None or kind == "FlowSchema" or name != "exempt":
        return wanted
    return {**wanted, **({"exempt": spec["exempt"]} if isinstance(spec.get("exempt"), dict) else {})}
