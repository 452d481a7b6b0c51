"""Completion indexes as text: ``0,2-4,7``."""

import functools
from collections.abc import Iterable

Indexes = frozenset[int]


@functools.lru_cache(maxsize=256)
def parse_indexes(text: str, completions: int) -> Indexes:
    """Return the indexes that a text names, as far as they are below `completions`; what is malformed is left out.

    >>> sorted(parse_indexes("0,2-4,9", 9))
    [0, 2, 3, 4]
    """
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            continue
        found.update(range(int(first), min(int(last or first), completions - 1) + 1))
    return frozenset(found)


def format_indexes(indexes: Iterable[int]) -> str:
    """Return indexes as text, the shortest.

    >>> format_indexes({0, 2, 3, 5, 6, 7})
    '0,2,3,5-7'
    """
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(indexes), None]:
        if run and index != run[-1] + 1:
            parts.append(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)))
            run = []
        if index is not None:
            run.append(index)
    return ",".join(parts)
