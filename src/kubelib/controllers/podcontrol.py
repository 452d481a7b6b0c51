"""Make and delete the Pods of an owner: what is done is expected to be seen, and told in Events on the owner."""

from collections.abc import Sequence

from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, Forbidden, NotFound
from kubelib.api.meta import Key, Object
from kubelib.client import Client
from kubelib.controllers.events import Recorder
from kubelib.controllers.expectations import Expectations
from kubelib.informers import Cache
from kubelib.registry.base import Preconditions


class PodControl:
    """The Pods of the owners of one controller, made and deleted."""

    def __init__(self, client: Client, cache: Cache[Pod], recorder: Recorder) -> None:
        """`cache` is where the controller sees its Pods."""
        self._registry = client.resource(Pod)
        self._recorder = recorder
        self.expectations = Expectations(cache)
        """Per key of an owner: what its reconciler waits to see."""

    async def create(self, key: Key, owner: Object, pod: Pod) -> Pod:
        """Create a Pod of the owner at `key`. Raises ApiError, which is told unless the namespace is being deleted."""
        try:
            created = await self._registry.create(pod)
        except ApiError as error:
            if not namespace_is_ending(error):
                self._recorder.warning(owner, "FailedCreate", f"Error creating: {error}")
            raise
        self.expectations.created(key, created)
        self._recorder.normal(owner, "SuccessfulCreate", f"Created pod: {created.metadata.name}")
        return created

    async def delete(self, key: Key, owner: Object, pod: Pod) -> None:
        """Delete a Pod of the owner at `key`, and no other that has taken its name. Raises ApiError, which is told."""
        name = pod.metadata.name
        await self.delete_telling(key, owner, pod, f"Deleted pod: {name}", "Error deleting")

    async def delete_telling(self, key: Key, owner: Object, pod: Pod, done: str, failed: str) -> None:
        """Do so in other words; the error comes after those of a failure."""
        try:
            await self._registry.delete(pod.key, preconditions=Preconditions(uid=pod.metadata.uid))
        except NotFound:
            return
        except ApiError as error:
            self._recorder.warning(owner, "FailedDelete", f"{failed}: {error}")
            raise
        self.expectations.deleted(key, pod)
        self._recorder.normal(owner, "SuccessfulDelete", done)


def namespace_is_ending(error: Exception) -> bool:
    """Return whether a create was refused because the namespace is going: then nothing is wrong."""
    return isinstance(error, Forbidden) and any(c.type == "NamespaceTerminating" for c in error.causes)


def failures(errors: Sequence[Exception]) -> list[Exception]:
    """Return those of several errors that say that something is wrong."""
    return [error for error in errors if not namespace_is_ending(error)]
