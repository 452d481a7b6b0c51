"""Write what a reconciler has found into the status of its object."""

from typing import Any, TypeVar

from kubelib.api.errors import NotFound
from kubelib.api.meta import Object
from kubelib.api.model import replace
from kubelib.registry.base import Registry

R = TypeVar("R", bound=Object)


async def write_status(registry: Registry[R], obj: R, status: Any) -> None:
    """Write a status unless the object has it already, or is gone. Raises Conflict if the object has changed."""
    if status == getattr(obj, "status", None):
        return
    try:
        await registry.update(replace(obj, status=status), subresource="status")
    except NotFound:
        return
