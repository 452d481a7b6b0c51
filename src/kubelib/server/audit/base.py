"""Words of the audit log: how much is written of a request, when, and where it goes."""

from collections.abc import Sequence
from typing import Literal, Protocol

import attrs

API_VERSION = "audit.k8s.io/v1"

Level = Literal["None", "Metadata", "Request", "RequestResponse"]
Stage = Literal["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]
LEVELS: tuple[Level, ...] = ("None", "Metadata", "Request", "RequestResponse")
STAGES: tuple[Stage, ...] = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")


@attrs.frozen
class Verdict:
    """What is written of a request."""

    level: Level = "None"
    omitted: frozenset[Stage] = frozenset()
    """Stages of which nothing is written."""
    omit_managed_fields: bool = False

    with_request: bool = attrs.field(init=False)
    """Whether the document that was sent is written."""
    with_response: bool = attrs.field(init=False)
    """Whether the document that was answered is written."""

    @with_request.default
    def _writes_request(self) -> bool:
        return self.level in ("Request", "RequestResponse")

    @with_response.default
    def _writes_response(self) -> bool:
        return self.level == "RequestResponse"


class Sink(Protocol):
    """Where events go."""

    def write(self, lines: Sequence[bytes]) -> None:
        """Write events, each a JSON document. Called in a thread of its own, never twice at once. Raises OSError."""
        ...

    def close(self) -> None:
        """Write no more."""
        ...
