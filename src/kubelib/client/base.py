"""How objects are asked for: one door to all kinds, in process, over HTTP or through a wrapper that misbehaves."""

from typing import Protocol, TypeVar

from kubelib.api.meta import Object
from kubelib.registry.base import Registry

R = TypeVar("R", bound=Object)


class Client(Protocol):
    """The API, as its users see it. ``client.resource(Pod).get(key)`` reads the same near and far."""

    def resource(self, kind: type[R], /) -> Registry[R]:
        """Return the registry of a kind. Raises `kubelib.api.scheme.UnknownKind`."""
        ...
