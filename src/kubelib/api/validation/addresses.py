"""IP addresses and networks in the texts of objects: which forms are valid, and which are only tolerated where they are already.

Kubernetes once took every form that Go's parser took. Since 1.36 (KEP-4858) new values must not be such that programs read them
differently: octets with leading zeros, IPv4 addresses as IPv6 ones, networks with bits beyond their prefix. Objects that have
such values keep them through updates; their owners are warned.
"""

import functools
import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from kubelib.api.validation.problems import quote

INVALID_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
INVALID_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
ZEROS = "must not have leading 0s"
MAPPED = "must not be an IPv4-mapped IPv6 address"
CIDR_ZEROS = "must not have leading 0s in IP or prefix length"
CIDR_MAPPED = "must not have an IPv4-mapped IPv6 address"
CIDR_BITS = "must not have bits set beyond the prefix length"
STRICT = (ZEROS, MAPPED, CIDR_ZEROS, CIDR_MAPPED, CIDR_BITS)
"""What is wrong with forms that are tolerated where they are already."""

_OCTETS = re.compile(r"[0-9]+(\.[0-9]+){3}").fullmatch
_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")
_TEXTS = 8192
_MAPPED_BITS = 96

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@functools.lru_cache(_TEXTS)
def _read(text: str) -> tuple[Address, bool] | None:
    """Return an address, and whether some octet of its text begins with a needless zero; None if it is none."""
    plain = _ZEROS.sub("", text) if _OCTETS(text) else text
    if "%" in text:
        return None
    try:
        return ipaddress.ip_address(plain), plain != text
    except ValueError:
        return None


def is_address(text: str) -> bool:
    """Return whether a text is an IP address in any form."""
    return _read(text) is not None


def sloppy_address(text: str) -> Address | None:
    """Return an address that is written in any form, None if it is none."""
    found = _read(text)
    if found is None:
        return None
    return _mapped(found[0]) or found[0]


def _read_network(text: str) -> tuple[Address, int, bool] | None:
    """Return a network's address, its prefix, and whether numbers have needless zeros; None if it is none."""
    address, slash, digits = text.partition("/")
    found = _read(address)
    if found is None or not slash or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        return None
    ip, zeros = found
    if (prefix := int(digits)) > ip.max_prefixlen:
        return None
    return ip, prefix, zeros or str(prefix) != digits


def sloppy_network(text: str) -> Network | None:
    """Return a network that is written in any form, None if it is none; bits beyond its prefix do not count."""
    found = _read_network(text)
    return ipaddress.ip_network(found[:2], strict=False) if found is not None else None


def _mapped(address: Address) -> IPv4Address | None:
    return address.ipv4_mapped if isinstance(address, IPv6Address) else None


@functools.lru_cache(_TEXTS)
def address_messages(text: str) -> list[str]:
    """Check an IP address; return Kubernetes' messages, none if all is well."""
    found = _read(text)
    if found is None:
        return [INVALID_IP]
    address, zeros = found
    if zeros:
        return [ZEROS]
    return [MAPPED] if _mapped(address) is not None else []


@functools.lru_cache(_TEXTS)
def network_messages(text: str) -> list[str]:
    """Check a range of IP addresses; return Kubernetes' messages, none if all is well."""
    found = _read_network(text)
    if found is None:
        return [INVALID_CIDR]
    address, prefix, zeros = found
    if zeros:
        return [CIDR_ZEROS]
    if _mapped(address) is not None:
        return [CIDR_MAPPED]
    network = ipaddress.ip_network((address, prefix), strict=False)
    return [CIDR_BITS] if network.network_address != address else []


def canonical_address_messages(text: str) -> list[str]:
    """Check an IP address in a field that takes the canonical form alone."""
    if messages := address_messages(text):
        return messages
    canonical = str(ipaddress.ip_address(text))
    return [] if text == canonical else [f"must be in canonical form ({quote(canonical)})"]


def canonical_network_messages(text: str) -> list[str]:
    """Check a range of IP addresses in a field that takes the canonical form alone."""
    if messages := network_messages(text):
        return messages
    canonical = str(ipaddress.ip_network(text))
    return [] if text == canonical else [f"must be in canonical form ({quote(canonical)})"]


def interface_address_messages(text: str) -> list[str]:
    """Check an address with the prefix of its network, as interfaces have it, in canonical form."""
    found = _read_network(text)
    if found is None:
        return ["must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"]
    address, prefix, _ = found
    mapped = _mapped(address)
    if mapped is not None and prefix > mapped.max_prefixlen:
        address, prefix = mapped, prefix - _MAPPED_BITS
    canonical = f"{address}/{prefix}"
    return [] if text == canonical else [f"must be in canonical form ({quote(canonical)})"]


def network(text: str) -> Network | None:
    """Return a range of addresses that is written in any form, None if it is none."""
    found = _read_network(text)
    if found is None:
        return None
    address, prefix, _ = found
    mapped = _mapped(address)
    if mapped is not None and prefix >= _MAPPED_BITS:
        address, prefix = mapped, prefix - _MAPPED_BITS
    return ipaddress.ip_network((address, prefix), strict=False)


def address_warnings(path: str, text: str) -> list[str]:
    """Return what is told of an address that is not in the form that all programs read alike."""
    found = _read(text)
    if found is None:
        return []
    address, zeros = found
    mapped = _mapped(address)
    if zeros or mapped is not None:
        return [
            (
                f"{path}: non-standard IP address {quote(text)} will be considered invalid in a future Kubernetes release: use"
                f" {quote(str(mapped or address))}"
            )
        ]
    if address.version == 6 and str(address) != text:
        return [
            f"{path}: IPv6 address {quote(text)} should be in RFC 5952 canonical format ({quote(str(address))})"
        ]
    return []


def network_warnings(path: str, text: str) -> list[str]:
    """Return what is told of a range of addresses that is not in the form that all programs read alike."""
    found = _read_network(text)
    if found is None:
        return []
    address, prefix, zeros = found
    whole = ipaddress.ip_network((address, prefix), strict=False)
    mapped, most = _mapped(address), address.max_prefixlen
    shown = str(network(text))
    told = []
    if whole.network_address != address:
        told.append(
            f"{path}: CIDR value {quote(text)} is ambiguous in this context (should be {quote(shown)} or"
            f" {quote(f'{mapped or address}/{most}')}?)"
        )
    if zeros or mapped is not None:
        told.append(
            f"{path}: non-standard CIDR value {quote(text)} will be considered invalid in a future Kubernetes release: use"
            f" {quote(shown)}"
        )
    canonical = f"{address}/{prefix}"
    if not told and address.version == 6 and canonical != text:
        told.append(
            f"{path}: IPv6 CIDR value {quote(text)} should be in RFC 5952 canonical format ({quote(canonical)})"
        )
    return told
