"""As whom the containers of a Pod act, and with which credentials.

The rules and messages are those of Kubernetes' ServiceAccount plug-in.
"""

from collections.abc import Iterator

import anyio

from kubelib.api.alike import TOKEN_VOLUME
from kubelib.api.core.config import ServiceAccount
from kubelib.api.meta import Key
from kubelib.api.names import generate_name
from kubelib.api.podreferences import references_of
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.base import Attributes, Verb
from kubelib.registry.strategies.serviceaccounts import PROJECTED_SECONDS

DEFAULT = "default"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
MIRROR = "kubernetes.io/config.mirror"
ENFORCE = "kubernetes.io/enforce-mountable-secrets"
_TRIES, _INTERVAL = 10, 0.1
"""The account ``default`` of a new namespace is about to be created by its controller: it is waited for."""


class ServiceAccountAdmission:
    """Gives Pods the account ``default`` if they name none, and what their account brings.

    `mount_tokens` adds a volume with a token for the API, and what to trust, to every container.
    """

    name = "ServiceAccount"

    def __init__(self, *, mount_tokens: bool = True) -> None:
        self._mount_tokens = mount_tokens

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new Pods, and at those that get a container to look into them."""
        if resource.kind != "Pod" or resource.group:
            return False
        return (verb, subresource) in (("create", ""), ("update", "ephemeralcontainers"))

    async def mutate(self, attributes: Attributes) -> None:
        """Fill in the account, its image pull secrets and its token."""
        if attributes.verb != "create" or _is_mirror(attributes.tree):
            return
        spec = attributes.tree.setdefault("spec", {})
        if not spec.get("serviceAccountName"):
            spec["serviceAccountName"] = DEFAULT
        spec["serviceAccount"] = spec["serviceAccountName"]
        account = await self._account(attributes, spec["serviceAccountName"])
        if self._mount_tokens and _is_mounted(spec, account):
            _mount(attributes, spec)
        if not spec.get("imagePullSecrets") and account.image_pull_secrets:
            spec["imagePullSecrets"] = [{"name": secret.name} for secret in account.image_pull_secrets]

    async def validate(self, attributes: Attributes) -> None:
        """Refuse what a Pod of the node's own may not have, and secrets that the account does not allow."""
        spec = attributes.tree.get("spec") or {}
        if _is_mirror(attributes.tree):
            _check_mirror(attributes, spec)
            return
        account = await self._account(attributes, spec.get("serviceAccountName") or DEFAULT)
        if account.metadata.annotations.get(ENFORCE, "").lower() in ("true", "t", "1"):
            for complaint in _foreign_secrets(spec, account):
                raise attributes.forbidden(complaint)

    @staticmethod
    async def _account(attributes: Attributes, name: str) -> ServiceAccount:
        key = Key(attributes.key.namespace, name)
        accounts = attributes.cache(ServiceAccount)
        for attempt in range(_TRIES if name == DEFAULT else 1):
            if attempt:
                await anyio.sleep(_INTERVAL)
            document = accounts.get(key)
            if document is not None:
                return document.view(ServiceAccount)
        raise attributes.forbidden(
            f'error looking up service account {key.namespace}/{name}: serviceaccount "{name}" not found'
        )


def _is_mirror(pod: Tree) -> bool:
    return MIRROR in (pod["metadata"].get("annotations") or {})


def _containers(spec: Tree) -> Iterator[tuple[str, Tree]]:
    for part, title in (
        ("initContainers", "init container"),
        ("containers", "container"),
        ("ephemeralContainers", "ephemeral container"),
    ):
        for container in spec.get(part) or ():
            yield title, container


def _is_mounted(spec: Tree, account: ServiceAccount) -> bool:
    """Return whether the token is wanted: the Pod's own word counts before its account's."""
    own = spec.get("automountServiceAccountToken")
    if own is None:
        own = account.automount_service_account_token
    return own is not False


def _mount(attributes: Attributes, spec: Tree) -> None:
    volumes = list(spec.get("volumes") or ())
    name = next((v["name"] for v in volumes if str(v.get("name")).startswith(TOKEN_VOLUME)), "")
    is_new = not name
    if is_new:
        name = generate_name(TOKEN_VOLUME, attributes.registries.random)
    needed = False
    for title, container in _containers(spec):
        mounts = container.get("volumeMounts") or []
        if title == "ephemeral container" or any(m.get("mountPath") == MOUNT_PATH for m in mounts):
            continue
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
        needed = True
    if is_new and needed:
        spec["volumes"] = [*volumes, {"name": name, "projected": _sources()}]


def _sources() -> Tree:
    namespace = {
        "path": "namespace",
        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
    }
    return {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": PROJECTED_SECONDS}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [namespace]}},
        ],
    }


def _secrets(spec: Tree) -> Iterator[tuple[str, str]]:
    """Return the secrets that a Pod uses, each with how a refusal calls the use."""
    for volume in spec.get("volumes") or ():
        if secret := (volume.get("secret") or {}).get("secretName"):
            yield secret, "volume"
    for title, container in _containers(spec):
        for variable in container.get("env") or ():
            if name := ((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name"):
                yield name, f"{title} {container.get('name')} with envVar {variable.get('name')}"
        for source in container.get("envFrom") or ():
            if name := (source.get("secretRef") or {}).get("name"):
                yield name, f"{title} {container.get('name')} with envFrom"


def _check_mirror(attributes: Attributes, spec: Tree) -> None:
    if spec.get("serviceAccountName"):
        raise attributes.forbidden("a mirror pod may not reference service accounts")
    if references_of(attributes.tree).secrets:
        raise attributes.forbidden("a mirror pod may not reference secrets")
    for volume in spec.get("volumes") or ():
        sources = (volume.get("projected") or {}).get("sources") or ()
        if any(source.get("serviceAccountToken") is not None for source in sources):
            raise attributes.forbidden("a mirror pod may not use ServiceAccountToken volume projections")


def _foreign_secrets(spec: Tree, account: ServiceAccount) -> Iterator[str]:
    allowed = {secret.name for secret in account.secrets}
    because = f"is not allowed because service account {account.metadata.name} does not reference that"
    for name, use in _secrets(spec):
        if name not in allowed:
            how = "with secret.secretName" if use == "volume" else "referencing secret.secretName"
            yield f'{use} {how}="{name}" {because} secret'
    pulling = {secret.name for secret in account.image_pull_secrets}
    for number, reference in enumerate(spec.get("imagePullSecrets") or ()):
        if reference.get("name") not in pulling:
            yield f'imagePullSecrets[{number}].name="{reference.get("name")}" {because} imagePullSecret'
