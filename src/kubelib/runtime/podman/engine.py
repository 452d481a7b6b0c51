"""One Podman service: calls by the blocking client in a few threads, long answers as streams of the event loop's own.

The client's managers make further calls of their own and miss what Podman 4.3 says differently; so of the package podman its
connection and its errors are used, on the service's own (libpod) API. Nothing of podman, requests or h11 leaves this room.
"""

import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import anyio
import anyio.to_thread
import podman
import podman.errors
import requests

from kubelib.runtime.base import NoSuchContainer, RuntimeFailure, RuntimeUnavailable
from kubelib.runtime.enginecalls import PULL_TIMEOUT, PULLS, THREADS, TIMEOUT, cause_of, numbers_of
from kubelib.runtime.enginestreams import EngineRefused
from kubelib.runtime.streams import Answer, exchange

T = TypeVar("T")

MINIMUM = "4.3.1"
"""The oldest version of the libpod API that has all that is asked of it: Podman 4.3, of November 2022, Debian 12's."""
SPOKEN = "4.0.0"
"""The version in the paths: the oldest that Podman 4 and 5 both answer to."""
DEFAULT_URL = "unix:///run/podman/podman.sock"
GONE = ("no such container", "no such pod")


def refusal(status: int, text: str) -> RuntimeFailure:
    """Return the error for an answer that is none: `NoSuchContainer` for 404."""
    message = text.strip() or f"HTTP status {status}"
    with contextlib.suppress(ValueError):
        match json.loads(text):
            case {"message": str(said)}:
                message = said
            case {"Errs": [*errors]}:
                message = "; ".join(map(str, errors))
    gone = status == 404 or message.endswith(GONE)  # in the middle of a removal it is an internal error
    return NoSuchContainer(message) if gone else EngineRefused(status, message)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Make of the errors of the libraries those of a runtime."""
    try:
        yield
    except (podman.errors.PodmanError, requests.exceptions.RequestException, OSError) as error:
        raise RuntimeUnavailable(f"Podman at {url} does not answer: {cause_of(error)}") from error


def check_version(told: Mapping[str, Any], url: str) -> None:
    """Raise `RuntimeUnavailable` if a service that says this of itself is too old."""
    components = {part["Name"]: part for part in told.get("Components") or ()}
    spoken = components.get("Podman Engine", {}).get("Details", {}).get("APIVersion", "0")
    if numbers_of(spoken) < numbers_of(MINIMUM):
        raise RuntimeUnavailable(
            f"Podman at {url} is too old: it speaks version {spoken} of the API, and {MINIMUM} is needed"
        )


def default_url() -> str:
    """Return where the service is that the podman command would use with ``--remote``."""
    if url := os.environ.get("CONTAINER_HOST"):
        return url
    if os.geteuid() != 0 and (directory := os.environ.get("XDG_RUNTIME_DIR")):
        return f"unix://{directory}/podman/podman.sock"
    return DEFAULT_URL


class Engine:
    """A connection to the service at a URL, ``$CONTAINER_HOST`` or the usual socket if none is given."""

    def __init__(self, url: str = "") -> None:
        self.url = url or default_url()
        self.version = ""
        """The engine's, once it is open."""
        self._limiter = anyio.CapacityLimiter(THREADS)
        self._pulls = anyio.CapacityLimiter(PULLS)
        self._client: podman.PodmanClient | None = None

    async def open(self) -> None:
        """Look who is there. Raises `RuntimeUnavailable`, saying in one sentence why it will not do."""
        parts = urlsplit(self.url)
        if parts.scheme != "unix" or not parts.path:
            raise RuntimeUnavailable(
                f"CONTAINER_HOST is {self.url!r}: kubelib reaches Podman at a unix:///… URL, on the machine that is the node"
            )
        self._client = podman.PodmanClient(
            base_url=self.url, version=SPOKEN, timeout=TIMEOUT, max_pool_size=THREADS + PULLS
        )
        try:
            told = await self.call("GET", "/version")
        except RuntimeFailure as error:
            self.close()
            cause = error if error.__cause__ is None else cause_of(error)
            raise RuntimeUnavailable(
                f"cannot reach Podman at {self.url}: {cause};"
                f" is `podman system service --time=0 {self.url}` running, and may this user use it?"
            ) from error
        try:
            check_version(told, self.url)
        except RuntimeUnavailable:
            self.close()
            raise
        self.version = str(told["Version"])

    def close(self) -> None:
        """Close what is open."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    async def call(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: object = None
    ) -> Any:
        """Make a call that does not take long; return what it answers. Raises `NoSuchContainer`, `EngineRefused`, `RuntimeUnavailable`."""
        _, found = await self.ask(method, path, query, body)
        return found

    async def ask(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: object = None
    ) -> tuple[int, Any]:
        """Make a call; return its HTTP status too."""
        return await self._in_thread(lambda: self._ask(method, path, query, body, {}, TIMEOUT), self._limiter)

    async def pull(self, query: Mapping[str, Any], headers: Mapping[str, str]) -> list[dict[str, Any]]:
        """Fetch an image; return the news of it. It does not keep other calls waiting."""
        _, news = await self._in_thread(
            lambda: self._ask("POST", "/images/pull", query, None, headers, PULL_TIMEOUT), self._pulls
        )
        return [line for line in (news if isinstance(news, list) else [news]) if isinstance(line, dict)]

    async def _in_thread(self, function: Callable[[], T], limiter: anyio.CapacityLimiter) -> T:
        with _translated(self.url):  # the library leaves a socket open for each time that it cannot connect
            await (await anyio.connect_unix(urlsplit(self.url).path)).aclose()
        # What was begun is waited for: a container that was just made is otherwise nobody's.
        return await anyio.to_thread.run_sync(function, limiter=limiter)

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: object,
        headers: Mapping[str, str],
        timeout: float,
    ) -> tuple[int, Any]:
        client = self._client
        if client is None:
            raise RuntimeUnavailable("the connection to Podman is closed")
        data = None if body is None else json.dumps(body).encode()
        send = getattr(client.api, method.lower())
        more: dict[str, Any] = {} if data is None else {"data": data}
        with _translated(self.url):
            answer = send(
                path,
                params=query,
                headers={"Content-Type": "application/json", **headers},
                timeout=timeout,
                **more,
            )
            status, text = int(answer.status_code), str(answer.text)
        if status >= 400:
            raise refusal(status, text)
        return status, _documents(text)

    # Streams

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: object = None,
        upgrade: bool = False,
    ) -> AsyncIterator[Answer]:
        """Open an answer that goes on; with `upgrade`, the connection becomes a container's streams. Raises as `call` does."""
        target = f"/v{SPOKEN}/libpod{path}" + (f"?{urlencode(query)}" if query else "")
        content = b"" if body is None else json.dumps(body).encode()
        with _translated(self.url):
            connection = await anyio.connect_unix(urlsplit(self.url).path)
        async with connection:
            with _translated(self.url):
                answer = await exchange(connection, method, target, content, upgrade=upgrade)
            if answer.status >= 400:
                text = b"".join([chunk async for chunk in answer])
                raise refusal(answer.status, text.decode(errors="replace"))
            yield answer


def _documents(text: str) -> Any:
    """Return the document that an answer is, or the list of those that it has in its lines; None if it is empty."""
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError:
        found = []
        for line in text.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                return text
        return found
