"""Keys in their order, sorted when somebody asks: most changes neither add nor remove an object."""

from collections.abc import Collection, Container, Iterable

from kubelib.api.meta import Key

FORGET_AFTER = 1024
"""Changes beyond the number of keys after which an order that nobody asks for costs more to keep than to make anew."""
FEW = 8
"""If one in so many keys or less is wanted, sorting those is quicker than going through all."""


class KeyOrder:
    """The keys of some objects in the order of lists."""

    __slots__ = ("_added", "_dropped", "_keys")

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = sorted(keys)
        self._added: list[Key] = []
        self._dropped = False

    def add(self, key: Key) -> None:
        """Note an object that was not there."""
        self._added.append(key)

    @property
    def outgrown(self) -> bool:
        """Whether so much was noted since somebody asked that it is better made anew."""
        return len(self._added) > len(self._keys) + FORGET_AFTER

    def drop(self) -> None:
        """Note that some object is there no more."""
        self._dropped = True

    def keys(self, present: Container[Key]) -> list[Key]:
        """Return the keys of those that are present, which must be the noted ones. The list is not the caller's own."""
        if self._dropped:
            # One that has gone and come again is in both lists.
            self._keys = [key for key in dict.fromkeys([*self._keys, *self._added]) if key in present]
            self._keys.sort()
        elif self._added:
            self._keys += self._added
            self._keys.sort()
        self._added.clear()
        self._dropped = False
        return self._keys

    def of(self, wanted: Collection[Key], present: Container[Key]) -> list[Key]:
        """Return those of the wanted keys that are present, in order."""
        if len(wanted) * FEW < len(self._keys):
            return sorted([key for key in wanted if key in present])
        return list(filter(set(wanted).__contains__, self.keys(present)))
