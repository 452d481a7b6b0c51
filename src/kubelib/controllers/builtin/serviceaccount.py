"""Every namespace has a service account called ``default``."""

from kubelib.api.core.config import ServiceAccount
from kubelib.api.core.namespace import Namespace
from kubelib.api.document import Document
from kubelib.api.errors import AlreadyExists, Forbidden, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.podcontrol import namespace_is_ending
from kubelib.informers import SharedInformers

NAME = "serviceaccount-controller"


def _namespace_of(document: Document) -> tuple[Key, ...]:
    return (Key("", document.meta.namespace),)


class DefaultServiceAccounts:
    """Creates the account where it is missing."""

    def __init__(self, informers: SharedInformers) -> None:
        self._client = informers.client
        self._namespaces = informers.of(Namespace).cache
        self._accounts = informers.of(ServiceAccount).cache

    async def reconcile(self, key: Key) -> After | None:
        """Look at one namespace."""
        namespace = self._namespaces.get(key)
        if (
            namespace is None
            or namespace.meta.deletion_timestamp
            or Key(key.name, "default") in self._accounts
        ):
            return None
        account = ServiceAccount(metadata=ObjectMeta(name="default", namespace=key.name))
        try:
            await self._client.resource(ServiceAccount).create(account)
        except (AlreadyExists, NotFound):
            return None  # somebody was quicker; or the namespace has gone meanwhile
        except Forbidden as error:  # by a quota or a policy, which may change
            if not namespace_is_ending(error):
                raise
        return None


def service_account_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller of default service accounts."""
    reconciler = DefaultServiceAccounts(informers)
    return Controller(
        NAME,
        reconciler,
        [(informers.of(Namespace), itself), (informers.of(ServiceAccount), _namespace_of)],
        workers=1,
        recorder=recorder.source(NAME),
    )
