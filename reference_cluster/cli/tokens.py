"""Bootstrap tokens: what a machine needs to join a cluster that does not know it yet, as kubeadm sets it up."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reference_cluster.cli import shapes
from reference_cluster.datadir import default_data_directory

if TYPE_CHECKING:
    from kubelib.client.kubeconfig import Connection

GROUP = "system:bootstrappers:kubeadm:default-node-token"
_RBAC = "rbac.authorization.k8s.io"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


@click.group()
def token() -> None:
    """Make tokens by which nodes join the cluster."""


@token.command(
    epilog="Example: kubelib token create --data-dir ./master --out ./bootstrap.kubeconfig, then "
    "kubelib kubelet node-1 --bootstrap-kubeconfig ./bootstrap.kubeconfig --kubeconfig ./node-1/kubeconfig --data-dir ./node-1/data"
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path), default=default_data_directory, show_default="~/.local/share/kubelib",
    help="The data directory of the API server.",
)  # fmt: skip
@shapes.number("--ttl", 24, "How long it is good.", least=1, metavar="HOURS")
@click.option("--out", type=click.Path(path_type=Path), help="A kubeconfig with the token to write.")
def create(data_dir: Path, ttl: int, out: Path | None) -> None:
    """Make a token, print it, and let those who have one ask for the certificate of a node."""
    import secrets
    from datetime import timedelta

    import anyio

    from kubelib.api.errors import ApiError
    from kubelib.api.times import format_time
    from kubelib.client.kubeconfig import KubeconfigError, load_connection
    from kubelib.clock import SYSTEM_CLOCK

    identity = "".join(secrets.choice(_ALPHABET) for _ in range(6))
    word = "".join(secrets.choice(_ALPHABET) for _ in range(16))
    expiration = format_time(SYSTEM_CLOCK.now() + timedelta(hours=ttl))
    try:
        connection = load_connection([data_dir / "admin.kubeconfig"])
        anyio.run(_create, connection, identity, word, expiration)
    except (KubeconfigError, ApiError) as error:
        raise click.ClickException(str(error)) from None
    if out is not None:
        _write_kubeconfig(out, connection, f"{identity}.{word}")
    click.echo(f"{identity}.{word}")


async def _create(connection: "Connection", identity: str, word: str, expiration: str) -> None:
    from kubelib.api.core.config import ConfigMap, Secret
    from kubelib.api.errors import AlreadyExists
    from kubelib.api.meta import ObjectMeta
    from kubelib.api.rbac import ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject
    from kubelib.client.http import HttpClient

    def bound(name: str, role: str, kind: str, subject: Subject, namespace: str = "") -> Any:
        meta = ObjectMeta(name=name, namespace=namespace)
        cls = RoleBinding if namespace else ClusterRoleBinding
        reference = RoleRef(api_group=_RBAC, kind=kind, name=role)
        return cls(metadata=meta, role_ref=reference, subjects=(subject,))

    def group(name: str) -> Subject:
        return Subject(kind="Group", api_group=_RBAC, name=name)

    requests = "system:certificates.k8s.io:certificatesigningrequests"
    signer = "kubeadm:bootstrap-signer-clusterinfo"
    readers = PolicyRule(
        verbs=("get",), api_groups=("",), resources=("configmaps",), resource_names=("cluster-info",)
    )
    anonymous = Subject(kind="User", api_group=_RBAC, name="system:anonymous")
    objects = [
        ConfigMap(
            metadata=ObjectMeta(name="cluster-info", namespace="kube-public"),
            data={"kubeconfig": _kubeconfig(connection, "")},
        ),
        Role(metadata=ObjectMeta(name=signer, namespace="kube-public"), rules=(readers,)),
        bound(signer, signer, "Role", anonymous, "kube-public"),
        bound("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", "ClusterRole", group(GROUP)),
        bound("kubeadm:node-autoapprove-bootstrap", f"{requests}:nodeclient", "ClusterRole", group(GROUP)),
        bound(
            "kubeadm:node-autoapprove-certificate-rotation",
            f"{requests}:selfnodeclient",
            "ClusterRole",
            group("system:nodes"),
        ),
        Secret(
            metadata=ObjectMeta(name=f"bootstrap-token-{identity}", namespace="kube-system"),
            type="bootstrap.kubernetes.io/token",
            string_data={
                "token-id": identity,
                "token-secret": word,
                "expiration": expiration,
                "usage-bootstrap-authentication": "true",
                "usage-bootstrap-signing": "true",
                "auth-extra-groups": GROUP,
            },
        ),
    ]
    async with HttpClient(connection, manager="kubelib") as client:
        for wanted in objects:
            try:
                await client.resource(type(wanted)).create(wanted)
            except AlreadyExists:
                continue


def _kubeconfig(connection: "Connection", token: str) -> str:
    import base64

    import yaml

    user = {"users": [{"name": "bootstrap", "user": {"token": token}}]} if token else {"users": []}
    context = [{"name": "bootstrap", "context": {"cluster": "", "user": "bootstrap"}}] if token else []
    tree = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "",
                "cluster": {
                    "server": connection.server,
                    "certificate-authority-data": base64.b64encode(connection.ca_data).decode(),
                },
            }
        ],
        **user,
        "contexts": context,
        "current-context": "bootstrap" if token else "",
    }
    text: str = yaml.safe_dump(tree, sort_keys=False)
    return text


def _write_kubeconfig(path: Path, connection: "Connection", token: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(_kubeconfig(connection, token))
