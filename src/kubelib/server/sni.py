"""Further certificates of a server, for names of its own: a client says in its first message whom it wants to speak with."""

import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

Choose = Callable[[ssl.SSLObject | ssl.SSLSocket, str | None, ssl.SSLContext], int | None]
_NAME = re.compile(r"(\*|(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)")


@attrs.frozen
class NamedCertificate:
    """A certificate and its key, and for which names it is shown: those that it has itself if none are given."""

    cert: Path
    key: Path
    names: tuple[str, ...] = ()

    @classmethod
    def parsed(cls, text: str) -> "NamedCertificate":
        """Read ``CERT,KEY`` or ``CERT,KEY:NAME,NAME``. Raises ValueError."""
        files, colon, names = text.partition(":")
        cert, comma, key = files.partition(",")
        if not comma or not cert or not key or "," in key:
            raise ValueError("expected comma separated certificate and key file paths")
        if colon and not names.strip():
            raise ValueError("empty names list is not allowed")
        found = tuple(name.strip().lower() for name in names.split(",")) if colon else ()
        return cls(Path(cert), Path(key), found)


def chosen_by_name(
    certificates: Sequence[NamedCertificate], make: Callable[[Path, Path], ssl.SSLContext]
) -> Choose:
    """Return what gives a connection, as its client names whom it wants, the context of the certificate for that name.

    Names that are given count more than those of a certificate, and earlier certificates more than later ones.
    """
    by_name: dict[str, ssl.SSLContext] = {}
    contexts = [make(one.cert, one.key) for one in certificates]
    for given in (True, False):
        for one, context in zip(certificates, contexts, strict=True):
            names = one.names if given else () if one.names else _names_of(one.cert)
            for name in names:
                by_name.setdefault(name, context)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        found = _found(by_name, name or "")
        if found is not None:
            connection.context = found

    return choose


def _found(by_name: Mapping[str, ssl.SSLContext], name: str) -> ssl.SSLContext | None:
    plain = name.lower().rstrip(".")
    _, dot, rest = plain.partition(".")
    return by_name.get(plain) or (by_name.get(f"*.{rest}") if dot else by_name.get("*"))


def _names_of(cert: Path) -> list[str]:
    """Return the names that a certificate has: clients name nobody by an address."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    shown = x509.load_pem_x509_certificates(cert.read_bytes())[0]
    common = [str(n.value).lower() for n in shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        others = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [name for name in common if _NAME.fullmatch(name)]
    names = [name.lower() for name in others.get_values_for_type(x509.DNSName)]
    return [*(name for name in common if _NAME.fullmatch(name)), *names]
