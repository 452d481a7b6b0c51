"""Node agents in processes of their own, which can be killed: each a fork of a process that has imported everything.

Run as a program it reads one description of a node a line, as JSON, and answers each with the number of the process that is it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random
from typing import Any

import anyio

from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.clock import SYSTEM_CLOCK
from kubelib.controllers.events import EventRecorder
from kubelib.runtime.agent import NodeAgent
from kubelib.runtime.docker import DockerRuntime
from kubelib.runtime.podman import PodmanRuntime
from kubelib.runtime.process import ProcessRuntime
from kubelib.runtime.settings import NodeSettings
from tests.containers import is_running

NODE = "node-1"


def open_runtime(kind: str, url: str, root: Path) -> AbstractAsyncContextManager[Any]:
    """Open the runtime of a node."""
    if kind == "process":
        return ProcessRuntime(root / "runtime")
    return DockerRuntime(str(root), url=url) if kind == "docker" else PodmanRuntime(str(root), url=url)


async def run(settings: Mapping[str, Any]) -> None:
    """Be a node for ever. A file says that it is registered and knows its Pods."""
    root, random = Path(settings["root"]), Random(settings["seed"])
    async with (
        HttpClient(load_connection([Path(settings["kubeconfig"])])) as client,
        open_runtime(settings["runtime"], settings["url"], root) as runtime,
        anyio.create_task_group() as group,
    ):
        events = EventRecorder(client, clock=SYSTEM_CLOCK, random=random)
        node = NodeSettings(name=NODE, pod_network="127.250.0.0/16", capacity={"pods": "50"})
        recorder = events.source("kubelet", NODE)
        await group.start(events.run)
        await group.start(NodeAgent(client, runtime, node, root, random=random, recorder=recorder).run)
        Path(settings["ready"]).touch()
        await anyio.sleep_forever()


def main() -> None:
    """Fork a node for each line."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            anyio.run(run, json.loads(line))
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        os.waitpid(pid, 0)


class Kubelet:
    """A node agent that a test starts and kills."""

    def __init__(self, directory: Path, kubeconfig: Path, runtime: str, url: str, seed: int) -> None:
        directory.mkdir()
        self.root, self.log = directory / "node", directory / "log"
        self.ready = directory / "ready"
        self.settings = {
            "runtime": runtime,
            "url": url,
            "root": str(self.root),
            "kubeconfig": str(kubeconfig),
            "ready": str(self.ready),
            "seed": seed,
        }
        self.pid = 0

    def __enter__(self) -> "Kubelet":
        with self.log.open("wb") as log:
            self._mother = subprocess.Popen(
                [sys.executable, "-m", "tests.kubelets"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=Path(__file__).parents[1],
                text=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._mother.kill()
        self._mother.communicate()

    def start(self) -> None:
        """Start it; the one before has ended."""
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        self.ready.unlink(missing_ok=True)
        self._mother.stdin.write(json.dumps(self.settings) + "\n")
        self._mother.stdin.flush()
        self.pid = int(self._mother.stdout.readline())

    def is_ready(self) -> bool:
        """Return whether it knows its Pods."""
        assert self.alive, self.log.read_text()[-3000:]
        return self.ready.exists()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return is_running(self.pid)

    def kill(self) -> None:
        """Kill it, wherever it is."""
        if self.pid and self.alive:
            os.kill(self.pid, signal.SIGKILL)
        while self.pid and self.alive:
            time.sleep(0.005)

    def descriptors(self) -> int:
        """Return how many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        """Return how many threads it has."""
        return len(os.listdir(f"/proc/{self.pid}/task"))


if __name__ == "__main__":
    main()
