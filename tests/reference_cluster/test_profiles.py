"""`kubelib scheduler --config FILE`: all profiles of a file in one process, and files that will not do."""

import signal
import subprocess
import sys
from pathlib import Path

import anyio
import click.testing
import pytest

from kubelib.api.core.event import Event
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.testing.cluster import Cluster
from kubelib.testing.objects import make_node, make_pod
from reference_cluster import cli

TEXT = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
profiles:
- schedulerName: first
- schedulerName: second
  pluginConfig:
  - name: NodeAffinity
    args:
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [two]}]}]
"""


def command(kubeconfig: str | Path, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "reference_cluster",
        "scheduler",
        "--kubeconfig",
        str(kubeconfig),
        *arguments,
    ]


async def test_one_process_places_the_pods_of_all_profiles(kubelib_cluster: Cluster, tmp_path: Path) -> None:
    file, log = tmp_path / "scheduler.conf", tmp_path / "log"
    file.write_text(TEXT)
    client = kubelib_cluster.client
    for name in ("one", "two"):
        await client.resource(Node).create(make_node(name))
    kubeconfig = await anyio.to_thread.run_sync(
        lambda: kubelib_cluster.kubeconfig_for("system:kube-scheduler")
    )
    for name in ("first", "second", "third"):
        await client.resource(Pod).create(make_pod(name, scheduler_name=name))
    with log.open("wb") as out:
        words = ["scheduler", "--kubeconfig", str(kubeconfig), "--config", str(file)]
        process = subprocess.Popen(
            [sys.executable, "-m", "reference_cluster", *words], stdout=out, stderr=out
        )
    try:
        nodes: dict[str, str] = {}
        with anyio.fail_after(60):
            while not (nodes.get("first") and nodes.get("second")):
                assert process.poll() is None, log.read_text()
                await anyio.sleep(0.1)
                for name in ("first", "second", "third"):
                    nodes[name] = (await client.resource(Pod).get(Key("default", name))).spec.node_name
        assert (nodes["second"], nodes["third"]) == ("two", "")
        with anyio.fail_after(60):
            while True:
                events = (await client.resource(Event).list()).items
                found = {
                    (e.source.component, e.involved_object.name) for e in events if e.reason == "Scheduled"
                }
                if {("first", "first"), ("second", "second")} <= found:
                    break
                await anyio.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        code = await anyio.to_thread.run_sync(process.wait)
    assert code == 0, log.read_text()


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (
            (),
            TEXT.replace("second", "first"),
            'profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"',
        ),
        (("--policy", "random"), TEXT, "--config stands for --policy and --scheduler-name"),
        (
            ("--architecture", "two-level"),
            TEXT,
            "The frameworks of a two-level architecture have one profile.",
        ),
        ((), TEXT.replace("false}", "false, leaseDuration: 1s}"), "an election needs"),
    ],
)
def test_files_that_will_not_do_are_refused_in_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...], text: str, said: str
) -> None:
    file = tmp_path / "scheduler.yaml"
    file.write_text(text)
    words = ["scheduler", "--kubeconfig", "/nowhere", "--config", str(file), *arguments]
    done = click.testing.CliRunner().invoke(cli.kubelib, words)
    assert done.exit_code == 2
    assert said in done.stderr.replace("\n", " ")
