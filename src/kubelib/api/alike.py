"""What was found out about specs of Pods, remembered for those that are alike: the Pods of a workload differ in little more than their names."""

import re
from typing import Generic, TypeVar

from kubelib.api.codec import encode_json
from kubelib.api.document import Written
from kubelib.api.scheme import Tree

T = TypeVar("T")

LARGEST = 16 * 1024
"""How many bytes a spec has at most of which something is remembered."""


class Known(Generic[T]):
    """What is known of up to so many specs, by their encoded form. The oldest are forgotten first."""

    def __init__(self, most: int = 1024) -> None:
        self._most = most
        self._found: dict[tuple[object, bytes], T] = {}

    def get(self, spec: bytes, seen_as: object = None) -> T | None:
        """Return what is known of a spec, where specs are seen in several ways in one of these; None if that is nothing."""
        return self._found.get((seen_as, spec))

    def note(self, spec: bytes, found: T, seen_as: object = None) -> None:
        """Remember what was found out about a spec."""
        if len(spec) > LARGEST:
            return
        if len(self._found) >= self._most:
            del self._found[next(iter(self._found))]
        self._found[seen_as, spec] = found


TOKEN_VOLUME = "kube-api-access-"
"""How the name of a volume begins that holds a Pod's token for the API: five signs by chance come after it."""
_NAME, _ANY = re.compile(rb'"kube-api-access-[a-z0-9]{5}"'), b'"kube-api-access-"'


def comparable(spec: Tree) -> bytes:
    """Return the encoded form of a Pod's spec: equal for Pods which differ only in how the volume with their token was named."""
    encoded = bytes(spec.written) if type(spec) is Written else encode_json(spec)
    at = encoded.find(_ANY[:-1])
    name = _NAME.match(encoded, at) if at >= 0 else None
    if name is None or _ANY in encoded:
        return encoded
    renamed = encoded.replace(name[0], _ANY)
    # With two such names, whether they are equal can be what is wrong.
    return renamed if renamed.count(_ANY) == renamed.count(_ANY[:-1]) else encoded
