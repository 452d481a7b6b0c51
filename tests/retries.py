"""Another try of a test begins with nothing of the one before it: clusters, engines and servers for many are started anew."""

import pytest
import pytest_rerunfailures  # type: ignore[import-untyped]  # it has none


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """End everything that tests share before a test is tried again: what the first try has left there could fail the next as well.

    What goes wrong with that is shown if the test fails again. Neither pytest nor its plug-in has a public way to tear down fixtures of
    the session before its end: this asks the one that pytest itself uses between tests, and first for what the plug-in holds back.
    """
    if getattr(item, "execution_count", 1) < 2:
        return
    pytest_rerunfailures._restore_suspended_finalizers(item)  # those that it put aside for the next try
    try:
        item.session._setupstate.teardown_exact(None)
    except (Exception, pytest.fail.Exception, BaseExceptionGroup) as error:
        item.add_report_section("setup", "ending what was shared", repr(error))
