"""URLs of stores that are clusters of servers: ``scheme://[user:password@]host[:port],…[/path][?ca=FILE&cert=FILE&key=FILE]``."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

from attrs import frozen

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

    def __str__(self) -> str:
        return f"{self.name} at " + ", ".join(self.endpoints)


def parse_cluster_url(url: str, *, name: str, port: int) -> ClusterAddress:
    """Read a URL; `port` is for hosts without one. Raises ValueError that says what is wrong, without the password."""
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
    options = _options(shown, query)
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
    )


def _options(shown: str, query: str) -> Mapping[str, str]:
    options = dict.fromkeys(_FILES, "") | dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in (*_FILES, "tls"):
            raise ValueError(f"{shown} has an unknown option {name!r}: there are {', '.join(_FILES)} and tls")
    if bool(options["cert"]) != bool(options["key"]):
        raise ValueError(f"{shown} needs both cert and key, or neither")
    return options
