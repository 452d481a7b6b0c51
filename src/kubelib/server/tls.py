"""TLS as a server has it: what it shows, whose certificates it believes, and how it takes in files that change while it serves."""

import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kubelib.filestate import states_of
from kubelib.registry.base import User
from kubelib.server.authn import user_of_certificate
from kubelib.server.sni import NamedCertificate, chosen_by_name

if TYPE_CHECKING:
    from kubelib.server.authn.requestheader import RequestHeaders

log = logging.getLogger("kubelib.server")

LOOK_EVERY = 1.0
"""Seconds between looks at the files at least: it is done when somebody connects."""
VERSIONS = {"VersionTLS12": ssl.TLSVersion.TLSv1_2, "VersionTLS13": ssl.TLSVersion.TLSv1_3}
"""By the names that kube-apiserver has for them."""
_ALWAYS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""What TLS 1.3 chooses from, whatever is said."""
_KEYS = {"ECDHE_ECDSA": "ECDHE-ECDSA-", "ECDHE_RSA": "ECDHE-RSA-", "RSA": ""}
_CIPHERS = {
    "AES_128_GCM_SHA256": "AES128-GCM-SHA256", "AES_256_GCM_SHA384": "AES256-GCM-SHA384", "AES_128_CBC_SHA": "AES128-SHA",
    "AES_256_CBC_SHA": "AES256-SHA", "AES_128_CBC_SHA256": "AES128-SHA256", "CHACHA20_POLY1305": "CHACHA20-POLY1305",
    "CHACHA20_POLY1305_SHA256": "CHACHA20-POLY1305",
}  # fmt: skip


def cipher_of(suite: str) -> str:
    """Return OpenSSL's name of a cipher suite, empty for those of TLS 1.3. Raises ValueError for one that is not known."""
    if suite in _ALWAYS:
        return ""
    keys, _, cipher = suite.removeprefix("TLS_").partition("_WITH_")
    found = f"{_KEYS.get(keys)}{_CIPHERS.get(cipher)}"
    # OpenSSL says which of them there are.
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(found)
    except ssl.SSLError:
        raise ValueError(f"Cipher suite {suite} not supported or doesn't exist") from None
    return found


@attrs.frozen
class Tls:
    """The server's certificate and key, and the authorities whose client certificates are accepted."""

    cert: Path
    key: Path
    client_ca: Path | None = None
    proxies: "RequestHeaders | None" = None
    """Who may say in headers whom it speaks for."""
    more_client_cas: Sequence[Path] = ()
    """Further authorities of users."""
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ciphers: Sequence[str] = ()
    """Which cipher suites may be used, by OpenSSL's names (see `cipher_of`); none: those that are good."""
    named: Sequence[NamedCertificate] = ()
    """Further certificates, shown to those who want to speak with their names."""

    @property
    def client_cas(self) -> tuple[Path, ...]:
        """All authorities of users."""
        return (*((self.client_ca,) if self.client_ca is not None else ()), *self.more_client_cas)

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read."""
        shown = [(self.cert, self.key), *((one.cert, one.key) for one in self.named)]
        return (*(file for pair in shown for file in pair), *self._authorities)

    @property
    def _authorities(self) -> tuple[Path, ...]:
        return (*self.client_cas, *((self.proxies.ca,) if self.proxies is not None else ()))

    def context(self) -> ssl.SSLContext:
        """Return a server-side TLS context. Raises OSError, of which SSLError is one, and ValueError."""
        context = self._showing(self.cert, self.key)
        if self.named:
            context.sni_callback = chosen_by_name(self.named, self._showing)
        return context

    def _showing(self, cert: Path, key: Path) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = self.minimum
        if self.ciphers:
            chosen = ":".join(filter(None, self.ciphers))
            if chosen:
                context.set_ciphers(chosen)
            else:
                context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(cert, key)
        for authority in self._authorities:
            context.load_verify_locations(authority)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def identify(self) -> Callable[[ssl.SSLObject], dict[str, Any]]:
        """Return what tells from a connection who is at its other end: ``user``, and whether it is a ``front_proxy``."""
        if self.proxies is None:
            return lambda connection: {"user": _user(connection)}
        from kubelib.server.authn.requestheader import Issuers

        issuers = Issuers(self.client_cas, self.proxies)

        def identified(connection: ssl.SSLObject) -> dict[str, Any]:
            shown = connection.getpeercert(binary_form=True)
            if not shown:
                return {"user": None}
            is_user, is_proxy = issuers.judge(shown)
            user = user_of_certificate(connection.getpeercert(), shown) if is_user else None
            return {"user": user, "front_proxy": is_proxy}

        return identified


def _user(connection: ssl.SSLObject) -> User | None:
    return user_of_certificate(connection.getpeercert(), connection.getpeercert(binary_form=True))


def _telling(failed: Callable[[], None]) -> type[ssl.SSLObject]:
    """Return what speaks TLS with a client, and says if both cannot agree."""

    class Telling(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError:
                failed()
                raise

    return Telling


class LiveContext(ssl.SSLContext):
    """A context whose connections see the files as they are now. Files that make no sense are not taken in.

    Connections that there are stay as they are. It is not configured itself: it only begins connections.
    """

    def __new__(cls, tls: Tls, failed: Callable[[], None] = lambda: None) -> "LiveContext":
        """Make a context; `failed` is called for each client that it cannot agree with. Raises OSError for files that cannot be used."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, tls: Tls, failed: Callable[[], None] = lambda: None) -> None:
        self._tls = tls
        self._speaking = _telling(failed)
        self._seen = states_of(self._tls.files)
        self._context = tls.context()
        self._identify = tls.identify()
        self._due = 0.0

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        """Begin a connection."""
        self._context.sslobject_class = self._speaking
        return self._context.wrap_bio(*given, **named)

    def identify(self, connection: ssl.SSLObject) -> dict[str, Any]:
        """Tell from a connection who is at its other end; see `Tls.identify`."""
        return self._identify(connection)

    def look(self, now: float) -> None:
        """Take in files that have changed, before a connection begins; `now` is the time of the event loop."""
        if now < self._due:
            return
        self._due = now + LOOK_EVERY
        state = states_of(self._tls.files)
        if state == self._seen:
            return
        self._seen = state
        try:
            # Who has just begun may be judged by the new authorities although the old ones let them in, which refuses them.
            self._context, self._identify = self._tls.context(), self._tls.identify()
        except (OSError, ValueError) as error:
            log.warning("the certificates in %s are not taken in: %s", self._tls.cert.parent, error)
            return
        log.info("the certificates in %s have changed and were taken in", self._tls.cert.parent)
