"""Any sequence of commits, reads, compactions and reopenings gives what a dictionary of versions gives."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.store import (
    ABSENT,
    Check,
    Delete,
    MemoryStore,
    Put,
    Revision,
    RevisionCompacted,
    RevisionMismatch,
)
from kubelib.store.sqlite import SqliteStore

KEYS = ["/a", "/b", "/b/1", "/b/2", "/c"]
OPERATION = st.tuples(
    st.sampled_from(["put", "delete", "check"]),
    st.sampled_from(KEYS),
    st.sampled_from(["right", "absent", "stale"]),
)
STEP = st.one_of(
    st.tuples(st.just("commit"), st.lists(OPERATION, min_size=1, max_size=4, unique_by=lambda o: o[1])),
    st.tuples(st.just("compact"), st.integers(0, 30)),
    st.tuples(st.just("reopen"), st.none()),
)


class Model:
    """Every version of every key, and nothing clever."""

    def __init__(self) -> None:
        self.states: list[dict[str, tuple[bytes, int, int]]] = [{}]
        self.compacted = 0

    @property
    def now(self) -> dict[str, tuple[bytes, int, int]]:
        return self.states[-1]

    def commit(self, operations: list[Any]) -> bool:
        """Carry out the operations if all expectations hold; return whether they did."""
        for operation in operations:
            actual = self.now[operation.key][2] if operation.key in self.now else 0
            if actual != operation.expect or (isinstance(operation, Delete) and not actual):
                return False
        if all(isinstance(operation, Check) for operation in operations):
            return True
        revision, state = len(self.states), dict(self.now)
        for operation in operations:
            if isinstance(operation, Put):
                created = state[operation.key][1] if operation.key in state else revision
                state[operation.key] = (operation.value, created, revision)
            elif isinstance(operation, Delete):
                del state[operation.key]
        self.states.append(state)
        return True

    def changes(self, since: int) -> list[tuple[int, str]]:
        """Return what changed after a revision."""
        found = []
        for revision in range(since + 1, len(self.states)):
            before, after = self.states[revision - 1], self.states[revision]
            found += [(revision, key) for key in {**before, **after} if before.get(key) != after.get(key)]
        return sorted(found)


def operations(model: Model, step: list[Any], number: int) -> list[Any]:
    made: list[Any] = []
    for kind, key, expectation in step:
        actual = Revision(model.now[key][2]) if key in model.now else ABSENT
        expect = {"right": actual, "absent": ABSENT, "stale": Revision(actual + 1)}[expectation]
        value = f"{number}".encode()
        made.append(
            Put(key, value, expect)
            if kind == "put"
            else Delete(key, expect)
            if kind == "delete"
            else Check(key, expect)
        )
    return made


async def agree(store: Any, model: Model) -> None:
    """Compare everything that can be read."""
    latest = len(model.states) - 1
    assert await store.revision() == latest
    for prefix in ("/", "/b", "/b/"):
        for at in range(latest + 1):
            if at < model.compacted:
                with pytest.raises(RevisionCompacted):
                    await store.list(prefix, at=Revision(at))
                continue
            page = await store.list(prefix, at=Revision(at))
            found = {e.key: (e.value, e.created, e.modified) for e in page.entries}
            assert found == {k: v for k, v in model.states[at].items() if k.startswith(prefix)}
            assert list(found) == sorted(found)
    for since in range(model.compacted, latest):
        async with store.watch("/", since=Revision(since)) as watch:
            seen: list[tuple[int, str]] = []
            expected = model.changes(since)
            with anyio.fail_after(60):
                while len(seen) < len(expected):
                    seen += [(change.revision, change.key) for change in await watch.take()]
            assert sorted(seen) == expected
            assert [revision for revision, _ in seen] == sorted(revision for revision, _ in seen)


async def drive(make: Any, steps: list[tuple[str, Any]], *, durable: bool) -> None:
    model = Model()
    store = make()
    await store.__aenter__()
    try:
        for number, (kind, argument) in enumerate(steps):
            if kind == "commit":
                wanted = operations(model, argument, number)
                if model.commit(wanted):
                    await store.commit(*wanted)
                else:
                    with pytest.raises(RevisionMismatch):
                        await store.commit(*wanted)
            elif kind == "compact":
                before = min(argument, len(model.states))
                await store.compact(Revision(before))
                model.compacted = max(model.compacted, before - 1)
            elif durable:
                await store.__aexit__(None, None, None)
                store = make()
                await store.__aenter__()
        await agree(store, model)
    finally:
        await store.__aexit__(None, None, None)


@given(st.lists(STEP, max_size=30))
@settings(max_examples=60)
def test_the_memory_store_behaves_as_its_model(steps: list[tuple[str, Any]]) -> None:
    anyio.run(lambda: drive(MemoryStore, steps, durable=False))


@given(steps=st.lists(STEP, max_size=20))
@settings(max_examples=25)
def test_the_sqlite_store_behaves_as_its_model(
    steps: list[tuple[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path: Path = tmp_path_factory.mktemp("model") / "store.sqlite"
    anyio.run(lambda: drive(lambda: SqliteStore(path), steps, durable=True))
