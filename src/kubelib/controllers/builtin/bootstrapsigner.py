"""``cluster-info``, which everybody may read, is signed with each bootstrap token, so that who has one can trust it."""

from kubelib.api.core.config import ConfigMap, Secret
from kubelib.api.document import Document
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.bootstraptokens import (
    CLUSTER_INFO,
    NAMESPACE,
    PREFIX,
    PUBLIC,
    SIGNATURE,
    detached_signature,
    signing_key,
)
from kubelib.controllers.controller import Controller
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers

NAME = "bootstrap-signer"
INFO = Key(PUBLIC, CLUSTER_INFO)


class BootstrapSigner:
    """Keeps the signatures."""

    def __init__(self, informers: SharedInformers, clock: Clock) -> None:
        self._maps = informers.of(ConfigMap).cache
        self._secrets = informers.of(Secret).cache
        self._registry = informers.client.resource(ConfigMap)
        self._clock = clock

    async def reconcile(self, key: Key) -> After | None:
        """Sign what is to be signed, and drop signatures of tokens that are gone."""
        info = self._maps.view(INFO)
        if info is None:
            return None
        content = info.data.get("kubeconfig")
        data = {name: value for name, value in info.data.items() if not name.startswith(SIGNATURE)}
        now = self._clock.now()
        for document in self._secrets:
            if content is None or not _concerned(document):
                continue
            found = signing_key(document.view(Secret), now)
            if found is not None:
                data[SIGNATURE + found[0]] = detached_signature(content, *found)
        if data != dict(info.data):
            try:
                await self._registry.update(replace(info, data=data))
            except NotFound:
                return None
        return None


def _concerned(document: Document) -> bool:
    return document.meta.namespace == NAMESPACE and document.meta.name.startswith(PREFIX)


def bootstrap_signer(informers: SharedInformers, *, clock: Clock, recorder: EventRecorder) -> Controller:
    """Return the controller that signs ``cluster-info``."""
    return Controller(
        NAME,
        BootstrapSigner(informers, clock),
        [
            (informers.of(ConfigMap), lambda document: (INFO,) if document.key == INFO else ()),
            (informers.of(Secret), lambda document: (INFO,) if _concerned(document) else ()),
        ],
        workers=1,
        recorder=recorder.source(NAME),
    )
