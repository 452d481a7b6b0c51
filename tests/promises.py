"""What was promised and what was found, at the end of a test run: promises by stores and by runtimes, and figures.

A pytest plug-in. Tests tell what they are about through properties of their reports, so that it works in one process as well as
where several processes test and another one prints.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import pytest

from kubelib.testing.runtime import RuntimeSuite
from kubelib.testing.store import StoreSuite

PROMISE = "promise"
FIGURES = "figures"
"""The property of a test, by ``record_property``, that is a line of figures to print at the end."""

STORES = {
    "TestMemoryStore": "memory",
    "TestSqliteStore": "sqlite",
    "test_etcd.TestOneMember": "etcd",
    "test_etcd.TestThreeMembers": "3 etcd",
    "test_zookeeper.TestOneServer": "ZooKeeper",
    "test_zookeeper.TestThreeServers": "3 ZooKeeper",
    "TestMetered": "metered",
    "TestOverSqlite": "encrypted sqlite",
    "TestOverEtcd": "encrypted etcd",
    "TestThePage": "that of the page",
}
RUNTIMES = {
    "TestProcessRuntime": "process",
    "TestIsolatedProcesses": "process as root",
    "TestDockerRuntime": "docker",
    "TestPodmanRuntime": "podman",
    "TestFakeRuntime": "fake",
    "TestTheRuntimeOfThePage": "that of the page",
}


@attrs.frozen
class Table:
    """Promises by what keeps them: the suite whose heirs are the columns, and how these are called, in their order."""

    title: str
    suite: type
    columns: dict[str, str]
    known_otherwise: dict[str, str] = attrs.field(factory=dict)
    """What cannot run on the machines that test this, and the test of recorded fixtures that stands for it."""


RECORDED = {
    "privileged containers on Docker (where root lacks CAP_SYS_RESOURCE)": (
        "tests/runtime/test_docker_parts.py::test_rights_become_the_engines"
    ),
    "OOM scores below the engine's own": (
        "tests/runtime/test_specs.py::test_a_score_below_our_own_is_given_only_by_those_who_may"
    ),
    "limits by control groups of version 2": (
        "tests/runtime/test_isolation.py::test_limits_are_written_as_each_version_of_control_groups_wants_them"
    ),
    "use told by control groups of version 2": (
        "tests/runtime/test_stats.py::test_both_versions_of_control_groups_tell_the_same"
    ),
}
TABLES = (
    Table("promises by stores", StoreSuite, STORES),
    Table("promises by runtimes", RuntimeSuite, RUNTIMES, RECORDED),
)
SIGNS = {"passed": "✓", "failed": "✗", "skipped": "s"}
NOT_IN_THE_SUITE = "–"  # noqa: RUF001


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note with each test of a suite which promise it is about, and who makes it."""
    for item in items:
        cls: type | None = getattr(item, "cls", None)
        if cls is None:
            continue
        name = getattr(item, "originalname", item.name)
        for table in TABLES:
            if issubclass(cls, table.suite) and _is_of_a_suite(cls, name):
                item.user_properties.append((PROMISE, f"{table.title}|{_column(table, cls)}|{name}"))


def _is_of_a_suite(cls: type, test: str) -> bool:
    """Whether a test comes from the public suites, and is no addition of the class itself."""
    return any(test in vars(base) for base in cls.__mro__ if base.__module__.startswith("kubelib.testing."))


def _column(table: Table, cls: type) -> str:
    module = cls.__module__.rpartition(".")[2]
    for name in (f"{module}.{cls.__name__}", cls.__name__):
        if name in table.columns:
            return table.columns[name]
    return _readable(cls.__name__.removeprefix("Test"), r"(?<=[a-z])(?=[A-Z])").lower()


def _in_order(suite: type) -> dict[str, None]:
    """Return the names of what a module's suites promise, and those beside it, as they stand there: who tests first must not decide it."""
    home = suite.__module__
    room = ".".join(home.split(".")[:3])
    beside = sorted(name for name in sys.modules if name.startswith(f"{room}.") and name != home)
    suites = (
        cls
        for name in (home, *beside)
        for cls in vars(sys.modules[name]).values()
        if isinstance(cls, type) and cls.__module__ == name
    )
    return dict.fromkeys(name for cls in suites for name in vars(cls) if name.startswith("test_"))


def _readable(name: str, gap: str = "_") -> str:
    return re.sub(gap, " ", name.removeprefix("test_"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the tables and the figures of those tests that ran."""
    reports = [
        report
        for group in terminalreporter.stats.values()
        for report in group
        if isinstance(report, pytest.TestReport)
        and report.outcome in SIGNS  # not a first try: what counts is the second
    ]
    outcomes = _outcomes(reports)
    for table in TABLES:
        if lines := tuple(lines_of(table, outcomes)):
            terminalreporter.write_sep("=", table.title)
            for line in (*lines, *footnotes(table, reports)):
                terminalreporter.write_line(line)
    if figures := sorted({value for report in reports for value in _told(report, FIGURES)}):
        terminalreporter.write_sep("=", "figures")
        for line in figures:
            terminalreporter.write_line(line)


Outcomes = dict[tuple[str, str, str], str]
"""What became of a table's promise in a column, by title, column and test."""


def _told(report: pytest.TestReport, name: str) -> Iterator[str]:
    return (str(value) for key, value in report.user_properties if key == name)


def _outcomes(reports: Iterable[pytest.TestReport]) -> Outcomes:
    """A promise that is tried in several ways is kept if it is kept in each."""
    outcomes: Outcomes = {}
    for report in reports:
        if report.when != "call" and report.outcome == "passed":
            continue
        for value in _told(report, PROMISE):
            title, column, test = value.split("|")
            outcomes[title, column, test] = _worse(outcomes.get((title, column, test)), report.outcome)
    return outcomes


def _worse(one: str | None, other: str) -> str:
    return max(one or other, other, key=("passed", "skipped", "failed").index)


def lines_of(table: Table, outcomes: Outcomes) -> Iterator[str]:
    """Return a table's lines: the head, and each promise in the order of its suite. Nothing if none was tried."""
    found = {column: None for title, column, _ in outcomes if title == table.title}
    columns = [
        *(c for c in table.columns.values() if c in found),
        *sorted(found.keys() - {*table.columns.values()}),
    ]
    if not columns:
        return
    tried = {test for title, _, test in outcomes if title == table.title}
    names = {test: _readable(test) for test in _in_order(table.suite) if test in tried}
    width = max(map(len, names.values()))
    yield f"{'':{width}}  {'  '.join(columns)}".rstrip()
    for test, name in names.items():
        found_here = (outcomes.get((table.title, column, test)) for column in columns)
        signs = (SIGNS[outcome] if outcome else NOT_IN_THE_SUITE for outcome in found_here)
        cells = (f"{sign:^{len(column)}}" for sign, column in zip(signs, columns, strict=True))
        yield f"{name:{width}}  {'  '.join(cells)}".rstrip()
    kept = (
        f"{column} {counted.count('passed')}/{len(counted)}"
        for column in columns
        if (counted := [o for (title, c, _), o in outcomes.items() if (title, c) == (table.title, column)])
    )
    yield f"kept: {', '.join(kept)}; {NOT_IN_THE_SUITE} is not in the suite of that one, s was skipped"


def footnotes(table: Table, reports: Sequence[pytest.TestReport]) -> Iterator[str]:
    """Return what is known of what these machines cannot run: the test that stands for it, and what became of it."""
    for what, test in table.known_otherwise.items():
        found = [
            report.outcome
            for report in reports
            if report.nodeid.partition("[")[0] == test
            and (report.when == "call" or report.outcome != "passed")
        ]
        sign = SIGNS[max(found, key=("passed", "skipped", "failed").index)] if found else "not in this run"
        yield f"on recorded fixtures: {what}: {test} {sign}"
