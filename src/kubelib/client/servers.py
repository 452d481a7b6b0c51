"""Which of several servers of one cluster to ask."""

from collections.abc import Iterator, Sequence


class Servers:
    """The servers of a cluster. All are asked at the one that answered last, until it fails; then the next one has its turn."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = tuple(urls)
        self._at = 0

    def __str__(self) -> str:
        return ", ".join(self.urls)

    def turns(self) -> Iterator[str]:
        """Return each server once, the one that answered last first. Who asks for the next one says that this one failed."""
        for _ in self.urls:
            url = self.urls[self._at]
            yield url
            self.failed(url)

    def failed(self, url: str) -> None:
        """Turn away from a server, unless somebody else has done so already."""
        if self.urls[self._at] == url:
            self._at = (self._at + 1) % len(self.urls)
