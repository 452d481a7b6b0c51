"""Static Pods: those that a node runs from files of a directory, with or without an API server.

The API server sees each as a mirror Pod, which the node makes, keeps like its file, and makes again when somebody deletes it.
What runs has an identity of its own, derived from the file's content: another content is another Pod.
"""

import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from kubelib.api.builtin import SCHEME
from kubelib.api.codec import encode_json
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod, PodStatus
from kubelib.api.defaults.pods import default_pod
from kubelib.api.document import Document, decoder_of
from kubelib.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubelib.api.meta import Key, OwnerReference
from kubelib.api.model import replace
from kubelib.api.parsing import parse_yaml
from kubelib.api.podresources import qos_class
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.api.validation import validate_create
from kubelib.api.validation.problems import quote
from kubelib.registry.base import Patch, Preconditions
from kubelib.runtime.mirrors import HASH, MIRROR, SEEN, SOURCE, document_hash
from kubelib.runtime.worker import TRY_AGAIN, PodWorker

if TYPE_CHECKING:
    from kubelib.runtime.agent import NodeAgent

log = logging.getLogger("kubelib.runtime")

CHECK = 1.0
"""Seconds between looks at the directory."""
MIRROR_RETRY = 5.0
"""Seconds after which a mirror Pod that could not be written is tried again."""


class BadManifest(ValueError):
    """A file holds no Pod that can be run; the message says why."""


def _references(spec: Tree) -> Iterator[str]:
    """Yield the kinds that a Pod refers to: without an API server they could not be had."""
    if spec.get("serviceAccountName"):
        yield "service accounts"
    for volume in spec.get("volumes") or ():
        for field, kind in (
            ("secret", "secrets"), ("configMap", "configmaps"), ("projected", "projected volumes"),
            ("persistentVolumeClaim", "persistentvolumeclaims"), ("ephemeral", "persistentvolumeclaims"), ("csi", "csi drivers"),
        ):  # fmt: skip
            if field in volume:
                yield kind
    for part in ("initContainers", "containers"):
        for container in spec.get(part) or ():
            if container.get("envFrom"):
                yield "configmaps or secrets"
            for variable in container.get("env") or ():
                if (variable.get("valueFrom") or {}).keys() & {"secretKeyRef", "configMapKeyRef"}:
                    yield "configmaps or secrets"


_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,127}")


def static_pod(raw: bytes, file: Path, node: str, seen: str) -> Pod:
    """Return the Pod that a file describes, as it runs on a node. Raises `BadManifest`."""
    try:
        tree: Any = parse_yaml(raw)
    except (ApiError, ValueError) as error:
        raise BadManifest(f"{file}: couldn't parse as pod: {error}") from None
    if not isinstance(tree, dict) or (tree.get("kind"), tree.get("apiVersion")) != ("Pod", "v1"):
        raise BadManifest(f"{file}: is not a Pod of v1")
    spec, meta = tree.get("spec"), tree.get("metadata")
    if not isinstance(spec, dict) or not isinstance(meta, dict) or not meta.get("name"):
        raise BadManifest(f"{file}: the Pod has no metadata.name or no spec")
    try:
        decoder_of(Pod).decode(encode_json(tree))
    except ValueError as error:
        raise BadManifest(f"{file}: {error}") from None
    if kind := next(_references(spec), ""):
        raise BadManifest(f"{file}: static pods may not reference {kind}")
    digest = hashlib.md5(usedforsecurity=False)
    for part in (node.encode(), str(file).encode(), encode_json(tree)):
        digest.update(part + b"\0")
    uid = str(meta.get("uid") or digest.hexdigest())
    if _UID.fullmatch(uid) is None:  # directories are named by it
        raise BadManifest(
            f"{file}: metadata.uid: Invalid value: {quote(uid)}: must be letters, digits and '-'"
        )
    meta["name"] = f"{meta['name']}-{node.lower()}"
    meta["uid"] = uid
    meta.setdefault("namespace", "default")
    meta.setdefault("creationTimestamp", seen)
    annotations = meta.setdefault("annotations", {})
    annotations |= {HASH: uid, SOURCE: "file", SEEN: seen}
    spec["nodeName"] = node
    tolerations = spec.setdefault("tolerations", [])
    tolerations.append({"operator": "Exists", "effect": "NoExecute"})
    try:
        default_pod(tree)
        tree["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
        problems = validate_create(SCHEME.of(Pod), tree)
    except (ApiError, ValueError) as error:
        raise BadManifest(f"{file}: {error}") from None
    if problems:
        raise BadManifest(f"{file}: {problems[0]}")
    return decoder_of(Pod).decode(encode_json(tree))


class StaticPodWorker(PodWorker):
    """Works on a static Pod. It knows the status itself; the mirror Pod, when there is one, is told."""

    _untold = False

    async def _sync(self) -> float | None:
        self._untold = False
        look_again = await super()._sync()
        if self._untold:
            return TRY_AGAIN if look_again is None else min(look_again, TRY_AGAIN)
        return look_again

    _mirror = ""
    """The identity of the mirror Pod that was told last."""

    async def _write_status(self, pod: Pod, address: str) -> None:
        mirror = self._shown_by(pod)
        if mirror and mirror != self._mirror:
            self._mirror, self._written = mirror, None
        await super()._write_status(pod, address)

    async def _patch_status(self, pod: Pod, status: Tree) -> bool:
        told = encode_json({"status": {"qosClass": pod.status.qos_class, **status}})
        if self.pod is not None:
            self.pod = replace(self.pod, status=decoder_of(Pod).decode(told).status)
        mirror = self._shown_by(pod)
        if not mirror:
            return False
        body = {"metadata": {"uid": mirror}, "status": status}
        try:
            await self.agent.client.resource(Pod).patch(pod.key, Patch("merge", body), subresource="status")
        except (ApiError, OSError) as error:
            # The Pod runs without anybody knowing: later.
            log.info("static pods: the status of %s cannot be written: %s", pod.key, error)
            self._untold = True
            return False
        return True

    def _shown_by(self, pod: Pod) -> str:
        """Return the identity of the mirror Pod, empty if there is none."""
        assert self.agent.static is not None
        return self.agent.static.mirror_of(pod.key)

    async def _forget_object(self, pod: Pod) -> None:
        mirror = self.agent.mirror(pod.key)
        if mirror is not None and document_hash(mirror) == self.uid:
            await delete_mirror(self.agent, mirror)

    def end(self) -> None:
        """End the Pod gracefully: its file is gone."""
        pod = self.pod
        if pod is not None and pod.metadata.deletion_timestamp is None:
            meta = replace(
                pod.metadata,
                deletion_timestamp=self.agent.clock.now(),
                deletion_grace_period_seconds=pod.spec.termination_grace_period_seconds,
            )
            self.see(replace(pod, metadata=meta))


async def delete_mirror(agent: "NodeAgent", mirror: Document) -> None:
    """Remove a mirror Pod at once: nothing runs for it that would need time."""
    try:
        await agent.client.resource(Pod).delete(
            mirror.key, grace=0, preconditions=Preconditions(mirror.meta.uid)
        )
    except (NotFound, Conflict):
        return  # gone already, or another one


class StaticPods:
    """The static Pods of a node."""

    def __init__(self, agent: "NodeAgent", directory: Path) -> None:
        self._agent = agent
        self._directory = directory
        self._files: dict[Path, tuple[object, Pod | None]] = {}
        """What each file was when it was read, and what it describes."""
        self._retry: dict[Key, float] = {}
        self._made: dict[Key, str] = {}
        """The mirror Pods that were made and that no watch has shown yet, with their identities."""
        self._bell = anyio.Event()

    def read(self) -> None:
        """Look at the directory; a file that cannot be used is reported, once."""
        found: dict[Path, tuple[object, Pod | None]] = {}
        try:
            files = sorted(p for p in self._directory.iterdir() if not p.name.startswith(".") and p.is_file())
        except OSError as error:
            if self._files:
                log.warning("static pods: cannot read %s: %s", self._directory, error)
            return  # what runs goes on
        for file in files:
            try:
                status = file.stat()
                mark = (status.st_mtime_ns, status.st_size, status.st_ino)
                known = self._files.get(file)
                found[file] = known if known is not None and known[0] == mark else (mark, self._pod(file))
            except OSError:
                continue  # being replaced
        self._files = found

    def _pod(self, file: Path) -> Pod | None:
        agent = self._agent
        try:
            return static_pod(file.read_bytes(), file, agent.settings.name, format_time(agent.clock.now()))
        except BadManifest as error:
            log.warning("static pods: %s", error)
            return None

    def pods(self) -> dict[Key, Pod]:
        """Return the Pods that there should be; of two files with one name the first counts."""
        found: dict[Key, Pod] = {}
        for _, pod in self._files.values():
            if pod is not None:
                found.setdefault(pod.key, pod)
        return found

    def mirror_of(self, key: Key) -> str:
        """Return the identity of the mirror Pod of that name, empty if there is none."""
        mirror = self._agent.mirror(key)
        if mirror is not None:
            self._made.pop(key, None)
            return mirror.meta.uid
        return self._made.get(key, "")

    def wake(self) -> None:
        """Look again at once."""
        self._bell.set()

    async def run(self) -> None:
        """Keep workers and mirror Pods in step with the directory, for ever."""
        while True:
            self._bell = anyio.Event()
            self.read()
            wanted = self.pods()
            self._keep_workers(wanted)
            if self._agent.registered:
                await self._keep_mirrors(wanted)
            with anyio.move_on_after(CHECK):
                await self._bell.wait()

    def _keep_workers(self, wanted: dict[Key, Pod]) -> None:
        agent = self._agent
        running = [w for w in agent.workers.values() if isinstance(w, StaticPodWorker) and w.pod is not None]
        busy = set()
        for worker in running:
            assert worker.pod is not None
            key = worker.pod.key
            busy.add(key)
            if key not in wanted or wanted[key].metadata.uid != worker.uid:
                worker.end()  # what takes its place waits for it
        for key, pod in wanted.items():
            if key not in busy:
                worker = StaticPodWorker(agent, pod.metadata.uid)
                worker.see(pod)
                agent.employ(worker)

    async def _keep_mirrors(self, wanted: dict[Key, Pod]) -> None:
        agent, now = self._agent, anyio.current_time()
        for mirror in agent.mirrors():
            pod = wanted.get(mirror.key)
            shown = document_hash(mirror)
            # While what it shows is ending, the mirror shows that.
            true = shown in agent.workers or (pod is not None and shown == pod.metadata.uid)
            if not true or mirror.meta.deletion_timestamp is not None:
                await self._tried(mirror.key, now, lambda mirror=mirror: delete_mirror(agent, mirror))
        for key, pod in wanted.items():
            if not agent.has_pod(key) and not self._is_new(key):
                await self._tried(key, now, lambda pod=pod: self._create(pod))

    def _is_new(self, key: Key) -> bool:
        """Return whether a mirror Pod was made only now: a watch that was cut off may be late to show it."""
        return key in self._made and self._retry.get(key, 0.0) > anyio.current_time()

    async def _tried(self, key: Key, now: float, action: Any) -> None:
        if self._retry.get(key, 0.0) > now:
            return
        try:
            await action()
        except (ApiError, OSError) as error:
            log.warning("static pods: the mirror of %s cannot be kept: %s", key, error)
            self._retry[key] = now + MIRROR_RETRY

    async def _create(self, pod: Pod) -> None:
        agent = self._agent
        name = agent.settings.name
        node = await agent.client.resource(Node).get(Key("", name))
        owner = OwnerReference(
            api_version="v1", kind="Node", name=name, uid=node.metadata.uid, controller=True
        )
        meta = replace(
            pod.metadata,
            uid="",
            creation_timestamp=None,
            annotations={**pod.metadata.annotations, MIRROR: pod.metadata.uid},
            owner_references=(owner,),
        )
        try:
            made = await agent.client.resource(Pod).create(replace(pod, metadata=meta, status=PodStatus()))
        except AlreadyExists:
            made = await agent.client.resource(Pod).get(pod.key)
            if made.metadata.annotations.get(MIRROR) != pod.metadata.uid:
                raise  # another Pod has the name
        self._made[pod.key] = made.metadata.uid
        self._retry[pod.key] = anyio.current_time() + MIRROR_RETRY
        worker = agent.workers.get(pod.metadata.uid)
        if worker is not None:
            worker.wake()
