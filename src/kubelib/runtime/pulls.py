"""Seeing to it that images are here, as their pull policies say; what could not be had is tried again ever later."""

import base64
from collections.abc import Sequence
from typing import Protocol

import anyio
import attrs

from kubelib.api.core.config import Secret
from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.pod import Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.meta import Object
from kubelib.runtime import lifecycle
from kubelib.runtime.base import Credentials, ImageNotFound, InvalidImageName, Runtime
from kubelib.runtime.counts import Counts
from kubelib.runtime.credentials import credentials_for, parse_docker_config
from kubelib.runtime.environment import ConfigMissing, ConfigSource
from kubelib.runtime.words import container_of, lasted

SHOWN = 2.0
"""Seconds for which a failure shows as ErrImagePull before it shows as ImagePullBackOff."""
Waiting = tuple[str, str]
"""Reason and message of what keeps a container from starting."""
_KEYS = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}


class Recorder(Protocol):
    """Where Events go."""

    def normal(self, about: Object | ObjectReference, reason: str, message: str) -> None:
        """Report something ordinary."""
        ...

    def warning(self, about: Object | ObjectReference, reason: str, message: str) -> None:
        """Report something wrong."""
        ...


@attrs.define
class _Failure:
    """An image that could not be had, since when and until when it is not tried again, by the loop's time."""

    error: str
    delay: float
    since: float
    again: float
    said: bool = False


class Pulls:
    """The images of one Pod's containers."""

    def __init__(self, runtime: Runtime, recorder: Recorder, source: ConfigSource, counts: Counts) -> None:
        self._runtime = runtime
        self._recorder = recorder
        self._source = source
        self._counts = counts
        self._failures: dict[str, _Failure] = {}
        """By container name."""

    async def ensure(self, pod: Pod, definition: ContainerDefinition) -> Waiting | None:
        """See to it that a container's image is here; return what it waits for if it is not."""
        try:
            return await self._ensure(pod, definition)
        except InvalidImageName as error:
            message = f'Failed to apply default image tag "{definition.image}": {error}'
            about = container_of(pod, definition.name)
            self._recorder.warning(about, "InspectFailed", message)
            self._recorder.warning(about, "Failed", "Error: InvalidImageName")
            return "InvalidImageName", message

    async def _ensure(self, pod: Pod, definition: ContainerDefinition) -> Waiting | None:
        name, image = definition.name, definition.image
        about = container_of(pod, name)
        policy = definition.image_pull_policy or "IfNotPresent"
        if policy != "Always" and await self._is_here(image):
            self._failures.pop(name, None)
            message = f'Container image "{image}" already present on machine and can be accessed by the pod'
            self._recorder.normal(about, "Pulled", message)
            return None
        if policy == "Never":
            message = f'Container image "{image}" is not present with pull policy of Never'
            self._recorder.warning(about, "ErrImageNeverPull", message)
            return "ErrImageNeverPull", message
        now = anyio.current_time()
        failed = self._failures.get(name)
        if failed is not None and now < failed.again:
            return self._put_off(about, image, failed, now)
        self._recorder.normal(about, "Pulling", f'Pulling image "{image}"')
        try:
            with self._counts.operation("pull_image"):
                await self._pull(pod, image)
        except ImageNotFound as error:
            delay = min(failed.delay * 2, lifecycle.LONGEST_BACKOFF) if failed else lifecycle.FIRST_BACKOFF
            since = anyio.current_time()
            self._failures[name] = _Failure(str(error), delay, since=since, again=since + delay)
            self._recorder.warning(about, "Failed", f'Failed to pull image "{image}": {error}')
            self._recorder.warning(about, "Failed", "Error: ErrImagePull")
            return "ErrImagePull", str(error)
        self._failures.pop(name, None)
        # Nothing waits for its turn to pull here: both figures of the kubelet's sentence are one.
        took = lasted(anyio.current_time() - now)
        message = f'Successfully pulled image "{image}" in {took} ({took} including waiting)'
        self._recorder.normal(about, "Pulled", message)
        return None

    async def _is_here(self, image: str) -> bool:
        with self._counts.operation("image_status"):
            return await self._runtime.has_image(image)

    def _put_off(self, about: ObjectReference, image: str, failed: _Failure, now: float) -> Waiting:
        if now < failed.since + SHOWN:
            return "ErrImagePull", failed.error
        if not failed.said:
            failed.said = True
            self._recorder.normal(about, "BackOff", f'Back-off pulling image "{image}"')
            self._recorder.warning(about, "Failed", "Error: ImagePullBackOff")
        return "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {failed.error}'

    async def _pull(self, pod: Pod, image: str) -> None:
        """Pull with each of the Pod's credentials in turn, without any if it has none. Raises `ImageNotFound`."""
        candidates = await self._credentials(pod, image)
        if not candidates:
            await self._runtime.pull(image)
            return
        failure: ImageNotFound | None = None
        for credentials in candidates:
            try:
                await self._runtime.pull(image, credentials=credentials)
            except ImageNotFound as error:
                failure = error
            else:
                return
        assert failure is not None
        raise failure

    async def _credentials(self, pod: Pod, image: str) -> Sequence[Credentials]:
        known: list[tuple[str, Credentials]] = []
        missing = []
        for reference in pod.spec.image_pull_secrets:
            try:
                secret = await self._source.secret(pod.metadata.namespace, reference.name)
            except ConfigMissing:
                missing.append(reference.name)
                continue
            try:
                known += parse_docker_config(_content(secret))
            except ValueError as error:
                message = f"Unable to use pull secret {reference.name}: {error}"
                self._recorder.warning(pod, "FailedToParseImagePullSecret", message)
        if missing:
            message = (
                f"Unable to retrieve some image pull secrets ({', '.join(missing)});"
                " attempting to pull the image may not succeed."
            )
            self._recorder.warning(pod, "FailedToRetrieveImagePullSecret", message)
        return credentials_for(image, known)


def _content(secret: Secret) -> bytes:
    """Return the configuration in a Secret. Raises ValueError if it is of another type."""
    key = _KEYS.get(secret.type)
    if key is None or key not in secret.data:
        raise ValueError(f"a secret of type {secret.type or 'Opaque'} holds no credentials for registries")
    return base64.b64decode(secret.data[key])
