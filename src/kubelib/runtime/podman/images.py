"""The service's images."""

import base64
import json
from typing import Any
from urllib.parse import quote

from kubelib.runtime.abilities import Space
from kubelib.runtime.base import Credentials, ImageId, ImageNotFound, NoSuchContainer
from kubelib.runtime.credentials import DEFAULT_REGISTRY, registry_of
from kubelib.runtime.enginecalls import space_of
from kubelib.runtime.enginestreams import EngineRefused
from kubelib.runtime.podman.engine import Engine

Tree = dict[str, Any]


def full_name(image: str) -> str:
    """Return an image's name with its registry and tag, as Kubernetes understands it: Podman would look in several registries.

    >>> full_name("nginx"), full_name("me/app:1"), full_name("localhost/a"), full_name("r.example:5000/a@sha256:0")
    ('docker.io/library/nginx:latest', 'docker.io/me/app:1', 'localhost/a:latest', 'r.example:5000/a@sha256:0')
    """
    registry = registry_of(image)
    first, _, rest = image.partition("/")
    has_registry = rest != "" and (registry != DEFAULT_REGISTRY or "." in first)
    path = rest if has_registry else image
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    if "@" not in path and ":" not in path.rpartition("/")[2]:
        path += ":latest"
    return f"{registry}/{path}"


class Images:
    """Fetches and finds images."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def find(self, image: str) -> Tree | None:
        """Return an image as Podman describes it, or None if it is not there."""
        try:
            found: Tree = await self._engine.call("GET", f"/images/{quote(full_name(image), safe='')}/json")
        except (NoSuchContainer, EngineRefused):  # the latter: no name of an image
            return None
        return found

    async def pull(self, image: str, credentials: Credentials | None = None) -> ImageId:
        """Fetch an image from its registry. Raises `ImageNotFound` with what Podman or the registry says."""
        here = await self.find(image) if image.startswith("localhost/") else None
        if here is not None:
            return ImageId(here["Id"])  # made on this machine, and nowhere to be had
        headers = {} if credentials is None else {"X-Registry-Auth": _header(credentials)}
        try:
            news = await self._engine.pull({"reference": full_name(image), "policy": "always"}, headers)
        except (EngineRefused, NoSuchContainer) as error:
            raise ImageNotFound(str(error)) from error
        for line in news:
            if line.get("error"):
                raise ImageNotFound(str(line["error"]))
        found = await self.find(image)
        if found is None:
            raise ImageNotFound(f"{image} was fetched and is not there")
        return ImageId(found["Id"])

    async def space(self) -> Space | None:
        """Return what there is of the disk that has the images; None if it is not one that this process sees."""
        root = str((await self._engine.call("GET", "/info"))["store"]["graphRoot"])
        return await space_of(root)

    async def remove(self, identity: str) -> int:
        """Remove an image with all its names, unless a container has it; return its size."""
        try:
            found = await self._engine.call("GET", f"/images/{identity.removeprefix('sha256:')}/json")
            # It is seen before: Podman would refuse only the last of its names.
            query = {"all": "true", "filters": json.dumps({"ancestor": [found["Id"]]})}
            if await self._engine.call("GET", "/containers/json", query):
                return 0
            for name in found.get("RepoTags") or [found["Id"]]:
                await self._engine.call("DELETE", f"/images/{quote(name, safe='')}")
        except NoSuchContainer:
            return 0
        except EngineRefused as error:
            if error.status == 409:  # in use
                return 0
            raise
        return int(found["Size"])


def _header(credentials: Credentials) -> str:
    """Return credentials as the service wants them, in the manner of Docker."""
    if credentials.identity_token:
        tree = {"identitytoken": credentials.identity_token}
    else:
        tree = {"username": credentials.username, "password": credentials.password}
    return base64.urlsafe_b64encode(json.dumps(tree).encode()).decode()
