"""How objects are asked for: one door to all kinds, in process, over HTTP or through a wrapper that misbehaves."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import attrs

from kubelib.api import codec
from kubelib.api.authentication import TokenRequest
from kubelib.api.autoscaling import Scale
from kubelib.api.errors import NotFound, ServiceUnavailable
from kubelib.api.meta import Key, Object
from kubelib.api.scheme import Scheme
from kubelib.registry.base import Registry
from kubelib.transactions.base import Result, Transaction

R = TypeVar("R", bound=Object)


class Client(Protocol):
    """The API, as its users see it. ``client.resource(Pod).get(key)`` reads the same near and far."""

    def resource(self, kind: type[R], /) -> Registry[R]:
        """Return the registry of a kind. Raises `kubelib.api.scheme.UnknownKind`."""
        ...


@runtime_checkable
class SupportsScheme(Protocol):
    """A client that says which kinds it knows."""

    @property
    def scheme(self) -> Scheme:
        """The kinds that can be asked for; kinds that are defined at run time come and go."""
        ...


@runtime_checkable
class SupportsTokens(Protocol):
    """A client that can ask for the tokens of service accounts."""

    async def create_token(self, account: Key, request: TokenRequest) -> TokenRequest:
        """Return a token of a service account. Raises NotFound, Forbidden, Invalid."""
        ...


@runtime_checkable
class SupportsScales(Protocol):
    """A client that can ask how many replicas something has, whatever its kind."""

    async def scale(self, kind: type[Object], key: Key) -> Scale:
        """Return the scale of an object. Raises NotFound, UnknownKind."""
        ...


@attrs.frozen
class Answer:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def tree(self) -> dict[str, Any]:
        """Decode the body."""
        tree: dict[str, Any] = codec.parse_json(self.body)
        return tree


class SupportsRequests(Protocol):
    """A client through which any request can be made."""

    async def request(self, method: str, path: str, *, body: bytes | None = None) -> Answer:
        """Make a request. Raises ApiError for an answer that is a refusal, ServiceUnavailable if there is none."""
        ...


class Unreachable(ServiceUnavailable):
    """No server could be connected to: nothing has been asked, and trying again costs nobody anything."""


class TransactionsUnsupported(NotFound):
    """The server does not know transactions: it is not one of ours."""


class TransactionBinder(Protocol):
    """Commits transactions of claims."""

    @property
    def may_lose_answers(self) -> bool:
        """Whether a transaction needs an id: it may have to be sent again before it is known what became of it."""
        ...

    async def commit(self, transaction: Transaction) -> Result:
        """Commit a transaction. Raises ServiceUnavailable if it is not known what became of it, and TransactionsUnsupported."""
        ...


@runtime_checkable
class SupportsTransactions(Protocol):
    """A client through which many Pods are bound at once."""

    @property
    def binder(self) -> TransactionBinder:
        """Where transactions are committed."""
        ...
