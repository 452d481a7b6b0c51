"""How other servers authenticate those who come to them: the ConfigMap ``extension-apiserver-authentication``, kept true."""

import logging
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import anyio

from kubelib.api.codec import DecodeError, encode_json, parse_json
from kubelib.api.core.config import ConfigMap
from kubelib.api.errors import AlreadyExists, ApiError, Conflict
from kubelib.api.meta import Key
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.aggregation.registrations import AGGREGATOR
from kubelib.server.authn.requestheader import RequestHeaders

log = logging.getLogger("kubelib.server")

LOOK_EVERY = 10.0
"""Seconds between looks at the files of the authorities."""


_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_GRACE = timedelta(minutes=5)


def combined(name: str, said: str, ours: str, now: datetime) -> str:
    """Return what is published of some certificates or names: what has been said and is still good, and what we say."""
    if name.endswith("-ca-file"):
        mine = _CERTIFICATE.findall(ours)
        # In the order in which it is said: servers that say different things must come to the same.
        kept = [one for one in _CERTIFICATE.findall(said) if one in mine or _is_good(one, now)]
        return "".join(f"{one}\n" for one in dict.fromkeys([*kept, *mine]))
    try:
        before = parse_json(said.encode()) if said else []
        names = dict.fromkeys([*map(str, before), *parse_json(ours.encode())])
    except (DecodeError, TypeError):  # somebody has written what makes no sense
        return ours
    return encode_json(list(names)).decode()


def _is_good(certificate: str, now: datetime) -> bool:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc > now - _GRACE
    except ValueError:
        return False


class Trust:
    """The authorities of users, and of authenticating proxies, as others learn of them."""

    def __init__(
        self, registries: ResourceRegistries, proxies: RequestHeaders, client_cas: Sequence[Path]
    ) -> None:
        self._registries = registries
        self._proxies = proxies
        self._client_cas = client_cas

    async def publish(self) -> None:
        """Write the ConfigMap if it does not say what is so. Raises ApiError, OSError.

        What it says already stays beside it: other API servers of the cluster may have said it, and certificates of authorities that
        are replaced are good until they expire.
        """
        authorities = "".join(path.read_text() for path in self._client_cas)
        registry = self._registries.of(self._registries.scheme.of(ConfigMap))
        key = Key("kube-system", "extension-apiserver-authentication")
        data = self._proxies.config(authorities)
        document = registry.cache.get(key)
        said = (document.tree().get("data") or {}) if document is not None else {}
        now = self._registries.clock.now()
        data = {name: combined(name, said.get(name) or "", ours, now) for name, ours in data.items()}
        try:
            if document is None:
                meta = {"name": key.name, "namespace": key.namespace}
                tree = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta, "data": data}
                await registry.create(tree, namespace=key.namespace, options=AGGREGATOR)
            elif said != {**said, **data}:
                await registry.update(key, {**document.tree(), "data": {**said, **data}}, options=AGGREGATOR)
        except (AlreadyExists, Conflict):
            return  # another API server was quicker

    async def run(self) -> None:
        """Publish it whenever the files change, until cancelled."""
        while True:
            await anyio.sleep(LOOK_EVERY)
            try:
                await self.publish()
            except (ApiError, OSError, UnicodeDecodeError) as error:
                log.warning("cannot publish the authorities of clients: %s", error)
