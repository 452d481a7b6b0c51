"""Authenticating proxies: another server has authenticated the caller, and says so in headers.

Only a client certificate of an authority of their own makes a proxy of somebody: what anybody else puts into the headers says nothing.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kubelib.registry.base import User
from kubelib.server.authn.extras import extra_key

if TYPE_CHECKING:
    from cryptography import x509

AUTHENTICATED = "system:authenticated"


@attrs.frozen(kw_only=True)
class RequestHeaders:
    """Who is believed, and in which headers: the options ``--requestheader-…``. Header names are in lower case."""

    ca: Path
    """The authority of the proxies' certificates."""
    names: tuple[str, ...] = ()
    """Which common names are proxies; none given: all that the authority signs."""
    username: tuple[str, ...] = ("x-remote-user",)
    uid: tuple[str, ...] = ("x-remote-uid",)
    groups: tuple[str, ...] = ("x-remote-group",)
    extra_prefixes: tuple[str, ...] = ("x-remote-extra-",)

    def user_of(self, headers: Iterable[tuple[bytes, bytes]]) -> User | None:
        """Return whom a proxy speaks for; None if it names nobody."""
        found = [(name.decode("latin1"), _text(value)) for name, value in headers]
        names = [value for wanted in self.username for name, value in found if name == wanted and value]
        if not names:
            return None
        uids = [value for wanted in self.uid for name, value in found if name == wanted and value]
        groups = [value for wanted in self.groups for name, value in found if name == wanted]
        extra: dict[str, list[str]] = {}
        for name, value in found:
            for prefix in self.extra_prefixes:
                if name.startswith(prefix):
                    extra.setdefault(extra_key(name.removeprefix(prefix)), []).append(value)
                    break
        if AUTHENTICATED not in groups:
            groups.append(AUTHENTICATED)
        values = tuple((key, tuple(extra[key])) for key in sorted(extra))
        return User(names[0], tuple(groups), uids[0] if uids else "", values)

    def config(self, client_ca: str) -> dict[str, str]:
        """Return the data of the ConfigMap ``extension-apiserver-authentication``, from which other servers learn all this."""
        from kubelib.api.codec import encode_json

        return {
            "client-ca-file": client_ca,
            "requestheader-client-ca-file": self.ca.read_text(),
            "requestheader-allowed-names": encode_json(list(self.names)).decode(),
            "requestheader-username-headers": encode_json([_shown(n) for n in self.username]).decode(),
            "requestheader-uid-headers": encode_json([_shown(n) for n in self.uid]).decode(),
            "requestheader-group-headers": encode_json([_shown(n) for n in self.groups]).decode(),
            "requestheader-extra-headers-prefix": encode_json(
                [_shown(n) for n in self.extra_prefixes]
            ).decode(),
        }


def _shown(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin1")


class Issuers:
    """Tells which of two authorities has signed a client certificate that TLS has verified."""

    def __init__(self, clients: Sequence[Path], proxies: RequestHeaders) -> None:
        self._authorities = (clients, proxies.ca)
        self._names = proxies.names

    # Read when the first certificate is shown: the X.509 library takes longer to load than all else that the first answer needs.
    @functools.cached_property
    def _clients(self) -> "list[x509.Certificate]":
        return [authority for path in self._authorities[0] for authority in _certificates(path)]

    @functools.cached_property
    def _proxies(self) -> "list[x509.Certificate]":
        return _certificates(self._authorities[1])

    def judge(self, certificate: bytes) -> tuple[bool, bool]:
        """Return whether a certificate (DER) stands for a user, and whether for a proxy."""
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        shown = x509.load_der_x509_certificate(certificate)
        names = [str(name.value) for name in shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        allowed = not self._names or bool(set(names) & set(self._names))
        return _signed_by(shown, self._clients), allowed and _signed_by(shown, self._proxies)


def _certificates(path: Path) -> "list[x509.Certificate]":
    from cryptography import x509

    return x509.load_pem_x509_certificates(path.read_bytes())


def _signed_by(shown: "x509.Certificate", authorities: "list[x509.Certificate]") -> bool:
    from cryptography.exceptions import InvalidSignature

    for authority in authorities:
        try:
            shown.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return True
    return False
