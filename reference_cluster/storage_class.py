"""The storage class `standard`: directories in the data directory, for claims that name no class."""

from contextlib import suppress

from kubelib.api.errors import AlreadyExists
from kubelib.api.meta import ObjectMeta
from kubelib.api.storage import StorageClass
from kubelib.client import LocalClient
from kubelib.controllers.provisioning import DIRECTORY
from kubelib.registry.registries import ResourceRegistries

NAME = "standard"


async def ensure_storage_class(registries: ResourceRegistries) -> None:
    """Make the class, if there is none of this name."""
    wanted = StorageClass(
        metadata=ObjectMeta(name=NAME, annotations={"storageclass.kubernetes.io/is-default-class": "true"}),
        provisioner=DIRECTORY,
        reclaim_policy="Delete",
        volume_binding_mode="Immediate",
        allow_volume_expansion=True,
    )
    with suppress(AlreadyExists):
        await LocalClient(registries, manager="kubelib").resource(StorageClass).create(wanted)
