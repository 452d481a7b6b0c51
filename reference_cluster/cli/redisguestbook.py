"""``kubelib demo guestbook --runtime docker|podman``: the guestbook of Redis images, whose containers an engine runs."""

from functools import partial
from typing import Any

from reference_cluster.cli.guestbook import EXAMPLES, DemoFailed, Guestbook

SELECTORS = {
    "master": "app=redis,role=master",
    "slave": "app=redis,role=slave",
    "frontend": "app=guestbook,tier=frontend",
}
NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull")


class RedisGuestbook(Guestbook):
    """The steps of the demonstration."""

    directory = EXAMPLES / "guestbook-redis"
    config = ""
    service = "frontend"

    def __init__(self, client: Any, namespace: str, runtime: str) -> None:
        super().__init__(client, namespace)
        self.runtime = runtime

    async def run(self) -> None:
        """Carry out all steps. Raises `DemoFailed`."""
        self.say("applying the manifests: 3 Services, 3 ReplicationControllers")
        await self.apply()
        for tier, wanted in (("master", 1), ("slave", 2), ("frontend", 3)):
            await self.until(partial(self.ready, tier, wanted), f"the {tier}s to be ready")
            self.say(f"{wanted} of {wanted} {tier} Pods ready")
        address = await self.frontend()
        self.say(f"the frontend Service answers at {address}")
        before = await self.read(address)
        entries = [*before, *(f"entry {number}" for number in range(len(before) + 1, len(before) + 6))]
        for entry in entries[len(before) :]:
            await self.until(partial(self.post, address, entry), "the frontend to take an entry")
        self.say(f"posted {len(entries) - len(before)} entries through the frontends to the master")
        await self.expect(address, entries)
        self.say("read them back from the slaves")
        restarts = await self.kill_container("master")
        self.say(f"killed the container of the master, by {self.runtime} itself")
        await self.until(partial(self.restarted, "master", restarts), "the master to run again")
        self.say("the node has started it again, on the volume that it had")
        entries.append("after the master's end")
        await self.until(partial(self.post, address, entries[-1]), "the frontend to take an entry")
        await self.expect(address, entries)
        self.say(f"the slaves follow it again: all {len(entries)} entries are there")
        killed = await self.kill("frontend")
        self.say(f"killed the frontend Pod {killed}")
        await self.until(partial(self.replaced, "frontend", 3, killed), "a new frontend")
        self.say("its ReplicationController has put another in its place: 3 of 3 ready")
        entries.append("after the frontend's end")
        await self.until(partial(self.post, address, entries[-1]), "the frontend to take an entry")
        await self.expect(address, entries)
        self.say("a new entry arrives as well: nothing was lost")

    @staticmethod
    def selector(tier: str) -> str:
        """Return what the Pods of a tier have in common."""
        return SELECTORS[tier]

    async def ready(self, tier: str, wanted: int) -> bool:
        """Return whether a tier is complete. Raises `DemoFailed` if its image is not there."""
        for pod in await self.pods(tier):
            for status in pod.status.container_statuses:
                waiting = status.state.waiting
                if waiting is not None and waiting.reason in NO_IMAGE:
                    image = "frontend" if tier == "frontend" else "redis"
                    raise DemoFailed(
                        f"{status.image} is not there: `scripts/images {image}` builds it,"
                        f" `{self.runtime} load -i build/images/{image}.tar` gives it to the engine"
                    )
        return await super().ready(tier, wanted)

    async def restarted(self, tier: str, restarts: int) -> bool:
        """Return whether a container of the only Pod of a tier has been started again, and is ready."""
        [pod] = await self.pods(tier)
        again = pod.status.container_statuses[0].restart_count > restarts
        return again and await self.ready(tier, 1)

    async def kill_container(self, tier: str) -> int:
        """Kill the container of the only Pod of a tier behind the cluster's back; return how often it was restarted before."""
        [pod] = await self.pods(tier)
        status = pod.status.container_statuses[0]
        identity = status.container_id.partition("://")[2]
        if self.runtime == "docker":
            from kubelib.runtime.docker.engine import Engine as DockerEngine

            docker = DockerEngine()
            await docker.open()
            try:
                await docker.call(lambda client: client.kill(identity, "SIGKILL"))
            finally:
                docker.close()
        else:
            from kubelib.runtime.podman.engine import Engine as PodmanEngine

            podman = PodmanEngine()
            await podman.open()
            try:
                await podman.call("POST", f"/containers/{identity}/kill", {"signal": "KILL"})
            finally:
                podman.close()
        return int(status.restart_count)
