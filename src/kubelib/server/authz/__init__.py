"""Who may do what."""

from typing import Protocol

from kubelib.api.errors import Forbidden
from kubelib.registry.base import User
from kubelib.server.request import RequestInfo

PUBLIC_PATHS = ("/healthz", "/livez", "/readyz", "/version")


class Authorizer(Protocol):
    """Decides whether a user may make a request."""

    def allows(self, user: User, request: RequestInfo) -> bool:
        """Return whether the user may."""
        ...


def is_public(path: str) -> bool:
    """Return whether anybody may read a path: health and version only."""
    return path.rstrip("/") in PUBLIC_PATHS or path.startswith(("/livez/", "/readyz/", "/healthz/"))


def forbidden(user: User, request: RequestInfo) -> Forbidden:
    """Return Kubernetes' refusal."""
    if not request.resource:
        return Forbidden(f'forbidden: User "{user.name}" cannot {request.verb} path "{request.path}"')
    resource = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
    qualified = f"{request.resource}.{request.group}" if request.group else request.resource
    subject = f'{qualified} "{request.name}"' if request.name else qualified
    where = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    return Forbidden(
        f'{subject} is forbidden: User "{user.name}" cannot {request.verb} resource "{resource}"'
        f' in API group "{request.group}" {where}',
        group=request.group,
        kind=request.resource,
        name=request.name,
    )
