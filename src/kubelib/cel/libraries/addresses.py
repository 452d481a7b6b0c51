"""Kubernetes' libraries of IP addresses and of networks."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, ClassVar

import attrs

from kubelib.cel import types
from kubelib.cel.base import EvaluationError
from kubelib.cel.libraries import costs
from kubelib.cel.library import Library
from kubelib.cel.types import Type
from kubelib.cel.values import Opaque

IP, CIDR = types.opaque("net.IP"), types.opaque("net.CIDR")
_PREFIX = re.compile(r"0|[1-9][0-9]{0,2}")


@attrs.frozen
class Ip(Opaque):
    """An IP address."""

    cel_type: ClassVar[Type] = IP
    address: IPv4Address | IPv6Address

    def __str__(self) -> str:
        return str(self.address)


@attrs.frozen
class Cidr(Opaque):
    """An address and how many bits of it are the network's."""

    cel_type: ClassVar[Type] = CIDR
    address: IPv4Address | IPv6Address
    prefix: int

    @property
    def network(self) -> IPv4Network | IPv6Network:
        """The network."""
        return ip_network((self.address, self.prefix), strict=False)

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"


def parse_ip(text: str) -> Ip:
    """Read an address. Raises EvaluationError."""
    try:
        address = ip_address(text)
    except ValueError:
        raise EvaluationError(
            f'IP Address "{text}" parse error during conversion from string: ParseAddr("{text}"): {_problem(text)}'
        ) from None
    if isinstance(address, IPv6Address):
        if "%" in text:
            raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
        if address.ipv4_mapped is not None:
            raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return Ip(address)


def _problem(text: str) -> str:
    """Return what is wrong with a text that is no address, as Go says it of those with dots; the rest cannot be read, in short."""
    if next((sign for sign in text if sign in ".:%"), "") != ".":
        return "unable to parse IP"
    fields, digits = 0, ""
    for at, sign in enumerate(text):
        if sign in "0123456789":
            if digits == "0":
                return "IPv4 field has octet with leading zero"
            digits += sign
            if int(digits) > 255:
                return "IPv4 field has value >255"
        elif sign == ".":
            if not digits or at == len(text) - 1:
                return f'IPv4 field must have at least one digit (at "{text[at:]}")'
            if fields == 3:
                return "IPv4 address too long"
            fields, digits = fields + 1, ""
        else:
            return f'unexpected character (at "{text[at:]}")'
    return "IPv4 address too short"


def parse_cidr(text: str) -> Cidr:
    """Read a network. Raises EvaluationError."""
    address, slash, prefix = text.rpartition("/")
    error = EvaluationError(
        f"network address parse error during conversion from string: netip.ParsePrefix(\"{text}\"): no '/'"
    )
    if not slash or _PREFIX.fullmatch(prefix) is None:
        raise error
    try:
        ip = parse_ip(address).address
    except EvaluationError as reason:
        raise EvaluationError(
            f"network address parse error during conversion from string: {reason}"
        ) from None
    if len(prefix) > 3 or int(prefix) > ip.max_prefixlen:
        raise EvaluationError(
            f'network address parse error during conversion from string: netip.ParsePrefix("{text}"): prefix length out of range'
        )
    return Cidr(ip, int(prefix))


def _is(parse: Any, text: str) -> bool:
    try:
        parse(text)
    except EvaluationError:
        return False
    return True


ADDRESSES = Library()
ADDRESSES.types.update({"net.IP": IP, "net.CIDR": CIDR})
_add = ADDRESSES.add
_add("ip(string) net.IP", parse_ip, cost=costs.traversal, estimate=costs.first_traversed)
_add(
    "isIP(string) bool",
    lambda text: _is(parse_ip, text),
    cost=costs.traversal,
    estimate=costs.first_traversed,
)
_add(
    "ip.isCanonical(string) bool",
    lambda text: str(parse_ip(text)) == text,
    cost=costs.double_traversal,
    estimate=costs.first_traversed,
)
_add("string(net.IP) string", str)
_add("net.IP.family() int", lambda ip: ip.address.version)
_add("net.IP.isUnspecified() bool", lambda ip: ip.address.is_unspecified)
_add("net.IP.isLoopback() bool", lambda ip: ip.address.is_loopback)
_add(
    "net.IP.isLinkLocalMulticast() bool",
    lambda ip: (
        ip.address.is_multicast
        and (
            int(ip.address) >> 8 == 0xE00000
            if ip.address.version == 4
            else int(ip.address) >> 112 & 0xFF0F == 0xFF02
        )
    ),
)
_add("net.IP.isLinkLocalUnicast() bool", lambda ip: ip.address.is_link_local)
_add(
    "net.IP.isGlobalUnicast() bool",
    lambda ip: (
        not (
            ip.address.is_unspecified
            or ip.address.is_loopback
            or ip.address.is_multicast
            or ip.address.is_link_local
            or ip.address == IPv4Address("255.255.255.255")
        )
    ),
)
_add("cidr(string) net.CIDR", parse_cidr, cost=costs.traversal, estimate=costs.first_traversed)
_add(
    "isCIDR(string) bool",
    lambda text: _is(parse_cidr, text),
    cost=costs.traversal,
    estimate=costs.first_traversed,
)
_add("string(net.CIDR) string", str)
_add("net.CIDR.ip() net.IP", lambda cidr: Ip(cidr.address))
_add("net.CIDR.masked() net.CIDR", lambda cidr: Cidr(cidr.network.network_address, cidr.prefix))
_add("net.CIDR.prefixLength() int", lambda cidr: cidr.prefix)


def _contains_ip(cidr: Cidr, ip: Ip) -> bool:
    return ip.address.version == cidr.address.version and ip.address in cidr.network


def _contains_cidr(cidr: Cidr, other: Cidr) -> bool:
    return (
        other.address.version == cidr.address.version
        and other.prefix >= cidr.prefix
        and other.address in cidr.network
    )


_add("net.CIDR.containsIP(net.IP) bool", _contains_ip, cost=4)
_add("net.CIDR.containsIP(string) bool", lambda cidr, text: _contains_ip(cidr, parse_ip(text)), cost=6)
_add("net.CIDR.containsCIDR(net.CIDR) bool", _contains_cidr, cost=7)
_add("net.CIDR.containsCIDR(string) bool", lambda cidr, text: _contains_cidr(cidr, parse_cidr(text)), cost=9)
