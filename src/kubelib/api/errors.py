"""What an API answers when it refuses, as exceptions that convert to and from a ``Status`` document.

ApiError
    BadRequest (400)   Unauthorized (401)   Forbidden (403)   NotFound (404)   MethodNotAllowed (405)
    NotAcceptable (406)   AlreadyExists (409)   Conflict (409)   Gone (410)   Expired (410, a Gone)
    RequestEntityTooLarge (413)   UnsupportedMediaType (415)   Invalid (422)   TooManyRequests (429)
    InternalError (500)   Unexplained (500, an InternalError)   ServiceUnavailable (503)   Timeout (504)

The reasons, codes and message forms are those of Kubernetes' ``k8s.io/apimachinery/pkg/api/errors``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs


@attrs.frozen
class Problem:
    """One thing that is wrong with one field: an entry of a validation error's ``causes``."""

    type: str
    """Kubernetes' cause type: FieldValueInvalid, FieldValueRequired, FieldValueNotSupported, …"""
    field: str
    """The path of the field: ``spec.containers[0].image``."""
    message: str
    """The message without the field's path: ``Required value``, ``Invalid value: -1: must be …``."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class ApiError(Exception):
    """A request that the API refused. `status()` is the ``Status`` document that says so on the wire."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        group: str = "",
        kind: str = "",
        name: str = "",
        uid: str = "",
        causes: Sequence[Problem] = (),
        retry_after: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.group = group
        self.kind = kind
        """In details, Kubernetes calls this ``kind``; for most errors it is the resource's plural name."""
        self.name = name
        self.uid = uid
        self.causes = tuple(causes)
        self.retry_after = retry_after

    def status(self) -> dict[str, Any]:
        """Return the ``Status`` document."""
        details: dict[str, Any] = {}
        if self.name:
            details["name"] = self.name
        if self.group:
            details["group"] = self.group
        if self.kind:
            details["kind"] = self.kind
        if self.uid:
            details["uid"] = self.uid
        if self.causes:
            details["causes"] = [
                {"reason": c.type, "message": c.message, **({"field": c.field} if c.field else {})}
                for c in self.causes
            ]
        if self.retry_after:
            details["retryAfterSeconds"] = self.retry_after
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if details:
            status["details"] = details
        status["code"] = self.code
        return status


class BadRequest(ApiError):
    """The request makes no sense: malformed, or contradicting its path."""

    code = 400
    reason = "BadRequest"


class Unauthorized(ApiError):
    """The caller could not be identified."""

    code = 401
    reason = "Unauthorized"


class Forbidden(ApiError):
    """The caller may not do this, or an admission rule refuses it."""

    code = 403
    reason = "Forbidden"


class NotFound(ApiError):
    """There is no such object."""

    code = 404
    reason = "NotFound"


class MethodNotAllowed(ApiError):
    """The resource does not have this verb."""

    code = 405
    reason = "MethodNotAllowed"


class NotAcceptable(ApiError):
    """None of the media types that the client accepts can be served."""

    code = 406
    reason = "NotAcceptable"


class AlreadyExists(ApiError):
    """The name is taken."""

    code = 409
    reason = "AlreadyExists"


class Conflict(ApiError):
    """The object has changed since it was read: read it again and decide again."""

    code = 409
    reason = "Conflict"


class Gone(ApiError):
    """What was asked for existed once and does no more."""

    code = 410
    reason = "Gone"


class Expired(Gone):
    """The revision or the continue token is too old: list again, or go on with `page` from a later revision."""

    reason = "Expired"
    page: str = ""
    """A continue token for the rest of the list as it is now; empty where there is none."""

    def status(self) -> dict[str, Any]:
        """Return the ``Status`` document."""
        status = super().status()
        if self.page:
            status["metadata"] = {"continue": self.page}
        return status


class RequestEntityTooLarge(ApiError):
    """The body is larger than the server accepts."""

    code = 413
    reason = "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    """The body is of a media type that the server does not read."""

    code = 415
    reason = "UnsupportedMediaType"


class Invalid(ApiError):
    """The object is well formed but breaks the rules of its kind; `causes` says where and how."""

    code = 422
    reason = "Invalid"


class TooManyRequests(ApiError):
    """Try again later (after `retry_after` seconds); also: an eviction that would break a budget."""

    code = 429
    reason = "TooManyRequests"


class InternalError(ApiError):
    """The server failed."""

    code = 500
    reason = "InternalError"


class Unexplained(InternalError):
    """The server failed in a way for which Kubernetes has no reason: it passes on what its store says of an object that is too large."""

    reason = ""


class ServiceUnavailable(ApiError):
    """The server, or what it depends on, cannot answer now."""

    code = 503
    reason = "ServiceUnavailable"


class Timeout(ApiError):
    """The request was not finished in time; it may have had an effect."""

    code = 504
    reason = "Timeout"


_BY_REASON: dict[str, type[ApiError]] = {
    cls.reason: cls
    for cls in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict, Gone,
        Expired, RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError,
        ServiceUnavailable, Timeout,
    )
}  # fmt: skip
_BY_CODE: dict[int, type[ApiError]] = {
    400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 405: MethodNotAllowed, 406: NotAcceptable,
    409: Conflict, 410: Gone, 413: RequestEntityTooLarge, 415: UnsupportedMediaType, 422: Invalid,
    429: TooManyRequests, 500: Unexplained, 503: ServiceUnavailable, 504: Timeout,
}  # fmt: skip


def error_from_status(status: Mapping[str, Any], code: int = 0) -> ApiError:
    """Return the exception that a ``Status`` document stands for; `code` is used when the document names no reason."""
    details = status.get("details") or {}
    cls = _BY_REASON.get(status.get("reason") or "") or _BY_CODE.get(
        status.get("code") or code, InternalError
    )
    error = cls(
        status.get("message") or f"the server answered {code}",
        group=details.get("group") or "",
        kind=details.get("kind") or "",
        name=details.get("name") or "",
        uid=details.get("uid") or "",
        causes=[
            Problem(c.get("reason") or "", c.get("field") or "", c.get("message") or "")
            for c in details.get("causes") or ()
        ],
        retry_after=details.get("retryAfterSeconds") or 0,
    )
    if isinstance(error, Expired):
        error.page = (status.get("metadata") or {}).get("continue") or ""
    return error


def too_new(wanted: int, current: int) -> Timeout:
    """Return Kubernetes' error for a revision that has not come yet."""
    return Timeout(
        f"Timeout: Too large resource version: {wanted}, current: {current}",
        causes=[Problem("ResourceVersionTooLarge", "", "Too large resource version")],
        retry_after=1,
    )


def not_found(group_resource: str, name: str) -> NotFound:
    """Return Kubernetes' error for a missing object: ``pods "x" not found``."""
    plural, _, group = group_resource.partition(".")
    return NotFound(f'{group_resource} "{name}" not found', group=group, kind=plural, name=name)


def already_exists(group_resource: str, name: str) -> AlreadyExists:
    """Return Kubernetes' error for a name that is taken: ``pods "x" already exists``."""
    plural, _, group = group_resource.partition(".")
    return AlreadyExists(f'{group_resource} "{name}" already exists', group=group, kind=plural, name=name)


def conflict(group_resource: str, name: str, why: str = "") -> Conflict:
    """Return Kubernetes' error for a write based on an old version."""
    plural, _, group = group_resource.partition(".")
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    return Conflict(
        f'Operation cannot be fulfilled on {group_resource} "{name}": {why}',
        group=group,
        kind=plural,
        name=name,
    )


def invalid(kind: str, group: str, name: str, problems: Sequence[Problem]) -> Invalid:
    """Return Kubernetes' error for an object that breaks its kind's rules."""
    texts = list(dict.fromkeys(str(problem) for problem in problems))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = f"{kind}.{group}" if group else kind
    return Invalid(
        f'{qualified} "{name}" is invalid: {text}', group=group, kind=kind, name=name, causes=problems
    )
