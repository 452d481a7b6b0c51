"""Pages of other origins, which read what the server answers only where they are allowed to."""

from collections.abc import AsyncIterator

import httpx
import pytest

from kubelib.registry import ResourceRegistries
from kubelib.server import ApiServer
from kubelib.server.crossorigin import CrossOrigin, require_pattern
from kubelib.server.listener import bind, serve
from kubelib.store import MemoryStore

MAPS = "/api/v1/namespaces/default/configmaps"
ALLOWED = "https://sub.example.com:8443"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with ResourceRegistries(MemoryStore()) as registries:
        app = CrossOrigin(ApiServer(registries), [r"//other\.org(:|$)", r"^https://.*\.example\.com(:|$)"])
        with bind("127.0.0.1", 0) as listening:
            async with (
                serve(app, listening, None) as port,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
            ):
                yield client


def said(answer: httpx.Response) -> dict[str, str]:
    """Return what an answer says about other origins."""
    start = "access-control-"
    return {
        name.removeprefix(start): value for name, value in answer.headers.items() if name.startswith(start)
    }


@pytest.mark.parametrize("path", ["/version", "/nowhere", MAPS])
async def test_pages_of_named_origins_may_read_answers_and_refusals(
    client: httpx.AsyncClient, path: str
) -> None:
    without = await client.get(path)
    answer = await client.get(path, headers={"origin": ALLOWED})
    assert (answer.status_code, answer.content) == (without.status_code, without.content)
    assert said(without) == {}
    assert said(answer) == {
        "allow-origin": ALLOWED,
        "allow-methods": "POST, GET, OPTIONS, PUT, DELETE, PATCH",
        "allow-headers": "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With,"
        " If-Modified-Since",
        "expose-headers": "Date",
        "allow-credentials": "true",
    }


@pytest.mark.parametrize(
    "origin", ["https://example.com.evil.org", "http://sub.example.com", "https://another.org", ""]
)
async def test_others_may_not(client: httpx.AsyncClient, origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        answer = await client.request(method, MAPS, headers={"origin": origin})
        assert said(answer) == {}
        assert answer.status_code == 403  # who shows no token may not ask either


async def test_browsers_may_ask_beforehand_without_a_token(client: httpx.AsyncClient) -> None:
    asked = {"origin": "http://other.org", "access-control-request-method": "DELETE"}
    answer = await client.options(f"{MAPS}/a", headers=asked)
    assert (answer.status_code, answer.content) == (204, b"")
    assert said(answer)["allow-origin"] == "http://other.org"


@pytest.mark.parametrize(
    ("pattern", "good"),
    [
        (r"//example\.com(:|$)", True),
        (r"^https://example\.com$", True),
        (r"example\.com$", False),
        (r"^https?", False),
        ("//(", False),
        ("", False),
    ],
)
def test_patterns_say_where_a_name_begins_and_ends(pattern: str, good: bool) -> None:
    if good:
        require_pattern(pattern)
    else:
        with pytest.raises(ValueError, match="regular expression"):
            require_pattern(pattern)
