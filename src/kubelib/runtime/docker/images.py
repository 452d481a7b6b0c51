"""The engine's images."""

from functools import partial
from typing import Any

import docker.utils

from kubelib.runtime.abilities import Space
from kubelib.runtime.base import Credentials, ImageId, ImageNotFound, NoSuchContainer
from kubelib.runtime.docker.configs import PAUSES
from kubelib.runtime.docker.engine import Engine
from kubelib.runtime.enginecalls import space_of
from kubelib.runtime.enginestreams import EngineRefused

Tree = dict[str, Any]


class Images:
    """Fetches and finds images."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def find(self, image: str) -> Tree | None:
        """Return an image as the engine describes it, or None if it is not there."""
        try:
            found: Tree = await self._engine.call(lambda client: client.inspect_image(image))
        except (ImageNotFound, NoSuchContainer):
            return None
        except EngineRefused as error:
            if error.status == 400:  # no name of an image
                return None
            raise
        return found

    async def pull(self, image: str, credentials: Credentials | None = None) -> ImageId:
        """Fetch an image from its registry. Raises `ImageNotFound` with what the engine or the registry says."""
        here = await self.find(image) if image.startswith("localhost/") else None
        if here is not None:
            return ImageId(here["Id"])  # made on this machine, and nowhere to be had
        name, tag = docker.utils.parse_repository_tag(image)

        def pull(client: Any) -> None:
            answer = client.pull(
                name, tag or "latest", stream=True, decode=True, auth_config=_auth(credentials)
            )
            for news in answer:
                if "error" in news:
                    raise ImageNotFound(f"Error response from daemon: {news['error']}")

        try:
            await self._engine.pull(pull)
        except (EngineRefused, NoSuchContainer) as error:
            raise ImageNotFound(f"Error response from daemon: {error}") from error
        found = await self.find(image)
        if found is None:
            raise ImageNotFound(f"{image} was fetched and is not there")
        return ImageId(found["Id"])

    async def space(self) -> Space | None:
        """Return what there is of the engine's disk, if it is one of this machine's."""
        if not self._engine.is_local():
            return None
        root = str((await self._engine.call(lambda client: client.info()))["DockerRootDir"])
        return await space_of(root)

    async def remove(self, identity: str) -> int:
        """Remove an image with all its names, unless a container has it; return its size."""
        found = await self.find(identity)
        # It is seen before: the engine would refuse only the last of its names.
        if found is None or await self._engine.call(partial(_is_used, found["Id"])):
            return 0
        try:
            for name in found.get("RepoTags") or [found["Id"]]:
                await self._engine.call(partial(_remove, name))
        except (ImageNotFound, NoSuchContainer):
            return 0
        except EngineRefused as error:
            if error.status == 409:  # in use
                return 0
            raise
        return int(found["Size"])

    async def pause(self) -> str:
        """Return the image of sandboxes, fetched if it must be."""
        for image in PAUSES:
            if await self.find(image) is not None:
                return image
        await self.pull(PAUSES[-1])
        return PAUSES[-1]


def _is_used(identity: str, client: Any) -> bool:
    return bool(client.containers(all=True, filters={"ancestor": identity}))


def _remove(name: str, client: Any) -> None:
    client.remove_image(name)


def _auth(credentials: Credentials | None) -> Tree | None:
    """Return credentials as the client wants them; None: those that the user of this machine has."""
    if credentials is None:
        return None
    if credentials.identity_token:
        return {"identitytoken": credentials.identity_token, "serveraddress": credentials.registry}
    return {
        "username": credentials.username,
        "password": credentials.password,
        "serveraddress": credentials.registry,
    }
