"""Certificates in PEM form: what is in them, and whether a webhook's ``caBundle`` can be used."""

import base64
import binascii
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PEM_BLOCK = re.compile(
    r"-----BEGIN ([A-Z0-9 ]+)-----\r?\n((?:[A-Za-z0-9-]+: [^\n]*\n)*)\s*(.*?)-----END \1-----", re.DOTALL
)
"""A block of PEM: its type, headers and body."""


def certificate_of(body: str) -> "Certificate":
    """Return the certificate in the body of a PEM block. Raises ValueError."""
    from cryptography import x509

    return x509.load_der_x509_certificate(base64.b64decode("".join(body.split()), validate=True))


def bundle_problem(bundle: str) -> str:
    """Return why a ``caBundle``, as it stands in a document, cannot be used; empty for one that can, or is empty."""
    why = _why_unusable(_bytes_of(bundle)) if bundle else ""
    return f"unable to load root certificates: {why}" if why else ""


def shown_bundle(bundle: str) -> str:
    """Return a ``caBundle`` as Go prints bytes."""
    return f"[]byte{{{', '.join(f'0x{byte:x}' for byte in _bytes_of(bundle))}}}"


def _bytes_of(bundle: str) -> bytes:
    try:
        return base64.b64decode(bundle, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _why_unusable(pem: bytes) -> str:
    """Return the first thing that is wrong; empty when there is one certificate at least."""
    blocks = PEM_BLOCK.findall(pem.decode("latin1"))
    why = "" if blocks else "unable to parse bytes as PEM block"
    for kind, headers, body in blocks:
        if kind != "CERTIFICATE" or headers:
            continue
        try:
            certificate_of(body)
        except ValueError as error:
            why = why or f"failed to parse certificate: {error}"
            continue
        return ""
    return why or "no valid certificate authority data seen"
