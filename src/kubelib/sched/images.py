"""Which images are on which nodes, as nodes say in their status."""

from collections.abc import Iterator, Sequence

from kubelib.api.core.node import ContainerImage


def full_name(image: str) -> str:
    """Return the name by which nodes list an image: one without a tag or digest is the latest."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


class Images:
    """Sizes of images in bytes, by name and then by row."""

    def __init__(self) -> None:
        self._sizes: dict[str, dict[int, int]] = {}
        self._largest: dict[str, int] = {}
        self._on: dict[int, tuple[ContainerImage, ...]] = {}

    def put(self, row: int, images: Sequence[ContainerImage]) -> None:
        """Learn what is on a row."""
        before, now = self._on.get(row, ()), tuple(images)
        if before == now:
            return
        for name, _ in _named(before):
            sizes = self._sizes.get(name, {})
            sizes.pop(row, None)
            if not sizes:
                self._sizes.pop(name, None)
                self._largest.pop(name, None)
        for name, size in _named(now):
            self._sizes.setdefault(name, {})[row] = size
            self._largest[name] = max(size, self._largest.get(name, 0))
        if now:
            self._on[row] = now
        else:
            self._on.pop(row, None)

    def sizes(self, name: str) -> dict[int, int]:
        """Return the size of an image on each row that has it."""
        return self._sizes.get(name, {})

    def at_most(self, names: Sequence[str]) -> int:
        """Return a bound on how much of these images there is on any row."""
        largest = self._largest
        return sum(largest.get(name, 0) for name in names) if largest else 0


def _named(images: Sequence[ContainerImage]) -> Iterator[tuple[str, int]]:
    for image in images:
        for name in image.names:
            yield name, image.size_bytes
