import pytest

from kubelib.store import MemoryStore
from kubelib.testing.store import Open, StoreSuite


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def open_store(self) -> Open:
        return MemoryStore
