"""Two indexes, so that neither a list nor an event scans: selector → objects, and labels → interested selectors."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

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

    def select(self, selector: Selector) -> Iterable[K]:
        """Return the keys of the objects that match, in no promised order."""
        if selector.everything:
            return list(self._labels)
        if selector.nothing:
            return []
        rarest = min(selector.requirements, key=self._size)
        found = self._meeting(rarest)
        if len(selector.requirements) == 1:
            return [key for keys in found for key in keys]
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


class SelectorIndex(Generic[K]):
    """Selectors by whom they belong to, found by the labels that they match: equal ones are evaluated once."""

    def __init__(self) -> None:
        self._selectors: dict[K, Selector] = {}
        self._by_pair: dict[tuple[str, str], dict[Selector, Keys[K]]] = {}
        self._rest: dict[Selector, Keys[K]] = {}

    def __len__(self) -> int:
        return len(self._selectors)

    def __iter__(self) -> Iterator[K]:
        return iter(tuple(self._selectors))

    def add(self, owner: K, selector: Selector) -> None:
        """Register the selector of `owner`, who must not have one yet."""
        if owner in self._selectors:
            raise ValueError(f"{owner} has a selector already")
        self._selectors[owner] = selector
        for group in self._groups(selector):
            group.setdefault(selector, {})[owner] = None

    def discard(self, owner: K) -> None:
        """Forget the selector of `owner`, if there is one."""
        selector = self._selectors.pop(owner, None)
        if selector is None:
            return
        for group in self._groups(selector):
            del group[selector][owner]
            if not group[selector]:
                del group[selector]
        for pair in _anchor(selector):
            if not self._by_pair[pair]:
                del self._by_pair[pair]

    def _groups(self, selector: Selector) -> list[dict[Selector, Keys[K]]]:
        anchor = _anchor(selector)
        return [self._by_pair.setdefault(pair, {}) for pair in anchor] if anchor else [self._rest]

    def matching(self, labels: Labels) -> Iterator[K]:
        """Yield the owners whose selector matches `labels`, each once."""
        for pair in labels.items():
            for selector, owners in self._by_pair.get(pair, {}).items():
                if selector.matches(labels):
                    yield from owners
        for selector, owners in self._rest.items():
            if selector.matches(labels):
                yield from owners


def _anchor(selector: Selector) -> list[tuple[str, str]]:
    """Return the pairs one of which labels must contain to match; empty if there is no such requirement."""
    if selector.nothing:
        return []
    anchors = [r for r in selector.requirements if r.operator in ("=", "==", "in") and r.values]
    if not anchors:
        return []
    best = min(anchors, key=lambda r: len(r.values))
    return [(best.key, value) for value in best.values]
