"""Configuration, secrets and identities for Pods."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.references import LocalObjectReference, ObjectReference
from kubelib.api.merging import BY_NAME, Merging
from kubelib.api.meta import Base64, Object


class ConfigMap(Object):
    """Configuration for Pods to read."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "ConfigMap"
    __proto__: ClassVar[str] = "2-4"

    data: Mapping[str, str] = {}
    binary_data: Mapping[str, Base64] = {}
    immutable: bool | None = None


class Secret(Object):
    """Sensitive configuration; values are base64."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "Secret"
    __proto__: ClassVar[str] = "2-5"

    data: Mapping[str, Base64] = {}
    type: str = ""
    string_data: Mapping[str, str] = {}
    immutable: bool | None = None


class ServiceAccount(Object):
    """An identity for the processes in a Pod."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "ServiceAccount"
    __proto__: ClassVar[str] = "2-4"
    __merge__: ClassVar[Merging] = {"secrets": BY_NAME}

    secrets: tuple[ObjectReference, ...] = ()
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    automount_service_account_token: bool | None = None
