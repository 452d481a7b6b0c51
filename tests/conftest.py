"""Rooms choose their event loops: those of the lower floors override this with `kubelib.testing.loops`."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
