"""Service accounts: objects like others, but a token can be asked for in their name.

The rules, defaults and messages are those of ``pkg/registry/core/serviceaccount/storage/token.go``.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kubelib.api import codec
from kubelib.api.core.config import Secret
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import BadRequest, MethodNotAllowed, Problem, conflict, invalid, not_found
from kubelib.api.meta import Key, Object
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.api.validation import problems
from kubelib.clock import new_uid
from kubelib.registry.base import WriteOptions
from kubelib.registry.strategies.base import Strategy

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

GROUP = "authentication.k8s.io"
API_VERSION = "authentication.k8s.io/v1"
DEFAULT_SECONDS, LEAST_SECONDS, MOST_SECONDS = 3600, 600, 1 << 32
PROJECTED_SECONDS = 3607
"""The lifetime that admission asks for in the name of Pods: an hour, and recognizably not one that somebody has asked for."""
EXTENDED = timedelta(days=365)
"""How long such a token works all the same, for programs that read it once: Kubernetes warns first."""
_BINDABLE: dict[tuple[str, str], type[Object]] = {
    ("v1", "Pod"): Pod,
    ("v1", "Secret"): Secret,
    ("v1", "Node"): Node,
}


class ServiceAccountStrategy(Strategy):
    """What is special about service accounts."""

    async def create_subresource(
        self, registry: "GenericRegistry", key: Key, subresource: str, tree: Tree, options: WriteOptions
    ) -> Document:
        """Issue a token. Raises NotFound, Invalid, BadRequest, Conflict."""
        signer = registry.owner.tokens
        if signer is None:
            raise MethodNotAllowed("this API server signs no tokens: give it a key for service accounts")
        account = registry.cache.get(key)
        if account is None:
            raise registry.not_found(key)
        meta = tree.setdefault("metadata", {})
        spec = tree.setdefault("spec", {})
        _require_same(meta, key)
        uid = meta.get("uid")
        if uid and uid != account.meta.uid:
            why = f"the UID in the token request ({uid}) does not match the UID of the service account ({account.meta.uid})"
            raise conflict(f"TokenRequest.{GROUP}", key.name, why)
        if not spec.get("audiences"):
            spec["audiences"] = list(signer.audiences)
        seconds = spec.setdefault("expirationSeconds", DEFAULT_SECONDS)
        _require_duration(seconds, key)
        await registry.admit("create", key, tree, None, options, subresource)
        bound = _bound(registry, key, spec.get("boundObjectRef"))
        clock = registry.owner.clock
        now = clock.now().replace(microsecond=0)
        expires = now + timedelta(seconds=seconds)
        own = {
            "namespace": key.namespace,
            "serviceaccount": {"name": key.name, "uid": account.meta.uid},
            **bound,
        }
        claims: dict[str, Any] = {
            "aud": spec["audiences"],
            "exp": int(expires.timestamp()),
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "jti": new_uid(registry.owner.random),
            "sub": f"system:serviceaccount:{key.namespace}:{key.name}",
            "kubernetes.io": own,
        }
        if seconds == PROJECTED_SECONDS and "pod" in bound and set(spec["audiences"]) <= {*signer.audiences}:
            own["warnafter"] = claims["exp"]
            claims["exp"] = int((now + EXTENDED).timestamp())
        meta |= {
            "name": key.name,
            "namespace": key.namespace,
            "uid": account.meta.uid,
            "creationTimestamp": format_time(now),
        }
        status = {"expirationTimestamp": format_time(expires)}
        # A dry run gives nothing away that works.
        status["token"] = "" if options.dry_run else signer.sign(claims)
        if options.annotate is not None:
            options.annotate("authentication.kubernetes.io/issued-credential-id", f"JTI={claims['jti']}")
        answer = {
            "kind": "TokenRequest",
            "apiVersion": API_VERSION,
            "metadata": meta,
            "spec": spec,
            "status": status,
        }
        return Document(codec.encode_json(answer))


def _require_same(meta: Tree, key: Key) -> None:
    found: list[Problem] = []
    for part, wanted in (("name", key.name), ("namespace", key.namespace)):
        given = meta.get(part)
        if given and given != wanted:
            what = "name" if part == "name" else "namespace"
            found.append(
                problems.invalid(
                    f"metadata.{part}", given, f"must match the service account {what} if specified"
                )
            )
    if found:
        raise invalid("TokenRequest", GROUP, key.name, found)


def _require_duration(seconds: object, key: Key) -> None:
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise BadRequest("spec.expirationSeconds of a TokenRequest must be a whole number of seconds")
    if seconds < LEAST_SECONDS:
        why = "may not specify a duration less than 10 minutes"
    elif seconds > MOST_SECONDS:
        why = "may not specify a duration larger than 2^32 seconds"
    else:
        return
    raise invalid("TokenRequest", GROUP, key.name, [problems.invalid("spec.expirationSeconds", seconds, why)])


def _bound(registry: "GenericRegistry", key: Key, reference: Tree | None) -> dict[str, Any]:
    """Return the claims about the object that a token is bound to."""
    if not reference:
        return {}
    version, kind = reference.get("apiVersion") or "", reference.get("kind") or ""
    cls = _BINDABLE.get((version, kind))
    if cls is None:
        raise BadRequest(f"cannot bind token for serviceaccount to object of type {version}, Kind={kind}")
    name, uid = reference.get("name") or "", reference.get("uid") or ""
    document = registry.owner.cache_of(cls).get(Key("" if kind == "Node" else key.namespace, name))
    if document is None:
        raise not_found(f"{kind.lower()}s", name)
    if uid and uid != document.meta.uid:
        raise conflict(
            kind,
            name,
            f"the UID in the bound object reference ({uid}) does not match the UID in record."
            " The object might have been deleted and then recreated",
        )
    claims: dict[str, Any] = {kind.lower(): {"name": name, "uid": document.meta.uid}}
    if kind == "Pod":
        pod = document.view(Pod)
        if pod.spec.service_account_name != key.name:
            raise BadRequest(
                f'cannot bind token for serviceaccount "{key.name}" to pod running with different serviceaccount name.'
            )
        if pod.spec.node_name:
            node = registry.owner.cache_of(Node).get(Key("", pod.spec.node_name))
            claims["node"] = {
                "name": pod.spec.node_name,
                **({"uid": node.meta.uid} if node is not None else {}),
            }
    return claims
