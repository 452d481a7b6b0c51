"""Resource versions that are asked for, and continue tokens: where the next page of a list begins, and as of which revision."""

import base64

from kubelib.api import codec
from kubelib.api.errors import BadRequest

_VERSION = "meta.k8s.io/v1"
PRESENT = -1
"""The revision in a continue token that goes on with the present, whatever has happened since the list began."""


def number_of(resource_version: str) -> int:
    """Return a resource version as a number. Raises BadRequest."""
    try:
        number = int(resource_version)
    except ValueError:
        number = -1
    plain = number >= 0 and resource_version.isdigit()
    if not plain or number >= 1 << 64:
        why = "value out of range" if plain else "invalid syntax"
        raise BadRequest(
            f'resourceVersion: Invalid value: "{resource_version}": strconv.ParseUint: parsing "{resource_version}": {why}'
        )
    return number


def starts_with_all(since: str, initial_events: bool | None) -> bool:
    """Return whether a watch starts with all that there is: where it does not say, if it is since no particular version."""
    return since in ("", "0") if initial_events is None else initial_events


def token_of(revision: int, start: str) -> str:
    """Return the token of a page that begins at a key."""
    document = codec.encode_json({"v": _VERSION, "rv": revision, "start": start})
    return base64.urlsafe_b64encode(document).decode().rstrip("=")


def read_token(token: str) -> tuple[int, str]:
    """Return the revision and the key of a token. Raises BadRequest, in Kubernetes' words."""
    try:
        tree = codec.parse_json(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, revision, start = tree.get("v"), tree.get("rv") or 0, tree.get("start") or ""
    except (ValueError, AttributeError):
        raise _invalid("it must be one that the server gave") from None
    if version != _VERSION:
        raise _invalid("server does not recognize this encoded version")
    if not isinstance(revision, int) or not (revision > 0 or revision == PRESENT):
        raise _invalid(f"incorrect encoded start resourceVersion (version {_VERSION})")
    if not start:
        raise _invalid(f"encoded start key empty (version {_VERSION})")
    if not isinstance(start, str) or {"", ".", ".."} & {*start.removesuffix("/").split("/")}:
        raise _invalid("it must be one that the server gave")
    return revision, start


def _invalid(why: str) -> BadRequest:
    return BadRequest(f"invalid continue token: continue key is not valid: {why}")
