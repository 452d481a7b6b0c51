"""How other servers authenticate those who come to them: the ConfigMap ``extension-apiserver-authentication``, kept true."""

import logging
from collections.abc import Sequence
from pathlib import Path

import anyio

from kubelib.api.core.config import ConfigMap
from kubelib.api.errors import AlreadyExists, ApiError, Conflict
from kubelib.api.meta import Key
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.aggregation.registrations import AGGREGATOR
from kubelib.server.authn.requestheader import RequestHeaders

log = logging.getLogger("kubelib.server")

LOOK_EVERY = 10.0
"""Seconds between looks at the files of the authorities."""


class Trust:
    """The authorities of users, and of authenticating proxies, as others learn of them."""

    def __init__(
        self, registries: ResourceRegistries, proxies: RequestHeaders, client_cas: Sequence[Path]
    ) -> None:
        self._registries = registries
        self._proxies = proxies
        self._client_cas = client_cas

    async def publish(self) -> None:
        """Write the ConfigMap if it does not say what is so. Raises ApiError, OSError."""
        authorities = "".join(path.read_text() for path in self._client_cas)
        registry = self._registries.of(self._registries.scheme.of(ConfigMap))
        key = Key("kube-system", "extension-apiserver-authentication")
        data = self._proxies.config(authorities)
        document = registry.cache.get(key)
        try:
            if document is None:
                meta = {"name": key.name, "namespace": key.namespace}
                tree = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta, "data": data}
                await registry.create(tree, namespace=key.namespace, options=AGGREGATOR)
            elif document.tree().get("data") != data:
                await registry.update(key, {**document.tree(), "data": data}, options=AGGREGATOR)
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
