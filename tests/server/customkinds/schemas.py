"""Schemas of custom kinds that tests define."""

from tests.server.definitions import Tree

COLORED: Tree = {
    "type": "object",
    "required": ["color"],
    "properties": {
        "color": {"type": "string", "enum": ["red", "green"], "description": "The colour."},
        "replicas": {"type": "integer", "default": 3, "minimum": 0, "maximum": 10},
        "nothing": {"type": "string", "nullable": True},
        "nested": {"type": "object", "default": {}, "properties": {"deep": {"type": "boolean", "default": True}}},
    },
}  # fmt: skip
