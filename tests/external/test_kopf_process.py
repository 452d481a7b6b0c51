"""A kopf operator as an unmodified program in a process of its own, on `kubelib up`: the server is killed under it and comes back."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubelib.testing.certificates import Authority
from tests.engines import free_ports
from tests.external.conftest import Cluster, Kubectl, eventually, real_binary

HERE = Path(__file__).parent / "kopf"
FINALIZER = "example.com/exercise"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose address stays when it is started again."""
    [port] = free_ports(1)
    running = Cluster(tmp_path / "data", "--listen", f"127.0.0.1:{port}")
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path) -> Kubectl:
    return Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path)


class Operator:
    """``kopf run`` in a process of its own."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment = environment
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kopf", "run", "--all-namespaces", str(HERE / "operator.py")],
                stdout=log,
                stderr=log,
                env=self.environment,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0, self.log.read_text()

    def eventually(self, check: Callable[[], object]) -> None:
        """Wait for a condition; should it never come, say what the operator has said."""
        try:
            eventually(check, within=120)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()[-8000:]}") from error


@pytest.fixture
def operator(cluster: Cluster, kubectl: Kubectl, tmp_path: Path) -> Iterator[Operator]:
    kubectl("apply", "-f", str(HERE / "definition.yaml"))
    kubectl("wait", "--for=condition=Established", "crd/exercises.example.com", "--timeout=120s")
    authority = Authority()
    certificate, key = authority.server("127.0.0.1").write(tmp_path, "webhook")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "WEBHOOK_CERT": str(certificate),
        "WEBHOOK_KEY": str(key),
        "WEBHOOK_CA": str(tmp_path / "ca.crt"),
    }
    running = Operator(environment, tmp_path / "operator.log")
    running.start()
    running.eventually(lambda: "caBundle" in kubectl("get", "mutatingwebhookconfigurations", "-o", "yaml"))
    yield running
    running.stop()


def exercise(name: str, **spec: Any) -> str:
    return json.dumps(
        {
            "apiVersion": "example.com/v1",
            "kind": "Exercise",
            "metadata": {"name": name},
            "spec": {"size": 1, **spec},
        }
    )


def test_an_operator_lives_through_the_death_of_the_server_and_its_own(
    cluster: Cluster, kubectl: Kubectl, operator: Operator
) -> None:
    def status(name: str, field: str) -> str:
        return kubectl("get", "exercise", name, "-o", f"jsonpath={{.status.{field}}}")

    def apply(name: str, **spec: Any) -> None:
        # A new operator's webhook takes a moment to listen; kubectl is told so, and tries again as people do.
        operator.eventually(
            lambda: kubectl.run("apply", "-f", "-", stdin=exercise(name, **spec)).returncode == 0
        )

    def names(kind: str) -> set[str]:
        return set(kubectl("get", kind, "-o", "name").split())

    apply("one")
    operator.eventually(lambda: status("one", "phase") == "Made")
    apply("one", size=2)
    operator.eventually(lambda: status("one", "resized") == "1 to 2")
    assert kubectl("get", "exercise", "one", "-o", "jsonpath={.metadata.finalizers[*]}") == FINALIZER
    assert "this is too large" in kubectl.fails("apply", "-f", "-", stdin=exercise("huge", size=101))

    cluster.kill()
    cluster.start()
    # Whatever the operator was doing, it goes on: what is made, changed and deleted now is seen.
    apply("two")
    apply("one", size=3)
    operator.eventually(lambda: status("two", "phase") == "Made")
    operator.eventually(lambda: status("one", "resized") == "2 to 3")
    kubectl("delete", "exercise", "two", "--wait=false")
    operator.eventually(lambda: names("exercises") == {"exercise.example.com/one"})
    operator.eventually(lambda: "configmap/two" not in names("configmaps"))

    # Without an operator its webhooks refuse all writes, until they are removed.
    operator.kill()
    assert "failed calling webhook" in kubectl.fails("delete", "exercise", "one", "--wait=false")
    kubectl("delete", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "--all")
    # Its finalizer keeps what is deleted until the next one lets it go.
    kubectl("delete", "exercise", "one", "--wait=false")
    assert kubectl("get", "exercise", "one", "-o", "jsonpath={.metadata.deletionTimestamp}")
    operator.start()
    operator.eventually(lambda: names("exercises") == set())
    operator.eventually(lambda: "configmap/one" not in names("configmaps"))
