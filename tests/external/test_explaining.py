"""`kubelib explain-scheduling` and `kubelib what-if` on a cluster that runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click.testing
import pytest

from kubelib.sched.base import Policy
from kubelib.sched.nodes import NodeInfo
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import POLICIES, Best, per_node
from reference_cluster import cli
from tests.external.conftest import Cluster, eventually

PROFILE = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: omega
  plugins: {filter: {disabled: [{name: NodePorts}]}}
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(tmp_path / "data", "--listen", "127.0.0.1:0", "--nodes", "2", "--runtime", "fake")
    running.start()
    yield running
    assert running.stop() == 0


def kubelib(cluster: Cluster, *arguments: str, stdin: str = "", code: int = 0) -> str:
    """Run a command in this process: there are many of them here."""
    words = cli.in_order([*arguments, f"--kubeconfig={cluster.kubeconfig}"])
    done = click.testing.CliRunner().invoke(cli.kubelib, words, input=stdin)
    assert done.exit_code == code, done.output
    return done.stdout if code in (0, 3) else done.stderr


def spec(cpu: str, **more: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "process", "resources": {"requests": {"cpu": cpu}}}
    return {"containers": [container], **more}


def pod(name: str, cpu: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec(cpu, **more)}


def controller(kind: str, version: str, cpu: str, **more: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": spec(cpu)}
    if kind == "Job":
        template["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "web"},
        "spec": {"template": template, **more},
    }


def broken_policy() -> Policy:
    def judge(pod: PodInfo, node: NodeInfo) -> float:
        raise ZeroDivisionError(node.name)

    return Policy(name="broken", filters=[per_node(judge, name="Broken")], choose=Best())


def test_decisions_explain_themselves_and_nothing_comes_of_asking(
    small: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = json.loads(kubelib(small, "get", "nodes", "-o", "json"))["items"][0]
    whole = first["status"]["allocatable"]["cpu"]
    urgent = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "urgent"},
        "value": 1000,
    }
    rc = controller("ReplicationController", "v1", whole, replicas=2, selector={"app": "web"})
    gated = pod("gated", "1m", schedulingGates=[{"name": "example.com/quota"}])
    objects = [urgent, rc, pod("third", whole), gated, pod("theirs", "1m", schedulerName="omega")]
    kubelib(small, "apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))

    def pods() -> dict[str, Any]:
        items = json.loads(kubelib(small, "get", "pods", "-o", "json"))["items"]
        return {item["metadata"]["name"]: item for item in items}

    def explain(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(kubelib(small, "explain-scheduling", name, "-o", "json"))
        return found

    def placed(name: str) -> bool:
        return "nodeName" in pods()[name]["spec"]

    def settled() -> bool:
        seen = pods()
        conditions = [c for p in seen.values() for c in p.get("status", {}).get("conditions", ())]
        refused = [c for c in conditions if c.get("reason") == "Unschedulable"]
        return sum("nodeName" in p["spec"] for p in seen.values()) == 2 and len(refused) == 1

    eventually(settled)
    before = pods()
    waiting = next(name for name in pods() if name not in ("gated", "theirs") and not placed(name))

    def says_what_the_scheduler_says() -> bool:
        found = explain(waiting)
        said = [c["message"] for c in pods()[waiting]["status"]["conditions"] if c["type"] == "PodScheduled"]
        return [found["message"]] == said and [n["fits"] for n in found["nodes"]] == [False, False]

    # A scheduler that has looked before both nodes were ready looks once more.
    eventually(says_what_the_scheduler_says)
    shown = kubelib(small, "explain-scheduling", f"pod/{waiting}")
    assert f"Pod default/{waiting} waits for a node." in shown
    assert "NODERESOURCESFIT" in shown
    assert "Insufficient cpu" in shown
    assert "No preemption victims found" in shown
    bound = next(n for n, p in before.items() if "nodeName" in p["spec"])
    there = before[bound]["spec"]["nodeName"]
    found = explain(bound)
    assert (found["state"], found["nodeName"], found["wouldGoTo"]) == ("bound", there, there)
    assert "TOTAL" in kubelib(small, "explain-scheduling", bound)
    assert "example.com/quota" in kubelib(small, "explain-scheduling", "gated")
    assert "omega's to place" in kubelib(small, "explain-scheduling", "theirs")
    assert 'pods "none" not found' in kubelib(small, "explain-scheduling", "none", code=1)
    assert "no policy 'x'" in kubelib(small, "explain-scheduling", waiting, "--policy", "x", code=1)

    monkeypatch.setitem(POLICIES, "broken", broken_policy)
    failed = kubelib(small, "explain-scheduling", waiting, "--policy", "broken", code=1)
    assert failed.startswith("Error: the policy broken failed: the filter Broken raised ZeroDivisionError: ")

    kind = {"apiVersion": "scheduling.k8s.io/v1beta1", "kind": "PodGroup"}
    group = {**kind, "metadata": {"name": "train"}, "spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}}
    kubelib(small, "apply", "-f", "-", stdin=json.dumps(group))
    ours = {"schedulingGroup": {"podGroupName": "train"}, "schedulerName": "omega"}
    kubelib(small, "apply", "-f", "-", stdin=json.dumps(pod("member", "1m", **ours)))
    before = pods()
    grouped = explain("member")
    assert (grouped["wouldGoTo"], grouped["podGroup"]["minCount"], grouped["podGroup"]["waiting"]) == (
        "",
        2,
        1,
    )
    assert "It is placed with the pod group train only: 0 others have a node" in kubelib(
        small, "explain-scheduling", "member"
    )

    profile = tmp_path / "profile.yaml"
    profile.write_text(PROFILE)
    judged = json.loads(
        kubelib(small, "explain-scheduling", "theirs", "-o", "json", "--policy", str(profile))
    )
    assert "NodePorts" not in [f["name"] for f in judged["nodes"][0]["filters"]]

    def what_if(*documents: dict[str, Any], code: int = 0, form: str = "json") -> str:
        text = "\n---\n".join(map(json.dumps, documents))
        return kubelib(small, "what-if", "-f", "-", "-o", form, stdin=text, code=code)

    urgently = what_if(pod("now", whole, priorityClassName="urgent"))
    (placement,) = json.loads(urgently)["placements"]
    assert placement["node"]
    assert len(placement["victims"]) == 1
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    assert json.loads(what_if(controller("Job", "batch/v1", "0", parallelism=3, completions=2), service))[
        "complete"
    ]
    other = group | {"metadata": {"name": "other"}}
    members = [pod(f"o{n}", "0", schedulingGroup={"podGroupName": "other"}) for n in range(2)]
    assert json.loads(what_if(other, *members))["complete"]
    assert "waiting for minCount pods" in what_if(other, members[0], code=3)
    labels = {"selector": {"matchLabels": {"app": "web"}}}
    what_if(controller("Deployment", "apps/v1", whole, replicas=1, **labels), code=3)
    assert "left out: Service s" in what_if(service, code=1)
    assert "cannot be handled as a Pod" in what_if(pod("x", "1") | {"spec": {"containers": 7}}, code=1)
    assert "Invalid" in what_if(pod("x", "-1"), code=1)
    for text, message in (
        ("a: [", "is not YAML"),
        ("- 1", "not an object with a kind"),
        ("kind: List\nitems: [1]", "with a kind"),
    ):
        (line,) = kubelib(small, "what-if", "-f", "-", stdin=text, code=1).splitlines()
        assert message in line
    assert "cannot read /none" in kubelib(small, "what-if", "-f", "/none", code=1)
    table = kubelib(
        small, "what-if", "-f", "-", stdin=json.dumps(pod("now", whole, priorityClassName="urgent"))
    )
    assert "WOULD LEAVE" in table
    assert {n: p["metadata"]["uid"] for n, p in pods().items()} == {
        n: p["metadata"]["uid"] for n, p in before.items()
    }
