"""Mirror Pods: what the API server has of Pods that a node runs by itself, and how one is told from the other."""

from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.model import replace

SOURCE = "kubernetes.io/config.source"
SEEN = "kubernetes.io/config.seen"
HASH = "kubernetes.io/config.hash"
MIRROR = "kubernetes.io/config.mirror"


def local(pod: Pod) -> Pod:
    """Return a Pod under the identity that it has on its node: of a mirror Pod, what it mirrors."""
    uid = pod.metadata.annotations.get(MIRROR)
    return replace(pod, metadata=replace(pod.metadata, uid=uid)) if uid else pod


def is_mirror(document: Document) -> bool:
    """Return whether a Pod only shows what a node runs by itself."""
    return (
        b'"kubernetes.io/config.mirror"' in document.raw and MIRROR in document.view(Pod).metadata.annotations
    )


def document_hash(mirror: Document) -> str:
    """Return the identity of what a mirror Pod shows."""
    return mirror.view(Pod).metadata.annotations.get(MIRROR, "")
