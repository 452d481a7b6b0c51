"""Bootstrap tokens: secrets in ``kube-system`` by which machines join that nobody knows yet.

The names and formats are those of ``k8s.io/cluster-bootstrap``.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import datetime

from kubelib.api.core.config import Secret
from kubelib.api.times import parse_time

TYPE = "bootstrap.kubernetes.io/token"
NAMESPACE, PREFIX = "kube-system", "bootstrap-token-"
PUBLIC, CLUSTER_INFO, SIGNATURE = "kube-public", "cluster-info", "jws-kubeconfig-"
_ID, _SECRET = re.compile(r"[a-z0-9]{6}"), re.compile(r"[a-z0-9]{16}")


def decoded(secret: Secret) -> dict[str, str]:
    """Return the data of a secret as text; what is no text is left out."""
    found: dict[str, str] = {}
    for name, value in secret.data.items():
        try:
            found[name] = base64.b64decode(value).decode()
        except ValueError:
            continue
    return found


def expires(data: Mapping[str, str]) -> datetime | None:
    """Return when a token expires; None if never. Raises ValueError for what is no date."""
    text = data.get("expiration") or ""
    return parse_time(text) if text else None


def has_expired(data: Mapping[str, str], now: datetime) -> bool:
    """Return whether a token has expired; one whose date cannot be read has."""
    try:
        until = expires(data)
    except ValueError:
        return True
    return until is not None and until <= now


def signing_key(secret: Secret, now: datetime) -> tuple[str, str] | None:
    """Return identity and secret of a token that signs ``cluster-info``; None if this one does not."""
    data = decoded(secret)
    identity, word = data.get("token-id", ""), data.get("token-secret", "")
    if secret.type != TYPE or secret.metadata.name != PREFIX + identity:
        return None
    if not _ID.fullmatch(identity) or not _SECRET.fullmatch(word) or has_expired(data, now):
        return None
    return (identity, word) if data.get("usage-bootstrap-signing") == "true" else None


def detached_signature(content: str, identity: str, secret: str) -> str:
    """Return the JSON web signature of a text, without the text itself (HS256)."""
    header = _base64(json.dumps({"alg": "HS256", "kid": identity}, separators=(",", ":")).encode())
    signed = f"{header}.{_base64(content.encode())}".encode()
    return f"{header}..{_base64(hmac.new(secret.encode(), signed, hashlib.sha256).digest())}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
