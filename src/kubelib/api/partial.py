"""The metadata of an object without the rest of it, as clients ask for it that need no more."""

from typing import ClassVar

from kubelib.api.meta import Object


class PartialObjectMetadata(Object):
    """The metadata of an object of any kind."""

    api_version: ClassVar[str] = "meta.k8s.io/v1"
    kind: ClassVar[str] = "PartialObjectMetadata"
