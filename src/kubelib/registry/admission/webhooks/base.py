"""What a webhook is to admission: one entry of a configuration, made ready to be asked; and how it can fail.

Two ways, as in Kubernetes: a webhook that could not be asked, or answered nonsense (`CallFailed`), counts by its failure policy; what
it refuses, or breaks by an answer that makes sense, is refused whatever its policy says.
"""

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from kubelib.api.admissionregistration import RuleWithOperations
from kubelib.api.errors import ApiError, BadRequest, InternalError, Problem
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.matching import Selectors

if TYPE_CHECKING:
    from kubelib.registry.admission.base import Attributes


class Conditions(Protocol):
    """The match conditions of a webhook."""

    def match(self, attributes: "Attributes", form: Resource, tree: Tree | None, old: Tree | None) -> bool:
        """Return whether all hold of a write, whose documents are in `form`. Raises ConditionFailed."""
        ...


class ConditionFailed(Exception):
    """A match condition has no value, and no other is false: nobody can say whether the webhook is meant."""


@attrs.frozen(eq=False)
class Hook:
    """One webhook of a configuration."""

    configuration: str
    name: str
    position: int
    """Its place among the webhooks of its configuration."""
    client: Tree
    """How it is reached: its ``clientConfig``."""
    rules: tuple[RuleWithOperations, ...]
    equivalent: bool
    """Whether other forms of a resource count as the one that its rules name."""
    selectors: Selectors
    conditions: Conditions | None
    fails_open: bool
    timeout: float
    """In seconds."""
    pure: bool
    """Whether a dry run may ask it: it has no side effects, at least then."""
    version: str
    """Of the AdmissionReview that it understands: v1 or v1beta1."""
    reinvocable: bool = False

    @property
    def identity(self) -> str:
        """What tells it from all others, for as long as its configuration stays as it is."""
        return f"{self.configuration}/{self.name}/{self.position}"

    @property
    def quoted(self) -> str:
        """Its name, for messages."""
        return f'"{self.name}"'


@attrs.frozen
class Invocation:
    """A webhook that is meant by writes to a resource, and the form of the resource that it wants to see."""

    hook: Hook
    form: Resource


class CallFailed(Exception):
    """A webhook could not be asked, or its answer cannot be used; the failure policy says what that means."""


class Denied(ApiError):
    """A webhook has refused the write, with a status of its own."""

    def __init__(self, status: dict[str, Any]) -> None:
        super().__init__(status["message"])
        self._status = status
        self.code = status["code"]  # type: ignore[misc]
        self.reason = status.get("reason") or ""  # type: ignore[misc]

    def status(self) -> dict[str, Any]:
        """Return the ``Status`` document."""
        return self._status


def denied(hook: Hook, given: Any) -> Denied:
    """Return the refusal that a webhook's ``response.status`` asks for: its own words, never a success."""
    result = given if isinstance(given, dict) else {}
    code, reason = result.get("code"), result.get("reason")
    by = f"admission webhook {hook.quoted} denied the request"
    why = result.get("message") or reason
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"{by}: {why}" if why else f"{by} without explanation",
    }
    if reason:
        status["reason"] = reason
    if isinstance(result.get("details"), dict):
        status["details"] = result["details"]
    usable = isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599
    status["code"] = code if usable else 400
    return Denied(status)


def internal(message: str) -> InternalError:
    """Return Kubernetes' internal error with a cause."""
    return InternalError(f"Internal error occurred: {message}", causes=[Problem("", "", message)])


def failed(hook: Hook, why: object) -> InternalError:
    """Return what a client hears of a webhook that fails closed."""
    return internal(f"failed calling webhook {hook.quoted}: {why}")


def no_dry_run(hook: Hook) -> BadRequest:
    """Return the refusal of a dry run that would have side effects."""
    return BadRequest(f"admission webhook {hook.quoted} does not support dry run")
