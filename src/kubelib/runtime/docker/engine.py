"""One Docker Engine: calls by the blocking client in a few threads, long answers as streams of the event loop's own.

Nothing of docker, requests or h11 leaves this room: `_translated` and `refusal` make `RuntimeFailure` of their errors.
"""

import json
import os
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import anyio
import anyio.to_thread
import attrs
import docker
import docker.constants
import docker.errors
import docker.tls
import requests
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from kubelib.runtime.base import ImageNotFound, NoSuchContainer, RuntimeFailure, RuntimeUnavailable
from kubelib.runtime.enginecalls import PULL_TIMEOUT, PULLS, THREADS, TIMEOUT, cause_of, numbers_of
from kubelib.runtime.enginestreams import EngineRefused
from kubelib.runtime.streams import Answer, exchange

T = TypeVar("T")

MINIMUM = "1.41"
"""The oldest version of the engine's API that has all that is asked of it: Docker Engine 20.10, of December 2020."""
DEFAULT_URL = "unix:///var/run/docker.sock"


def refusal(status: int, message: str) -> RuntimeFailure:
    """Return the error for an answer that is none."""
    return NoSuchContainer(message) if status == 404 else EngineRefused(status, message)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Make of the errors of the libraries those of a runtime."""
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise ImageNotFound(str(error.explanation or error)) from error
    except docker.errors.APIError as error:
        status = error.response.status_code if error.response is not None else 500
        raise refusal(status, str(error.explanation or error)) from error
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        raise RuntimeUnavailable(f"Docker at {url} does not answer: {cause_of(error)}") from error


def negotiated(newest: str, oldest: str, known: str) -> str:
    """Return the version of the API to speak: the newest that both sides know. Raises ValueError if there is none.

    >>> negotiated("1.41", "1.12", "1.45"), negotiated("1.52", "1.24", "1.45")
    ('1.41', '1.45')
    """
    if numbers_of(newest) < numbers_of(MINIMUM):
        raise ValueError(
            f"it speaks version {newest} of the API, and {MINIMUM} (Docker Engine 20.10) is needed"
        )
    # An engine may have forgotten what the library knows; what is asked of it has not changed since.
    return max(min(newest, known, key=numbers_of), oldest, key=numbers_of)


@attrs.frozen
class Version:
    """What an engine is."""

    engine: str
    api: str


class Engine:
    """A connection to the engine at a URL, as the environment of the docker command says if none is given."""

    def __init__(self, url: str = "") -> None:
        given = docker.utils.kwargs_from_env()
        self.url: str = url or given.get("base_url") or DEFAULT_URL
        self._tls: docker.tls.TLSConfig | None = None if url else given.get("tls")
        self._limiter = anyio.CapacityLimiter(THREADS)
        self._pulls = anyio.CapacityLimiter(PULLS)
        self._client: docker.APIClient | None = None
        self._doubted = True
        """Whether it may be that nobody answers."""
        self.version = Version("", MINIMUM)

    async def open(self) -> None:
        """Agree with the engine on a version of its API. Raises `RuntimeUnavailable`, saying in one sentence why."""
        if urlsplit(self.url).scheme not in ("unix", "tcp", "http", "https"):
            raise RuntimeUnavailable(
                f"DOCKER_HOST is {self.url!r}: kubelib reaches Docker at a unix:// or tcp:// URL"
            )

        def negotiate() -> docker.APIClient:
            with self._new_client(MINIMUM) as first:
                told = first.version(api_version=False)
            known = docker.constants.DEFAULT_DOCKER_API_VERSION
            version = negotiated(told["ApiVersion"], told.get("MinAPIVersion", MINIMUM), known)
            self.version = Version(told["Version"], version)
            return self._new_client(version)

        try:
            self._client = await self._in_thread(negotiate, self._limiter)
        except RuntimeUnavailable as error:
            raise RuntimeUnavailable(
                f"cannot reach Docker at {self.url}: {cause_of(error)}; is it running, and may this user use it?"
            ) from error
        except ValueError as error:
            raise RuntimeUnavailable(f"Docker at {self.url} is too old: {error}") from error

    def close(self) -> None:
        """Close what is open."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _new_client(self, version: str) -> docker.APIClient:
        return docker.APIClient(
            base_url=self.url,
            version=version,
            timeout=TIMEOUT,
            tls=self._tls or False,
            max_pool_size=THREADS + PULLS,
        )

    async def call(self, function: Callable[[docker.APIClient], T]) -> T:
        """Make a call that does not take long. Raises `NoSuchContainer`, `ImageNotFound`, `EngineRefused`, `RuntimeUnavailable`."""
        client = self._client
        assert client is not None
        return await self._in_thread(lambda: function(client), self._limiter)

    async def pull(self, function: Callable[[docker.APIClient], T]) -> T:
        """Make a call that takes long; it does not keep others waiting."""

        def pull() -> T:
            with self._new_client(self.version.api) as client:
                client.timeout = PULL_TIMEOUT
                return function(client)

        return await self._in_thread(pull, self._pulls)

    async def _in_thread(self, function: Callable[[], T], limiter: anyio.CapacityLimiter) -> T:
        try:
            with _translated(self.url):
                if self._doubted:  # the library leaves a socket open for each time that it cannot connect
                    await (await self._connect()).aclose()
                # What was begun is waited for: a container that was just made is otherwise nobody's.
                result = await anyio.to_thread.run_sync(function, limiter=limiter)
        except RuntimeUnavailable:
            self._doubted = True
            raise
        self._doubted = False
        return result

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
        """Open an answer that goes on; with `upgrade`, the connection becomes the container's streams.

        Raises as `call` does.
        """
        target = f"/v{self.version.api}{path}" + (f"?{urlencode(query)}" if query else "")
        content = b"" if body is None else json.dumps(body).encode()
        with _translated(self.url):
            connection = await self._connect()
        async with connection:
            with _translated(self.url):
                answer = await exchange(connection, method, target, content, upgrade=upgrade)
            if answer.status >= 400:
                raise refusal(answer.status, await _message(answer))
            yield answer

    async def _connect(self) -> ByteStream:
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return await anyio.connect_unix(parts.path or f"/{parts.netloc}")
        host, port = parts.hostname or "127.0.0.1", parts.port or (2376 if self._tls else 2375)
        stream: ByteStream = await anyio.connect_tcp(host, port)
        if self._tls is not None:
            context = ssl.create_default_context(cafile=self._tls.ca_cert)
            context.check_hostname = context.check_hostname and bool(self._tls.verify)
            if not self._tls.verify:
                context.verify_mode = ssl.CERT_NONE
            if self._tls.cert:
                context.load_cert_chain(*self._tls.cert)
            stream = await TLSStream.wrap(
                stream, hostname=host, ssl_context=context, standard_compatible=False
            )
        return stream

    def is_local(self) -> bool:
        """Return whether the engine is reached by a socket of this machine, so that its processes are ours too."""
        parts = urlsplit(self.url)
        if parts.scheme != "unix":
            return False
        try:
            return stat.S_ISSOCK(os.stat(parts.path).st_mode)
        except OSError:
            return False


async def _message(answer: Answer) -> str:
    text = b""
    async for chunk in answer:
        text += chunk
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.decode(errors="replace").strip() or f"HTTP status {answer.status}"
