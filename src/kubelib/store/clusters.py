"""URLs of stores that are clusters of servers: ``scheme://[user:password@]host[:port],…[/path][?ca=FILE&cert=FILE&key=FILE]``."""

from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl, unquote

from attrs import field, frozen

_FILES = ("ca", "cert", "key")


@frozen(kw_only=True)
class ClusterAddress:
    """Where a cluster of servers is, and as whom to speak to it.

    TLS is spoken where a file is named, and with ``?tls=true``, which trusts the system's authorities.
    """

    name: str
    """What is there, as messages call it."""
    endpoints: tuple[str, ...]
    """Each ``host:port``. They are one cluster: any of them answers for all."""
    path: str = ""
    """What of the cluster is the store's own, so that several can share it: begins with a slash, or is empty."""
    user: str = ""
    password: str = ""
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""
    settings: Mapping[str, int] = field(factory=dict)
    """The numbers that the URL gives, by the names that this kind of store knows."""

    def __str__(self) -> str:
        return f"{self.name} at " + ", ".join(self.endpoints)


def parse_cluster_url(url: str, *, name: str, port: int, settings: Collection[str] = ()) -> ClusterAddress:
    """Read a URL; `port` is for hosts without one, `settings` are the numbers that it may give.

    Raises ValueError that says what is wrong, without the password.
    """
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    place, _, path = rest.partition("/")
    credentials, at, hosts = place.rpartition("@")
    user, _, password = credentials.partition(":") if at else ("", "", "")
    shown = repr(f"{scheme}://…@{hosts}/{path}" if at else url)
    endpoints = []
    for host in hosts.split(","):
        server, colon, number = host.rpartition(":")
        if not colon or host.endswith("]"):
            server, number = host, str(port)
        if not server or not number.isdigit():
            example = f"{scheme}://host:{port}"
            raise ValueError(
                f"{shown} is not the URL of a store in {name}: write {example}, or {example.replace('host', 'host1')},host2:{port}"
            )
        endpoints.append(f"{server}:{number}")
    options = _options(shown, query, settings)
    return ClusterAddress(
        name=name,
        endpoints=tuple(endpoints),
        path=f"/{path.strip('/')}" if path.strip("/") else "",
        user=unquote(user),
        password=unquote(password),
        tls=any(options[name] for name in _FILES) or options.get("tls", "") in ("1", "true"),
        ca=options["ca"],
        cert=options["cert"],
        key=options["key"],
        settings=numbers_of(shown, {name: options[name] for name in settings if name in options}),
    )


def numbers_of(shown: str, options: Mapping[str, str]) -> Mapping[str, int]:
    """Return options of a URL as the numbers that they are. Raises ValueError."""
    for name, value in options.items():
        if not (value.isascii() and value.isdigit()):
            raise ValueError(f"{shown} has {name}={value}: it must be a whole number")
    return {name: int(value) for name, value in options.items()}


def _options(shown: str, query: str, settings: Collection[str]) -> Mapping[str, str]:
    options = dict.fromkeys(_FILES, "") | dict(parse_qsl(query, keep_blank_values=True))
    known = (*_FILES, *settings)
    for name in options:
        if name not in (*known, "tls"):
            raise ValueError(f"{shown} has an unknown option {name!r}: there are {', '.join(known)} and tls")
    if bool(options["cert"]) != bool(options["key"]):
        raise ValueError(f"{shown} needs both cert and key, or neither")
    return options
