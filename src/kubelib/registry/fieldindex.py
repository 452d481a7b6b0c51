"""An index of the fields by which objects are selected: a kubelet's list of its Pods looks at no others.

Only fields that some selector has named are indexed, from then on. Nothing is decoded for a selector that comes again, and for a
change only if there is such a field.
"""

from collections.abc import Mapping
from sys import intern

from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.labels import FieldSelector
from kubelib.registry.fields import FieldReader


class FieldIndex:
    """The values of some fields of all objects of a resource, and the objects by these values."""

    def __init__(self, reader: FieldReader, documents: Mapping[Key, Document]) -> None:
        self._read = reader.read
        self._documents = documents
        self._places: dict[str, int] = {}
        """The fields, and where their values are among those of an object."""
        self._values: dict[Key, tuple[str, ...]] = {}
        self._having: list[dict[str, dict[Key, None]]] = []

    def cover(self, selector: FieldSelector) -> None:
        """See to it that all fields that a selector names are in the index. Costs a look at every object if one is not."""
        lacking = dict.fromkeys(r.field for r in selector.requirements if r.field not in self._places)
        if not lacking:
            return
        for field in lacking:
            self._places[field] = len(self._places)
        self._values.clear()
        self._having = [{} for _ in self._places]
        for key, document in self._documents.items():
            self.put(key, document)

    def put(self, key: Key, document: Document) -> None:
        """Add an object, or look at it again."""
        read = self._read(document)
        values = tuple([intern(read.get(field, "")) for field in self._places])
        before = self._values.get(key)
        if before == values:
            return
        if before is not None:
            self.drop(key)
        self._values[key] = values
        for having, value in zip(self._having, values, strict=True):
            having.setdefault(value, {})[key] = None

    def drop(self, key: Key) -> None:
        """Take an object out."""
        for having, value in zip(self._having, self._values.pop(key), strict=True):
            keys = having[value]
            del keys[key]
            if not keys:
                del having[value]

    def fewest(self, selector: FieldSelector) -> Mapping[Key, None] | None:
        """Return the objects among which are all that match; None if that may be any. The selector must be covered."""
        found: list[Mapping[Key, None]] = [
            self._having[self._places[r.field]].get(r.value, {})
            for r in selector.requirements
            if not r.negated
        ]
        return min(found, key=len) if found else None

    def matches(self, key: Key, selector: FieldSelector) -> bool:
        """Return whether an object matches a selector that is covered."""
        values, places = self._values[key], self._places
        return all((values[places[r.field]] == r.value) is not r.negated for r in selector.requirements)
