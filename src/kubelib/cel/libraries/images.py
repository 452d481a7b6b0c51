"""Kubernetes' library of container images: where they come from, and which of them is meant."""

import re
from typing import ClassVar

import attrs

from kubelib.cel import types
from kubelib.cel.base import EvaluationError
from kubelib.cel.libraries import costs
from kubelib.cel.library import Library
from kubelib.cel.types import Type
from kubelib.cel.values import Opaque

IMAGE = types.opaque("kubernetes.Image")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?:(?P<domain>(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*(?::[0-9]+)?"
    r"|\[[a-fA-F0-9:]+\](?::[0-9]+)?)/)?"
    rf"(?P<path>{_PART}(?:/{_PART})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[+.-_][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{{32,}}))?",
    re.ASCII,
)


@attrs.frozen
class Image(Opaque):
    """A reference to an image."""

    cel_type: ClassVar[Type] = IMAGE
    registry: str
    repository: str
    tag: str
    digest: str


def parse(text: str) -> Image | None:
    """Return the image that a text names; None when it names none."""
    if len(text) > 1000:
        return None
    first, slash, _ = text.partition("/")
    if not slash or (not any(mark in first for mark in ".:") and first != "localhost"):
        text = f"docker.io/{text}" if slash else f"docker.io/library/{text}"
    found = _REFERENCE.fullmatch(text)
    if found is None or found["domain"] is None:
        return None
    tag = found["tag"] or ("" if found["digest"] else "latest")
    return Image(found["domain"], found["path"], tag, found["digest"] or "")


IMAGES = Library()
IMAGES.types["kubernetes.Image"] = IMAGE


@IMAGES.declare("image(string) kubernetes.Image", cost=costs.traversal, estimate=costs.first_traversed)
def _image(text: str) -> Image:
    found = parse(text)
    if found is None:
        raise EvaluationError(
            f"image reference parse error during conversion from string: {text}: invalid reference format"
        )
    return found


IMAGES.add(
    "isImage(string) bool",
    lambda text: parse(text) is not None,
    cost=costs.traversal,
    estimate=costs.first_traversed,
)
IMAGES.add("kubernetes.Image.containsDigest() bool", lambda image: bool(image.digest))
IMAGES.add("kubernetes.Image.registry() string", lambda image: image.registry)
IMAGES.add("kubernetes.Image.repository() string", lambda image: image.repository)
IMAGES.add("kubernetes.Image.identifier() string", lambda image: image.digest or image.tag)
IMAGES.add("kubernetes.Image.tag() string", lambda image: image.tag)
IMAGES.add("kubernetes.Image.digest() string", lambda image: image.digest)
