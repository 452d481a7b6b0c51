"""`kubelib up` on the stores of others: a flag, and nothing else is different."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import PREFIXES, Etcd, ZooKeeper
from tests.external.conftest import Cluster, Kubectl, eventually, real_binary


@pytest.mark.parametrize("engine", ["etcd", "zookeeper"])
def test_a_cluster_on_another_store_works_and_is_found_again(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    running: Etcd | ZooKeeper = request.getfixturevalue(engine)
    url = running.url(next(PREFIXES))
    cluster = Cluster(tmp_path / "data", "--listen", "127.0.0.1:0", "--nodes", "1", "--store", url)
    cluster.start()
    try:
        kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path)
        kubectl("create", "deployment", "web", "--image=process", "--replicas=2", "--", "sleep", "1000")
        kubectl("rollout", "status", "deployment/web", "--timeout=120s")
        started = kubectl("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[0].containerID}")
        cluster.kill()
        cluster.start()
        kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path)
        kubectl("scale", "deployment/web", "--replicas=3")
        eventually(lambda: kubectl("get", "deployment/web", "-o", "jsonpath={.status.readyReplicas}") == "3")
        known = kubectl("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[0].containerID}")
        assert set(started.split()) <= set(known.split())
        kubectl("delete", "deployment/web", "--cascade=foreground", "--timeout=120s")
        eventually(lambda: kubectl("get", "pods", "-o", "name") == "")
    finally:
        assert cluster.stop() == 0


@pytest.mark.parametrize(
    ("module", "package", "engine"),
    [
        ("etcd3", "etcd3", "etcd"),
        ("hpack", "hpack", "etcd"),
        ("google.protobuf", "protobuf", "etcd"),
        ("kazoo", "kazoo", "ZooKeeper"),
    ],
)
def test_a_package_that_is_missing_is_named_in_one_sentence(
    module: str, package: str, engine: str, tmp_path: Path
) -> None:
    program = f"import sys; sys.modules[{module!r}] = None; from reference_cluster.cli import main; main()"
    words = ("up", "--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    url = f"{engine.lower()}://127.0.0.1:1"
    done = subprocess.run(
        [sys.executable, "-c", program, *words, "--store", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    wanted = (
        f"the {engine} store needs the package {package}: pip install 'kubelib-cluster[{engine.lower()}]'"
    )
    assert done.stderr == f"Error: {wanted}\n"
