"""Acting as somebody else: the ``Impersonate-…`` headers, each of which needs a right of its own."""

from collections.abc import Iterable, Iterator

import attrs

from kubelib.api.errors import BadRequest
from kubelib.labels.validation import is_dns1123_label, is_dns1123_subdomain
from kubelib.registry.base import ANONYMOUS, User
from kubelib.server.authn.extras import extra_key
from kubelib.server.requestinfo import RequestInfo

GROUP = "authentication.k8s.io"
ACCOUNT = "system:serviceaccount:"
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
_PREFIX = b"impersonate-"
_EXTRA = b"impersonate-extra-"


@attrs.frozen
class Impersonation:
    """Whom a request wants to act as."""

    user: User
    needed: tuple[RequestInfo, ...]
    """What the caller must be allowed to do."""


def asks_to_impersonate(headers: Iterable[bytes]) -> bool:
    """Return whether among the names of headers, in lower case, are those that ask for it."""
    return _PREFIX in b" ".join(headers)


def requested(headers: Iterable[tuple[bytes, bytes]]) -> Impersonation | None:
    """Read the headers of a request. Raises BadRequest for headers that name no user."""
    found = [(name, value.decode("latin1")) for name, value in headers if name.startswith(_PREFIX)]
    if not found:
        return None
    name = next((value for header, value in found if header == b"impersonate-user"), "")
    groups = tuple(value for header, value in found if header == b"impersonate-group")
    uid = next((value for header, value in found if header == b"impersonate-uid"), "")
    extra: dict[str, list[str]] = {}
    for header, value in found:
        if header.startswith(_EXTRA):
            extra.setdefault(extra_key(header[len(_EXTRA) :].decode("latin1")), []).append(value)
    if not name:
        if groups or uid or extra:
            asked = " ".join(_references(groups, uid, extra))
            raise BadRequest(f"requested [{asked}] without impersonating a user")
        return None
    values = tuple((key, tuple(extra[key])) for key in sorted(extra))
    user = User(name, _all_groups(name, groups), uid, values)
    return Impersonation(user, tuple(_needed(name, groups, uid, extra)))


def _references(groups: tuple[str, ...], uid: str, extra: dict[str, list[str]]) -> Iterator[str]:
    """Say what is asked for beside a user, in the form in which Kubernetes prints references to objects."""
    version = f"{GROUP}/v1"
    yield from (f"{{Group  {group}    }}" for group in groups)
    for key, values in extra.items():
        yield from (f"{{UserExtra  {value}  {version}  {key}}}" for value in values)
    if uid:
        yield f"{{UID  {uid}  {version}  }}"


def _account(name: str) -> tuple[str, str] | None:
    """Return namespace and name of a service account, if that is what a user is."""
    if not name.startswith(ACCOUNT):
        return None
    namespace, colon, account = name.removeprefix(ACCOUNT).partition(":")
    if not colon or is_dns1123_label(namespace) or is_dns1123_subdomain(account):
        return None
    return namespace, account


def _all_groups(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    account = _account(name)
    if account is not None and not groups:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    if UNAUTHENTICATED in groups:
        return groups
    if name == ANONYMOUS.name:
        return (*groups, UNAUTHENTICATED)
    return groups if AUTHENTICATED in groups else (*groups, AUTHENTICATED)


def _needed(
    name: str, groups: tuple[str, ...], uid: str, extra: dict[str, list[str]]
) -> Iterator[RequestInfo]:
    account = _account(name)
    if account is None:
        yield RequestInfo("impersonate", "", "", "v1", "", "users", "", name)
    else:
        yield RequestInfo("impersonate", "", "", "v1", account[0], "serviceaccounts", "", account[1])
    for group in groups:
        yield RequestInfo("impersonate", "", "", "v1", "", "groups", "", group)
    for key, values in extra.items():
        for value in values:
            yield RequestInfo("impersonate", "", GROUP, "v1", "", "userextras", key, value)
    if uid:
        yield RequestInfo("impersonate", "", GROUP, "v1", "", "uids", "", uid)
