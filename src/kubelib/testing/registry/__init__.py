"""The definition of a client and its registries: inherit `RegistrySuite`, give the fixture `backing`, every test must pass."""

from kubelib.testing.registry.changes import ChangePromises
from kubelib.testing.registry.deletion import DeletionPromises
from kubelib.testing.registry.lists import ListPromises
from kubelib.testing.registry.objects import ObjectPromises
from kubelib.testing.registry.shared import (
    HERE,
    KEY,
    NAMESPACE,
    Backing,
    backing_of,
    config_map,
    labelled,
    take,
)
from kubelib.testing.registry.watches import WatchPromises


class RegistrySuite(ObjectPromises, ChangePromises, ListPromises, DeletionPromises, WatchPromises):
    """Subclass it and override the fixture `backing`: a client of an API that has the namespace ``default`` and nothing else."""


__all__ = [
    "HERE",
    "KEY",
    "NAMESPACE",
    "Backing",
    "RegistrySuite",
    "backing_of",
    "config_map",
    "labelled",
    "take",
]
