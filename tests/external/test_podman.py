"""A cluster whose Pods are pods of a real Podman, and real kubectl at them: what holds on every engine, and what is Podman's."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import Podman
from tests.external.conftest import Cluster, Kubectl, eventually, real_binary
from tests.external.test_docker import (
    WEB,
    restarts,
    test_a_port_that_only_the_pod_can_reach_is_forwarded,
    test_attach_reaches_the_input_and_the_log_has_what_was_answered,
    test_containers_share_what_the_pod_says_and_have_the_rights_that_they_say,
    test_debug_looks_into_a_container,
    test_exec_on_a_terminal_has_its_size,
    test_exec_returns_the_exit_code_and_names_what_is_not_there,
    test_files_are_copied_both_ways,
    test_logs_have_times_and_are_followed,
    test_names_are_resolved_as_the_pod_says,
    test_nodes_are_cordoned_and_drained,
    test_top_shows_what_containers_use,
    test_volumes_belong_to_the_pods_group,
    test_what_keeps_a_container_from_running_is_said_in_kubernetes_words,
)

__all__ = [
    "test_a_port_that_only_the_pod_can_reach_is_forwarded",
    "test_attach_reaches_the_input_and_the_log_has_what_was_answered",
    "test_containers_share_what_the_pod_says_and_have_the_rights_that_they_say",
    "test_debug_looks_into_a_container",
    "test_exec_on_a_terminal_has_its_size",
    "test_exec_returns_the_exit_code_and_names_what_is_not_there",
    "test_files_are_copied_both_ways",
    "test_logs_have_times_and_are_followed",
    "test_names_are_resolved_as_the_pod_says",
    "test_nodes_are_cordoned_and_drained",
    "test_top_shows_what_containers_use",
    "test_volumes_belong_to_the_pods_group",
    "test_what_keeps_a_container_from_running_is_said_in_kubernetes_words",
]


@pytest.fixture(scope="module")
def docker_engine(podman_service: Podman) -> Podman:
    """The engine of the tests that hold on every one."""
    return podman_service


@pytest.fixture(scope="module")
def on_podman(tmp_path_factory: pytest.TempPathFactory, podman_service: Podman) -> Iterator[Cluster]:
    data = tmp_path_factory.mktemp("on-podman") / "data"
    options = ("--listen", "127.0.0.1:0", "--runtime", "podman")
    running = Cluster(data, *options, CONTAINER_HOST=podman_service.url)
    running.start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="module")
def kubectl(on_podman: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(real_binary("kubectl"), on_podman.kubeconfig, tmp_path_factory.mktemp("kubectl"))


@pytest.fixture(scope="module")
def web(kubectl: Kubectl, podman_service: Podman) -> Iterator[str]:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("wait", "--for=condition=Ready", "pod/web", "pod/plain", "--timeout=60s")
    yield "web"
    kubectl("delete", "pod", "web", "plain", "--timeout=60s")
    eventually(lambda: podman_service.containers() == [])


def test_a_pod_has_an_address_of_podman_and_says_what_runs_it(kubectl: Kubectl, web: str) -> None:
    pod = json.loads(kubectl("get", "pod", web, "-o", "json"))
    assert pod["status"]["podIP"].startswith("172.30.")
    server = pod["status"]["containerStatuses"][0]
    assert server["containerID"].startswith("podman://")
    assert server["imageID"].startswith("podman://sha256:")
    assert "podman://4." in kubectl("get", "nodes", "-o", "wide")


def test_a_pod_whose_infra_container_has_ended_is_started_anew(
    kubectl: Kubectl, web: str, podman_service: Podman
) -> None:
    # A Pod that shares its processes ends with the one that holds their namespace; in another the containers must be ended.
    for name in ("web", "plain"):
        [uid] = kubectl("get", "pod", name, "-o", "jsonpath={.metadata.uid}").split()
        infra = podman_service.run(
            "pod", "inspect", "--format", "{{.InfraContainerID}}", f"k8s_POD_{name}_default_{uid}"
        )
        pid = podman_service.run("inspect", "--format", "{{.State.Pid}}", infra.strip())
        os.kill(int(pid), signal.SIGKILL)
    eventually(lambda: restarts(kubectl, web) == [1, 1], within=60)
    eventually(lambda: restarts(kubectl, "plain") == [1], within=60)
    fetch = ("exec", web, "-c", "server", "--", "wget", "-q", "-O-", "http://127.0.0.1:8080/")
    assert kubectl(*fetch) == "hello\n"
    assert kubectl("logs", web, "-c", "server", "--previous") == "serving\n"


def test_a_cluster_that_was_killed_finds_what_runs_and_podman_may_be_restarted(
    kubectl: Kubectl, web: str, on_podman: Cluster, podman_service: Podman
) -> None:
    before = json.loads(kubectl("get", "pod", web, "-o", "json"))["status"]["containerStatuses"]
    on_podman.kill()
    assert podman_service.server is not None
    podman_service.server.kill()
    podman_service.start()
    on_podman.start()
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    after = json.loads(kubectl("get", "pod", web, "-o", "json"))["status"]["containerStatuses"]
    assert [s["containerID"] for s in after] == [s["containerID"] for s in before]
    assert [s["restartCount"] for s in after] == [s["restartCount"] for s in before]
    podman_service.server.kill()
    podman_service.start()
    fetch = ("exec", web, "-c", "server", "--", "wget", "-q", "-O-", "http://127.0.0.1:8080/")
    eventually(lambda: kubectl.run(*fetch).stdout == "hello\n")


def test_a_service_that_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    running = Cluster(
        tmp_path / "data",
        *("--listen", "127.0.0.1:0", "--runtime", "podman"),
        CONTAINER_HOST=f"unix://{tmp_path}/none.sock",
    )
    with pytest.raises(AssertionError, match="ended"):
        running.start()
    assert running.process is not None
    assert running.process.stdout is not None
    running.process.stdout.close()
    url = f"unix://{tmp_path}/none.sock"
    assert running.log.read_text().strip() == (
        f"Error: cannot reach Podman at {url}: No such file or directory;"
        f" is `podman system service --time=0 {url}` running, and may this user use it?"
    )
