"""Role-based access control."""

from typing import ClassVar

import msgspec

from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Object
from kubelib.api.model import Model


class PolicyRule(Model):
    """Verbs on resources that are allowed."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "verbs"

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_ur_ls: tuple[str, ...] = msgspec.field(default=(), name="nonResourceURLs")


class Role(Object):
    """Permissions within a namespace."""

    api_version: ClassVar[str] = "rbac.authorization.k8s.io/v1"
    kind: ClassVar[str] = "Role"
    __proto__: ClassVar[str] = "2"

    rules: tuple[PolicyRule, ...] = ()


class AggregationRule(Model):
    """Cluster roles whose rules are gathered into one."""

    __proto__: ClassVar[str] = "1"

    cluster_role_selectors: tuple[LabelSelector, ...] = ()


class ClusterRole(Object):
    """Permissions in the whole cluster."""

    api_version: ClassVar[str] = "rbac.authorization.k8s.io/v1"
    kind: ClassVar[str] = "ClusterRole"
    __proto__: ClassVar[str] = "2-3"

    rules: tuple[PolicyRule, ...] = ()
    aggregation_rule: AggregationRule | None = None


class Subject(Model):
    """A user, a group or a service account."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "kind name"
    __atomic__: ClassVar[bool] = True

    kind: str = ""
    api_group: str = ""
    name: str = ""
    namespace: str = ""


class RoleRef(Model):
    """The role that a binding gives."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "kind name"
    __atomic__: ClassVar[bool] = True

    api_group: str = ""
    kind: str = ""
    name: str = ""


class RoleBinding(Object):
    """Gives the permissions of a role to subjects, in one namespace."""

    api_version: ClassVar[str] = "rbac.authorization.k8s.io/v1"
    kind: ClassVar[str] = "RoleBinding"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "roleRef"

    subjects: tuple[Subject, ...] = ()
    role_ref: RoleRef = RoleRef()


class ClusterRoleBinding(Object):
    """Gives the permissions of a cluster role to subjects, everywhere."""

    api_version: ClassVar[str] = "rbac.authorization.k8s.io/v1"
    kind: ClassVar[str] = "ClusterRoleBinding"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "roleRef"

    subjects: tuple[Subject, ...] = ()
    role_ref: RoleRef = RoleRef()
