"""Who may do what."""

from typing import Protocol

import attrs

from kubelib.api.errors import Forbidden
from kubelib.registry.base import User
from kubelib.server.requestinfo import RequestInfo

MASTERS = "system:masters"
PUBLIC_PATHS = ("/healthz", "/livez", "/readyz", "/version")


@attrs.frozen
class Decision:
    """What an authorizer says of a request: yes, no, or (neither) that it has no opinion; and why, for the audit log."""

    allowed: bool = False
    denied: bool = False
    """Whether the authorizers after this one are not asked."""
    reason: str = ""

    @property
    def word(self) -> str:
        """``allow`` or ``forbid``, as the audit log says it."""
        return "allow" if self.allowed else "forbid"


ALLOWED, NO_OPINION = Decision(True), Decision()


class Authorizer(Protocol):
    """Decides whether a user may make a request."""

    def decide(self, user: User, request: RequestInfo) -> Decision:
        """Return whether the user may, and why."""
        ...


class AnyOf:
    """Asks several authorizers in order: the first that says yes or no decides, and nobody's yes is a no."""

    def __init__(self, *authorizers: Authorizer) -> None:
        self.authorizers = authorizers

    def decide(self, user: User, request: RequestInfo) -> Decision:
        """Return whether the user may; the reasons of those without an opinion are gathered."""
        reasons = ""
        for authorizer in self.authorizers:
            decision = authorizer.decide(user, request)
            if decision.allowed or decision.denied:
                return decision
            if decision.reason:
                reasons = f"{reasons}\n{decision.reason}" if reasons else decision.reason
        return Decision(reason=reasons) if reasons else NO_OPINION


class Masters:
    """Allows the group ``system:masters`` everything, whatever else is configured."""

    def decide(self, user: User, request: RequestInfo) -> Decision:
        """Return whether the user is a master."""
        return ALLOWED if MASTERS in user.groups else NO_OPINION


class AlwaysAllow:
    """Allows everybody everything: ``--authorization-mode=AlwaysAllow``."""

    def decide(self, user: User, request: RequestInfo) -> Decision:
        """Return that the user may."""
        return ALLOWED


class AlwaysDeny:
    """Allows nobody anything, except for masters: ``--authorization-mode=AlwaysDeny``."""

    def decide(self, user: User, request: RequestInfo) -> Decision:
        """Return that the user may not."""
        return Decision(reason="Everything is forbidden.")


def is_public(path: str) -> bool:
    """Return whether anybody may read a path: health and version only."""
    return path.rstrip("/") in PUBLIC_PATHS or path.startswith(("/livez/", "/readyz/", "/healthz/"))


def forbidden(user: User, request: RequestInfo, reason: str = "") -> Forbidden:
    """Return Kubernetes' refusal; `reason` is what the authorizers have to say."""
    why = f": {reason}" if reason else ""
    if not request.resource:
        return Forbidden(f'forbidden: User "{user.name}" cannot {request.verb} path "{request.path}"{why}')
    resource = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
    qualified = f"{request.resource}.{request.group}" if request.group else request.resource
    subject = f'{qualified} "{request.name}"' if request.name else qualified
    where = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    return Forbidden(
        f'{subject} is forbidden: User "{user.name}" cannot {request.verb} resource "{resource}"'
        f' in API group "{request.group}" {where}{why}',
        group=request.group,
        kind=request.resource,
        name=request.name,
    )
