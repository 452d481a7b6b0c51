"""Rules of requests for certificates."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Sequence

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import (
    duplicate,
    forbidden,
    immutable,
    invalid,
    not_supported,
    quote,
    required,
    too_long,
)

_BLOCK = re.compile(rb"-----BEGIN ([^\n-]+)-----[ \t\r]*\n(.*?)-----END \1-----", re.DOTALL)
_SEQUENCE = 0x30
USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only",
    "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user",
    "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing",
    "timestamping",
)  # fmt: skip
"""What certificates may be for."""
_LEAST_EXPIRATION = 600
_LONGEST_DOMAIN, _LONGEST_SIGNER = 253, 571
_LEGACY = "kubernetes.io/legacy-unknown"
_OPPOSITES = {"Approved": "Denied", "Denied": "Approved"}


def signing_request_problems(tree: Tree) -> list[Problem]:
    """Check a CertificateSigningRequest, except for the certificate inside the request."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    request = spec.get("request") or ""
    try:
        pem = base64.b64decode(request)
    except binascii.Error:
        pem = b""
    if not _is_request(pem):
        problems.append(invalid("spec.request", request, "PEM block type must be CERTIFICATE REQUEST"))
    usages = spec.get("usages") or ()
    if not usages:
        problems.append(required("spec.usages"))
    problems += [
        not_supported(f"spec.usages[{at}]", usage, USAGES)
        for at, usage in enumerate(usages)
        if usage not in USAGES
    ]
    problems += [
        duplicate(f"spec.usages[{at}]", usage) for at, usage in enumerate(usages) if usage in usages[:at]
    ]
    problems += signer_problems(spec.get("signerName") or "")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _LEAST_EXPIRATION:
        problems.append(
            invalid(
                "spec.expirationSeconds",
                seconds,
                "may not specify a duration less than 600 seconds (10 minutes)",
            )
        )
    return problems + _condition_problems((tree.get("status") or {}).get("conditions") or ())


def _blocks(pem: bytes) -> Iterator[tuple[str, bool, bytes]]:
    """Yield the PEM blocks of a text: their types, whether they have headers, and what they hold. What is no block is passed over."""
    for match in _BLOCK.finditer(pem):
        lines = match[2].splitlines()
        body = [line for line in lines if b":" not in line]
        try:
            data = base64.b64decode(b"".join(b"".join(body).split()), validate=True)
        except binascii.Error:
            continue
        yield match[1].decode("latin1"), len(body) < len(lines), data


def _is_request(pem: bytes) -> bool:
    """Return whether the first block of a text is a request; what is in it, whoever signs looks at."""
    return next((kind for kind, _, data in _blocks(pem) if data), "") == "CERTIFICATE REQUEST"


def signer_problems(name: str, path: str = "spec.signerName") -> list[Problem]:
    """Check the name of a signer."""
    if name == _LEGACY:
        return [invalid(path, name, "the legacy signerName is not allowed via this API version")]
    if not name:
        return [required(path)]
    domain, slash, way = name.partition("/")
    if not slash or "/" in way:
        return [
            invalid(
                path,
                name,
                "must be a fully qualified domain and path of the form 'example.com/signer-name'",
            )
        ]
    problems = [too_long(path, _LONGEST_DOMAIN)] if len(domain) > _LONGEST_DOMAIN else []
    labels = domain.split(".")
    problems += _part_problems(path, domain, labels, texts.label)
    if len(labels) < 2:
        problems.append(
            invalid(path, domain, "should be a domain with at least two segments separated by dots")
        )
    problems += _part_problems(path, way, way.split("."), texts.subdomain)
    if len(name) > _LONGEST_SIGNER:
        problems.append(too_long(path, _LONGEST_SIGNER))
    return problems


def _part_problems(
    path: str, text: str, labels: Sequence[str], check: Callable[[str], list[str]]
) -> list[Problem]:
    """Return what is wrong with the first label that is not right."""
    for label in labels:
        if messages := check(label):
            return [invalid(path, text, f"validating label {quote(label)}: {why}") for why in messages]
    return []


def signing_request_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a CertificateSigningRequest still asks for the same."""
    return immutable("spec", new.get("spec"), old.get("spec"))


def _condition_problems(conditions: Sequence[Tree]) -> list[Problem]:
    path = "status.conditions"
    problems: list[Problem] = []
    types: list[str] = []
    for at, condition in enumerate(conditions):
        kind, status = condition.get("type") or "", condition.get("status") or ""
        if not kind:
            problems.append(required(f"{path}[{at}].type"))
        if not status:
            problems.append(required(f"{path}[{at}].status"))
        elif status not in ("True", "False", "Unknown"):
            problems.append(not_supported(f"{path}[{at}].status", status, ("False", "True", "Unknown")))
        elif kind in ("Approved", "Denied", "Failed") and status != "True":
            problems.append(not_supported(f"{path}[{at}].status", status, ("True",)))
        if _OPPOSITES.get(kind) in types:
            problems.append(invalid(path, kind, "Approved and Denied conditions are mutually exclusive"))
        if kind in types:
            problems.append(duplicate(f"{path}[{at}].type", kind))
        types.append(kind)
    return problems


def signing_request_decision_problems(new: Tree, old: Tree, subresource: str) -> list[Problem]:
    """Check the conditions of a CertificateSigningRequest: decisions are not taken back, and do not contradict.

    They are made at ``approval`` only.
    """
    path, conditions = "status.conditions", (new.get("status") or {}).get("conditions") or ()
    problems = _condition_problems(conditions)
    types = [condition.get("type") or "" for condition in conditions]
    before = [condition.get("type") for condition in (old.get("status") or {}).get("conditions") or ()]
    problems += [
        forbidden(path, f'updates may not remove a condition of type "{kind}"')
        for kind in ("Approved", "Denied", "Failed")
        if before.count(kind) > types.count(kind)
    ]
    problems += [
        forbidden(path, f'updates may not add a condition of type "{kind}"')
        for kind in ("Approved", "Denied")
        if subresource != "approval" and types.count(kind) > before.count(kind)
    ]
    issued = (new.get("status") or {}).get("certificate")
    certificate = (old.get("status") or {}).get("certificate")
    if issued and issued != certificate and (why := _why_no_certificate(issued)):
        problems.append(invalid("status.certificate", "<certificate data>", why))
    if certificate and (new.get("status") or {}).get("certificate") != certificate:
        problems.append(
            forbidden("status.certificate", "updates may not modify existing certificate content")
        )
    return problems


def _why_no_certificate(text: str) -> str:
    """Return why an issued certificate is none; empty if it is one, as far as can be seen from outside."""
    try:
        blocks = list(_blocks(base64.b64decode(text)))
    except ValueError:
        return "illegal base64 data"
    for kind, has_headers, data in blocks:
        if kind != "CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {quote(kind)}"
        if has_headers:
            return "no PEM block headers are permitted"
        if not data:
            return "found CERTIFICATE PEM block containing 0 certificates"
        if data[0] != _SEQUENCE:
            return "x509: malformed certificate"
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"
