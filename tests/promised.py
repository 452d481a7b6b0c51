"""The page of what is promised by whom: ``python -m tests.promised`` writes it to docs/promises.md."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.promises import NOT_IN_THE_SUITE, PROMISE, RECORDED, TABLES, Outcomes, lines_of

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "docs" / "promises.md"
IMPORTED = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
"""This module has imported the plug-in before pytest does."""
FOLDERS = ("tests/store", "tests/runtime", "tests/contracts")
"""Where the heirs of the suites are: in files that name one."""

HEAD = f"""# What stores and runtimes promise

`kubelib.testing.store.StoreSuite` and the suites of `kubelib.testing.runtime` define what a store and a runtime promise; each of
their tests is a promise. Whoever inherits a suite is a column below. This page says who is tested for what, and is generated from
the suites (`python -m tests.promised`): what has a ✓ here must pass, on the real engine, in every run of `scripts/test`.

**A run says what it found.** At its end pytest prints the same tables, of what ran: ✓ passed, ✗ failed, s was skipped,
{NOT_IN_THE_SUITE} is not in the suite of that one (what a runtime need not be able to do has a suite of its own). Under each the promises that were kept
are counted; under the runtimes' also stands what the machines of these tests cannot run, and the test of recorded fixtures that
stands for it. Last come figures, such as how many acknowledged writes were lost when API servers were killed.

```sh
scripts/test tests/store -k "TestMemoryStore or TestSqliteStore"   # a table with two columns
```

**A suite of your own** is tested like any other class: each promise is a test of its name, so `pytest -v` shows what is kept, and a
promise that is broken says in which step. Within this repository it is also a column, called as the class is (`TestJournal`:
journal), without being registered anywhere; in another one, `-p tests.promises` with this repository on the path prints the tables.
See [write a store](plugins/store.md).
"""


class Collected:
    """A pytest plug-in that prints each promise that was collected, instead of running it."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Print title, column and test of each promise on a line."""
        for item in session.items:
            for name, value in item.user_properties:
                if name == PROMISE:
                    sys.stdout.write(f"{PROMISE}|{value}\n")


def collected() -> Outcomes:
    """Ask pytest, in a process of its own, who inherits which promises."""
    files = (file for folder in FOLDERS for file in sorted((TOP / folder).glob("test_*.py")))
    where = [str(file) for file in files if re.search(r"(Store|Runtime)Suite\b", file.read_text())]
    done = subprocess.run(
        [sys.executable, "-m", "tests.promised", "--collect", *where],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        cwd=TOP,
    )
    found: Outcomes = {}
    for line in done.stdout.splitlines():
        kind, _, value = line.partition("|")
        if kind == PROMISE:
            title, column, test = value.split("|")
            found[title, column, test] = "passed"
    return found


def page(promised: Outcomes) -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *_sections(promised)])


def _sections(promised: Outcomes) -> Iterator[str]:
    for table in TABLES:
        *lines, _ = lines_of(table, promised)
        yield f"## {table.title[0].upper()}{table.title[1:]}\n"
        yield "```text"
        yield from lines
        yield "```\n"
    yield "What cannot run on the machines of these tests is tested on recorded fixtures:\n"
    for what, test in RECORDED.items():
        yield f"- {what}: `{test}`"
    yield ""


def main() -> None:
    """Write the page, or collect for it."""
    if sys.argv[1:2] == ["--collect"]:
        arguments = ["--collect-only", "-qq", "-p", "no:cacheprovider", "-W", IMPORTED, *sys.argv[2:]]
        raise SystemExit(pytest.main(arguments, plugins=[Collected()]))
    PAGE.write_text(page(collected()))


if __name__ == "__main__":
    main()
