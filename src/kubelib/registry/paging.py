"""Continue tokens: where the next page of a list begins, and as of which revision."""

import base64

from kubelib.api import codec
from kubelib.api.errors import BadRequest

PRESENT = -1
"""The revision in a continue token that goes on with the present, whatever has happened since the list began."""


def number_of(resource_version: str) -> int:
    """Return a resource version as a number. Raises BadRequest."""
    try:
        number = int(resource_version)
    except ValueError:
        number = -1
    if number < 0 or not resource_version.isdigit():
        raise BadRequest(
            f'resourceVersion: Invalid value: "{resource_version}": strconv.ParseUint: parsing "{resource_version}": invalid syntax'
        )
    return number


def token_of(revision: int, start: str) -> str:
    """Return the token of a page that begins at a key."""
    document = codec.encode_json({"v": "meta.k8s.io/v1", "rv": revision, "start": start})
    return base64.urlsafe_b64encode(document).decode().rstrip("=")


def read_token(token: str) -> tuple[int, str]:
    """Return the revision and the key of a token. Raises BadRequest."""
    try:
        tree = codec.parse_json(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        revision, start = tree["rv"], tree["start"]
        if (
            tree["v"] != "meta.k8s.io/v1"
            or not isinstance(revision, int)
            or not isinstance(start, str)
            or (revision < 1 and revision != PRESENT)
        ):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise BadRequest("continue key is not valid: it must be one that the server gave") from None
    return revision, start
