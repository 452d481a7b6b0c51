"""Who a node is to a registry: the credentials in a Pod's imagePullSecrets, and which of them are for an image. Pure."""

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from kubelib.runtime.base import Credentials

DEFAULT_REGISTRY = "docker.io"
_HUB = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")


def registry_of(image: str) -> str:
    """Return the registry that an image comes from.

    >>> registry_of("nginx"), registry_of("me/app:1"), registry_of("127.0.0.1:5000/app"), registry_of("r.example/app@sha256:0")
    ('docker.io', 'docker.io', '127.0.0.1:5000', 'r.example')
    """
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return DEFAULT_REGISTRY if first in _HUB else first
    return DEFAULT_REGISTRY


def repository_of(image: str) -> str:
    """Return an image's repository, with its registry and without tag or digest.

    >>> repository_of("nginx:1"), repository_of("127.0.0.1:5000/a/b:1@sha256:0")
    ('docker.io/library/nginx', '127.0.0.1:5000/a/b')
    """
    registry = registry_of(image)
    first, _, rest = image.partition("/")
    path = rest if first == registry or first in _HUB else image
    path = path.partition("@")[0]
    head, slash, last = path.rpartition("/")
    path = head + slash + last.partition(":")[0]
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    return f"{registry}/{path}"


def parse_docker_config(text: bytes) -> tuple[tuple[str, Credentials], ...]:
    """Return what a Docker configuration file, or a ``.dockercfg``, has for which registry or path. Raises ValueError."""
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    entries = tree.get("auths", tree) if isinstance(tree, dict) else None
    if not isinstance(entries, dict):
        raise ValueError('it has no "auths"')
    return tuple((_place(name), _credentials(name, entry)) for name, entry in entries.items())


def _place(name: str) -> str:
    """Return a registry, or a path in one, without scheme and without the version of the API."""
    place = name.partition("://")[2] or name
    place = place.rstrip("/")
    for version in ("/v1", "/v2"):
        place = place.removesuffix(version)
    host, slash, path = place.partition("/")
    return (DEFAULT_REGISTRY if host in _HUB else host) + slash + path


def _credentials(name: str, entry: Any) -> Credentials:
    if not isinstance(entry, dict):
        raise ValueError(f"the entry of {name} is no object")
    user, password = str(entry.get("username", "")), str(entry.get("password", ""))
    if entry.get("auth"):
        try:
            decoded = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError(f"the auth of {name} is not base64") from None
        user, _, password = decoded.partition(":")
    return Credentials(
        username=user,
        password=password.rstrip("\0"),
        registry=name,
        identity_token=str(entry.get("identitytoken", "")),
    )


def credentials_for(image: str, known: Iterable[tuple[str, Credentials]]) -> Sequence[Credentials]:
    """Return the credentials for an image, those for the longest path first: ``*.example`` fits one label of a host name."""
    repository = repository_of(image)
    fitting = [(place, found) for place, found in known if _fits(place, repository)]
    fitting.sort(key=lambda pair: pair[0], reverse=True)
    return [found for _, found in fitting]


def _fits(place: str, repository: str) -> bool:
    host, _, path = place.partition("/")
    registry, _, rest = repository.partition("/")
    labels, pattern = registry.split("."), host.split(".")
    if len(labels) != len(pattern) or not all(map(fnmatchcase, labels, pattern)):
        return False
    return not path or rest == path or rest.startswith(path + "/")
