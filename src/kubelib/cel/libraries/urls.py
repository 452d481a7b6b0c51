"""Kubernetes' library of URLs."""

from typing import ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

import attrs

from kubelib.cel import types
from kubelib.cel.base import EvaluationError
from kubelib.cel.libraries import costs
from kubelib.cel.library import Library
from kubelib.cel.types import Type
from kubelib.cel.values import Opaque

URL = types.opaque("kubernetes.URL")


@attrs.frozen
class Url(Opaque):
    """An absolute URL, or an absolute path."""

    cel_type: ClassVar[Type] = URL
    text: str
    scheme: str
    host: str
    path: str
    query: str

    @property
    def hostname(self) -> str:
        """The host without its port and brackets."""
        host = self.host
        if host.startswith("["):
            return host[1:].partition("]")[0]
        return host.partition(":")[0]

    @property
    def port(self) -> str:
        """The port, when there is one."""
        return self.host.rpartition("]")[2].partition(":")[2]


def parse(text: str) -> Url | None:
    """Return the URL that a text is; None when it is none: it must begin with a scheme or with a slash."""
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in text) or "\\" in text.partition("?")[0]:
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    if not parts.scheme and not text.startswith("/"):
        return None
    if parts.scheme and not parts.netloc and not parts.path.startswith("/"):
        return None
    if " " in parts.netloc or any(
        text[at + 1 : at + 3].strip("0123456789abcdefABCDEF") or len(text[at + 1 : at + 3]) < 2
        for at, letter in enumerate(text.partition("?")[0])
        if letter == "%"
    ):
        return None
    host = parts.netloc.rpartition("@")[2]
    return Url(text, parts.scheme, host, unquote(parts.path), parts.query)


URLS = Library()
URLS.types["kubernetes.URL"] = URL


@URLS.declare("url(string) kubernetes.URL", cost=costs.traversal, estimate=costs.first_traversed)
def _url(text: str) -> Url:
    found = parse(text)
    if found is None:
        raise EvaluationError(
            f'URL parse error during conversion from string: parse "{text}": invalid URI for request'
        )
    return found


URLS.add(
    "isURL(string) bool",
    lambda text: parse(text) is not None,
    cost=costs.traversal,
    estimate=costs.first_traversed,
)
URLS.add("kubernetes.URL.getScheme() string", lambda url: url.scheme)
URLS.add("kubernetes.URL.getHost() string", lambda url: url.host)
URLS.add("kubernetes.URL.getHostname() string", lambda url: url.hostname)
URLS.add("kubernetes.URL.getPort() string", lambda url: url.port)
URLS.add("kubernetes.URL.getEscapedPath() string", lambda url: quote(url.path, safe="/$&+,:;=@!'()*~-._"))
URLS.add(
    "kubernetes.URL.getQuery() map(string, list(string))",
    lambda url: parse_qs(url.query, keep_blank_values=True),
)
