"""A cluster's daemons, each in a process of its own."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.external.conftest import code_of, eventually


class Daemon:
    """One `kubelib` process."""

    def __init__(
        self, directory: Path, name: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.arguments, self.environment = name, arguments, environment
        self.log = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> "Daemon":
        ready = self.log.read_text().count(" is ready ") if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reference_cluster", *self.arguments],
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        if wait:
            eventually(lambda: self._ready(ready), within=120, every=0.05)
        return self

    def _ready(self, before: int) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return self.log.read_text().count(" is ready ") > before

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(with_signal)
        return code_of(self.process, self.log)


def kubelib(*arguments: str, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "reference_cluster", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


class Daemons:
    """Those of one cluster, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.master = directory / "master"
        self.running: dict[str, Daemon] = {}

    def start(self, name: str, *arguments: str) -> Daemon:
        daemon = self.running[name] = Daemon(self.directory, name, *arguments).start()
        return daemon

    def component(self, name: str, kind: str, *options: str) -> Daemon:
        return self.start(name, kind, "--kubeconfig", str(self.master / f"{kind}.kubeconfig"), *options)

    def node(self, name: str) -> Daemon:
        out = self.directory / name
        kubelib("credentials", "node", name, "--data-dir", str(self.master), "--out", str(out))
        return self.start(
            name, "kubelet", name, "--kubeconfig", str(out / "kubeconfig"), "--data-dir", str(out / "data"), "--port", "0",
            "--pod-network", "127.245.0.0/16", "--pod-manifest-path", str(self.manifests(name)),
        )  # fmt: skip

    def manifests(self, node: str) -> Path:
        """Return where a node's static Pods are."""
        path = self.directory / node / "manifests"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def end(self) -> None:
        """End them, the last one first. None may have failed, nor been refused what it wanted."""
        for name, daemon in reversed(self.running.items()):
            if daemon.process is not None and daemon.process.poll() is None:
                assert daemon.end() == 0, name
            text = daemon.log.read_text()
            assert "Traceback" not in text and "forbidden" not in text, f"{name}:\n{text}"
