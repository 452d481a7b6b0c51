"""Two indexes, so that neither a list nor an event scans: selector → objects, and labels → interested selectors."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Generic, TypeVar

from kubelib.labels.selector import Labels, Requirement, Selector

K = TypeVar("K", bound=Hashable)
Keys = dict[K, None]
"""An ordered set."""

_MOST_LACKING = 16
"""For how many labels the objects without them are remembered; a client that asks for ever more costs time, not memory."""


class LabelIndex(Generic[K]):
    """The keys of labelled objects, found by selector. Cost: what the requirement that fewest objects meet lets through."""

    def __init__(self) -> None:
        self._labels: dict[K, Labels] = {}
        self._values: dict[str, dict[str, Keys[K]]] = {}
        self._having: dict[str, Keys[K]] = {}
        self._lacking: dict[str, Keys[K]] = {}
        """The objects without a label: kept from the first time that somebody asks for them."""

    def __len__(self) -> int:
        return len(self._labels)

    def put(self, key: K, labels: Labels) -> None:
        """Add an object, or replace its labels. Unchanged labels, the usual case, cost a comparison."""
        old = self._labels.get(key)
        if old is not None:
            if old == labels:
                return
            self._drop(key, old)
        self._labels[key] = labels
        for name, value in labels.items():
            self._values.setdefault(name, {}).setdefault(value, {})[key] = None
            self._having.setdefault(name, {})[key] = None
        for name, keys in self._lacking.items():
            if name not in labels:
                keys[key] = None

    def remove(self, key: K) -> None:
        """Take an object out; one that is not there is no error."""
        old = self._labels.pop(key, None)
        if old is not None:
            self._drop(key, old)

    def _drop(self, key: K, labels: Labels) -> None:
        for name, value in labels.items():
            values, having = self._values[name], self._having[name]
            del values[value][key], having[key]
            if not values[value]:
                del values[value]
            if not having:
                del self._values[name], self._having[name]
        for name, keys in self._lacking.items():
            if name not in labels:
                del keys[key]

    def select(self, selector: Selector) -> list[K]:
        """Return the keys of the objects that match, in no promised order."""
        if selector.everything:
            return list(self._labels)
        if selector.nothing:
            return []
        rarest = min(selector.requirements, key=self._size)
        found = self._meeting(rarest)
        if len(selector.requirements) == 1:
            return list(chain.from_iterable(found))
        labels, matches = self._labels, selector.matches
        return [key for keys in found for key in keys if matches(labels[key])]

    def most(self, selector: Selector) -> int:
        """Return how many objects match at most."""
        if selector.nothing:
            return 0
        return min(map(self._size, selector.requirements), default=len(self._labels))

    def _size(self, requirement: Requirement) -> int:
        """Return how many objects meet a requirement; for comparisons of numbers, at most."""
        name = requirement.key
        match requirement.operator:
            case "=" | "==" | "in":
                return self._number_with(name, requirement.values)
            case "!=" | "notin":
                return len(self._labels) - self._number_with(name, requirement.values)
            case "!":
                return len(self._labels) - len(self._having.get(name, ()))
        return len(self._having.get(name, ()))

    def _number_with(self, name: str, values: Iterable[str]) -> int:
        known = self._values.get(name, {})
        return sum(len(known[value]) for value in values if value in known)

    def _meeting(self, requirement: Requirement) -> list[Mapping[K, None]]:
        """Return the objects that meet a requirement, in parts."""
        name, values = requirement.key, self._values.get(requirement.key, {})
        match requirement.operator:
            case "=" | "==" | "in":
                return [values[value] for value in requirement.values if value in values]
            case "exists":
                return [self._having.get(name, {})]
            case "!=" | "notin":
                others = [keys for value, keys in values.items() if value not in requirement.values]
                return [self._without(name), *others]
            case "!":
                return [self._without(name)]
        return [keys for value, keys in values.items() if requirement.matches({name: value})]

    def _without(self, name: str) -> Keys[K]:
        keys = self._lacking.get(name)
        if keys is None:
            if len(self._lacking) >= _MOST_LACKING:
                del self._lacking[next(iter(self._lacking))]
            keys = self._lacking[name] = {key: None for key, of in self._labels.items() if name not in of}
        return keys


Place = tuple[str, str] | str | Requirement
"""Where a selector is looked for: at a label with a value, at a label, or at a requirement that the label is not there or is another."""
Group = dict[Selector, Keys[K]]

_LABEL_ALONE = 8
"""How many selectors more are rather looked at with a label and its value than with the label alone: more objects have that."""


class SelectorIndex(Generic[K]):
    """Selectors by whom they belong to, found by the labels that they match: equal ones are evaluated once.

    Each is kept where few others are, at a label that objects must have for it; those that only say what objects must not have, where
    most others are that say the same. So the cost is that of those that match, and of few beside.
    """

    def __init__(self) -> None:
        self._selectors: dict[K, Selector] = {}
        self._owners: Group[K] = {}
        self._places: dict[Selector, tuple[Place, ...]] = {}
        self._at: dict[Place, Group[K]] = {}
        self._excluding: dict[Requirement, Group[K]] = {}
        self._uses: Counter[Requirement] = Counter()
        """How many selectors have a requirement, of those that have no others than such."""
        self._everybody: Keys[K] = {}

    def __len__(self) -> int:
        return len(self._selectors)

    def __iter__(self) -> Iterator[K]:
        return iter(tuple(self._selectors))

    def add(self, owner: K, selector: Selector) -> None:
        """Register the selector of `owner`, who must not have one yet."""
        if owner in self._selectors:
            raise ValueError(f"{owner} has a selector already")
        self._selectors[owner] = selector
        if selector.everything:
            self._everybody[owner] = None
            return
        owners = self._owners.get(selector)
        if owners is None:
            owners = self._owners[selector] = {}
            self._place(selector, owners)
        owners[owner] = None

    def discard(self, owner: K) -> None:
        """Forget the selector of `owner`, if there is one."""
        selector = self._selectors.pop(owner, None)
        if selector is None:
            return
        if selector.everything:
            del self._everybody[owner]
            return
        owners = self._owners[selector]
        del owners[owner]
        if not owners:
            del self._owners[selector]
            self._displace(selector)

    def _place(self, selector: Selector, owners: Keys[K]) -> None:
        places = self._places[selector] = self._choose(selector)
        for place in places:
            if isinstance(place, Requirement):
                self._uses.update(selector.requirements)
                self._excluding.setdefault(place, {})[selector] = owners
            else:
                self._at.setdefault(place, {})[selector] = owners

    def _displace(self, selector: Selector) -> None:
        for place in self._places.pop(selector):
            groups: dict[Any, Group[K]] = self._at
            if isinstance(place, Requirement):
                groups = self._excluding
                self._uses.subtract(selector.requirements)
                for requirement in selector.requirements:
                    if not self._uses[requirement]:
                        del self._uses[requirement]
            del groups[place][selector]
            if not groups[place]:
                del groups[place]

    def _choose(self, selector: Selector) -> tuple[Place, ...]:
        if selector.nothing:
            return ()
        choices = [_places_of(requirement) for requirement in selector.requirements if requirement.positive]
        if choices:
            return min(choices, key=self._crowd)
        return (max(selector.requirements, key=self._uses.__getitem__),)

    def _crowd(self, places: tuple[Place, ...]) -> int:
        """Return how many selectors are looked at in some places."""
        alone = sum(isinstance(place, str) for place in places)
        return sum(len(self._at.get(place, ())) + 1 for place in places) + alone * _LABEL_ALONE

    def matching(self, labels: Labels) -> Iterator[K]:
        """Yield the owners whose selector matches `labels`, each once."""
        at = self._at
        for pair in labels.items():
            for place in (pair, pair[0]):
                for selector, owners in at.get(place, {}).items():
                    if selector.matches(labels):
                        yield from owners
        for requirement, group in self._excluding.items():
            if requirement.matches(labels):
                for selector, owners in group.items():
                    if selector.matches(labels):
                        yield from owners
        yield from self._everybody


def _places_of(requirement: Requirement) -> tuple[Place, ...]:
    """Return the places of which objects must have one in order to meet a requirement."""
    if requirement.operator in ("=", "==", "in"):
        return tuple((requirement.key, value) for value in requirement.values)
    return (requirement.key,)
