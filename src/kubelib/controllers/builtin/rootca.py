"""Every namespace has a config map with the certificate by which the API server is known."""

from kubelib.api.core.config import ConfigMap
from kubelib.api.core.namespace import Namespace
from kubelib.api.document import Document
from kubelib.api.errors import AlreadyExists, Forbidden, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.podcontrol import namespace_is_ending
from kubelib.informers import SharedInformers

NAME = "root-ca-certificate-publisher-controller"
CONFIG_MAP = "kube-root-ca.crt"
DESCRIPTION = "kubernetes.io/description"
PURPOSE = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the"
    " internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes"
    " clusters."
)


class RootCertificates:
    """Keeps the config map of one namespace (the key's name)."""

    def __init__(self, informers: SharedInformers, certificate: str) -> None:
        self._registry = informers.client.resource(ConfigMap)
        self._namespaces = informers.of(Namespace).cache
        self._maps = informers.of(ConfigMap).cache
        self._data = {"ca.crt": certificate}

    async def reconcile(self, key: Key) -> After | None:
        """Look at one namespace."""
        namespace = self._namespaces.get(Key("", key.name))
        if namespace is None or namespace.meta.deletion_timestamp:
            return None
        current = self._maps.view(Key(key.name, CONFIG_MAP))
        try:
            if current is None:
                meta = ObjectMeta(name=CONFIG_MAP, namespace=key.name, annotations={DESCRIPTION: PURPOSE})
                await self._registry.create(ConfigMap(metadata=meta, data=self._data))
            elif dict(current.data) != self._data or not current.metadata.annotations.get(DESCRIPTION):
                annotations = {**current.metadata.annotations, DESCRIPTION: PURPOSE}
                meta = replace(current.metadata, annotations=annotations)
                await self._registry.update(replace(current, metadata=meta, data=self._data))
        except (AlreadyExists, NotFound):
            return None  # somebody was quicker, or the namespace has gone
        except Forbidden as error:  # by a quota or a policy, which may change
            if not namespace_is_ending(error):
                raise
        return None


def root_certificate_publisher(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, certificate: str
) -> Controller:
    """Return the controller that publishes `certificate`, a PEM text, in every namespace."""

    def namespace_of(document: Document) -> tuple[Key, ...]:
        return (Key("", document.meta.namespace),) if document.meta.name == CONFIG_MAP else ()

    return Controller(
        NAME,
        RootCertificates(informers, certificate),
        [(informers.of(Namespace), itself), (informers.of(ConfigMap), namespace_of)],
        recorder=recorder.source(NAME),
    )
