"""Why first tries failed, at the end of a test run: a second try that passes is still a defect to find.

A pytest plug-in. pytest-rerunfailures names what was tried again, and says nothing of why.
"""

from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print each failure that was tried again as pytest prints those that count."""
    failures = [
        report
        for report in terminalreporter.stats.get("rerun", ())
        if isinstance(report, pytest.TestReport) and report.longrepr is not None
    ]
    if not failures:
        return
    terminalreporter.write_sep("=", "first tries that failed")
    for report in failures:
        terminalreporter.write_sep("_", f"{report.nodeid} ({report.when})")
        terminalreporter.write_line(report.longreprtext)
        for title, text in report.sections:
            terminalreporter.write_sep("-", title)
            terminalreporter.write_line(text)
