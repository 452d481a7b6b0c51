"""An elastic `kubelib up`: a burst of real Pods makes it grow from one node to five, and it shrinks back."""

from pathlib import Path

from tests.external.conftest import Cluster, Kubectl, eventually, real_binary

TEMPLATES = """
templates:
- name: burst
  capacity: {cpu: "1", memory: 1Gi, pods: "10"}
  minimum: 1
  maximum: 5
settings: {interval: 0.5, unneeded_time: 2, delay_after_growth: 1}
"""


def test_a_local_cluster_grows_for_a_burst_and_shrinks_back(tmp_path: Path) -> None:
    templates = tmp_path / "templates.yaml"
    templates.write_text(TEMPLATES)
    cluster = Cluster(
        tmp_path / "cluster",
        "--listen",
        "127.0.0.1:0",
        "--nodes",
        "0",
        "--proxy",
        "none",
        "--elastic",
        str(templates),
    )
    cluster.start()
    try:
        kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path / "cache")

        def nodes() -> list[str]:
            return kubectl("get", "nodes", "-o", "name").split()

        eventually(lambda: len(nodes()) == 1, within=60, every=0.3)
        kubectl("create", "deployment", "web", "--image=process", "--replicas=0", "--", "sleep", "1000000")
        kubectl("set", "resources", "deployment", "web", "--requests=cpu=600m")
        kubectl("scale", "deployment", "web", "--replicas=5")
        kubectl("rollout", "status", "deployment", "web", "--timeout=90s", timeout=100)
        assert len(nodes()) == 5
        kubectl("scale", "deployment", "web", "--replicas=1")
        eventually(lambda: len(nodes()) == 1, within=120, every=0.5)
        kubectl("rollout", "status", "deployment", "web", "--timeout=60s", timeout=70)
        kubectl("delete", "deployment", "web", "--now")
        eventually(lambda: not kubectl("get", "pods", "-o", "name"), within=60, every=0.3)
    finally:
        cluster.stop()
