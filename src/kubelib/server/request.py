"""A request with all that is known of it when it is answered: what it is about, who asks, and what it says besides."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs

from kubelib.api.errors import BadRequest
from kubelib.labels import SelectorError, parse_field_selector, parse_selector
from kubelib.registry.base import Query, User
from kubelib.server.requestinfo import RequestInfo

if TYPE_CHECKING:
    from kubelib.server.aggregation.base import Remote
    from kubelib.server.audit.events import Record
    from kubelib.server.flow import Flow


def is_set(query: Mapping[str, str], name: str) -> bool:
    """Return a boolean query parameter: there, and neither ``false`` nor ``0``, as Kubernetes reads them."""
    value = query.get(name)
    return value is not None and value.lower() not in ("false", "0")


@attrs.define
class Request:
    """An authorized request."""

    info: RequestInfo
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    user: User
    watching: bool = False
    warnings: list[str] = attrs.Factory(list)
    remote: "Remote | None" = None
    """The other API server that answers, if it is not this one."""
    flow: "Flow | None" = None
    """Where it belongs among all requests; see `kubelib.server.flow`."""
    audit: "Record | None" = None
    """What the audit log notes of it; None if nothing is written."""
    query_string: bytes = b""
    """The query as it came, with values that are given several times."""
    repeated: list[str] = attrs.Factory(list)
    """What its body names twice, where that is YAML or a patch: said together with what is unknown."""
    authorize: Callable[[RequestInfo], None] | None = None
    """Raises Forbidden if who asks may not do something else that this request leads to."""
    allowed: float | None = None
    """The seconds in which who asks wants a change to be made, where those are fewer than the server allows."""
    begun: Callable[[], None] | None = None
    """Called when a watch has sent its beginning."""

    def header(self, name: str) -> str:
        """Return a header, empty if it is not there."""
        return self.headers.get(name.encode(), b"").decode("latin1")

    @property
    def media_type(self) -> str:
        """The type of the body, without parameters."""
        return _media_type(self.headers.get(b"content-type", b""))

    def flag(self, name: str) -> bool:
        """Return a boolean query parameter."""
        return is_set(self.query, name)

    def number(self, name: str) -> int | None:
        """Return a numeric query parameter. Raises BadRequest."""
        value = self.query.get(name)
        return parse_int(value) if value else None


_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII).fullmatch


def parse_int(text: str) -> int:
    """Return a number as Go reads it: digits, and no more than 64 bits. Raises BadRequest.

    >>> parse_int("-12")
    -12
    """
    if _INTEGER(text) is None:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(text) > 4000 or not -(2**63) <= (number := int(text)) < 2**63:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


@functools.lru_cache(maxsize=256)
def _media_type(content_type: bytes) -> str:
    return content_type.decode("latin1").partition(";")[0].strip().lower()


def query_of(request: Request) -> Query:
    """Return which objects a request is about. Raises BadRequest for a malformed selector."""
    return _query(
        request.info.namespace, request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
    )


@functools.lru_cache(maxsize=4096)
def _query(namespace: str, labels: str, fields: str) -> Query:
    try:
        return Query(namespace, parse_selector(labels), parse_field_selector(fields))
    except SelectorError as error:
        raise BadRequest(f'unable to parse "{labels}" as a label selector: {error}') from None
    except ValueError as error:
        raise BadRequest(str(error)) from None
