"""Kubeconfig files: which cluster, as whom."""

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from kubelib.client.plugins import Plugin, read_plugin

SERVERS = "kubelib.dev/servers"
"""The extension of a cluster in a kubeconfig that lists further servers. Other clients pass over extensions."""


class KubeconfigError(Exception):
    """There is no usable kubeconfig; the message says why and what to do."""


@attrs.frozen(kw_only=True)
class Connection:
    """What a context of a kubeconfig says: where the cluster is and who we are."""

    server: str
    others: tuple[str, ...] = ()
    """Further servers of the same cluster, asked in turn when one does not answer."""
    namespace: str = "default"
    ca_data: bytes = b""
    cert_data: bytes = b""
    key_data: bytes = b""
    token: str = ""
    insecure: bool = False
    plugin: Plugin | None = None
    """What says who we are, if nothing else does."""
    files: tuple[Path, ...] = ()
    """Where this was read from: the kubeconfigs, and the certificates, keys and tokens that they name."""
    again: "Callable[[], Connection] | None" = attrs.field(default=None, eq=False, repr=False)
    """Reads the same context of the same files once more. Raises `KubeconfigError`."""

    @property
    def servers(self) -> tuple[str, ...]:
        """All servers, the first first."""
        return (self.server, *self.others)


def write_kubeconfig(
    path: Path,
    *,
    server: str,
    user: str,
    ca: Path,
    cert: Path,
    key: Path,
    cluster: str = "kubelib",
    namespace: str = "",
    others: Sequence[str] = (),
) -> None:
    """Write a kubeconfig with everything inside of it, readable by its owner alone.

    `others` are further servers of the cluster, which our clients try in turn. kubectl knows the first one only.
    """
    encoded = {
        name: base64.b64encode(file.read_bytes()).decode()
        for name, file in (("ca", ca), ("cert", cert), ("key", key))
    }
    context = f"{user}@{cluster}"
    further = "".join(f"\n        - {other}" for other in others)
    extensions = f"""
    extensions:
    - name: {SERVERS}
      extension:
        servers:{further}"""
    text = f"""apiVersion: v1
kind: Config
clusters:
- name: {cluster}
  cluster:
    server: {server}
    certificate-authority-data: {encoded["ca"]}{extensions if others else ""}
users:
- name: {user}
  user:
    client-certificate-data: {encoded["cert"]}
    client-key-data: {encoded["key"]}
contexts:
- name: {context}
  context:
    cluster: {cluster}
    user: {user}
{f"    namespace: {namespace}" if namespace else ""}
current-context: {context}
""".replace("\n\n", "\n")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def kubeconfig_paths(explicit: str | None = None, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the files to read: the one that was named, else those of ``$KUBECONFIG``, else ``~/.kube/config``."""
    if explicit:
        return [Path(explicit)]
    listed = [Path(part) for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return listed or [Path.home() / ".kube" / "config"]


def load_connection(paths: Sequence[Path], context: str | None = None) -> Connection:
    """Read a context (the current one unless named) from kubeconfig files. Raises `KubeconfigError`."""
    import yaml

    merged: dict[str, dict[str, tuple[Any, Path]]] = {"clusters": {}, "users": {}, "contexts": {}}
    current, files = context or "", list(paths)
    found = False
    for path in paths:
        try:
            tree = yaml.safe_load(path.read_text())
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            why = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
            raise KubeconfigError(f"cannot read the kubeconfig {path}: {why}") from error
        if not isinstance(tree, dict):
            raise KubeconfigError(f"{path} is not a kubeconfig")
        found = True
        current = current or tree.get("current-context") or ""
        for part in merged:
            for item in tree.get(part) or ():
                merged[part].setdefault(item.get("name"), (item.get(part[:-1]) or {}, path))
    if not found:
        names = ", ".join(map(str, paths))
        raise KubeconfigError(
            f"there is no kubeconfig at {names}: start a cluster with `kubelib up` or use --kubeconfig"
        )
    if current not in merged["contexts"]:
        raise KubeconfigError(
            f"the kubeconfig has no context {current!r}: it has {', '.join(merged['contexts']) or 'none'}"
        )
    chosen, _ = merged["contexts"][current]
    cluster, of_cluster = merged["clusters"].get(chosen.get("cluster"), ({}, paths[0]))
    user, of_user = merged["users"].get(chosen.get("user"), ({}, paths[0]))
    if not cluster.get("server"):
        raise KubeconfigError(f"the context {current!r} names no server")
    return Connection(
        server=cluster["server"].rstrip("/"),
        others=_others(cluster),
        namespace=chosen.get("namespace") or "default",
        ca_data=_data(cluster, "certificate-authority", of_cluster, files),
        cert_data=_data(user, "client-certificate", of_user, files),
        key_data=_data(user, "client-key", of_user, files),
        token=_token(user, of_user, files),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        plugin=_plugin(str(chosen.get("user")), user, of_user, cluster),
        files=tuple(files),
        again=partial(load_connection, tuple(paths), current),
    )


def _others(cluster: Mapping[str, Any]) -> tuple[str, ...]:
    for item in cluster.get("extensions") or ():
        if isinstance(item, Mapping) and item.get("name") == SERVERS:
            return tuple(str(url).rstrip("/") for url in (item.get("extension") or {}).get("servers") or ())
    return ()


def _plugin(name: str, user: Mapping[str, Any], base: Path, cluster: dict[str, Any]) -> Plugin | None:
    if not user.get("exec"):
        return None
    try:
        return read_plugin(name, user["exec"], base.parent, cluster)
    except ValueError as error:
        raise KubeconfigError(f"invalid configuration: {error}") from None


def _data(part: Mapping[str, Any], name: str, base: Path, files: list[Path]) -> bytes:
    if inline := part.get(f"{name}-data"):
        return base64.b64decode(inline)
    return _read(name, str(file), base, files) if (file := part.get(name)) else b""


def _token(user: Mapping[str, Any], base: Path, files: list[Path]) -> str:
    if file := user.get("tokenFile"):
        return _read("tokenFile", str(file), base, files).decode("latin-1").strip()
    return str(user.get("token") or "")


def _read(name: str, file: str, base: Path, files: list[Path]) -> bytes:
    """Return what is in a file that a kubeconfig names, and note that it is one of `files`. Raises `KubeconfigError`."""
    path = base.parent.joinpath(file)
    files.append(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise KubeconfigError(f"cannot read the {name} {file}: {error.strerror}") from error
