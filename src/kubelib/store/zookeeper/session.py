"""kazoo's threads on one side, the event loop on the other."""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import anyio
import anyio.to_thread

from kubelib.store.base import StoreCorrupt, StoreFull, StoreUnavailable
from kubelib.store.clusters import ClusterAddress
from kubelib.store.zookeeper.reads import ReadFailed, ReadMany

SESSION = 6.0
"""Seconds after which ZooKeeper takes a silent client for dead. Nothing of ours depends on it but how soon we notice."""
ANSWER_WITHIN = 5.0
"""Seconds that a server has for one answer."""
RETRY = 0.1
"""Seconds between attempts while there is no connection."""
ANSWER_SIZE = 1_000_000
"""About how many bytes an answer to many reads is to have."""
PART, PART_AT_MOST = 16, 512
"""How many nodes are read with one request: before it is known how large they are, and at most."""
ON_THE_WAY = 3
"""How many such requests are under way at a time."""


class Lost(Exception):
    """The connection was lost: what was asked may have been done, or not."""


class NotThere(Exception):
    """There is no such node."""


class Refused(Exception):
    """A transaction found something other than it expected, and did nothing."""


class Session:
    """A connection to the ensemble, which kazoo moves to another server when one fails."""

    def __init__(self, address: ClusterAddress, patience: float) -> None:
        self.address = address
        self.patience = patience
        self.on_change: Callable[[], None] = lambda: None
        """Called on the loop whenever a connection has been made or lost."""
        self._client: Any = None

    async def open(self) -> None:
        """Connect. Raises `StoreUnavailable`."""
        try:
            from kazoo.client import KazooClient
            from kazoo.retry import KazooRetry
            from kazoo.security import make_digest_acl
        except ImportError:
            raise StoreUnavailable(
                "the ZooKeeper store needs the package kazoo: pip install 'kubelib-cluster[zookeeper]'"
            ) from None
        address = self.address
        for path in (address.ca, address.cert, address.key):
            if path and not await anyio.Path(path).is_file():
                raise StoreUnavailable(f"there is no file {path}, which the URL of {address} names")
        options: dict[str, Any] = {}
        if address.user:
            options["auth_data"] = [("digest", f"{address.user}:{address.password}")]
            options["default_acl"] = [make_digest_acl(address.user, address.password, all=True)]
        if address.tls:
            options.update(
                use_ssl=True,
                check_hostname=True,  # else any server with a certificate of the same authority would do
                ca=address.ca or ssl.get_default_verify_paths().cafile,
                certfile=address.cert or None,
                keyfile=address.key or None,
            )
        quiet = logging.getLogger("kubelib.store.zookeeper.kazoo")
        quiet.setLevel(
            logging.CRITICAL
        )  # it tells of every attempt to connect; what comes of them is told here
        self._loop = asyncio.get_running_loop()
        self._client = KazooClient(
            hosts=",".join(address.endpoints),
            timeout=SESSION,
            connection_retry=KazooRetry(max_tries=-1, delay=RETRY, backoff=1, max_delay=1),
            logger=quiet,
            **options,
        )
        self._client.add_listener(lambda _state: self._tell(self.on_change))
        connected = self._client.start_async()
        try:
            await anyio.to_thread.run_sync(connected.wait, self.patience, abandon_on_cancel=True)
            if not self._client.connected:
                raise StoreUnavailable(f"{address} does not answer")
            await anyio.to_thread.run_sync(self._make_root)
        except BaseException:
            await self.close()
            raise

    def _make_root(self) -> None:
        from kazoo.exceptions import KazooException

        try:
            if self.address.path:
                self._client.ensure_path(self.address.path)
        except KazooException as error:
            raise self._unavailable(error) from None

    async def close(self) -> None:
        """End the session."""
        client, self._client = self._client, None
        if client is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(client.stop)
                await anyio.to_thread.run_sync(client.close)

    def _tell(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return  # the loop has ended, nobody listens any more

    async def _wait(self, result: Any) -> Any:
        """Wait for one of kazoo's asynchronous results. Raises `Lost`, `NotThere`, `Refused`, `StoreUnavailable`."""
        future: asyncio.Future[None] = self._loop.create_future()

        def settle() -> None:
            if not future.done():
                future.set_result(None)

        result.rawlink(lambda _: self._tell(settle))
        with anyio.move_on_after(ANSWER_WITHIN):
            await future
        if not future.done():
            raise Lost  # a server that is frozen keeps its connections
        if result.exception is not None:
            raise self._translated(result.exception)
        return result.value

    def _translated(self, error: BaseException) -> Exception:
        from kazoo import exceptions

        if isinstance(error, ReadFailed):
            error = exceptions.EXCEPTIONS[error.code]()
        lost = (
            exceptions.ConnectionLoss,
            exceptions.ConnectionClosedError,
            exceptions.SessionExpiredError,
            exceptions.SessionMovedError,
            exceptions.OperationTimeoutError,
            exceptions.CancelledError,
        )
        if isinstance(error, lost):
            return Lost()
        if isinstance(error, exceptions.NoNodeError):
            return NotThere()
        if isinstance(error, (exceptions.BadVersionError, exceptions.NodeExistsError)):
            return Refused()
        return self._unavailable(error)

    def _unavailable(self, error: BaseException) -> StoreUnavailable:
        from kazoo import exceptions

        if isinstance(error, (exceptions.NoAuthError, exceptions.AuthFailedError)):
            who = self.address.user or "nobody in particular"
            return StoreUnavailable(
                f"{self.address} does not let {who} use {self.address.path or '/'}: name USER:PASSWORD@ in the URL"
            )
        if isinstance(error, exceptions.QuotaExceededError):
            return StoreFull(
                f"{self.address} has used up the quota of {self.address.path or '/'}: raise it (zkCli.sh setquota);"
                " nothing stored is lost"
            )
        if isinstance(error, exceptions.UnimplementedError):
            return StoreUnavailable(f"{self.address} is older than ZooKeeper 3.6, which the store needs")
        if isinstance(error, exceptions.NotReadOnlyCallError):
            return StoreUnavailable(f"{self.address} has lost its quorum and can only be read")
        return StoreUnavailable(f"{self.address} failed: {type(error).__name__} {error}".rstrip())

    @property
    def _connected_client(self) -> Any:
        if self._client is None:
            raise StoreUnavailable("the store has been closed")
        if not self._client.connected:
            raise Lost  # kazoo would keep the request until there is a connection, however long that takes
        return self._client

    def _at(self, path: str) -> str:
        return (self.address.path + path).rstrip("/") or "/"

    async def get(self, path: str) -> tuple[bytes, int]:
        """Return the data and version of a node that every store has. Raises `StoreCorrupt` where it is gone."""
        return await self._node(path, self._connected_client.get_async(self._at(path)))

    async def _node(self, path: str, result: Any) -> tuple[bytes, int]:
        try:
            data, stat = await self._wait(result)
        except NotThere:
            raise self._incomplete(path) from None
        return data, stat.version

    def _incomplete(self, path: str) -> StoreCorrupt:
        return StoreCorrupt(f"{self.address} lacks the node {path} of the store: restore it from a backup")

    async def get_all(self, paths: Sequence[str]) -> list[bytes | None]:
        """Return the data of several nodes, asked for at once; None for one that is not there."""
        found: list[bytes | None] = await self._wait(self._ask(ReadMany([self._at(path) for path in paths])))
        return found

    async def children_of_all(self, paths: Sequence[str]) -> list[list[str]]:
        """Return the names of the children of several nodes that are there, asked for at once."""
        request = ReadMany([self._at(path) for path in paths], children=True)
        found: list[list[str] | None] = await self._wait(self._ask(request))
        for path, names in zip(paths, found, strict=True):
            if names is None:
                raise self._incomplete(path)
        return [names or [] for names in found]

    async def read(self, paths: Sequence[str]) -> AsyncGenerator[list[bytes | None]]:
        """Yield the data of any number of nodes, a part at a time, while the next parts are on their way.

        Parts are made such that an answer has about a megabyte, so that neither side has to hold much more.
        """
        asked: deque[Any] = deque()
        at, many = 0, PART
        while asked or at < len(paths):
            while at < len(paths) and len(asked) < ON_THE_WAY:
                asked.append(self._ask(ReadMany([self._at(path) for path in paths[at : at + many]])))
                at += many
            found: list[bytes | None] = await self._wait(asked.popleft())
            average = 1 + sum(len(data) for data in found if data is not None) // len(found)
            many = max(1, min(PART_AT_MOST, ANSWER_SIZE // average))
            yield found

    def _ask(self, request: ReadMany) -> Any:
        client = self._connected_client
        result = client.handler.async_result()
        client._call(request, result)  # how kazoo sends its own: it has no call for requests of others
        return result

    async def latest(self, path: str) -> tuple[bytes, int]:
        """Return a node as `get` does, as of now, whatever the server that we are connected to has missed so far."""
        client = self._connected_client
        synced = client.sync_async(self._at(path))
        result = client.get_async(self._at(path))
        await self._wait(synced)
        return await self._node(path, result)

    async def children(self, path: str) -> list[str]:
        """Return the names of the children of a node that every store has."""
        try:
            return list(await self._wait(self._connected_client.get_children_async(self._at(path))))
        except NotThere:
            raise self._incomplete(path) from None

    async def exists(self, path: str, on_change: Callable[[], None]) -> bool:
        """Return whether a node is there, and have `on_change` called on the loop when that changes."""
        found = await self._wait(
            self._connected_client.exists_async(self._at(path), watch=lambda _event: self._tell(on_change))
        )
        return found is not None

    async def delete(self, path: str) -> None:
        """Delete a node, if it is there."""
        try:
            await self._wait(self._connected_client.delete_async(self._at(path)))
        except NotThere:
            return

    async def transact(self, *operations: tuple[Any, ...]) -> None:
        """Carry out ("set", path, data, version), ("create", path, data), ("delete", path): all or none.

        Raises `Refused` when something was not as expected, `StoreCorrupt` when a node that must be there is not.
        """
        transaction = self._connected_client.transaction()
        for kind, name, *rest in operations:
            path = self._at(name)
            if kind == "set":
                transaction.set_data(path, rest[0], rest[1] if len(rest) > 1 else -1)
            elif kind == "create":
                transaction.create(path, rest[0])
            else:
                transaction.delete(path)
        for number, result in enumerate(await self._wait(transaction.commit_async())):
            if isinstance(result, Exception):
                from kazoo.exceptions import RolledBackError, RuntimeInconsistency

                if not isinstance(result, (RolledBackError, RuntimeInconsistency)):
                    translated = self._translated(result)
                    raise (
                        self._incomplete(operations[number][1])
                        if isinstance(translated, NotThere)
                        else translated
                    )
