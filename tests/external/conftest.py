"""A real `kubelib up` and real kubectl for the tests in this folder."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import Docker, Podman

_numbers = itertools.count(1)
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 150
"""Seconds that a command may take: more than what it may be told to wait, on a machine that has a lot else to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.external)


class Cluster:
    """A `kubelib up` in a process of its own, on a port of its own."""

    def __init__(self, directory: Path, *options: str, **environment: str) -> None:
        self.environment = environment
        self.directory = directory
        self.options = options
        self.kubeconfig = directory / "admin.kubeconfig"
        self.log = directory.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, within: float = 180) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "reference_cluster",
                    "up",
                    "--data-dir",
                    str(self.directory),
                    *self.options,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        seen, deadline = b"", time.monotonic() + within
        while b"\n" not in seen:
            assert self.process.poll() is None, f"kubelib up ended: {seen.decode()}\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"kubelib up is not ready: {self.log.read_text()}"
            seen += self.process.stdout.read() or b""
            time.sleep(0.02)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = code_of(self.process, self.log)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def end_pods(self) -> None:
        """End what it has left running; it has ended."""
        command = [sys.executable, "-m", "reference_cluster", "down", "--data-dir", str(self.directory)]
        subprocess.run([*command, "--grace", "0"], check=True, stdout=subprocess.DEVNULL, timeout=120)


def code_of(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """Return the exit code of a process that has been asked to end; if it does not, kill it, and fail with its log."""
    try:
        return process.wait(120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"{process.args!r} does not end:\n{log.read_text()[-10_000:]}") from None


class Kubectl:
    """The real kubectl on one cluster."""

    def __init__(self, binary: str, kubeconfig: Path, cache: Path) -> None:
        self.binary = binary
        self.kubeconfig = kubeconfig
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "KUBECACHEDIR": str(cache),
            "HOME": str(cache),
        }

    def run(
        self, *arguments: str, stdin: str | None = None, timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.binary, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            check=False,
        )

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = PATIENCE) -> str:
        done = self.run(*arguments, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, (
            f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}{self._told(*arguments)}"
        )
        return done.stdout

    def _told(self, *arguments: str) -> str:
        """Return what the cluster tells of its Pods, where one was waited for in vain."""
        if not {"wait", "delete", "rollout"} & {*arguments}:
            return ""
        return self.run("get", "pods,events", "--all-namespaces", "-o", "wide").stdout

    def fails(self, *arguments: str, stdin: str | None = None) -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, f"kubectl {' '.join(arguments)} should have failed: {done.stdout}"
        return done.stderr

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.binary, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )


def real_binary(name: str) -> str:
    """Return the path of the real program, which scripts/kubectl fetches."""
    beside = Path(sys.executable).parent.parent / "kubernetes-bin" / name
    found = os.environ.get(f"KUBELIB_TEST_{name.upper()}") or (
        str(beside) if beside.exists() else shutil.which(name)
    )
    assert found, f"{name} is not there: run scripts/kubectl and scripts/programs"
    return found


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("cluster") / "data", "--listen", "127.0.0.1:0", "--nodes", "2")
    running.start()
    yield running
    assert running.stop() == 0
    running.end_pods()


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path_factory.mktemp("kubectl"))


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    # The number tells apart what is cut alike: one that is still going cannot be made again.
    words = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:50].strip("-")
    name = f"t-{words}-{next(_numbers)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def eventually(check: object, within: float = 120, every: float = 0.1) -> object:
    """Call `check` until it returns something true; return that. The last failure is raised at the end."""
    assert callable(check)
    deadline = time.monotonic() + within
    while True:
        try:
            if result := check():
                return result
            failure: Exception | None = None
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"{check} is still not so after {within} s")
        time.sleep(every)


def nothing_is_left(engine: Docker | Podman, kubectl: Kubectl, cluster: Cluster, name: str = "") -> None:
    """Wait until an engine has no container, or none with `name` in its own; say what is known of those that stay."""

    def left() -> list[str]:
        return [one for one in engine.containers() if name in one]

    try:
        eventually(lambda: not left(), within=120)
    except AssertionError:
        pods = kubectl.run("get", "pods,events", "--all-namespaces", "-o", "wide").stdout
        tail = cluster.log.read_text()[-10_000:]
        raise AssertionError(
            f"{left()} stay\n\nThe engine:\n{engine.told()}\n\nThe API:\n{pods}\n\nThe node:\n{tail}"
        ) from None
