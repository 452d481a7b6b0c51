"""The options of an API server that are about access; their names are those of kube-apiserver."""

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reference_cluster.cli import shapes

if TYPE_CHECKING:
    from kubelib.server.aggregation import FrontProxy
    from kubelib.server.audit import AuditSettings
    from kubelib.server.authn.oidc import OidcSettings
    from kubelib.server.authn.requestheader import RequestHeaders
    from kubelib.server.sni import NamedCertificate
    from kubelib.store.encryption import Rule
    from kubelib.transactions.commitpoint import CommitPolicy

_FILE = click.Path(path_type=Path)
_OPTIONS = (
    shapes.text("--authorization-mode", "MODES", "Who decides what users may, in order: Node, RBAC, AlwaysAllow, AlwaysDeny.", default="Node,RBAC"),
    click.option("--anonymous-auth", "anonymous", type=click.BOOL, default=True, show_default=True, metavar="BOOL", help="Whether who shows nothing may ask at all, as system:anonymous."),
    click.option("--audit-policy-file", type=_FILE, metavar="FILE", help="What is written to the audit log: a Policy of audit.k8s.io/v1."),
    shapes.text("--audit-log-path", "FILE", "Where the audit log is written; -: standard output."),
    click.option("--audit-log-maxage", type=click.IntRange(0), default=0, metavar="DAYS", help="How long old audit logs are kept; 0: for ever."),
    click.option("--audit-log-maxbackup", type=click.IntRange(0), default=0, metavar="N", help="How many old audit logs are kept; 0: all."),
    shapes.number("--audit-log-maxsize", 100, "How large an audit log becomes.", least=1, metavar="MB"),
    click.option("--encryption-provider-config", "encryption_config", type=_FILE, metavar="FILE", help="Which resources are encrypted in the store, and with which keys: an EncryptionConfiguration."),
    click.option("--enable-priority-and-fairness/--disable-priority-and-fairness", "fair", default=True, show_default=True, help="Serve requests by priority, and fairly."),
    shapes.number("--max-requests-inflight", 400, "Together with the next: how many requests are served at a time.", least=1),
    shapes.number("--max-mutating-requests-inflight", 200, "See --max-requests-inflight.", least=1),
    shapes.text("--cors-allowed-origins", "PATTERNS", "Pages of which origins may read answers: regular expressions, separated by commas, such as //example\\.com(:|$).", into="origins"),
    shapes.text("--strict-transport-security-directives", "LIST", "What browsers are told about HTTPS, for example max-age=31536000,includeSubDomains.", into="directives"),
    click.option("--client-ca-file", "client_cas", type=_FILE, multiple=True, metavar="FILE", help="A further authority whose client certificates stand for users; may be repeated."),
    click.option("--tls-sni-cert-key", "named", multiple=True, metavar="CERT,KEY[:NAMES]", help="A further certificate, shown to clients that want to speak with one of its names, or of those that are given; may be repeated."),
    shapes.choice("--tls-min-version", ["VersionTLS12", "VersionTLS13"], "The oldest TLS that clients may speak."),
    shapes.text("--tls-cipher-suites", "NAMES", "Which cipher suites may be used, separated by commas; those of TLS 1.3 always may (default: those that are good)."),
    shapes.text("--shutdown-delay-duration", "DURATION", "How long the server still answers, but says that it is not ready, when it is to end.", default="0s"),
    shapes.text("--request-timeout", "DURATION", "How long a write may take.", default="1m"),
    click.option("--min-request-timeout", "watch_time", type=click.IntRange(1), default=1800, show_default=True, metavar="SECONDS", help="How long watches last at least that do not say; twice as long at most."),
    shapes.text("--event-ttl", "DURATION", "How long Events are kept.", default="1h"),
    shapes.text("--service-account-issuer", "URL", "Who issues the tokens of service accounts."),
    click.option("--service-account-signing-key-file", "signing_key", type=_FILE, metavar="FILE", help="What signs them (default: a key of the cluster's own)."),
    click.option("--service-account-key-file", "verifying_keys", type=_FILE, multiple=True, metavar="FILE", help="Further keys whose tokens are good; may be repeated."),
    click.option("--requestheader-client-ca-file", type=_FILE, metavar="FILE", help="The authority of authenticating proxies (default: one of the cluster's own)."),
    shapes.text("--requestheader-allowed-names", "NAMES", "Which common names are proxies, separated by commas (default: all that the authority signs)."),
    shapes.text("--requestheader-username-headers", "NAMES", "Where proxies say who asks.", default="X-Remote-User"),
    shapes.text("--requestheader-uid-headers", "NAMES", "Where they say that user's uid.", default="X-Remote-Uid"),
    shapes.text("--requestheader-group-headers", "NAMES", "Where they say the user's groups.", default="X-Remote-Group"),
    shapes.text("--requestheader-extra-headers-prefix", "NAMES", "How headers begin in which they say more.", default="X-Remote-Extra-", into="requestheader_extra_prefixes"),
    click.option("--proxy-client-cert-file", "proxy_client_cert", type=_FILE, metavar="FILE", help="How this server shows other API servers that it is a proxy (default: a certificate of the cluster's own)."),
    click.option("--proxy-client-key-file", "proxy_client_key", type=_FILE, metavar="FILE", help="The key of that certificate."),
    click.option("--commit-policy", "commit_policies", multiple=True, metavar="NAME[=ARGUMENT]", help="Who decides in which order schedulers' transactions land: priority, precedence=A,B, fair-shares=scheduler, ageing; may be repeated."),
    shapes.text("--oidc-issuer-url", "URL", "The OpenID Connect provider whose users are known."),
    shapes.text("--oidc-client-id", "ID", "For whom its tokens must be."),
    shapes.text("--oidc-username-claim", "CLAIM", "Which claim is the user's name.", default="sub"),
    shapes.text("--oidc-username-prefix", "TEXT", "What comes before it (default: the issuer and #; -: nothing)."),
    shapes.text("--oidc-groups-claim", "CLAIM", "Which claim holds the user's groups."),
    shapes.text("--oidc-groups-prefix", "TEXT", "What comes before each."),
    click.option("--oidc-required-claim", "oidc_required_claims", multiple=True, metavar="CLAIM=VALUE", help="A claim that tokens must have; may be repeated."),
    shapes.text("--oidc-signing-algs", "NAMES", "How tokens may be signed.", default="RS256"),
    click.option("--oidc-ca-file", type=_FILE, metavar="FILE", help="The authority of the provider's certificate."),
)  # fmt: skip
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def access_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options, and call it with ``access``, an `AccessSettings`."""

    @functools.wraps(command)
    def with_settings(
        *,
        authorization_mode: str,
        anonymous: bool,
        encryption_config: Path | None,
        audit_policy_file: Path | None,
        audit_log_path: str,
        audit_log_maxage: int,
        audit_log_maxbackup: int,
        audit_log_maxsize: int,
        fair: bool,
        max_requests_inflight: int,
        max_mutating_requests_inflight: int,
        origins: str,
        directives: str,
        client_cas: Sequence[Path],
        named: Sequence[str],
        tls_min_version: str,
        tls_cipher_suites: str,
        shutdown_delay_duration: str,
        request_timeout: str,
        watch_time: int,
        event_ttl: str,
        service_account_issuer: str,
        signing_key: Path | None,
        verifying_keys: Sequence[Path],
        **others: Any,
    ) -> None:
        from kubelib.server.authn.tokens import ISSUER
        from kubelib.server.tls import VERSIONS
        from reference_cluster.access import AccessSettings

        oidc = {name: others.pop(name) for name in list(others) if name.startswith("oidc_")}
        proxies = {name: others.pop(name) for name in list(others) if name.startswith("requestheader_")}
        front_proxy = _front_proxy(others.pop("proxy_client_cert"), others.pop("proxy_client_key"))
        for path in (*verifying_keys, *([signing_key] if signing_key is not None else [])):
            _read(path)
        settings: AccessSettings = AccessSettings(
            modes=_modes(authorization_mode),
            anonymous=anonymous,
            audit=_audit(
                audit_policy_file, audit_log_path, audit_log_maxage, audit_log_maxbackup, audit_log_maxsize
            ),
            encryption=_encryption(encryption_config),
            fair=fair,
            concurrency=max_requests_inflight + max_mutating_requests_inflight,
            request_timeout=_duration(request_timeout, "--request-timeout", least=0.001),
            watch_time=float(watch_time),
            event_lifetime=_duration(event_ttl, "--event-ttl", least=1.0),
            origins=_origins(origins),
            security_directives=_directives(directives),
            client_cas=tuple(map(_authority, client_cas)),
            named_certificates=tuple(map(_named, named)),
            tls_minimum=VERSIONS[tls_min_version],
            tls_ciphers=_ciphers(tls_cipher_suites),
            shutdown_delay=_duration(shutdown_delay_duration, "--shutdown-delay-duration"),
            oidc=_oidc(oidc),
            issuer=service_account_issuer or ISSUER,
            signing_key=signing_key,
            verifying_keys=tuple(verifying_keys),
            request_headers=_request_headers(proxies),
            front_proxy=front_proxy,
            commit_policies=_commit_policies(others.pop("commit_policies")),
        )
        command(access=settings, **others)

    wrapped: Callable[..., None] = with_settings
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read {path}: {error}") from None


def _modes(text: str) -> tuple[str, ...]:
    from kubelib.server.authz.modes import AUTHORIZATION_MODES

    modes = tuple(mode.strip() for mode in text.split(",") if mode.strip())
    for mode in modes:
        if mode not in AUTHORIZATION_MODES:
            raise click.ClickException(
                f"{mode!r} is not an authorization mode: choose among {', '.join(AUTHORIZATION_MODES)}"
            )
    if not modes:
        raise click.ClickException("--authorization-mode needs at least one mode")
    return modes


def _origins(text: str) -> tuple[str, ...]:
    from kubelib.server.crossorigin import require_pattern

    patterns = tuple(text.split(",")) if text else ()
    for pattern in patterns:
        try:
            require_pattern(pattern)
        except ValueError as error:
            raise click.ClickException(f"--cors-allowed-origins: {pattern!r}: {error}") from None
    return patterns


def _directives(text: str) -> tuple[str, ...]:
    from kubelib.server.transportsecurity import require_directive

    directives = tuple(text.split(",")) if text else ()
    for directive in directives:
        try:
            require_directive(directive)
        except ValueError as error:
            raise click.ClickException(str(error)) from None
    return directives


def _ciphers(text: str) -> tuple[str, ...]:
    from kubelib.server.tls import cipher_of

    try:
        return tuple(cipher_of(suite.strip()) for suite in text.split(",")) if text else ()
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _named(text: str) -> "NamedCertificate":
    from kubelib.server.sni import NamedCertificate

    try:
        found = NamedCertificate.parsed(text)
    except ValueError as error:
        raise click.ClickException(f"--tls-sni-cert-key {text!r}: {error}") from None
    for path in (found.cert, found.key):
        _read(path)
    return found


def _authority(path: Path) -> Path:
    """Return the file of an authority if it is one. Raises ClickException."""
    if "-----BEGIN CERTIFICATE-----" not in _read(path):
        raise click.ClickException(f"{path} holds no certificate in PEM")
    return path


def _duration(text: str, option: str, *, least: float = 0.0) -> float:
    parts = _DURATION.findall(text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        raise click.ClickException(f"{text!r} is no duration: write, for example, 1m30s")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds < least:
        raise click.ClickException(f"{option} must not be shorter than {least:g} s")
    return seconds


def _audit(policy: Path | None, path: str, age: int, backups: int, size: int) -> "AuditSettings | None":
    from kubelib.server.audit import AuditSettings
    from kubelib.server.audit.policy import PolicyError, load_policy

    if policy is None:
        if path:
            raise click.ClickException(
                "--audit-log-path needs --audit-policy-file: without a policy nothing is written"
            )
        return None
    if not path:
        raise click.ClickException(
            "--audit-policy-file needs --audit-log-path: say where to write, - is standard output"
        )
    try:
        read = load_policy(_read(policy))
    except PolicyError as error:
        raise click.ClickException(f"{policy}: {error}") from None
    return AuditSettings(read, path, max_age=age, max_backups=backups, max_size=size)


def _encryption(config: Path | None) -> "Sequence[Rule]":
    if config is None:
        return ()
    from kubelib.api.codec import DecodeError, parse_yaml
    from kubelib.registry.keys import prefix_of_name
    from kubelib.store.encryption import EncryptionError, read_configuration

    try:
        return read_configuration(parse_yaml(_read(config).encode()), prefix_of_name)
    except (EncryptionError, DecodeError) as error:
        raise click.ClickException(f"{config}: {error}") from None


def _request_headers(options: dict[str, Any]) -> "RequestHeaders | None":
    """Return which proxies are believed. Names of headers are compared in lower case."""
    from kubelib.server.authn.requestheader import RequestHeaders

    def names(option: str) -> tuple[str, ...]:
        return tuple(name.strip() for name in options[f"requestheader_{option}"].split(",") if name.strip())

    ca = options["requestheader_client_ca_file"]
    if ca is None:
        if names("allowed_names"):
            raise click.ClickException(
                "--requestheader-allowed-names needs --requestheader-client-ca-file: say who signs the proxies"
            )
        return None
    _authority(ca)
    headers = {
        option: tuple(name.lower() for name in names(option))
        for option in ("username_headers", "uid_headers", "group_headers", "extra_prefixes")
    }
    if not headers["username_headers"]:
        raise click.ClickException("--requestheader-username-headers needs at least one header")
    return RequestHeaders(
        ca=ca,
        names=names("allowed_names"),
        username=headers["username_headers"],
        uid=headers["uid_headers"],
        groups=headers["group_headers"],
        extra_prefixes=headers["extra_prefixes"],
    )


def _front_proxy(cert: Path | None, key: Path | None) -> "FrontProxy | None":
    from kubelib.server.aggregation import FrontProxy

    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise click.ClickException("use --proxy-client-cert-file and --proxy-client-key-file together")
    for path in (cert, key):
        _read(path)
    return FrontProxy(cert, key)


def _oidc(options: dict[str, Any]) -> "OidcSettings | None":
    from kubelib.server.authn.oidc import OidcSettings

    if not options["oidc_issuer_url"]:
        if options["oidc_client_id"]:
            raise click.ClickException("--oidc-client-id needs --oidc-issuer-url")
        return None
    required: dict[str, str] = {}
    for text in options["oidc_required_claims"]:
        claim, equals, value = text.partition("=")
        if not equals or not claim:
            raise click.ClickException(f"--oidc-required-claim {text!r}: write CLAIM=VALUE")
        required[claim] = value
    ca = options["oidc_ca_file"]
    try:
        return OidcSettings(
            issuer=options["oidc_issuer_url"],
            client_id=options["oidc_client_id"],
            username_claim=options["oidc_username_claim"],
            username_prefix=options["oidc_username_prefix"],
            groups_claim=options["oidc_groups_claim"],
            groups_prefix=options["oidc_groups_prefix"],
            required_claims=required,
            algorithms=tuple(
                name.strip() for name in options["oidc_signing_algs"].split(",") if name.strip()
            ),
            ca=_read(ca) if ca is not None else "",
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _commit_policies(texts: Sequence[str]) -> "tuple[CommitPolicy, ...]":
    from kubelib.transactions.policies import load_commit_policy

    try:
        return tuple(load_commit_policy(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--commit-policy") from None
