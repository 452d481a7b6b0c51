from collections.abc import AsyncIterator

import pytest

from tests.registry.admission.asking import Api, opened


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with opened() as api:
        yield api
