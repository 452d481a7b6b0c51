"""References to other objects, and selectors of nodes and topologies."""

from typing import ClassVar

from kubelib.api.model import Model


class LocalObjectReference(Model):
    """An object in the same namespace, by name."""

    __proto__: ClassVar[str] = "1"
    __atomic__: ClassVar[bool] = True

    name: str = ""


class ObjectReference(Model):
    """An object, or a part of one."""

    __proto__: ClassVar[str] = "1-7"
    __atomic__: ClassVar[bool] = True

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class TypedLocalObjectReference(Model):
    """An object of any kind in the same namespace."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "kind name"
    __atomic__: ClassVar[bool] = True

    api_group: str = ""
    kind: str = ""
    name: str = ""


class TypedObjectReference(Model):
    """An object of any kind."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "kind name"

    api_group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""


class SecretReference(Model):
    """A Secret in any namespace."""

    __proto__: ClassVar[str] = "1-2"
    __atomic__: ClassVar[bool] = True

    name: str = ""
    namespace: str = ""


class TopologySelectorLabelRequirement(Model):
    """A label and the values that it may have."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "key values"

    key: str = ""
    values: tuple[str, ...] = ()


class TopologySelectorTerm(Model):
    """Conditions on the labels of a topology; all must hold."""

    __proto__: ClassVar[str] = "1"
    __atomic__: ClassVar[bool] = True

    match_label_expressions: tuple[TopologySelectorLabelRequirement, ...] = ()


class NodeSelectorRequirement(Model):
    """One condition on a label or field of a node."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "key operator"

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class NodeSelectorTerm(Model):
    """Conditions on one node; all must hold."""

    __proto__: ClassVar[str] = "1-2"
    __atomic__: ClassVar[bool] = True

    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class NodeSelector(Model):
    """Selects nodes; one of the terms must hold."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "nodeSelectorTerms"
    __atomic__: ClassVar[bool] = True

    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()
