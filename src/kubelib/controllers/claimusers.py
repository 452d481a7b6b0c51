"""Which claims a Pod uses: an index of Pods that costs nothing for those that use none."""

from collections.abc import Iterable

from kubelib.api.claiming import claim_names as claim_names
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.informers import Cache

CLAIMS = "pods by claim"


def claims_of(document: Document) -> list[Key]:
    """Return the claims that a Pod uses."""
    raw = document.raw
    if b'"persistentVolumeClaim":' not in raw and b'"ephemeral":' not in raw:
        return []
    return [Key(document.meta.namespace, name) for name, _ in claim_names(document.view(Pod))]


def _index(document: Document) -> Iterable[str]:
    return [str(key) for key in claims_of(document)]


def index_claims(cache: Cache[Pod]) -> None:
    """Keep Pods by the claims that they use, under `CLAIMS`."""
    cache.add_index(CLAIMS, _index)
