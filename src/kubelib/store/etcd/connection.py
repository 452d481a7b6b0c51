"""Calls to an etcd cluster: another member is asked when one does not answer, tokens are renewed, errors are translated."""

import asyncio
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import anyio
from attrs import frozen

from kubelib.store.base import StoreCorrupt, StoreFull, StoreUnavailable, ValueTooLarge
from kubelib.store.clusters import ClusterAddress
from kubelib.store.etcd.messages import check_installed, message

PATIENCE = 10.0
"""Seconds within which some member must have answered: longer than an election takes."""
ATTEMPT = 3.0
"""Seconds that one member has to answer. One that is frozen keeps its connections and says nothing."""
PAUSE = 0.1
"""Seconds between attempts, so that an election is not disturbed by those who wait for it."""

_PACKAGES = {"etcd3": "etcd3", "google": "protobuf"}
"""The packages of modules that may be missing, where that is not grpcio."""
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]
_AGAIN = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"}
_STREAMS: WeakKeyDictionary[asyncio.AbstractEventLoop, set[Any]] = WeakKeyDictionary()
"""The streams of each loop that nobody has ended, of all connections."""


@frozen
class Method:
    """One of etcd's remote procedures."""

    path: str
    request: str
    response: str


RANGE = Method("/etcdserverpb.KV/Range", "RangeRequest", "RangeResponse")
TXN = Method("/etcdserverpb.KV/Txn", "TxnRequest", "TxnResponse")
COMPACT = Method("/etcdserverpb.KV/Compact", "CompactionRequest", "CompactionResponse")
WATCH = Method("/etcdserverpb.Watch/Watch", "WatchRequest", "WatchResponse")
GRANT = Method("/etcdserverpb.Lease/LeaseGrant", "LeaseGrantRequest", "LeaseGrantResponse")
STATUS = Method("/etcdserverpb.Maintenance/Status", "StatusRequest", "StatusResponse")
AUTHENTICATE = Method("/etcdserverpb.Auth/Authenticate", "AuthenticateRequest", "AuthenticateResponse")


class Compacted(Exception):
    """etcd no longer has the revision that was asked for."""


class InFuture(Exception):
    """etcd has not reached the revision that was asked for."""


class StreamBroken(Exception):
    """A stream ended with an error of gRPC."""

    def __init__(self, error: Any) -> None:
        super().__init__(error)
        self.error = error


class Doubt:
    """Whether a call may have been carried out by an attempt whose answer was lost."""

    def __init__(self) -> None:
        self.any = False


class Connection:
    """Channels to the members of a cluster, of which one is used until it fails.

    gRPC tells the loop that asked what became of each call, also of one that was cancelled, and whoever runs a loop then gets
    an error if that one is closed. So nothing here leaves a call before gRPC has reported it, and `close` waits for the last.
    """

    def __init__(self, address: ClusterAddress, patience: float = PATIENCE) -> None:
        self.address = address
        self.patience = patience
        self._channels: list[Any] = []
        self._stubs: dict[tuple[int, str], Any] = {}
        self._at = 0
        self._token = ""
        self._calls: set[Any] = set()
        self._streams: set[Any] = set()
        self._called = anyio.Event()

    async def open(self) -> None:
        """Make the channels, and sign in where there is a user. Raises `StoreUnavailable`."""
        try:
            import grpc
            import grpc.aio

            check_installed()
        except ImportError as error:
            raise StoreUnavailable(
                f"the etcd store needs the package {_PACKAGES.get((error.name or '').partition('.')[0], 'grpcio')}:"
                " pip install 'kubelib-cluster[etcd]'"
            ) from None
        self._grpc = grpc
        credentials = self._credentials()
        for endpoint in self.address.endpoints:
            self._channels.append(
                grpc.aio.secure_channel(endpoint, credentials, _OPTIONS)
                if credentials is not None
                else grpc.aio.insecure_channel(endpoint, _OPTIONS)
            )
        if self.address.user:
            await self._authenticate()

    def _credentials(self) -> Any:
        address = self.address
        if not address.tls:
            return None
        read = {}
        for name in ("ca", "key", "cert"):
            path = getattr(address, name)
            try:
                read[name] = Path(path).read_bytes() if path else None
            except OSError as error:
                raise StoreUnavailable(
                    f"cannot read {path}, the {name} file for {address}: {error.strerror}"
                ) from None
        return self._grpc.ssl_channel_credentials(read["ca"], read["key"], read["cert"])

    async def close(self) -> None:
        """Wait for the calls under way, each of which has a deadline, end the streams and close the channels."""
        with anyio.CancelScope(shield=True):
            for stream in tuple(self._streams):
                self.hang_up(stream)
            while self._calls:
                self._called = anyio.Event()
                await self._called.wait()
            await _streams_reported()
            for channel in self._channels:
                await channel.close(None)
        self._channels.clear()
        self._stubs.clear()

    @property
    def member(self) -> int:
        """Which member is being used."""
        return self._at

    def next_member(self, failed: int) -> None:
        """Use another member than the one that failed, unless somebody has moved on already."""
        if failed == self._at:
            self._at = (self._at + 1) % len(self._channels)

    async def _authenticate(self) -> None:
        request = message("AuthenticateRequest")(name=self.address.user, password=self.address.password)
        self._token = ""
        self._token = (await self.call(AUTHENTICATE, request)).token

    def _metadata(self, *, watch: bool = False) -> list[tuple[str, str]]:
        # A watch on a member that lost its leader would hear nothing and not know.
        metadata = [("hasleader", "true")] if watch else []
        if self._token:
            metadata.append(("token", self._token))
        return metadata

    def _stub(self, method: Method) -> Any:
        if not self._channels:
            raise StoreUnavailable("the store has been closed")
        key = self._at, method.path
        stub = self._stubs.get(key)
        if stub is None:
            channel = self._channels[self._at]
            kind = channel.stream_stream if method is WATCH else channel.unary_unary
            stub = self._stubs[key] = kind(
                method.path,
                request_serializer=message(method.request).SerializeToString,
                response_deserializer=message(method.response).FromString,
            )
        return stub

    async def call(self, method: Method, request: Any, *, doubt: Doubt | None = None) -> Any:
        """Ask one member after the other until one answers, for as long as there is patience.

        Only calls that may be carried out twice are repeated: reads, and writes that say what they expect to find.
        Raises `StoreError`, `Compacted` and `InFuture`.
        """
        deadline = anyio.current_time() + self.patience
        renewed = False
        while True:
            member = self._at
            left = deadline - anyio.current_time()
            try:
                return await self._ask(method, request, max(0.05, min(ATTEMPT, left)))
            except self._grpc.aio.AioRpcError as error:
                if not renewed and self._token and is_about_token(error):
                    renewed = True
                    await self._authenticate()
                    continue
                if error.code().name not in _AGAIN or left <= ATTEMPT / 10:
                    raise self.translated(error) from None
                if doubt is not None:
                    doubt.any = True
            self.next_member(member)
            await anyio.sleep(PAUSE)

    async def _ask(self, method: Method, request: Any, timeout: float) -> Any:
        """Make one call. It goes on, for its `timeout` at most, if whoever waits for it is cancelled."""
        call = self._stub(method)(request, timeout=timeout, metadata=self._metadata())
        self._calls.add(call)
        ended = anyio.Event()

        def end(_: Any) -> None:
            self._calls.discard(call)
            self._called.set()
            ended.set()

        call.add_done_callback(end)
        await ended.wait()
        return await call

    def stream(self) -> Any:
        """Open a stream of watch requests and answers to the member in use; ended by `hang_up`."""
        stream = self._stub(WATCH)(metadata=self._metadata(watch=True))
        self._streams.add(stream)
        _STREAMS.setdefault(asyncio.get_running_loop(), set()).add(stream)
        return stream

    def hang_up(self, stream: Any) -> None:
        """End a stream, if it has not ended; whoever reads it is told so."""
        stream.cancel()
        self._streams.discard(stream)
        _STREAMS[asyncio.get_running_loop()].discard(stream)

    async def write(self, stream: Any, request: Any) -> None:
        """Send a request on a stream. Raises `StreamBroken`."""
        try:
            await stream.write(request)
        except anyio.get_cancelled_exc_class():
            # gRPC raises this also when somebody ends the stream meanwhile. Then its reader notices, and nobody may take this
            # task for cancelled, which would end all others beside it. If it has been cancelled, its next wait says so again.
            return
        except self._grpc.aio.AioRpcError as error:
            raise StreamBroken(error) from None
        except self._grpc.aio.UsageError:
            return  # the stream has ended: its reader says why

    async def read(self, stream: Any) -> Any:
        """Return the next answer of a stream; None when it has ended or has been cancelled.

        Only the end of the stream ends this: gRPC reports what became of a read to the loop that asked for it, long after
        a cancelled reader has gone, and then that loop must still be there.
        """
        with anyio.CancelScope(shield=True):
            try:
                answer = await stream.read()
            except anyio.get_cancelled_exc_class():
                return None
            except self._grpc.aio.AioRpcError as error:
                raise StreamBroken(error) from None
        return answer if isinstance(answer, message(WATCH.response)) else None

    async def mend(self, broken: "StreamBroken", member: int) -> None:
        """See to it that the next stream does better than one that broke. Raises `StoreError` when none can."""
        if self._token and is_about_token(broken.error):
            await self._authenticate()
        elif broken.error.code().name in (*_AGAIN, "UNKNOWN"):
            self.next_member(member)
        else:
            raise self.translated(broken.error)

    def translated(self, error: Any) -> Exception:
        """Return what an error of gRPC means to a store."""
        code, details = error.code().name, (error.details() or "").removeprefix("etcdserver: ")
        if "has been compacted" in details:
            return Compacted()
        if "is a future revision" in details:
            return InFuture()
        if "database space exceeded" in details:
            return StoreFull(
                f"{self.address} has used up its quota: compact and defragment it, then disarm its alarm"
            )
        if "request is too large" in details or "larger than max" in details:
            return ValueTooLarge(
                "etcd takes no more than --max-request-bytes in one commit (1.5 MiB unless set)"
            )
        if "too many operations" in details:
            return ValueTooLarge(
                "etcd takes no more than --max-txn-ops keys in one commit (128 unless set): start it with more, and add"
                " ?max-txn-ops=NUMBER to the URL of the store"
            )
        if "corrupt" in details:
            return StoreCorrupt(f"{self.address} says that its data is damaged: {details}")
        if "invalid user ID or password" in details:
            return StoreUnavailable(
                f"{self.address} does not know user {self.address.user!r} with this password"
            )
        if "authentication is not enabled" in details:
            return StoreUnavailable(f"{self.address} has no users: leave user and password out of the URL")
        if "user name is empty" in details:
            return StoreUnavailable(
                f"{self.address} wants a user: write etcd://USER:PASSWORD@host in the URL"
            )
        if code == "PERMISSION_DENIED" or "permission denied" in details:
            who = self.address.user or "nobody in particular"
            return StoreUnavailable(
                f"{self.address} does not let {who} use keys under {self.address.path or '/'}"
            )
        if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            return StoreUnavailable(f"{self.address} does not answer: {_why(details)}")
        return StoreUnavailable(f"{self.address} failed: {details or code}")


async def _streams_reported() -> None:
    """Wait until gRPC has reported the end of all streams of this loop that were ended.

    It has no call for that, but a task for each stream that runs until then.
    """
    loop = asyncio.get_running_loop()
    with anyio.move_on_after(ATTEMPT):
        while True:
            await anyio.sleep(0.01)
            coroutines = (task.get_coro() for task in asyncio.all_tasks())
            unreported = sum(getattr(c, "__name__", "") == "_handle_status_once_received" for c in coroutines)
            if unreported <= len(_STREAMS.get(loop, ())):
                return


def is_about_token(error: Any) -> bool:
    """Return whether an error says that the token of the user is no longer good."""
    return "invalid auth token" in (error.details() or "")


def _why(details: str) -> str:
    """Shorten gRPC's account of a failed connection to its cause."""
    for sign in ("Handshake", "SSL", "certificate", "Connection refused", "no leader", "Deadline Exceeded"):
        if sign in details:
            return sign.lower() if sign != "SSL" else "TLS handshake failed"
    return details or "no connection"
