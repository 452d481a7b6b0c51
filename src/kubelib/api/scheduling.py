"""Priority classes."""

from typing import ClassVar

from kubelib.api.meta import Object


class PriorityClass(Object):
    """A name for a priority of Pods."""

    api_version: ClassVar[str] = "scheduling.k8s.io/v1"
    kind: ClassVar[str] = "PriorityClass"
    __proto__: ClassVar[str] = "2-5"
    __always__: ClassVar[str] = "value"

    value: int = 0
    global_default: bool = False
    description: str = ""
    preemption_policy: str = ""
