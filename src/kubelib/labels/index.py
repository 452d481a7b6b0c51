"""Two indexes, so that neither a list nor an event scans: selector → objects, and labels → interested selectors."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from kubelib.labels.selector import Labels, Requirement, Selector

K = TypeVar("K", bound=Hashable)
E = TypeVar("E", bound=Hashable)


class LabelIndex(Generic[K]):
    """The keys of labelled objects, found by selector. Cost: the rarest positive requirement of the selector."""

    def __init__(self) -> None:
        self._labels: dict[K, Labels] = {}
        self._pairs: dict[tuple[str, str], dict[K, None]] = {}
        self._having: dict[str, dict[K, None]] = {}

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
        for pair in labels.items():
            self._pairs.setdefault(pair, {})[key] = None
            self._having.setdefault(pair[0], {})[key] = None

    def remove(self, key: K) -> None:
        """Take an object out; one that is not there is no error."""
        old = self._labels.pop(key, None)
        if old is not None:
            self._drop(key, old)

    def _drop(self, key: K, labels: Labels) -> None:
        for pair in labels.items():
            _discard(self._pairs, pair, key)
            _discard(self._having, pair[0], key)

    def select(self, selector: Selector) -> Iterable[K]:
        """Return the keys of the objects that match, in no promised order."""
        if selector.everything:
            return list(self._labels)
        if selector.nothing:
            return []
        best: list[Mapping[K, None]] | None = None
        cost = len(self._labels) + 1
        for requirement in selector.requirements:
            candidates = self._candidates(requirement)
            if candidates is not None:
                size = sum(map(len, candidates))
                if size < cost:
                    best, cost = candidates, size
        labels, matches = self._labels, selector.matches
        if best is None:
            return [key for key, of in labels.items() if matches(of)]
        if len(selector.requirements) == 1:
            return [key for keys in best for key in keys]
        return [key for keys in best for key in keys if matches(labels[key])]

    def _candidates(self, requirement: Requirement) -> list[Mapping[K, None]] | None:
        match requirement.operator:
            case "=" | "==" | "in":
                found = (self._pairs.get((requirement.key, value)) for value in requirement.values)
                return [keys for keys in found if keys]
            case "exists":
                return [keys] if (keys := self._having.get(requirement.key)) else []
        return None


def _discard(table: dict[E, dict[K, None]], entry: E, key: K) -> None:
    keys = table[entry]
    del keys[key]
    if not keys:
        del table[entry]


class SelectorIndex(Generic[K]):
    """Selectors by whom they belong to, found by the labels that they match: without evaluating all of them."""

    def __init__(self) -> None:
        self._selectors: dict[K, Selector] = {}
        self._by_pair: dict[tuple[str, str], dict[K, None]] = {}
        self._rest: dict[K, None] = {}

    def __len__(self) -> int:
        return len(self._selectors)

    def add(self, owner: K, selector: Selector) -> None:
        """Register the selector of `owner`, who must not have one yet."""
        if owner in self._selectors:
            raise ValueError(f"{owner} has a selector already")
        self._selectors[owner] = selector
        for pair in _anchor(selector):
            self._by_pair.setdefault(pair, {})[owner] = None
        if not _anchor(selector):
            self._rest[owner] = None

    def discard(self, owner: K) -> None:
        """Forget the selector of `owner`, if there is one."""
        selector = self._selectors.pop(owner, None)
        if selector is None:
            return
        self._rest.pop(owner, None)
        for pair in _anchor(selector):
            owners = self._by_pair[pair]
            owners.pop(owner, None)
            if not owners:
                del self._by_pair[pair]

    def matching(self, labels: Labels) -> Iterator[K]:
        """Yield the owners whose selector matches `labels`, each once."""
        selectors = self._selectors
        for pair in labels.items():
            for owner in self._by_pair.get(pair, ()):
                if selectors[owner].matches(labels):
                    yield owner
        for owner in self._rest:
            if selectors[owner].matches(labels):
                yield owner


def _anchor(selector: Selector) -> list[tuple[str, str]]:
    """Return the pairs one of which labels must contain to match; empty if there is no such requirement."""
    if selector.nothing:
        return []
    anchors = [r for r in selector.requirements if r.operator in ("=", "==", "in") and r.values]
    if not anchors:
        return []
    best = min(anchors, key=lambda r: len(r.values))
    return [(best.key, value) for value in best.values]
