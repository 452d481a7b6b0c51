"""The guestbook of Redis images: started, used, broken and recovered by `kubelib demo guestbook` on real engines."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.containers import Docker, Podman, build_images
from tests.external.conftest import Cluster, Kubectl, nothing_is_left, real_binary


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_the_guestbook_survives_the_end_of_its_master_and_of_a_frontend(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    engine: Docker | Podman = request.getfixturevalue(
        "docker_engine" if name == "docker" else "podman_service"
    )
    names = ("redis", "frontend")
    engine.load(build_images(tmp_path / "images", *names), names)
    variable = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}[name]
    cluster = Cluster(
        tmp_path / "data", "--listen", "127.0.0.1:0", "--runtime", name, **{variable: engine.url}
    )
    cluster.start()
    try:
        words = ("demo", "guestbook", "--runtime", name, "--kubeconfig", str(cluster.kubeconfig))
        kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path / "kubectl")
        done = subprocess.run(
            [sys.executable, "-m", "reference_cluster", *words],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env={**kubectl.environment, variable: engine.url},
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{kubectl('get', 'pods', '-o', 'wide')}"
        for line in (
            "read them back from the slaves",
            "the slaves follow it again: all 6 entries are there",
            "a new entry arrives as well: nothing was lost",
        ):
            assert line in done.stdout
        assert re.search(r"the frontend Service answers at http://10\.\d+\.\d+\.\d+:80", done.stdout)
        kubectl("delete", "replicationcontrollers", "--all", "--timeout=120s")
        kubectl("delete", "pods", "--all", "--timeout=120s")
        nothing_is_left(engine, kubectl, cluster)
    finally:
        assert cluster.stop() == 0
    services = json.loads((tmp_path / "data" / "networks.json").read_text())["services"]
    assert services.startswith("10.")
    routes = subprocess.run(
        ["ip", "route", "show", "table", "local"], capture_output=True, text=True, check=True
    )
    assert services not in routes.stdout
