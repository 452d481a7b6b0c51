"""Who may in, who may what, how many at a time, and what is written of it: the settings of an API server that are about access."""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kubelib.clock import Clock
from kubelib.registry.strategies.workloads import EVENT_LIFETIME
from kubelib.server.app import REQUEST_TIMEOUT
from kubelib.server.authn import TokenAuthenticator
from kubelib.server.authn.tokens import ISSUER, TokenKey, TokenSigner
from kubelib.server.authz.modes import MODES
from kubelib.server.flow.base import DEFAULT_CONCURRENCY
from kubelib.server.watching import SHORTEST

if TYPE_CHECKING:
    from kubelib.server.aggregation import FrontProxy
    from kubelib.server.audit import Auditor, AuditSettings
    from kubelib.server.authn.oidc import OidcSettings
    from kubelib.server.authn.requestheader import RequestHeaders
    from kubelib.server.sni import NamedCertificate
    from kubelib.store.encryption import Rule
    from kubelib.transactions.commitpoint import CommitPolicy


@attrs.frozen(kw_only=True)
class AccessSettings:
    """See ``kube-apiserver --help``: each setting is one of its options."""

    modes: Sequence[str] = MODES
    audit: "AuditSettings | None" = None
    encryption: "Sequence[Rule]" = ()
    """What is encrypted in the store."""
    fair: bool = True
    concurrency: int = DEFAULT_CONCURRENCY
    request_timeout: float = REQUEST_TIMEOUT
    watch_time: float = SHORTEST
    """How long watches last at least that do not say."""
    event_lifetime: float = EVENT_LIFETIME
    anonymous: bool = True
    """Whether who shows nothing may ask at all, as ``system:anonymous``."""
    oidc: "OidcSettings | None" = None
    issuer: str = ISSUER
    signing_key: Path | None = None
    """What signs the tokens of service accounts; None: a key of the cluster's own."""
    verifying_keys: Sequence[Path] = ()
    """Further keys whose tokens are good."""
    request_headers: "RequestHeaders | None" = None
    """Which proxies are believed; None: the API servers of the cluster itself, by an authority of its own."""
    front_proxy: "FrontProxy | None" = None
    """How this server shows others that it is such a proxy; None: by a certificate of that authority."""

    origins: Sequence[str] = ()
    """Regular expressions of the origins whose pages may read answers."""
    security_directives: Sequence[str] = ()
    """What browsers are told about HTTPS."""
    client_cas: Sequence[Path] = ()
    """Further authorities whose client certificates stand for users."""
    tls_minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    tls_ciphers: Sequence[str] = ()
    """By OpenSSL's names; none: those that are good."""
    named_certificates: "Sequence[NamedCertificate]" = ()
    """Further certificates of the server, for names of its own."""
    shutdown_delay: float = 0.0
    """Seconds for which the server still answers when it is to end, so that nobody sends it new requests when it does."""

    commit_policies: "Sequence[CommitPolicy]" = ()
    """Who decides in which order schedulers' transactions land; nobody: they land as they come."""

    def signer(self, own: Path, clock: Clock) -> TokenSigner:
        """Return what signs and verifies tokens."""
        key = self.signing_key or own
        verifying = [TokenKey(path.read_bytes) for path in self.verifying_keys]
        return TokenSigner(TokenKey(key.read_bytes), issuer=self.issuer, verifying=verifying, clock=clock)

    def providers(self, clock: Clock) -> Sequence[TokenAuthenticator]:
        """Return those who know the users of OpenID Connect providers."""
        if self.oidc is None:
            return ()
        from kubelib.server.authn.oidc import OidcTokens

        return (OidcTokens(self.oidc, clock=clock),)

    def auditor(self, clock: Clock) -> "Auditor | None":
        """Open the audit log, if there is to be one. Raises OSError."""
        return self.audit.open(clock=clock) if self.audit is not None else None


DEFAULT_ACCESS = AccessSettings()
