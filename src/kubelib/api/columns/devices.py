"""Printed columns of claims and slices of devices."""

from datetime import datetime

from kubelib.api.columns.cells import AGE, NAME, at, field
from kubelib.api.scheme import Column, Tree


def _state(tree: Tree, now: datetime) -> str:
    deleted = at(tree, "metadata", "deletionTimestamp") is not None
    states = ["deleted"] if deleted else []
    if at(tree, "status", "allocation") is not None:
        states.append("allocated")
        if at(tree, "status", "reservedFor"):
            states.append("reserved")
    elif not deleted:
        states.append("pending")
    return ",".join(states)


DEVICE_CLASS = (NAME, AGE)
RESOURCE_CLAIM_TEMPLATE = (NAME, AGE)
RESOURCE_CLAIM = (NAME, Column("State", _state), AGE)
RESOURCE_SLICE = (
    NAME,
    Column("Node", field("spec", "nodeName")),
    Column("Driver", field("spec", "driver")),
    Column("Pool", field("spec", "pool", "name")),
    AGE,
)
