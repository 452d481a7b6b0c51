"""What an API server has signed, for itself and for the daemons beside it, made anew before it expires.

Whoever uses the files takes in new ones while it runs: servers when somebody connects, clients when they ask for something.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio

from kubelib.client.kubeconfig import write_kubeconfig
from reference_cluster.pki import Authority, Credential, Identity

log = logging.getLogger("kubelib")

RENEW_EVERY = 24 * 3600.0
"""Seconds between looks at what has been signed; `Authority` says how long before its end it is signed again."""


class Renewal:
    """Signs what is asked for, and again in time as long as it runs."""

    def __init__(self, authority: Authority, urls: Sequence[str]) -> None:
        self._authority = authority
        self._urls = tuple(urls)
        self._signing: list[Callable[[], object]] = []

    def keep(self, sign: Callable[[], Credential]) -> Credential:
        """Return what a function signs, which is called again later: it must leave alone what is good still."""
        self._signing.append(sign)
        return sign()

    def keep_kubeconfig(self, path: Path, name: str, identity: Identity) -> None:
        """Write a kubeconfig that acts as `identity`, with a certificate that is signed as `name`."""
        written = self._write(path, name, identity, b"")

        def again() -> None:
            nonlocal written
            written = self._write(path, name, identity, written)

        self._signing.append(again)

    def _write(self, path: Path, name: str, identity: Identity, written: bytes) -> bytes:
        credential = self._authority.client(name, identity)
        certificate = credential.cert.read_bytes()
        if certificate != written:
            write_kubeconfig(
                path,
                server=self._urls[0],
                others=self._urls[1:],
                user=identity.user,
                ca=self._authority.ca,
                cert=credential.cert,
                key=credential.key,
            )
        return certificate

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await anyio.sleep(RENEW_EVERY)
            for sign in self._signing:
                try:
                    sign()
                except (OSError, ValueError) as error:
                    log.warning("a certificate cannot be made anew: %s", error)
