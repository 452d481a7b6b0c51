"""The health of the control plane's components."""

from typing import ClassVar

from kubelib.api.merging import BY_TYPE, Merging
from kubelib.api.meta import Object
from kubelib.api.model import Model


class ComponentCondition(Model):
    """One aspect of a component's health: ``Healthy``."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "type status"

    type: str = ""
    status: str = ""
    message: str = ""
    error: str = ""


class ComponentStatus(Object):
    """Whether a component is well. Deprecated: components say so themselves at ``/readyz``."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "ComponentStatus"
    __proto__: ClassVar[str] = "2"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    conditions: tuple[ComponentCondition, ...] = ()
