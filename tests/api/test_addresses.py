"""Which forms of IP addresses and networks are refused, and which are tolerated where they are already (KEP-4858)."""

from typing import Any

import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.validation import validate_create, validate_update
from kubelib.api.validation.addresses import (
    INVALID_CIDR,
    INVALID_IP,
    address_messages,
    address_warnings,
    canonical_network_messages,
    network_messages,
    network_warnings,
)

Tree = dict[str, Any]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.5", ""),
        ("0.0.0.0", ""),
        ("::", ""),
        ("FE80:0:0::0abc", ""),
        ("010.0.0.5", "must not have leading 0s"),
        ("10.0.0.05", "must not have leading 0s"),
        ("10.0.00.5", "must not have leading 0s"),
        ("::ffff:10.0.0.5", "must not be an IPv4-mapped IPv6 address"),
        ("10.0.0.256", INVALID_IP),
        ("10.0.0", INVALID_IP),
        ("0x0a.0.0.1", INVALID_IP),
        ("fe80::1%eth0", INVALID_IP),
        ("10.0.0.5 ", INVALID_IP),
        ("", INVALID_IP),
    ],
)
def test_addresses(text: str, message: str) -> None:
    assert address_messages(text) == ([message] if message else [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.0/8", ""),
        ("0.0.0.0/0", ""),
        ("2001:DB8::/32", ""),
        ("010.0.0.0/8", "must not have leading 0s in IP or prefix length"),
        ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
        ("::ffff:10.0.0.0/104", "must not have an IPv4-mapped IPv6 address"),
        ("10.0.0.5/24", "must not have bits set beyond the prefix length"),
        ("2001:db8::1/64", "must not have bits set beyond the prefix length"),
        ("10.0.0.0/255.0.0.0", INVALID_CIDR),
        ("10.0.0.0/33", INVALID_CIDR),
        ("10.0.0.0", INVALID_CIDR),
        ("10.0.0.0/", INVALID_CIDR),
        ("10.0.0.0/+8", INVALID_CIDR),
        ("/8", INVALID_CIDR),
    ],
)
def test_networks(text: str, message: str) -> None:
    assert network_messages(text) == ([message] if message else [])


def test_newer_fields_take_the_canonical_form_alone() -> None:
    assert canonical_network_messages("2001:db8::/32") == []
    assert canonical_network_messages("2001:DB8::/32") == ['must be in canonical form ("2001:db8::/32")']
    assert canonical_network_messages("10.0.0.5/24") == ["must not have bits set beyond the prefix length"]


def test_nothing_is_told_of_what_is_canonical_or_no_address() -> None:
    for text in ("10.0.0.5", "2001:db8::1", "nonsense", "", "010.0.0.256"):
        assert address_warnings("a", text) == []
    for text in ("10.0.0.0/8", "2001:db8::/32", "nonsense", "", "10.0.0.0/99"):
        assert network_warnings("a", text) == []


def slice_of(*addresses: str) -> Tree:
    metadata = {"name": "web-1", "namespace": "default"}
    endpoints = [{"addresses": [address]} for address in addresses]
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": []}


def test_what_an_object_has_already_is_tolerated() -> None:
    kind = SCHEME.kind("discovery.k8s.io/v1", "EndpointSlice")
    assert [(p.field, p.message) for p in validate_create(kind, slice_of("1.2.3.4", "01.2.3.4"))] == [
        ("endpoints[1].addresses[0]", 'Invalid value: "01.2.3.4": must not have leading 0s')
    ]
    old = {**slice_of("01.2.3.4"), "metadata": {**slice_of()["metadata"], "resourceVersion": "1"}}
    again = {**slice_of("1.2.3.4", "01.2.3.4"), "metadata": old["metadata"]}
    assert validate_update(kind, again, old) == []
    [problem] = validate_update(kind, {**slice_of("01.2.3.4", "02.2.3.4"), "metadata": old["metadata"]}, old)
    assert problem.message == 'Invalid value: "02.2.3.4": must not have leading 0s'


def test_a_policy_keeps_a_network_with_bits_beyond_its_prefix() -> None:
    def policy(cidr: str, *excepted: str) -> Tree:
        block = {"cidr": cidr, "except": list(excepted)}
        spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": block}]}]}
        return {"metadata": {"name": "p", "namespace": "default", "resourceVersion": "1"}, "spec": spec}

    kind = SCHEME.kind("networking.k8s.io/v1", "NetworkPolicy")
    path = "spec.ingress[0].from[0].ipBlock"
    assert [(p.field, p.message) for p in validate_create(kind, policy("10.0.0.5/24", "010.0.0.0/28"))] == [
        (f"{path}.cidr", 'Invalid value: "10.0.0.5/24": must not have bits set beyond the prefix length'),
        (
            f"{path}.except[0]",
            'Invalid value: "010.0.0.0/28": must not have leading 0s in IP or prefix length',
        ),
    ]
    assert validate_update(kind, policy("10.0.0.5/24", "10.0.0.0/28"), policy("10.0.0.5/24")) == []
    [problem] = validate_update(kind, policy("10.0.0.6/24"), policy("10.0.0.5/24"))
    assert problem.field == f"{path}.cidr"
