"""What projected volumes show of ClusterTrustBundles: the certificates of authorities, each once and in one order."""

import base64
import re
from collections.abc import Iterable

from kubelib.api.certificates import ClusterTrustBundle
from kubelib.api.core.projections import ClusterTrustBundleProjection
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.client.base import Client
from kubelib.labels import parse_field_selector, selector_from_label_selector
from kubelib.registry.base import Query
from kubelib.runtime.environment import ConfigMissing

_ANCHOR = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_COLUMNS = 64


def anchors(bundles: Iterable[str]) -> bytes:
    """Return the certificates of some bundles as one: none twice, nothing between them, and always in the same order."""
    found = {base64.b64decode(text) for bundle in bundles for text in _ANCHOR.findall(bundle)}
    return b"".join(map(_armoured, sorted(found)))


def _armoured(certificate: bytes) -> bytes:
    text = base64.b64encode(certificate)
    lines = [text[at : at + _COLUMNS] for at in range(0, len(text), _COLUMNS)]
    return b"\n".join((b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""))


class TrustBundles:
    """Reads the bundles that a node's Pods show."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def shown(self, wanted: ClusterTrustBundleProjection) -> bytes:
        """Return what is shown: of one bundle, or of all of a signer that a selector chooses. Raises `ConfigMissing`."""
        bundles = self._client.resource(ClusterTrustBundle)
        if wanted.name:
            try:
                return anchors([(await bundles.get(Key("", wanted.name))).spec.trust_bundle])
            except NotFound as error:
                if wanted.optional:
                    return b""
                raise ConfigMissing(f"while getting ClusterTrustBundle: {error}") from None
        if wanted.label_selector is None:
            found = []  # as everywhere: no selector selects nothing, an empty one everything
        else:
            fields = parse_field_selector(f"spec.signerName={wanted.signer_name}")
            query = Query(labels=selector_from_label_selector(wanted.label_selector), fields=fields)
            found = [bundle.spec.trust_bundle for bundle in (await bundles.list(query)).items]
        if not (found or wanted.optional):
            raise ConfigMissing(
                "combination of signerName and labelSelector matched zero ClusterTrustBundles"
            )
        return anchors(found)
