"""What a client shows of itself and whom it trusts, taken in anew when the files change that it comes from.

As client-go has it, for processes that run for longer than their certificates and tokens are good for: nobody has to be started again.
"""

import logging
import ssl
import tempfile

import anyio
import attrs

from kubelib.client.kubeconfig import Connection, KubeconfigError
from kubelib.client.plugins import Given, PluginFailed, ask
from kubelib.clock import Clock
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

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        shown = connection.token or connection.cert_data
        self.plugin = None if shown else connection.plugin
        """What is asked who we are: a program, if nothing else says so."""
        self._clock = clock
        self._given: Given | None = None
        self._asking = anyio.Lock()
        self.tls = tls_context(connection) if connection.server.startswith("https") else None
        self.may_change = connection.again is not None
        """Whether there is something to look at."""
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
            found = before.again()
            if self.plugin is not None:
                found = _as_given(found, Given(before.token, before.cert_data, before.key_data))
            self._require_all(found)
            return self.take(found)
        except (KubeconfigError, OSError, ValueError) as error:
            log.warning("the credentials for %s are not taken in: %s", before.server, error)
            return False
        finally:
            if self.connection.files != before.files:
                self._seen = ()  # what has been seen is of other files

    async def ask(self) -> bool:
        """Ask the program who we are unless what it said is still good; return whether it is something new. Raises `PluginFailed`."""
        if self.plugin is None or self._is_good():
            return False
        async with self._asking:  # spans the program: who comes meanwhile waits for the same answer
            if self._is_good():
                return False
            given = await ask(self.plugin)
            try:
                new = self.take(_as_given(self.connection, given))
            except (ValueError, OSError) as error:
                raise PluginFailed(f"failed parsing client key/certificate: {error}") from None
            self._given = given
            return new

    def refused(self) -> None:
        """Note that a server does not know us: the program is asked again before anything else is."""
        self._given = None

    def _is_good(self) -> bool:
        given = self._given
        return given is not None and (given.until is None or given.until > self._clock.now())

    def _require_all(self, found: Connection) -> None:
        before = self.connection
        for what, had, has in (
            ("token", before.token, found.token),
            ("certificate", before.cert_data, found.cert_data),
            ("authority", before.ca_data, found.ca_data),
        ):
            if had and not has:  # a file that is just being written
                raise ValueError(f"there is no {what} any more")

    def take(self, found: Connection) -> bool:
        """Use what another connection shows and trusts, if that is something else; for the same servers. Raises ssl.SSLError and ValueError."""
        before = self.connection
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


def _as_given(connection: Connection, given: Given) -> Connection:
    return attrs.evolve(connection, token=given.token, cert_data=given.cert_data, key_data=given.key_data)


def _certificates(connection: Connection) -> tuple[bytes, bytes, bytes]:
    return connection.ca_data, connection.cert_data, connection.key_data
