"""Environment variables of containers, and where their values come from."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.projections import ObjectFieldSelector, ResourceFieldSelector
from kubelib.api.core.references import LocalObjectReference
from kubelib.api.model import Model


class ConfigMapKeySelector(LocalObjectReference):
    """One key of a ConfigMap."""

    __proto__: ClassVar[str] = "2-3"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}
    __required__: ClassVar[str] = "key"
    __atomic__: ClassVar[bool] = True

    key: str = ""
    optional: bool | None = None


class SecretKeySelector(LocalObjectReference):
    """One key of a Secret."""

    __proto__: ClassVar[str] = "2-3"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}
    __required__: ClassVar[str] = "key"
    __atomic__: ClassVar[bool] = True

    key: str = ""
    optional: bool | None = None


class FileKeySelector(Model):
    """One variable of a file in a volume."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "volumeName path key"
    __atomic__: ClassVar[bool] = True

    volume_name: str = ""
    path: str = ""
    key: str = ""
    optional: bool | None = None


class EnvVarSource(Model):
    """Where the value of a variable comes from; exactly one is set."""

    __proto__: ClassVar[str] = "1-5"

    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    config_map_key_ref: ConfigMapKeySelector | None = None
    secret_key_ref: SecretKeySelector | None = None
    file_key_ref: FileKeySelector | None = None


class EnvVar(Model):
    """An environment variable."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "name"

    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None


class ConfigMapEnvSource(LocalObjectReference):
    """All entries of a ConfigMap, as variables."""

    __proto__: ClassVar[str] = "2"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    optional: bool | None = None


class SecretEnvSource(LocalObjectReference):
    """All entries of a Secret, as variables."""

    __proto__: ClassVar[str] = "2"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    optional: bool | None = None


class EnvFromSource(Model):
    """A source of many variables at once."""

    __proto__: ClassVar[str] = "1-3"

    prefix: str = ""
    config_map_ref: ConfigMapEnvSource | None = None
    secret_ref: SecretEnvSource | None = None
