"""Checks of texts: each returns Kubernetes' messages, none if all is well.

The same few names, labels and paths come again and again, so that what was checked once is remembered.
"""

import functools
import ipaddress
import re

from kubelib.api.validation.addresses import address_messages, network_messages, sloppy_address
from kubelib.labels import validation as names

_TEXTS = 8192

ip_address, cidr = address_messages, network_messages
label = functools.lru_cache(_TEXTS)(names.is_dns1123_label)
subdomain = functools.lru_cache(_TEXTS)(names.is_dns1123_subdomain)
qualified = functools.lru_cache(_TEXTS)(names.is_qualified_name)
label_value = functools.lru_cache(_TEXTS)(names.is_label_value)

_config_key = re.compile(r"[-._a-zA-Z0-9]+").fullmatch
_header = re.compile(r"[-A-Za-z0-9]+").fullmatch
_env_name = re.compile(r"[ -<>-~]*").fullmatch
_service_name = re.compile(r"[-a-z0-9]*").fullmatch
_relaxed_subdomain = re.compile(
    r"[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?(\.[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?)*"
).fullmatch

INVALID_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for"
    " validation is '[0-9]+%')"
)


@functools.lru_cache(_TEXTS)
def port_name(name: str) -> list[str]:
    """Check the name of a port (an IANA service name)."""
    problems = names.too_long(name, 15)
    if not _service_name(name):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= character <= "z" for character in name):
        problems.append("must contain at least one letter (a-z)")
    if "--" in name:
        problems.append("must not contain consecutive hyphens")
    if name[:1] == "-" or name[-1:] == "-":
        problems.append("must not begin or end with a hyphen")
    return problems


@functools.lru_cache(_TEXTS)
def env_name(name: str) -> list[str]:
    """Check the name of an environment variable."""
    if _env_name(name):
        return []
    return [
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
    ]


@functools.lru_cache(_TEXTS)
def config_key(key: str) -> list[str]:
    """Check a key of a ConfigMap or Secret."""
    problems = names.too_long(key, 253)
    if not _config_key(key):
        problems.append(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or"
            " 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
        )
    if key in (".", ".."):
        problems.append(f"must not be '{key}'")
    elif key.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def http_header(name: str) -> list[str]:
    """Check the name of an HTTP header."""
    if _header(name):
        return []
    message = (
        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for"
        " validation is '[-A-Za-z0-9]+')"
    )
    return [message]


def search_domain(name: str) -> list[str]:
    """Check a DNS search domain, which may have underscores."""
    if name == "." or _relaxed_subdomain(name.removesuffix(".")):
        return []
    return subdomain(name.removesuffix("."))


_LINK_LOCAL_MULTICAST = ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16")


@functools.lru_cache(_TEXTS)
def special_address(text: str) -> list[str]:
    """Check that an IP address is one that can be reached from elsewhere."""
    address = sloppy_address(text)
    if address is None:
        return ["must be a valid IP address"]
    if address.is_unspecified:
        return [f"may not be unspecified ({text})"]
    if address.is_loopback:
        return ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]
    if address.is_link_local:
        return ["may not be in the link-local range (169.254.0.0/16, fe80::/10)"]
    if address in _LINK_LOCAL_MULTICAST[address.version == 6]:
        return ["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"]
    return []


def no_backsteps(path: str) -> list[str]:
    """Check that a path does not lead upwards."""
    return ["must not contain '..'"] if ".." in path.split("/") else []


def descending(path: str) -> list[str]:
    """Check that a path leads downwards from where it is used."""
    return [*(["must be a relative path"] if path.startswith("/") else []), *no_backsteps(path)]


def unreserved(path: str) -> list[str]:
    """Check that a path leads downwards and does not begin as the files that volumes keep for themselves."""
    problems = descending(path)
    if path.startswith("..") and not path.startswith("../"):
        problems.append("must not start with '..'")
    return problems
