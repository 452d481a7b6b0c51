"""The reference store keeps the promises, on the real loop and in virtual time."""

import pytest

from kubelib.clock import LoopClock
from kubelib.store import MemoryStore
from kubelib.testing.loops import anyio_backend, pytest_generate_tests
from kubelib.testing.store import Open, StoreSuite

__all__ = ["anyio_backend", "pytest_generate_tests"]


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def open_store(self) -> Open:
        return lambda: MemoryStore(clock=LoopClock())
