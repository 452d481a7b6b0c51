"""The formats of texts that schemas may ask for, as Kubernetes' validator knows them; others are passed over."""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from kubelib.api.times import parse_duration, parse_time

_HOSTNAME = re.compile(
    r"([a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\.?"
).fullmatch
_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+").fullmatch
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}|(?:[0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}").fullmatch
_UUID = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE
).fullmatch
_UUID_OF = {
    version: re.compile(
        rf"[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{version}[0-9a-f]{{3}}-?{'[89ab]' if version > 3 else '[0-9a-f]'}[0-9a-f]{{3}}-?[0-9a-f]{{12}}",
        re.IGNORECASE,
    ).fullmatch
    for version in (3, 4, 5)
}
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", re.ASCII).fullmatch
_HEX_COLOR = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})").fullmatch
_RGB_COLOR = re.compile(r"rgb\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)", re.ASCII).fullmatch
_SSN = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}", re.ASCII).fullmatch
_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}").fullmatch
_K8S_SHORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?").fullmatch
_K8S_LONG_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*").fullmatch
_WORDY_DURATION = re.compile(
    r"\s*\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|h|d|w|nanos?|micros?|millis?|sec(ond)?s?|min(ute)?s?|h(ou)?rs?|days?|weeks?)\s*"
).fullmatch


def _address(version: int) -> Callable[[str], bool]:
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address

    def check(text: str) -> bool:
        try:
            kind(text)
        except ValueError:
            return False
        return True

    return check


def _cidr(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _date_time(text: str) -> bool:
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def _duration(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return _WORDY_DURATION(text) is not None
    return True


def _uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme or text.startswith("/")) and " " not in text


def _luhn(text: str) -> bool:
    if re.fullmatch(r"[\d -]+", text, re.ASCII) is None:
        return False
    digits = [int(digit) for digit in text if digit.isdigit()]
    if not 12 <= len(digits) <= 19:
        return False
    doubled = [sum(divmod(2 * digit, 10)) if at % 2 else digit for at, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _isbn10(text: str) -> bool:
    text = re.sub(r"[\s-]", "", text)
    if re.fullmatch(r"\d{9}[\dX]", text, re.ASCII) is None:
        return False
    return sum((10 - at) * (10 if sign == "X" else int(sign)) for at, sign in enumerate(text)) % 11 == 0


def _isbn13(text: str) -> bool:
    text = re.sub(r"[\s-]", "", text)
    if re.fullmatch(r"\d{13}", text, re.ASCII) is None:
        return False
    return sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(text)) % 10 == 0


def _anything(text: str) -> bool:
    return True


def _matching(match: Callable[[str], object]) -> Callable[[str], bool]:
    return lambda text: match(text) is not None


def _rgb(text: str) -> bool:
    found = _RGB_COLOR(text)
    return found is not None and all(int(part) <= 255 for part in found.groups())


FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _matching(_OBJECT_ID),
    "uri": _uri,
    "email": _matching(_EMAIL),
    "hostname": lambda text: len(text) <= 255 and _HOSTNAME(text) is not None,
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": _cidr,
    "mac": _matching(_MAC),
    "uuid": _matching(_UUID),
    "uuid3": _matching(_UUID_OF[3]),
    "uuid4": _matching(_UUID_OF[4]),
    "uuid5": _matching(_UUID_OF[5]),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _luhn,
    "ssn": _matching(_SSN),
    "hexcolor": _matching(_HEX_COLOR),
    "rgbcolor": _rgb,
    "byte": _base64,
    "password": _anything,
    "date": _matching(_DATE),
    "duration": _duration,
    "datetime": _date_time,
    "date-time": _date_time,
    "k8s-short-name": _matching(_K8S_SHORT_NAME),
    "k8s-long-name": lambda text: len(text) <= 253 and _K8S_LONG_NAME(text) is not None,
}
"""Format → whether a text has it."""
