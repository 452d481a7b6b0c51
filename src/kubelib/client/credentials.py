"""What a client shows of itself and whom it trusts, taken in anew when the files change that it comes from.

As client-go has it, for processes that run for longer than their certificates and tokens are good for: nobody has to be started again.
"""

import logging
import ssl
import tempfile

import attrs

from kubelib.client.kubeconfig import Connection, KubeconfigError
from kubelib.filestate import states_of

log = logging.getLogger("kubelib.client")

LOOK_EVERY = 1.0
"""Seconds between looks at the files at least: it is done when something is asked for."""


def tls_context(connection: Connection) -> ssl.SSLContext:
    """Return the client side of TLS that a kubeconfig asks for. Raises ssl.SSLError and ValueError for what makes no sense."""
    context = ssl.create_default_context(cadata=connection.ca_data.decode() if connection.ca_data else None)
    if connection.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if connection.cert_data:
        _load(context, connection.cert_data, connection.key_data)
    return context


def _load(context: ssl.SSLContext, certificate: bytes, private: bytes) -> None:
    # Python reads certificates from files only: these exist for no longer than it takes to read them.
    with tempfile.NamedTemporaryFile() as cert, tempfile.NamedTemporaryFile() as key:
        cert.write(certificate)
        key.write(private)
        cert.flush()
        key.flush()
        context.load_cert_chain(cert.name, key.name)


class Credentials:
    """The connection that a client has, as its files say now. Files that make no sense are not taken in."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.tls = tls_context(connection) if connection.server.startswith("https") else None
        self._seen = states_of(connection.files)
        self._due = 0.0

    def look(self, now: float) -> bool:
        """Take in files that have changed; return whether there is something new. `now` is the time of the event loop."""
        if now < self._due:
            return False
        self._due = now + LOOK_EVERY
        before = self.connection
        state = states_of(before.files)
        if before.again is None or state == self._seen:
            return False
        self._seen = state
        try:
            return self.take(before.again())
        except (KubeconfigError, OSError, ValueError) as error:
            log.warning("the credentials for %s are not taken in: %s", before.server, error)
            return False
        finally:
            if self.connection.files != before.files:
                self._seen = ()  # what has been seen is of other files

    def take(self, found: Connection) -> bool:
        """Use what another connection shows and trusts, if that is something else; for the same servers. Raises ssl.SSLError and ValueError."""
        before = self.connection
        for what, had, has in (
            ("token", before.token, found.token),
            ("certificate", before.cert_data, found.cert_data),
            ("authority", before.ca_data, found.ca_data),
        ):
            if had and not has:  # a file that is just being written
                raise ValueError(f"there is no {what} any more")
        new = attrs.evolve(
            before,
            ca_data=found.ca_data,
            cert_data=found.cert_data,
            key_data=found.key_data,
            token=found.token,
            files=found.files,
        )
        if found.servers != before.servers or new == before:
            return False
        if self.tls is not None and _certificates(new) != _certificates(before):
            self.tls = tls_context(new)
        self.connection = new
        log.info("the credentials for %s have changed and were taken in", before.server)
        return True


def _certificates(connection: Connection) -> tuple[bytes, bytes, bytes]:
    return connection.ca_data, connection.cert_data, connection.key_data
