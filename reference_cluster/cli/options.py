"""Options that several commands have, and what their words become."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reference_cluster.cli import shapes
from reference_cluster.datadir import default_data_directory

if TYPE_CHECKING:
    from kubelib.registry.admission import Admission
    from kubelib.registry.base import User
    from reference_cluster.elastic import ElasticPlan

data_dir = click.option(
    "--data-dir", type=click.Path(path_type=Path), default=default_data_directory, show_default="~/.local/share/kubelib",
    help="Where everything that the cluster keeps is.",
)  # fmt: skip
listen = shapes.text("--listen", "HOST:PORT", "Where the API answers.", default="127.0.0.1:6443")
store = shapes.text("--store", "URL", "The store (default: SQLite in the data directory).")


token_file = click.option(
    "--token-auth-file", "token_file", type=click.Path(path_type=Path), metavar="FILE",
    help='Bearer tokens: lines of token,user,uid,"group,group".',
)  # fmt: skip
enable_plugins = shapes.text("--enable-admission-plugins", "NAMES", "Admission plug-ins beside the usual ones, separated by commas.", into="enable_plugins")  # fmt: skip
disable_plugins = shapes.text("--disable-admission-plugins", "NAMES", "Admission plug-ins to do without, separated by commas.", into="disable_plugins")  # fmt: skip
runtime = click.option("--runtime", default="process", show_default=True,
                       help="What runs containers: docker, fake, podman, process, or a plug-in.")  # fmt: skip
device_drivers = click.option(
    "--device-driver",
    "device_drivers",
    multiple=True,
    metavar="NAME",
    help="A plug-in that has devices on the node, for Pods that claim some; may be given several times.",
)
pod_network = shapes.text(
    "--pod-network",
    "CIDR",
    "Where Pods get their addresses, a /24 for each node: 127.244.0.0/16, or 10.244.0.0/16 where they have networks of their own"
    " (--isolation pod). Two clusters on one machine want two networks.",
)
own_pod_network = shapes.text(
    "--pod-network",
    "CIDR",
    "Where Pods get their addresses, a /24 for each node: 127.244.0.0/16, with --isolation pod 10.244.0.0/16, or a network that"
    " no other cluster here has.",
)
service_network = shapes.text(
    "--service-network",
    "CIDR",
    "Where Services get their addresses: 127.96.0.0/16, or a network that no other cluster here has. Pods with networks of their"
    " own reach addresses that are not loopback ones, such as 10.96.0.0/16.",
)
policy = click.option(
    "--policy",
    default="default",
    show_default=True,
    help="How the scheduler chooses nodes: a policy's name, or a file with its profile (.yaml, .json).",
)
kubeconfig = click.option(
    "--kubeconfig", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="The API server, and as whom to talk to it.",
)  # fmt: skip


def admission(enable: str, disable: str) -> "tuple[Admission, ...]":
    """Return the plug-ins that these options name. Raises click.ClickException."""
    from kubelib.registry.admission import default_admission

    names = [[name.strip() for name in text.split(",") if name.strip()] for text in (enable, disable)]
    try:
        return default_admission(enable=names[0], disable=names[1])
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def tokens(file: Path | None) -> "Mapping[str, User]":
    """Return the tokens that a file has, none without one. Raises click.ClickException."""
    from reference_cluster.apiserver import TokenFileError, read_tokens

    try:
        return read_tokens(file) if file is not None else {}
    except TokenFileError as error:
        raise click.ClickException(str(error)) from None


def elastic_plan(text: str) -> "ElasticPlan | None":
    """Return which nodes come and go, if any do. Raises click.ClickException."""
    if not text:
        return None
    from reference_cluster.elastic import read_plan

    try:
        return read_plan(text)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def network(option: str, text: str) -> str:
    """Return a network as an option says it, or nothing. Raises click.BadParameter."""
    import ipaddress

    if not text:
        return ""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise click.BadParameter(f"{error}: write, for example, 127.244.0.0/16", param_hint=option) from None


def addresses(option: str, text: str) -> tuple[str, ...]:
    """Return addresses as an option says them, with commas. Raises click.BadParameter."""
    import ipaddress

    try:
        return tuple(str(ipaddress.ip_address(part.strip())) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise click.BadParameter(f"{error}: write, for example, 10.96.0.10", param_hint=option) from None
