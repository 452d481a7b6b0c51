"""Rooms choose their event loops: those of the lower floors override this with `kubelib.testing.loops`."""

import pytest
from hypothesis import settings

# A busy machine makes an example slow, not wrong.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
