"""What schedulers far from the API server keep of Pods: as much as decisions need, and no more."""

from random import Random

import anyio
import attrs
import msgspec
import pytest

from kubelib.api import codec
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.informers import Informer
from kubelib.sched.keeping import PODS_PER_PAGE, CountedPod, trimmed
from kubelib.sched.pods import PodInfo, resources_said
from kubelib.testing.objects import make_pod

SIZES = {"requests": {"cpu": "2"}, "limits": {"memory": "1Gi"}}
SPEC = {
    "schedulerName": "s",
    "priority": 7,
    "preemptionPolicy": "Never",
    "restartPolicy": "OnFailure",
    "nodeSelector": {"disk": "ssd"},
    "overhead": {"cpu": "10m"},
    "resources": {"requests": {"cpu": "3"}},
    "schedulingGroup": {"podGroupName": "g"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "a"}}}
    ],
    "affinity": {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}}]},
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "b"}}}]},
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "podAffinityTerm": {"topologyKey": "host", "labelSelector": {}}}]},
    },
    "initContainers": [
        {"name": "i", "image": "init", "restartPolicy": "Always", "command": ["x"], "restartPolicyRules": [{"action": "RestartAllContainers"}], "resources": {"requests": {"cpu": "500m"}}, "ports": [{"containerPort": 1, "hostPort": 81}]}
    ],
    "containers": [
        {"name": "c", "image": "web", "command": ["y"], "env": [{"name": "A", "value": "b"}], "resources": SIZES, "ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 90}], "livenessProbe": {"exec": {"command": ["z"]}}}
    ],
    "volumes": [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}},
        {"name": "disk", "gcePersistentDisk": {"pdName": "d", "readOnly": True}},
        {"name": "model", "image": {"reference": "model:1"}},
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    ],
}  # fmt: skip
STATUS = {
    "phase": "Running",
    "startTime": "2026-01-01T00:00:00Z",
    "podIP": "10.0.0.1",
    "nominatedNodeName": "n",
    "conditions": [
        {"type": "Ready", "status": "True"},
        {"type": "PodResizePending", "status": "True", "reason": "Deferred"},
        {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"},
    ],
    "containerStatuses": [{"name": "c", "imageID": "sha256:1", "resources": SIZES, "allocatedResources": {"cpu": "2"}}],
}  # fmt: skip
METADATA = {
    "name": "p",
    "namespace": "ns",
    "uid": "u",
    "resourceVersion": "5",
    "generation": 3,
    "labels": {"app": "a"},
    "annotations": {"long": "x" * 1000},
    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "ru", "controller": True}],
    "managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
}  # fmt: skip


def document(**spec: object) -> Document:
    pod = msgspec.convert({"metadata": METADATA, "spec": {**SPEC, **spec}, "status": STATUS}, Pod)
    return Document(codec.encode(pod))


@pytest.mark.parametrize("node", ["", "n"], ids=["waiting", "placed"])
def test_a_trimmed_pod_is_judged_and_counted_as_the_whole_is(node: str) -> None:
    whole = document(nodeName=node)
    kept = trimmed(whole)
    assert len(kept.raw) * (4 if node else 1.4) < len(whole.raw)
    assert kept.key == whole.key and kept.meta.labels == whole.meta.labels
    assert (kept.meta.uid, kept.meta.resource_version, kept.meta.generation) == ("u", "5", 3)
    expected = PodInfo.of(whole.view(Pod))
    info = kept.info if isinstance(kept, CountedPod) else PodInfo.of(Document(kept.raw).view(Pod))
    assert isinstance(kept, CountedPod) is bool(node)
    assert attrs.asdict(info, recurse=False) == attrs.asdict(expected, recurse=False)
    then, now = Document(kept.raw).view(Pod), whole.view(Pod)
    assert then.spec.node_name == node and then.status.start_time == now.status.start_time
    assert [c.type for c in then.status.conditions] == ["PodResizePending", "DisruptionTarget"]
    assert resources_said(then.status) == resources_said(now.status)


def test_of_a_pod_that_has_ended_or_makes_no_sense_nothing_is_counted() -> None:
    ended = document(nodeName="n").tree()
    ended["status"]["phase"] = "Succeeded"
    senseless = document(nodeName="n").tree()
    senseless["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "much"}
    for tree in (ended, senseless):
        kept = trimmed(Document(codec.encode_json(tree)))
        assert not isinstance(kept, CountedPod) and kept.key == Key("ns", "p")


async def test_an_informer_keeps_and_shows_what_is_left_and_asks_page_by_page(world: object) -> None:
    direct = world.direct  # type: ignore[attr-defined]
    pods = direct.resource(Pod)
    for number in range(5):
        await pods.create(make_pod(f"p{number}", metadata={"annotations": {"long": "x" * 1000}}))
    informer = Informer(pods, Pod, random=Random(1), trim=trimmed, page=2)
    shown: list[Document] = []
    informer.subscribe(lambda old, new: shown.append(new) if new is not None else None)
    async with anyio.create_task_group() as tasks:
        await tasks.start(informer.run)
        await pods.create(make_pod("late", metadata={"annotations": {"long": "x" * 1000}}))
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert [d.meta.name for d in shown] == ["p0", "p1", "p2", "p3", "p4", "late"]
    assert [len(d.raw) < 1000 for d in informer.cache] == [True] * 6
    assert PODS_PER_PAGE > 0
