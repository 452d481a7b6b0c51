"""A cluster whose Pods are pods of a real Podman: what holds on every engine, and what is Podman's."""

import json
import os
import signal

import pytest

from tests.containers import Podman
from tests.external.conftest import Cluster, Kubectl, eventually
from tests.external.enginecluster import EngineClusterSuite, note_in_memory


class TestOnPodman(EngineClusterSuite):
    kind = "podman"
    variable = "CONTAINER_HOST"
    addresses = "172.30."
    version = "podman://4."
    absent = (
        "Error: cannot reach Podman at URL: No such file or directory;"
        " is `podman system service --time=0 URL` running, and may this user use it?"
    )

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, podman_service: Podman) -> Podman:
        return podman_service

    def end_sandbox(self, engine: Podman, name: str) -> None:
        infra = engine.run("pod", "inspect", "--format", "{{.InfraContainerID}}", name).strip()
        os.kill(int(engine.run("inspect", "--format", "{{.State.Pid}}", infra)), signal.SIGKILL)

    def test_a_cluster_that_was_killed_finds_what_runs_and_podman_may_be_restarted(
        self, kubectl: Kubectl, web: str, cluster: Cluster, engine: Podman
    ) -> None:
        said = note_in_memory(kubectl)
        before = json.loads(kubectl("get", "pod", web, "-o", "json"))["status"]["containerStatuses"]
        cluster.kill()
        assert engine.server is not None
        engine.server.kill()
        engine.start()
        cluster.start()
        kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=120s")
        after = json.loads(kubectl("get", "pod", web, "-o", "json"))["status"]["containerStatuses"]
        assert [s["containerID"] for s in after] == [s["containerID"] for s in before]
        assert [s["restartCount"] for s in after] == [s["restartCount"] for s in before]
        engine.server.kill()
        engine.start()
        fetch = ("exec", web, "-c", "server", "--", "wget", "-q", "-O-", "http://127.0.0.1:8080/")
        eventually(lambda: kubectl.run(*fetch).stdout == "hello\n")
        assert note_in_memory(kubectl) == said
