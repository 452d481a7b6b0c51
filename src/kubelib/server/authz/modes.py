"""Who decides what requests may do, as ``--authorization-mode`` names them."""

from collections.abc import Callable, Sequence

from kubelib.registry.registries import ResourceRegistries
from kubelib.server.authz import AlwaysAllow, AlwaysDeny, AnyOf, Authorizer, Masters
from kubelib.server.authz.nodes import NodeAuthorizer
from kubelib.server.authz.rbac import RbacAuthorizer
from kubelib.server.authz.roles import NODE_RULES

AUTHORIZATION_MODES = ("Node", "RBAC", "AlwaysAllow", "AlwaysDeny")
MODES = ("Node", "RBAC")
"""Who decides when nobody says otherwise, in this order."""


def authorizer_of(registries: ResourceRegistries, modes: Sequence[str] = MODES) -> AnyOf:
    """Return the authorizers that ``--authorization-mode`` names, in order. Raises ValueError for an unknown one."""
    makers: dict[str, Callable[[], Authorizer]] = {
        "AlwaysAllow": AlwaysAllow,
        "AlwaysDeny": AlwaysDeny,
        "Node": lambda: NodeAuthorizer(registries, NODE_RULES),
        "RBAC": lambda: RbacAuthorizer(registries),
    }
    for mode in modes:
        if mode not in makers:
            raise ValueError(f"{mode!r} is not an authorization mode: choose among {', '.join(makers)}")
    return AnyOf(Masters(), *(makers[mode]() for mode in dict.fromkeys(modes)))


def role_based(authorizer: Authorizer) -> RbacAuthorizer | None:
    """Return the authorizer by roles, if it is among several."""
    if isinstance(authorizer, RbacAuthorizer):
        return authorizer
    parts = authorizer.authorizers if isinstance(authorizer, AnyOf) else ()
    return next((found for part in parts if (found := role_based(part)) is not None), None)
