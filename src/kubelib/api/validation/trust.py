"""Rules of what Pods get certificates by and whom they trust: PodCertificateRequests and ClusterTrustBundles."""

import base64
import binascii
from typing import TYPE_CHECKING

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.times import parse_time
from kubelib.api.validation.bundles import PEM_BLOCK, certificate_of
from kubelib.api.validation.devicenames import condition_problems
from kubelib.api.validation.meta import annotation_problems
from kubelib.api.validation.problems import each, immutable, invalid, not_supported, required, too_long
from kubelib.api.validation.signing import signer_problems
from kubelib.labels.validation import is_dns1123_subdomain

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateSigningRequest

MOST_BYTES = 1024 * 1024
"""How large a trust bundle may be."""
MOST_REQUEST, MOST_CHAIN = 10 * 1024, 10 * 1024
LEAST_SECONDS, MOST_SECONDS, MOST_SECONDS_OF_KUBERNETES = 3600, 7862400, 86400
_MOST_UID = 128
_OMITTED = "<value omitted>"
_OUTCOMES = ("Issued", "Denied", "Failed")
_RSA_SIZES, _CURVES = (3072, 4096), ("secp256r1", "secp384r1", "secp521r1")


def bundle_name_messages(name: str, signer: str) -> list[str]:
    """Return what is wrong with the name of a signer's trust bundle, or of one that is no signer's."""
    prefix = signer.replace("/", ":") + ":" if signer else ""
    if not signer and ":" in name:
        return ['ClusterTrustBundle without signer name must not have ":" in its name']
    if not name.startswith(prefix):
        return [f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"]
    return is_dns1123_subdomain(name.removeprefix(prefix))


def trust_bundle_problems(tree: Tree) -> list[Problem]:
    """Check a ClusterTrustBundle: its name begins with its signer's, and each block is an authority's certificate."""
    spec, name = tree.get("spec") or {}, (tree.get("metadata") or {}).get("name") or ""
    signer = spec.get("signerName") or ""
    problems = each("metadata.name", name, bundle_name_messages(name, signer)) if name else []
    if signer:
        problems += signer_problems(signer)
    return problems + _anchor_problems("spec.trustBundle", spec.get("trustBundle") or "")


def trust_bundle_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the change of a ClusterTrustBundle: it stays its signer's."""
    return trust_bundle_problems(new) + immutable(
        "spec.signerName",
        (new.get("spec") or {}).get("signerName") or "",
        (old.get("spec") or {}).get("signerName") or "",
    )


def _anchor_problems(path: str, bundle: str) -> list[Problem]:
    if len(bundle.encode()) > MOST_BYTES:
        return [too_long(path, MOST_BYTES)]
    seen: dict[str, list[int]] = {}
    problems = []
    for at, (kind, headers, body) in enumerate(PEM_BLOCK.findall(bundle)):
        if why := _why_no_anchor(kind, headers, body):
            problems.append(invalid(path, _OMITTED, f"entry {at} {why}"))
        else:
            seen.setdefault("".join(body.split()), []).append(at)
    if not problems and not seen:
        problems = [invalid(path, _OMITTED, "at least one trust anchor must be provided")]
    elif not problems:
        problems = [
            invalid(path, _OMITTED, f"duplicate trust anchor (indices [{' '.join(map(str, indices))}])")
            for indices in seen.values()
            if len(indices) > 1
        ]
    return problems


def _why_no_anchor(kind: str, headers: str, body: str) -> str:
    """Return why a PEM block is no authority's certificate; empty if it is one."""
    if kind != "CERTIFICATE":
        return f"has bad block type: {kind}"
    if headers:
        return "has PEM block headers"
    from cryptography.x509 import BasicConstraints, ExtensionNotFound

    try:
        constraints = certificate_of(body).extensions.get_extension_for_class(BasicConstraints).value
    except ExtensionNotFound:
        return "does not have the CA bit set"
    except ValueError:
        return "does not parse as X.509"
    return "" if constraints.ca else "does not have the CA bit set"


def pod_request_problems(tree: Tree) -> list[Problem]:
    """Check a PodCertificateRequest, with the request inside: it is signed by the key that it is for."""
    spec = tree.get("spec") or {}
    signer = spec.get("signerName") or ""
    problems = signer_problems(signer)
    annotations = spec.get("unverifiedUserAnnotations") or {}
    problems += annotation_problems(annotations, "spec.unverifiedUserAnnotations")
    problems += [
        invalid("spec.unverifiedUserAnnotations", key, "user annotations must be domain-prefixed")
        for key in annotations
        if "/" not in key
    ]
    for owner in ("pod", "serviceAccount", "node"):
        name, uid = spec.get(f"{owner}Name") or "", spec.get(f"{owner}UID") or ""
        problems += each(f"spec.{owner}Name", name, is_dns1123_subdomain(name))
        if not uid:
            problems.append(invalid(f"spec.{owner}UID", uid, "must not be empty"))
        if len(uid) > _MOST_UID:
            problems.append(too_long(f"spec.{owner}UID", _MOST_UID))
    seconds = spec.get("maxExpirationSeconds")
    if seconds is None:
        return [*problems, required("spec.maxExpirationSeconds", "must be set")]
    most = MOST_SECONDS_OF_KUBERNETES if signer.startswith("kubernetes.io/") else MOST_SECONDS
    if not LEAST_SECONDS <= seconds <= most:
        detail = f"must be in the range [{LEAST_SECONDS}, {most}]"
        problems.append(invalid("spec.maxExpirationSeconds", seconds, detail))
    return problems + _stub_problems(spec.get("stubPKCS10Request") or "")


def _stub(text: str) -> "CertificateSigningRequest":
    """Return the request for a certificate in a document. Raises ValueError."""
    from cryptography import x509

    return x509.load_der_x509_csr(base64.b64decode(text, validate=True))


def _stub_problems(text: str) -> list[Problem]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    path = "spec.stubPKCS10Request"
    if len(text) * 3 // 4 > MOST_REQUEST:
        return [too_long(path, MOST_REQUEST)]
    try:
        request = _stub(text)
        key, signed = request.public_key(), request.is_signature_valid
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        return [invalid(path, _OMITTED, "must be a valid PKCS#10 certificate signing request")]
    match key:
        case rsa.RSAPublicKey() if key.key_size not in _RSA_SIZES:
            return [
                invalid(path, f"{key.key_size}-bit modulus", "RSA keys must have modulus size 3072 or 4096")
            ]
        case ec.EllipticCurvePublicKey() if key.curve.name not in _CURVES:
            return [
                invalid(
                    path, f"curve {key.curve.name}", "elliptic public keys must use curve P256, P384 or P521"
                )
            ]
        case rsa.RSAPublicKey() | ec.EllipticCurvePublicKey() | ed25519.Ed25519PublicKey():
            return [] if signed else [invalid(path, _OMITTED, "could not verify the request's signature")]
    detail = "unknown public key type; supported types are Ed25519, ECDSA, and RSA"
    return [invalid(path, _OMITTED, detail)]


def pod_request_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a PodCertificateRequest still asks for the same."""
    return immutable("spec", new.get("spec"), old.get("spec"))


def _outcomes(tree: Tree) -> list[str]:
    conditions = (tree.get("status") or {}).get("conditions") or ()
    return [c["type"] for c in conditions if c.get("type") in _OUTCOMES and c.get("status") == "True"]


def pod_request_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check what becomes of a PodCertificateRequest: one outcome, once, with a certificate for its key if issued."""
    path, status = "status.conditions", new.get("status") or {}
    problems: list[Problem] = []
    known = 0
    for at, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type") or ""
        if kind not in _OUTCOMES:
            problems.append(not_supported(f"{path}[{at}].type", kind, _OUTCOMES))
            continue
        known += 1
        if known > 1:
            detail = 'There may be at most one condition with type "Issued", "Denied", or "Failed"'
            problems.append(invalid(f"{path}[{at}].type", kind, detail))
        if condition.get("status") != "True":
            problems.append(not_supported(f"{path}[{at}].status", condition.get("status") or "", ("True",)))
    problems += condition_problems(path, status.get("conditions") or ())
    before = old.get("status") or {}
    if problems or status == before:
        return problems
    if _outcomes(old):
        detail = "immutable after PodCertificateRequest is issued, denied, or failed"
        return [invalid("status", _OMITTED, detail)]
    match _outcomes(new):
        case ["Issued"]:
            return _chain_problems(status, old.get("spec") or {})
        case [_] if any(value for part, value in status.items() if part != "conditions"):
            detail = (
                "non-condition status fields must be empty when denying or failing the PodCertificateRequest"
            )
            return [invalid("status", _OMITTED, detail)]
        case [_]:
            return []
    detail = 'status is immutable unless transitioning to "Issued", "Denied", or "Failed"'
    return [invalid("status", _OMITTED, detail)]


def _chain_problems(status: Tree, spec: Tree) -> list[Problem]:
    path, chain = "status.certificateChain", status.get("certificateChain") or ""
    if len(chain.encode()) > MOST_CHAIN:
        return [too_long(path, MOST_CHAIN)]
    certificates = []
    for kind, _, body in PEM_BLOCK.findall(chain):
        if kind != "CERTIFICATE":
            detail = "issued certificate chain must consist entirely of CERTIFICATE PEM blocks"
            return [invalid(path, chain, detail)]
        try:
            certificates.append(certificate_of(body))
        except ValueError:
            which = "intermediate" if certificates else "leaf"
            return [invalid(path, chain, f"{which} certificate does not parse as valid X.509")]
    if not certificates:
        return [invalid(path, chain, "issued certificate chain must contain at least one certificate")]
    leaf = certificates[0]
    if leaf.public_key() != _stub(spec.get("stubPKCS10Request") or "").public_key():
        return [invalid(path, chain, "leaf certificate was not issued to the requested public key")]
    return _lifetime_problems(status, spec, leaf)


def _lifetime_problems(status: Tree, spec: Tree, leaf: "Certificate") -> list[Problem]:
    from datetime import timedelta

    consistent = "must be present and consistent with the issued certificate"
    wanted = {
        "notBefore": consistent,
        "notAfter": consistent,
        "beginRefreshAt": "must be present and in the range [notbefore+10min, notafter-10min]",
    }
    if missing := [required(f"status.{part}", why) for part, why in wanted.items() if not status.get(part)]:
        return missing
    start, end, refresh = (parse_time(status[part]) for part in wanted)
    for part, date, encoded in (
        ("notBefore", start, leaf.not_valid_before_utc),
        ("notAfter", end, leaf.not_valid_after_utc),
    ):
        if date != encoded:
            said = part[0].upper() + part[1:]
            detail = f"must be set to the {said} time encoded in the leaf certificate"
            return [invalid(f"status.{part}", status[part], detail)]
    lifetime, most = (end - start).total_seconds(), spec.get("maxExpirationSeconds") or 0
    if lifetime < LEAST_SECONDS:
        detail = "leaf certificate lifetime must be >= 1 hour"
        return [invalid("status.certificateChain", int(lifetime), detail)]
    if lifetime > most:
        detail = f"leaf certificate lifetime must be <= spec.maxExpirationSeconds ({most})"
        return [invalid("status.certificateChain", int(lifetime), detail)]
    margin = timedelta(minutes=10)
    if refresh < start + margin:
        detail = "must be at least 10 minutes after status.notBefore"
        return [invalid("status.beginRefreshAt", status["beginRefreshAt"], detail)]
    if refresh > end - margin:
        detail = "must be at least 10 minutes before status.notAfter"
        return [invalid("status.beginRefreshAt", status["beginRefreshAt"], detail)]
    return []
