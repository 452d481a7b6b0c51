"""Calls to an etcd cluster: another member is asked when one does not answer, tokens are renewed, errors are translated."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
from attrs import frozen

from kubelib.store.base import CommitTooLarge, StoreCorrupt, StoreFull, StoreUnavailable
from kubelib.store.clusters import ClusterAddress
from kubelib.store.etcd.messages import check_installed, message
from kubelib.store.etcd.rpc import Channel, MessageStream, RpcError
from kubelib.store.etcd.tls import tls_context

PATIENCE = 10.0
"""Seconds within which some member must have answered: longer than an election takes."""
ATTEMPT = 3.0
"""Seconds that one member has to answer. One that is frozen keeps its connections and says nothing."""
PAUSE = 0.1
"""Seconds between attempts, so that an election is not disturbed by those who wait for it."""

_PACKAGES = {"etcd3": "etcd3", "google": "protobuf"}
"""The packages of modules that may be missing, where that is not hpack."""
_BAD_TOKEN = ("invalid auth token", "revision of auth store is old", "revision in header is old")
"""What etcd says of a token: the latter two when users or roles have changed since it was given out."""
_AGAIN = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"}


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


class Doubt:
    """Whether a call may have been carried out by an attempt whose answer was lost."""

    def __init__(self) -> None:
        self.any = False


class Connection:
    """Channels to the members of a cluster, of which one is used until it fails."""

    def __init__(self, address: ClusterAddress, patience: float = PATIENCE) -> None:
        self.address = address
        self.patience = patience
        self._channels: list[Channel] = []
        self._at = 0
        self._token = ""
        self._metadata: Sequence[tuple[str, str]] = ()
        self._signing_in = anyio.Lock(fast_acquire=True)
        self._under_way = 0
        self._done = anyio.Event()

    async def open(self) -> None:
        """Prepare the channels, and sign in where there is a user. Raises `StoreUnavailable`."""
        try:
            import hpack  # noqa: F401

            check_installed()
        except ImportError as error:
            raise StoreUnavailable(
                f"the etcd store needs the package {_PACKAGES.get((error.name or '').partition('.')[0], 'hpack')}:"
                " pip install 'kubelib-cluster[etcd]'"
            ) from None
        address = self.address
        tls = partial(tls_context, address) if address.tls else None
        if tls is not None:
            tls()  # it may be wrong from the beginning
        self._channels = [Channel(endpoint, tls) for endpoint in address.endpoints]
        await self._sign_in()

    async def close(self) -> None:
        """Wait for the calls under way, each of which has a deadline, and close the channels."""
        with anyio.CancelScope(shield=True):
            while self._under_way:
                self._done = anyio.Event()
                await self._done.wait()
            channels, self._channels = self._channels, []
            for channel in channels:
                await channel.close()

    @property
    def member(self) -> int:
        """Which member is being used."""
        return self._at

    def next_member(self, failed: int) -> None:
        """Use another member than the one that failed, unless somebody has moved on already."""
        if failed == self._at:
            self._at = (self._at + 1) % len(self._channels)

    async def _sign_in(self) -> None:
        if self.address.user and not self._token:
            await self._authenticate()

    async def _authenticate(self, bad: str = "") -> None:
        """Sign in, unless another token than a bad one is there already: who signs in costs etcd a tenth of a second.

        It is tried again with the next call if it fails: a password may be put right on the other side as well.
        """
        async with self._signing_in:
            if self._token != bad:
                return
            self._token, self._metadata = "", ()
            request = message("AuthenticateRequest")(name=self.address.user, password=self.address.password)
            self._token = (await self.call(AUTHENTICATE, request)).token
            self._metadata = (("token", self._token),)

    @property
    def _channel(self) -> Channel:
        if not self._channels:
            raise StoreUnavailable("the store has been closed")
        return self._channels[self._at]

    async def call(self, method: Method, request: Any, *, doubt: Doubt | None = None) -> Any:
        """Ask one member after the other until one answers, for as long as there is patience.

        Only calls that may be carried out twice are repeated: reads, and writes that say what they expect to find.
        Raises `StoreError`, `Compacted` and `InFuture`.
        """
        deadline = anyio.current_time() + self.patience
        renewed, why = False, None
        if method is not AUTHENTICATE:
            await self._sign_in()
        while True:
            member, token = self._at, self._token
            left = deadline - anyio.current_time()
            try:
                return await self._ask(method, request, max(0.05, min(ATTEMPT, left)))
            except RpcError as error:
                if not renewed and token and is_about_token(error):
                    renewed = True
                    await self._authenticate(token)
                    continue
                if why is None or error.code != "DEADLINE_EXCEEDED":
                    why = error  # an attempt for which too little time was left tells nothing
                if error.code not in _AGAIN or left <= ATTEMPT / 10:
                    raise self.translated(why) from None
                if doubt is not None and not error.untouched:
                    doubt.any = True
            self.next_member(member)
            await anyio.sleep(PAUSE)

    async def _ask(self, method: Method, request: Any, timeout: float) -> Any:
        channel = self._channel
        self._under_way += 1
        try:
            answer = await channel.call(
                method.path,
                request.SerializeToString(),
                timeout,
                () if method is AUTHENTICATE else self._metadata,
            )
        finally:
            self._under_way -= 1
            self._done.set()
        return message(method.response).FromString(answer)

    async def stream(self) -> MessageStream:
        """Open a stream of watch requests and answers to the member in use; ended by its `hang_up`. Raises RpcError and `StoreError`."""
        await self._sign_in()
        # A watch on a member that lost its leader would hear nothing and not know.
        return await self._channel.stream(WATCH.path, ATTEMPT, (("hasleader", "true"), *self._metadata))

    async def mend(self, broken: RpcError, member: int) -> None:
        """See to it that the next stream does better than one that broke. Raises `StoreError` when none can."""
        if self._token and is_about_token(broken):
            await self._authenticate(self._token)
        elif broken.code in (*_AGAIN, "UNKNOWN"):
            self.next_member(member)
        else:
            raise self.translated(broken)

    def translated(self, error: RpcError) -> Exception:
        """Return what an error of a call means to a store."""
        code, details = error.code, error.details.removeprefix("etcdserver: ")
        if "has been compacted" in details:
            return Compacted()
        if "is a future revision" in details:
            return InFuture()
        if "database space exceeded" in details:
            return StoreFull(
                f"{self.address} has used up its quota: compact and defragment it, then disarm its alarm"
            )
        if "request is too large" in details or "larger than max" in details:
            return CommitTooLarge(
                "etcdserver: request is too large: it takes no more than --max-request-bytes in one commit (1.5 MiB unless set)"
            )
        if "too many operations" in details:
            return CommitTooLarge(
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
            return StoreUnavailable(f"{self.address} does not answer: {details or 'no connection'}")
        return StoreUnavailable(f"{self.address} failed: {details or code}")


def is_about_token(error: RpcError) -> bool:
    """Return whether an error says that the token of the user is no longer good."""
    return any(sign in error.details for sign in _BAD_TOKEN)
