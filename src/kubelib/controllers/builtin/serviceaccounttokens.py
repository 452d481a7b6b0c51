"""Secrets of type ``kubernetes.io/service-account-token`` get the token of the account that they name, and go with it.

The token is bound to its secret: whoever deletes the secret takes the token back.
"""

import base64

from kubelib.api.authentication import BoundObjectReference, TokenRequest, TokenRequestSpec
from kubelib.api.core.config import Secret, ServiceAccount
from kubelib.api.document import Document
from kubelib.api.errors import NotFound
from kubelib.api.legacytokens import ACCOUNT, TYPE, UID
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.base import SupportsTokens
from kubelib.client.update import update_with
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.registry.base import Preconditions

NAME = "tokens-controller"
FOR_EVER = 1 << 32
"""The longest lifetime of a token, in seconds: such secrets hold one that does not expire in anybody's time."""


class TokenSecrets:
    """Keeps one secret."""

    def __init__(self, informers: SharedInformers, tokens: SupportsTokens, root_ca: str) -> None:
        self._secrets = informers.of(Secret).cache
        self._accounts = informers.of(ServiceAccount).cache
        self._client = informers.client
        self._registry = informers.client.resource(Secret)
        self._live = informers.client.resource(ServiceAccount)
        self._tokens = tokens
        self._root_ca = root_ca
        self._account_names: dict[Key, str] = {}
        """Whose token each secret is."""

    def of_secret(self, document: Document) -> tuple[Key, ...]:
        """Return the secret itself if it is one of ours, and remember whose it is for when it is gone."""
        if not _is_token(document):
            return ()
        account = document.view(Secret).metadata.annotations.get(ACCOUNT)
        if account:
            self._account_names.setdefault(document.key, account)
        return (document.key,)

    async def _forget(self, key: Key) -> None:
        """Take a secret that is gone off the list of its account."""
        account = self._accounts.view(Key(key.namespace, self._account_names.pop(key, "")))
        if account is None or all(reference.name != key.name for reference in account.secrets):
            return

        def without(current: ServiceAccount) -> ServiceAccount:
            return replace(current, secrets=tuple(r for r in current.secrets if r.name != key.name))

        try:
            await update_with(self._client, ServiceAccount, account.key, without)
        except NotFound:
            return

    async def reconcile(self, key: Key) -> After | None:
        """Fill in what a secret lacks, or delete one whose account is gone."""
        secret = self._secrets.view(key)
        if secret is None:
            await self._forget(key)
            return None
        if secret.type != TYPE or secret.metadata.deletion_timestamp is not None:
            return None
        annotations = dict(secret.metadata.annotations)
        self._account_names[key] = annotations.get(ACCOUNT, "")
        where = Key(key.namespace, self._account_names[key])
        try:
            account = self._accounts.view(where) or await self._live.get(where)
        except NotFound:
            account = None
        if account is None or annotations.get(UID, account.metadata.uid) != account.metadata.uid:
            await self._delete(secret)
            return None
        wanted = dict(secret.data)
        wanted["namespace"] = base64.b64encode(key.namespace.encode()).decode()
        if self._root_ca:
            wanted["ca.crt"] = base64.b64encode(self._root_ca.encode()).decode()
        annotations[UID] = account.metadata.uid
        try:
            if not wanted.get("token"):
                wanted["token"] = base64.b64encode((await self._token(where, secret)).encode()).decode()
            if wanted != dict(secret.data) or annotations != dict(secret.metadata.annotations):
                meta = replace(secret.metadata, annotations=annotations)
                await self._registry.update(replace(secret, metadata=meta, data=wanted))
        except NotFound:
            return None  # the secret or the account went meanwhile: that is a change of its own
        return None

    async def _token(self, account: Key, secret: Secret) -> str:
        reference = BoundObjectReference(
            kind="Secret", api_version="v1", name=secret.metadata.name, uid=secret.metadata.uid
        )
        spec = TokenRequestSpec(bound_object_ref=reference, expiration_seconds=FOR_EVER)
        return (await self._tokens.create_token(account, TokenRequest(spec=spec))).status.token

    async def _delete(self, secret: Secret) -> None:
        try:
            await self._registry.delete(secret.key, preconditions=Preconditions(secret.metadata.uid))
        except NotFound:
            return

    def of_account(self, document: Document) -> tuple[Key, ...]:
        """Return the secrets of an account that has changed."""
        namespace, name = document.meta.namespace, document.meta.name
        return tuple(
            secret.key
            for secret in self._secrets
            if secret.meta.namespace == namespace
            and _is_token(secret)
            and secret.view(Secret).metadata.annotations.get(ACCOUNT) == name
        )


def _is_token(document: Document) -> bool:
    return TYPE.encode() in document.raw


def token_secrets_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, tokens: SupportsTokens, root_ca: str
) -> Controller:
    """Return the controller that fills secrets with tokens."""
    reconciler = TokenSecrets(informers, tokens, root_ca)
    return Controller(
        NAME,
        reconciler,
        [
            (informers.of(Secret), reconciler.of_secret),
            (informers.of(ServiceAccount), reconciler.of_account),
        ],
        workers=1,
        recorder=recorder.source(NAME),
    )
