"""References to other objects, and selectors of nodes and topologies."""

from typing import ClassVar

from kubelib.api.model import Model


class LocalObjectReference(Model):
    """A local object reference."""

    __proto__: ClassVar[str] = "1"

    name: str = ""


class ObjectReference(Model):
    """An object reference."""

    __proto__: ClassVar[str] = "1-7"

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class TypedLocalObjectReference(Model):
    """A typed local object reference."""

    __proto__: ClassVar[str] = "1-3"

    api_group: str = ""
    kind: str = ""
    name: str = ""


class TypedObjectReference(Model):
    """A typed object reference."""

    __proto__: ClassVar[str] = "1-4"

    api_group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""


class SecretReference(Model):
    """A secret reference."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    namespace: str = ""


class TopologySelectorLabelRequirement(Model):
    """A topology selector label requirement."""

    __proto__: ClassVar[str] = "1-2"

    key: str = ""
    values: tuple[str, ...] = ()


class TopologySelectorTerm(Model):
    """A topology selector term."""

    __proto__: ClassVar[str] = "1"

    match_label_expressions: tuple[TopologySelectorLabelRequirement, ...] = ()


class NodeSelectorRequirement(Model):
    """A node selector requirement."""

    __proto__: ClassVar[str] = "1-3"

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class NodeSelectorTerm(Model):
    """A node selector term."""

    __proto__: ClassVar[str] = "1-2"

    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class NodeSelector(Model):
    """A node selector."""

    __proto__: ClassVar[str] = "1"

    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()
