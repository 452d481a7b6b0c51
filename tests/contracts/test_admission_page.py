"""The page about admission: its example runs, and its table names the plug-ins that there are."""

import doctest
import re
from pathlib import Path

from kubelib.registry.admission import PLUGINS
from kubelib.registry.admission.plugins import OFF_BY_DEFAULT

PAGE = Path(__file__).resolve().parents[2] / "docs" / "admission.md"


def test_the_example_runs_as_shown() -> None:
    failed, attempted = doctest.testfile(str(PAGE), module_relative=False)
    assert attempted > 0
    assert failed == 0


def test_every_plug_in_is_named_in_order_and_with_whether_it_is_on() -> None:
    rows = [row.split("|")[1] for row in PAGE.read_text().splitlines() if row.startswith("| ")][2:]
    shown = [cell.strip() for row in rows for cell in row.split(",")]
    expected = [f"{name} (off)" if name in OFF_BY_DEFAULT else name for name in PLUGINS]
    assert [re.sub(r"\s+", " ", name) for name in shown] == expected
