"""The commands that make certificates."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reference_cluster.cli.options import data_dir

if TYPE_CHECKING:
    from kubelib.client.kubeconfig import Connection
    from reference_cluster.pki import Authority


@click.group()
def credentials() -> None:
    """Make certificates for users and nodes, signed by the cluster's own authority."""


def _authority(data_dir: Path) -> "tuple[Authority, Connection]":
    """Return the authority in an API server's data directory, and its administrator's connection."""
    from kubelib.client.kubeconfig import KubeconfigError, load_connection
    from reference_cluster.pki import Authority

    admin = data_dir / "admin.kubeconfig"
    if not admin.is_file() or not (data_dir / "pki" / "ca.key").is_file():
        raise click.ClickException(
            f"{data_dir} has no certificate authority: name the data directory of an API server that has run"
        )
    try:
        return Authority(data_dir / "pki"), load_connection([admin])
    except KubeconfigError as error:
        raise click.ClickException(str(error)) from None


@credentials.command(
    "user", epilog="Example: kubelib credentials user jane --group dev --out jane.kubeconfig"
)
@click.argument("name")
@data_dir
@click.option("--group", "groups", multiple=True, help="A group of the user; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The kubeconfig to write.")
def user_credentials(name: str, data_dir: Path, groups: tuple[str, ...], out: Path) -> None:
    """Write a kubeconfig for the user NAME. What the user may do, role bindings say."""
    from kubelib.client.kubeconfig import write_kubeconfig
    from reference_cluster.pki import Identity

    authority, admin = _authority(data_dir)
    credential = authority.client(f"user-{_file_name(name)}", Identity(name, groups))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_kubeconfig(
        out,
        server=admin.server,
        others=admin.others,
        user=name,
        ca=authority.ca,
        cert=credential.cert,
        key=credential.key,
    )


@credentials.command(
    "apiserver",
    epilog="Example: kubelib credentials apiserver --data-dir ./master --out ./master-2, then"
    " kubelib apiserver --data-dir ./master-2 --listen 127.0.0.1:6444 --store etcd://127.0.0.1:2379",
)
@data_dir
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The data directory to make for it."
)
def apiserver_credentials(data_dir: Path, out: Path) -> None:
    """Write what another API server of the same cluster needs: its authorities and the key of its tokens."""
    from reference_cluster.datadir import open_data_directory
    from reference_cluster.pki import copy_authorities

    authority, _ = _authority(data_dir)
    with open_data_directory(out) as made:
        if any(made.pki.glob("*.key")):
            raise click.ClickException(f"{out} has keys already: choose another --out")
        copy_authorities(authority.directory, made.pki)


@credentials.command(
    "node", epilog="Example: kubelib credentials node node-1 --data-dir ./master --out ./node-1"
)
@click.argument("name")
@data_dir
@click.option(
    "--address",
    "addresses",
    multiple=True,
    default=("127.0.0.1",),
    show_default=True,
    help="An address or host name of the node; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The directory to write to.")
def node_credentials(name: str, data_dir: Path, addresses: tuple[str, ...], out: Path) -> None:
    """Write what the node NAME needs: kubeconfig, kubelet.crt, kubelet.key, ca.crt."""
    from reference_cluster.credentials import write_node_credentials

    authority, admin = _authority(data_dir)
    write_node_credentials(authority, admin, _file_name(name), addresses, out)


def _file_name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise click.ClickException(
            f"{name!r} cannot be used here: choose a name that does not begin with a dot or hold a /"
        )
    return name
