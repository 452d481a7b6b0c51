"""Images that no container has any more, removed when their disk is full, as the kubelet does it.

Only images that Pods of this node have had since its agent was started are removed: an engine may have others, which are not ours.
"""

import logging
from collections.abc import Iterable

import anyio

from kubelib.api.core.node import Node
from kubelib.api.meta import ObjectMeta
from kubelib.runtime.abilities import SupportsImages
from kubelib.runtime.base import RuntimeFailure
from kubelib.runtime.surroundings import Surroundings

log = logging.getLogger("kubelib.runtime")

PERIOD = 300.0
"""Seconds between looks."""
HIGH, LOW = 85, 80
"""With more percent of the disk in use, images are removed until no more than so many are."""
YOUNGEST = 120.0
"""Seconds for which an image is kept after it was last in use."""


class ImageCollector:
    """Remembers which images were in use when, and removes those that were not for longest."""

    def __init__(self, here: Surroundings, runtime: SupportsImages) -> None:
        self._here = here
        self._runtime = runtime
        self._used: dict[str, float] = {}
        """By image: when it was last in use, by the loop's time."""

    def saw(self, images: Iterable[str]) -> None:
        """Note the images of containers that there are."""
        now = anyio.current_time()
        self._used.update((image, now) for image in images if image)

    async def run(self) -> None:
        """Look now and then, for ever."""
        while True:
            await anyio.sleep(PERIOD)
            try:
                await self.look()
            except RuntimeFailure as error:
                log.warning("node %s: images: %s", self._here.settings.name, error)

    async def look(self) -> None:
        """Remove what must be removed."""
        sandboxes = await self._here.runtime.list_sandboxes()
        self.saw(container.image_id for sandbox in sandboxes for container in sandbox.containers)
        space = await self._runtime.image_space()
        if space is None or space.capacity <= 0:
            return
        used = space.capacity - space.available
        if used * 100 < HIGH * space.capacity:
            return
        wanted = used - LOW * space.capacity // 100
        freed = await self._free(wanted)
        if freed < wanted:
            message = (
                "Failed to garbage collect required amount of images."
                f" Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
            )
            about = Node(metadata=ObjectMeta(name=self._here.settings.name))
            self._here.recorder.warning(about, "FreeDiskSpaceFailed", message)

    async def _free(self, wanted: int) -> int:
        freed, now = 0, anyio.current_time()
        for image, when in sorted(self._used.items(), key=lambda item: item[1]):
            if freed >= wanted or now - when < YOUNGEST:
                break
            size = await self._runtime.remove_image(image)
            if size:
                log.info("node %s: removed image %s", self._here.settings.name, image)
            freed += size
            del self._used[image]
        return freed
