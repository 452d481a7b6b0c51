"""A cluster whose Pods are containers of a real Docker Engine: what holds on every engine, and what is Docker's."""

import pytest

from tests.containers import Docker
from tests.external.conftest import Kubectl, eventually
from tests.external.enginecluster import EngineClusterSuite, note_in_memory, restarts


class TestOnDocker(EngineClusterSuite):
    kind = "docker"
    variable = "DOCKER_HOST"
    addresses = "172.31."
    version = "docker://20."
    absent = (
        "Error: cannot reach Docker at URL: No such file or directory;"
        " is it running, and may this user use it?"
    )

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, docker_engine: Docker) -> Docker:
        return docker_engine

    def end_sandbox(self, engine: Docker, name: str) -> None:
        with engine.client() as client:
            client.kill(name)

    def test_an_engine_that_was_restarted_runs_what_it_ran(
        self, kubectl: Kubectl, web: str, engine: Docker
    ) -> None:
        said = note_in_memory(kubectl)
        before = restarts(kubectl, web)
        engine.stop()
        engine.start()
        eventually(lambda: restarts(kubectl, web) == [n + 1 for n in before])
        fetch = ("exec", web, "-c", "server", "--", "wget", "-q", "-O-", "http://127.0.0.1:8080/")
        assert kubectl(*fetch) == "hello\n"
        assert note_in_memory(kubectl) == said
