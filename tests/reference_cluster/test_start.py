"""What is loaded when a cluster first answers: no more than the first answer needs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LATER = ("numpy", "wsproto", "h11", "httpx", "yaml", "kubelib.cel", "kubelib.api.openapi", "kubelib.sched")

UP = """
import json, ssl, sys, threading, urllib.request
from contextlib import asynccontextmanager
from pathlib import Path
import anyio, anyio.to_thread

in_the_way = []

class Noting:
    # Is asked first whenever a module is to be loaded.
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is threading.main_thread():
            in_the_way.append(name)

from reference_cluster import up
from reference_cluster.datadir import open_data_directory

run_api_server, answering = up.run_api_server, []

@asynccontextmanager
async def noted(**how):
    async with run_api_server(**how) as server:
        answering.extend(sys.modules)
        ask = lambda: urllib.request.urlopen(f"{server.url}/readyz", context=ssl._create_unverified_context()).read()
        assert await anyio.to_thread.run_sync(ask) == b"ok"
        yield server

async def main(path):
    with open_data_directory(path) as directory:
        async with up.run_up(directory, up.ClusterSettings(listen="127.0.0.1:0", nodes=1)):
            with anyio.fail_after(60):
                while "uvicorn.protocols.websockets.wsproto_impl" not in sys.modules:
                    await anyio.sleep(0.02)

sys.meta_path.insert(0, Noting())
up.run_api_server = noted
anyio.run(main, Path(sys.argv[1]))
print(json.dumps({"answering": answering, "in the way": in_the_way, "all": list(sys.modules)}))
"""

FIXTURE = """
import json, sys, urllib.request
from kubelib.testing.cluster import Cluster

with Cluster() as cluster:
    answering = list(sys.modules)
    assert urllib.request.urlopen(f"{cluster.url}/readyz").read() == b"ok"
print(json.dumps({"answering": answering}))
"""


def ran(code: str, *arguments: str) -> dict[str, list[str]]:
    process = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    found: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return found


def of(names: tuple[str, ...], modules: list[str]) -> list[str]:
    return [m for m in modules if m in names or m.startswith(tuple(f"{name}." for name in names))]


def test_a_cluster_answers_before_it_loads_what_the_first_answer_does_not_need(tmp_path: Path) -> None:
    for started in ("fresh", "resumed"):
        found = ran(UP, str(tmp_path))
        later = LATER if started == "fresh" else (*LATER, "cryptography")
        assert of((*later, "kubelib.controllers.builtin"), found["answering"]) == [], started
        # The rest of the cluster needs them no sooner: a thread has loaded them since.
        assert of(later, found["in the way"]) == [], started
        assert {"numpy", "wsproto", "cryptography", "kubelib.sched.scheduler"} <= set(found["all"])


def test_the_fixture_answers_before_it_loads_what_the_first_answer_does_not_need() -> None:
    assert of((*LATER, "kubelib.controllers"), ran(FIXTURE)["answering"]) == []
