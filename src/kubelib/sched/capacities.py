"""How much storage there is left for whom: what drivers that keep count of it say in CSIStorageCapacities."""

from collections.abc import Sequence

from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Key
from kubelib.api.quantity import parse_quantity
from kubelib.api.storage import CSIDriver, CSIStorageCapacity, StorageClass


class Capacities:
    """What is known of room for volumes that are still to be made."""

    def __init__(self) -> None:
        self._counting: set[str] = set()
        self._by_class: dict[str, dict[Key, CSIStorageCapacity]] = {}
        self._class_of: dict[Key, str] = {}

    def put_driver(self, name: str, driver: CSIDriver | None) -> bool:
        """Learn whether a driver says how much storage there is; return whether that may help a Pod."""
        counts = driver is not None and driver.spec.storage_capacity is True
        counted = name in self._counting
        if counts:
            self._counting.add(name)
        else:
            self._counting.discard(name)
        return counted and not counts

    def put(self, key: Key, capacity: CSIStorageCapacity | None) -> bool:
        """Learn how much storage there is for some nodes; return whether that may help a Pod."""
        old = None
        before = self._class_of.pop(key, None)
        if before is not None:
            old = self._by_class[before].pop(key)
        if capacity is not None:
            self._class_of[key] = capacity.storage_class_name
            self._by_class.setdefault(capacity.storage_class_name, {})[key] = capacity
        if capacity is None:
            return False
        return old is None or (_limit(old), old.node_topology) != (_limit(capacity), capacity.node_topology)

    def offers(self, storage_class: StorageClass, size: int) -> Sequence[tuple[LabelSelector, int]] | None:
        """Return which nodes can reach enough storage for a volume of so many bytes, and how much there is there in all.

        None if nobody keeps count of it.
        """
        if storage_class.provisioner not in self._counting:
            return None
        return [
            (capacity.node_topology, parse_quantity(capacity.capacity or "0").value())
            for capacity in self._by_class.get(storage_class.metadata.name, {}).values()
            if capacity.node_topology is not None and _limit(capacity) >= size
        ]


def _limit(capacity: CSIStorageCapacity) -> int:
    """Return how large a volume may be: what is left in all says less than that, and nothing said means none."""
    text = capacity.maximum_volume_size if capacity.maximum_volume_size is not None else capacity.capacity
    return parse_quantity(text).value() if text is not None else -1
