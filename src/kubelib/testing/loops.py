"""Event loops for tests: the real one, and virtual time under any number of seeds.

In a room's ``conftest.py``: ``from kubelib.testing.loops import anyio_backend, pytest_generate_tests``. Then every
asynchronous test runs on both loops, and one that is marked ``@pytest.mark.seeds(50)`` runs in virtual time under
fifty interleavings, whose seeds are part of the tests' names.
"""

from typing import Any

import pytest

from kubelib.sim.loop import sim_backend

SIM = "sim"
REAL = "asyncio"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test both loops, and one marked ``seeds(n)`` the virtual loop under each of the seeds 0 … n-1."""
    if "anyio_backend" not in metafunc.fixturenames or "sim" in metafunc.fixturenames:
        return  # tests of the fixture `sim` are in virtual time, and have their seeds, without this
    marker = metafunc.definition.get_closest_marker("seeds")
    choices: list[str | int] = list(range(marker.args[0])) if marker is not None else [REAL, SIM]
    names = [choice if isinstance(choice, str) else f"seed{choice}" for choice in choices]
    metafunc.parametrize("anyio_backend", choices, indirect=True, ids=names)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run the test on the loop that `pytest_generate_tests` chose for it: without a choice, in virtual time."""
    return backend(getattr(request, "param", SIM))


def backend(choice: str | int) -> tuple[str, dict[str, Any]]:
    """Return anyio's name and options of a loop: ``asyncio``, ``sim``, or ``sim`` with a seed."""
    if choice == REAL:
        return REAL, {}
    return sim_backend(None if choice == SIM else int(choice))
