"""Groups of the API that are answered in this process, but from something other than the store."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kubelib.server.request import Request
    from kubelib.server.responses import Response


class Extension(Protocol):
    """Answers for one group and version, unless an APIService names another server for it."""

    group: str
    version: str

    def resources(self) -> list[dict[str, Any]]:
        """Return the entries of its ``APIResourceList``."""
        ...

    async def answer(self, request: "Request") -> "Response":
        """Answer an authorized request for one of its resources. Raises ApiError."""
        ...
