"""What a node needs to be one of a cluster, in a directory: who it is, what it serves with, and whom it trusts."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from kubelib.client.kubeconfig import Connection, write_kubeconfig
from reference_cluster.pki import Authority, node_identity


def write_node_credentials(
    authority: Authority, connection: Connection, name: str, addresses: Sequence[str], out: Path
) -> None:
    """Write kubeconfig, kubelet.crt, kubelet.key and ca.crt of the node `name` to `out`; `connection` says where the API servers are."""
    client = authority.client(f"node-{name}", node_identity(name))
    serving = authority.server(f"kubelet-{name}", (name, *addresses))
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_kubeconfig(
        out / "kubeconfig",
        server=connection.server,
        others=connection.others,
        user=f"system:node:{name}",
        ca=authority.ca,
        cert=client.cert,
        key=client.key,
    )
    for source, target in (
        (serving.cert, "kubelet.crt"),
        (serving.key, "kubelet.key"),
        (authority.ca, "ca.crt"),
    ):
        shutil.copy(source, out / target)  # with its mode: keys stay readable by their owner alone
