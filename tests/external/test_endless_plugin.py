"""A scheduler daemon with an installed plug-in that does not come back: it is interrupted and named, and the daemon goes on."""

import os
import signal
from pathlib import Path

import anyio

from kubelib.api.core.event import Event
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.testing.objects import make_node, make_pod
from tests.external.processes import Daemon

PLUGIN = """
class Endless:
    name = "Endless"

    def fits(self, pod, nodes, rows):
        while "bad" in pod.labels:
            pass
        return True

    def reasons(self, pod, nodes, row):
        return ("no",)
"""
CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- plugins: {filter: {enabled: [{name: Endless}]}}
"""
WHY = "TookTooLong: the filter Endless took longer than 0.5 seconds"


def install(site: Path) -> None:
    about = site / "endless-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "endless.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: endless\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[kubelib.scheduler_plugins]\nEndless = endless:Endless\n")


async def until_bound(client: HttpClient, name: str) -> None:
    with anyio.fail_after(120):
        while not (await client.resource(Pod).get(Key("default", name))).spec.node_name:
            await anyio.sleep(0.1)


async def test_a_plug_in_that_does_not_come_back_is_stopped_and_named(tmp_path: Path) -> None:
    install(tmp_path / "site")
    (tmp_path / "config.yaml").write_text(CONFIG)
    master = tmp_path / "master"
    server = Daemon(
        tmp_path, "apiserver", "apiserver", "--data-dir", str(master), "--listen", "127.0.0.1:0",
        "--disable-admission-plugins", "ServiceAccount,TaintNodesByCondition",
    )  # fmt: skip
    scheduler = Daemon(
        tmp_path, "scheduler", "scheduler", "--kubeconfig", str(master / "scheduler.kubeconfig"),
        "--config", str(tmp_path / "config.yaml"), "--plugin-timeout", "0.5",
        environment={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    try:
        server.start()
        scheduler.start()
        async with HttpClient(load_connection([master / "admin.kubeconfig"])) as client:
            offered = {"cpu": "4", "memory": "8Gi", "pods": "20"}
            await client.resource(Node).create(make_node("n0", allocatable=offered))
            await client.resource(Pod).create(make_pod("bad", labels={"bad": ""}))
            await client.resource(Pod).create(make_pod("good"))
            await until_bound(client, "good")
            with anyio.fail_after(120):
                while True:
                    bad = await client.resource(Pod).get(Key("default", "bad"))
                    events = (await client.resource(Event).list()).items
                    told = {c.message for c in bad.status.conditions if c.type == "PodScheduled"}
                    if WHY in told and WHY in {event.message for event in events}:
                        break
                    await anyio.sleep(0.1)
            assert not bad.spec.node_name
            await client.resource(Pod).create(make_pod("later"))
            await until_bound(client, "later")
        assert scheduler.process is not None
        assert scheduler.process.poll() is None
    finally:
        for daemon in (scheduler, server):
            if daemon.process is not None:
                daemon.end(signal.SIGKILL)
