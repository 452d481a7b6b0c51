"""Programs that say who we are: the ``exec`` of a user in a kubeconfig, as cloud providers have it.

A program is told in ``KUBERNETES_EXEC_INFO`` what it is asked for, and writes an ``ExecCredential`` with a token, a certificate or both.
"""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import attrs

from kubelib.api.times import parse_time

GROUP = "client.authentication.k8s.io"
VERSIONS = (f"{GROUP}/v1", f"{GROUP}/v1beta1")
EXTENSION = f"{GROUP}/exec"
"""The extension of a cluster in a kubeconfig whose content programs are told."""
MODES = ("Never", "IfAvailable", "Always")


class PluginFailed(Exception):
    """A program says nothing that is of use; the message says why."""


@attrs.frozen(kw_only=True)
class Plugin:
    """A program, and how it is asked."""

    command: str
    version: str
    args: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    """Beside that of this process."""
    mode: str = "IfAvailable"
    """Whether it may ask the user something."""
    cluster: str = ""
    """What it is told of the cluster, as JSON; empty: nothing."""
    hint: str = ""
    """How it is installed."""


@attrs.frozen
class Given:
    """What a program has said."""

    token: str = attrs.field(default="", repr=False)
    cert_data: bytes = b""
    key_data: bytes = attrs.field(default=b"", repr=False)
    until: datetime | None = None


def read_plugin(user: str, tree: dict[str, Any], base: Path, cluster: dict[str, Any]) -> Plugin:
    """Return what a user's ``exec`` says, in a kubeconfig in the directory `base`. Raises ValueError."""
    command, version = str(tree.get("command") or ""), str(tree.get("apiVersion") or "")
    mode = tree.get("interactiveMode") or ("IfAvailable" if version == VERSIONS[1] else "")
    for name, value in (("command", command), ("apiVersion", version), ("interactiveMode", mode)):
        if not value:
            raise ValueError(f"{name} must be specified for {user} to use exec authentication plugin")
    if mode not in MODES:
        raise ValueError(
            f"invalid interactiveMode for {user}: {json.dumps(mode)}: must be one of {', '.join(MODES)}"
        )
    if version not in VERSIONS:
        raise ValueError(f"exec plugin: invalid apiVersion {json.dumps(version)}")
    return Plugin(
        command=str(base / command) if "/" in command else command,
        version=version,
        args=tuple(map(str, tree.get("args") or ())),
        environment=tuple((str(one["name"]), str(one.get("value", ""))) for one in tree.get("env") or ()),
        mode=mode,
        cluster=json.dumps(_told(cluster)) if tree.get("provideClusterInfo") else "",
        hint=str(tree.get("installHint") or ""),
    )


def _told(cluster: dict[str, Any]) -> dict[str, Any]:
    names = (
        "server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url",
    )  # fmt: skip
    told = {name: cluster[name] for name in names if cluster.get(name)}
    for one in cluster.get("extensions") or ():
        if one.get("name") == EXTENSION:
            told["config"] = one.get("extension")
    return told


async def ask(plugin: Plugin) -> Given:
    """Run a program until it has said who we are. Raises `PluginFailed`."""
    interactive = plugin.mode != "Never" and sys.stdin is not None and sys.stdin.isatty()
    if plugin.mode == "Always" and not interactive:
        raise PluginFailed("exec plugin cannot support interactive mode: standard input is not a terminal")
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.cluster:
        spec = {"cluster": json.loads(plugin.cluster), **spec}
    wanted = {"kind": "ExecCredential", "apiVersion": plugin.version, "spec": spec}
    environment = {**os.environ, **dict(plugin.environment), "KUBERNETES_EXEC_INFO": json.dumps(wanted)}
    try:
        done = await anyio.run_process(
            [plugin.command, *plugin.args],
            stdin=None if interactive else subprocess.DEVNULL,
            stderr=None,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        hint = f"\n\n{plugin.hint}" if plugin.hint else ""
        raise PluginFailed(f"exec: executable {plugin.command} not found{hint}") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise PluginFailed(f"exec: fork/exec {plugin.command}: {why}") from None
    if done.returncode:
        raise PluginFailed(f"exec: executable {plugin.command} failed with exit code {done.returncode}")
    return _given(plugin, done.stdout)


def _given(plugin: Plugin, said: bytes) -> Given:
    try:
        tree = json.loads(said)
    except ValueError as error:
        raise PluginFailed(f"decoding stdout: {error}") from None
    version = tree.get("apiVersion") if isinstance(tree, dict) else None
    if version != plugin.version:
        raise PluginFailed(
            f"exec plugin is configured to use API version {plugin.version}, plugin returned version {version}"
        )
    status = tree.get("status")
    if not isinstance(status, dict):
        raise PluginFailed("exec plugin didn't return a status field")
    token, cert = str(status.get("token") or ""), str(status.get("clientCertificateData") or "")
    key, until = str(status.get("clientKeyData") or ""), str(status.get("expirationTimestamp") or "")
    if not (token or cert or key):
        raise PluginFailed("exec plugin didn't return a token or cert/key pair")
    if bool(cert) != bool(key):
        raise PluginFailed("exec plugin returned only certificate or key, not both")
    try:
        return Given(token, cert.encode(), key.encode(), parse_time(until) if until else None)
    except ValueError as error:
        raise PluginFailed(f"decoding stdout: {error}") from None
