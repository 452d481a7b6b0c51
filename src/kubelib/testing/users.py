"""Users of a test's cluster: tokens or client certificates, kubeconfigs, and what they may do."""

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import Connection
from kubelib.registry.base import User
from kubelib.server.authn import API_AUDIENCE
from kubelib.testing.certificates import Credential

Tree = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"
CLUSTER = "test"


class Tokens:
    """A token authenticator to which users are added while it is in use."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}

    def add(self, user: User) -> str:
        """Return a new token that stands for a user."""
        token = secrets.token_urlsafe(24)
        self._users[token] = user
        return token

    async def authenticate(
        self, token: str, audiences: Sequence[str] = ()
    ) -> tuple[User, tuple[str, ...]] | None:
        """Return the user of a token; see `kubelib.server.authn.TokenAuthenticator`."""
        user = self._users.get(token)
        if user is None:
            return None
        common = tuple(audience for audience in audiences if audience == API_AUDIENCE)
        return (user, common) if common or not audiences else None


@attrs.frozen(kw_only=True)
class ClusterUser:
    """Somebody who can reach the cluster."""

    name: str
    groups: tuple[str, ...] = ()
    server: str
    """The address of the cluster over TLS: Go clients send no credentials without."""
    kubeconfig: Path
    """The path of a file with which kubectl and all client libraries are this user."""
    token: str
    """The bearer token; it is good with and without TLS."""
    credential: Credential | None = None
    """The client certificate of a user who asked for one: the kubeconfig then has it in the place of the token."""
    ca: bytes
    """The certificate by which the server is trusted."""

    @property
    def connection(self) -> Connection:
        """What `kubelib.client.http.HttpClient` wants to know."""
        credential = self.credential
        return Connection(
            server=self.server,
            ca_data=self.ca,
            token="" if credential else self.token,
            cert_data=credential.certificate if credential else b"",
            key_data=credential.key if credential else b"",
        )

    def http_client(self) -> HttpClient:
        """Return a client for asynchronous tests: ``async with user.http_client() as client``."""
        return HttpClient(self.connection)

    def write_kubeconfig(self) -> None:
        """Write the kubeconfig, readable by its owner alone: in JSON, which YAML contains."""
        authority = base64.b64encode(self.ca).decode()
        cluster: Tree = {"server": self.server, "certificate-authority-data": authority}
        user: Tree = {}
        if self.credential is not None:
            user["client-certificate-data"] = base64.b64encode(self.credential.certificate).decode()
            user["client-key-data"] = base64.b64encode(self.credential.key).decode()
        else:
            user["token"] = self.token
        tree: Tree = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CLUSTER, "cluster": cluster}],
            "users": [{"name": self.name, "user": user}],
            "contexts": [{"name": CLUSTER, "context": {"cluster": CLUSTER, "user": self.name}}],
            "current-context": CLUSTER,
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(tree, indent=2) + "\n")


def rights(
    user: str, *, roles: Sequence[str], rules: Sequence[Mapping[str, Any]], namespace: str
) -> list[Tree]:
    """Return the RBAC objects that give a user cluster roles by name, and a role of its own with `rules`.

    In one namespace, or without one in the whole cluster.
    """
    where = {"namespace": namespace} if namespace else {}
    kind = "Role" if namespace else "ClusterRole"
    objects: list[Tree] = []
    references = [("ClusterRole", role) for role in roles]
    safe = user.replace("/", "-")
    if rules:
        own = f"{safe}:own"
        objects.append(
            {
                "apiVersion": f"{GROUP}/v1",
                "kind": kind,
                "metadata": {"name": own, **where},
                "rules": [dict(rule) for rule in rules],
            }
        )
        references.append((kind, own))
    for of, role in references:
        name = role if role.startswith(f"{safe}:") else f"{safe}:{role}"
        objects.append(
            {
                "apiVersion": f"{GROUP}/v1",
                "kind": f"{kind}Binding",
                "metadata": {"name": name, **where},
                "roleRef": {"apiGroup": GROUP, "kind": of, "name": role},
                "subjects": [{"apiGroup": GROUP, "kind": "User", "name": user}],
            }
        )
    return objects
