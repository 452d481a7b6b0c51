"""Certificates with which an etcd is spoken to."""

import ssl
from pathlib import Path

from kubelib.store.base import StoreUnavailable
from kubelib.store.clusters import ClusterAddress


def tls_context(address: ClusterAddress) -> ssl.SSLContext:
    """Read the files of an address. Raises `StoreUnavailable`.

    It is done anew for each connection: certificates that were renewed are used from the next one on.
    """
    name, path = "ca", address.ca
    try:
        context = ssl.create_default_context(cafile=path or None)
        if address.cert:
            name, path = "cert", address.cert
            context.load_cert_chain(address.cert, address.key, password="")  # and nobody is asked for one
    except ssl.SSLError as error:
        why = (error.reason or "it is none").replace("_", " ").lower()
        raise StoreUnavailable(f"cannot use {path}, the {name} file for {address}: {why}") from None
    except OSError as error:
        for name in ("ca", "cert", "key"):  # Python does not say which of them it is
            _require_readable(address, name)
        raise StoreUnavailable(
            f"cannot read {path}, the {name} file for {address}: {error.strerror}"
        ) from None
    context.set_alpn_protocols(["h2"])
    return context


def _require_readable(address: ClusterAddress, name: str) -> None:
    path = getattr(address, name)
    try:
        if path:
            Path(path).read_bytes()
    except OSError as error:
        raise StoreUnavailable(
            f"cannot read {path}, the {name} file for {address}: {error.strerror}"
        ) from None
