from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.times import format_time

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def ago(**since: float) -> str:
    return format_time(NOW - timedelta(**since))


def row(kind: str, tree: dict[str, Any], *, api_version: str = "v1", wide: bool = False) -> list[Any]:
    columns = SCHEME.kind(api_version, kind).columns
    return [column.cell(tree, NOW) for column in columns if wide or not column.wide]


def header(kind: str, api_version: str = "v1") -> str:
    return " ".join(column.name for column in SCHEME.kind(api_version, kind).columns)


def meta(**more: Any) -> dict[str, Any]:
    return {"name": "x", "creationTimestamp": ago(minutes=5), **more}


def pod_row(status: dict[str, Any], *, containers: int = 1, init: Any = (), **metadata: Any) -> list[Any]:
    spec = {"containers": [{"name": f"c{n}"} for n in range(containers)], "initContainers": list(init)}
    ready, shown, restarts = row("Pod", {"metadata": meta(**metadata), "spec": spec, "status": status})[1:4]
    return [ready, shown, restarts]


def running(name: str = "c0", *, ready: bool = True, restarts: int = 0, **more: Any) -> dict[str, Any]:
    return {"name": name, "ready": ready, "restartCount": restarts, "state": {"running": {}}, **more}


def terminated(name: str = "c0", **state: Any) -> dict[str, Any]:
    return {"name": name, "ready": False, "restartCount": 0, "state": {"terminated": state}}


def waiting(reason: str, name: str = "c0", **more: Any) -> dict[str, Any]:
    return {"name": name, "ready": False, "restartCount": 0, "state": {"waiting": {"reason": reason}}, **more}


READY = [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}]


@pytest.mark.parametrize(
    ("expected", "status", "options"),
    [
        (["0/1", "Pending", "0"], {"phase": "Pending"}, {}),
        (["1/1", "Running", "0"], {"phase": "Running", "containerStatuses": [running()]}, {}),
        (["0/1", "Evicted", "0"], {"phase": "Failed", "reason": "Evicted"}, {}),
        (["0/1", "ContainerCreating", "0"], {"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]}, {}),
        (["0/1", "Completed", "0"], {"phase": "Succeeded", "containerStatuses": [terminated(reason="Completed")]}, {}),
        (["0/1", "Error", "0"], {"phase": "Failed", "containerStatuses": [terminated(reason="Error", exitCode=1)]}, {}),
        (["0/1", "ExitCode:3", "0"], {"phase": "Failed", "containerStatuses": [terminated(exitCode=3)]}, {}),
        (["0/1", "Signal:9", "0"], {"phase": "Failed", "containerStatuses": [terminated(exitCode=137, signal=9)]}, {}),
        (
            ["0/1", "CrashLoopBackOff", "3 (2m ago)"],
            {
                "phase": "Running",
                "containerStatuses": [
                    waiting("CrashLoopBackOff", lastState={"terminated": {"finishedAt": ago(minutes=2)}}) | {"restartCount": 3}
                ],
            },
            {},
        ),
        (
            ["1/2", "Running", "0"],
            {"phase": "Running", "conditions": READY, "containerStatuses": [running(), terminated("c1", reason="Completed")]},
            {"containers": 2},
        ),
        (
            ["1/2", "NotReady", "0"],
            {"phase": "Running", "containerStatuses": [terminated("c0", reason="Completed"), running("c1")]},
            {"containers": 2},
        ),
        (["1/1", "Terminating", "0"], {"phase": "Running", "containerStatuses": [running()]}, {"deletionTimestamp": ago()}),
        (["0/1", "Failed", "0"], {"phase": "Failed"}, {"deletionTimestamp": ago()}),
        (["0/1", "Unknown", "0"], {"phase": "Running", "reason": "NodeLost"}, {"deletionTimestamp": ago()}),
        (
            ["0/1", "SchedulingGated", "0"],
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
            {},
        ),
        (
            ["0/1", "Init:1/2", "0"],
            {"phase": "Pending", "initContainerStatuses": [terminated("i0", exitCode=0), running("i1", ready=False)]},
            {"init": [{"name": "i0"}, {"name": "i1"}]},
        ),
        (
            ["0/1", "Init:CrashLoopBackOff", "2"],
            {"phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff", "i0") | {"restartCount": 2}]},
            {"init": [{"name": "i0"}]},
        ),
        (
            ["0/1", "Init:ExitCode:4", "0"],
            {"phase": "Failed", "initContainerStatuses": [terminated("i0", exitCode=4)]},
            {"init": [{"name": "i0"}]},
        ),
        (
            ["2/2", "Running", "0"],
            {"phase": "Running", "initContainerStatuses": [running("i0", started=True)], "containerStatuses": [running()]},
            {"init": [{"name": "i0", "restartPolicy": "Always"}]},
        ),
    ],
)  # fmt: skip
def test_a_pod_is_summed_up_in_one_word(
    expected: list[str], status: dict[str, Any], options: dict[str, Any]
) -> None:
    assert pod_row(status, **options) == expected


def test_a_pod_shows_where_it_is_when_wide() -> None:
    tree = {
        "metadata": meta(),
        "spec": {"nodeName": "n1", "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
        "status": {"podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "a", "status": "True"}]},
    }
    assert header("Pod") == "Name Ready Status Restarts Age IP Node Nominated Node Readiness Gates"
    assert row("Pod", tree, wide=True)[4:] == ["5m", "10.0.0.1", "n1", "<none>", "1/2"]


TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}}


@pytest.mark.parametrize(
    ("api_version", "kind", "tree", "names", "cells"),
    [
        (
            "v1", "ReplicationController",
            {"spec": {"replicas": 3, "selector": {"b": "2", "a": "1"}, "template": TEMPLATE}, "status": {"replicas": 2, "readyReplicas": 1}},
            "Name Desired Current Ready Age Containers Images Selector", ["x", 3, 2, 1, "5m", "a,b", "i,j", "a=1,b=2"],
        ),
        (
            "apps/v1", "ReplicaSet",
            {
                "spec": {
                    "replicas": 0, "template": TEMPLATE,
                    "selector": {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "e", "operator": "NotIn", "values": ["y", "x"]}]},
                },
            },
            "Name Desired Current Ready Age Containers Images Selector", ["x", 0, 0, 0, "5m", "a,b", "i,j", "a=1,e notin (x,y)"],
        ),
        (
            "apps/v1", "Deployment",
            {"spec": {"replicas": 3, "template": TEMPLATE}, "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}},
            "Name Ready Up-to-date Available Age Containers Images Selector", ["x", "2/3", 3, 1, "5m", "a,b", "i,j", "<none>"],
        ),
        ("apps/v1", "StatefulSet", {"spec": {"replicas": 1}}, "Name Ready Age Containers Images", ["x", "0/1", "5m", "", ""]),
        (
            "apps/v1", "DaemonSet", {"status": {"desiredNumberScheduled": 2}},
            "Name Desired Current Ready Up-to-date Available Node Selector Age Containers Images Selector",
            ["x", 2, 0, 0, 0, 0, "<none>", "5m", "", "", "<none>"],
        ),
        (
            "batch/v1", "Job",
            {"spec": {"completions": 2}, "status": {"succeeded": 1, "startTime": ago(seconds=90), "completionTime": ago(seconds=30)}},
            "Name Status Completions Duration Age Containers Images Selector",
            ["x", "Running", "1/2", "60s", "5m", "", "", "<none>"],
        ),
        (
            "batch/v1", "CronJob", {"spec": {"schedule": "* * * * *", "suspend": False}, "status": {"active": [{}]}},
            "Name Schedule Timezone Suspend Active Last Schedule Age Containers Images Selector",
            ["x", "* * * * *", "<none>", "False", 1, "<none>", "5m", "", "", "<none>"],
        ),
        (
            "autoscaling/v2", "HorizontalPodAutoscaler",
            {
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 5,
                    "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}],
                },
            },
            "Name Reference Targets MinPods MaxPods Replicas Age",
            ["x", "Deployment/web", "cpu: <unknown>/80%", "<unset>", 5, 0, "5m"],
        ),
        (
            "v1", "Node",
            {
                "metadata": meta(labels={"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "big"}),
                "spec": {"unschedulable": True},
                "status": {
                    "conditions": [{"type": "Ready", "status": "Unknown"}], "addresses": [{"type": "InternalIP", "address": "10.1"}],
                    "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian"},
                },
            },
            "Name Status Roles Age Version Internal-IP External-IP OS-Image Kernel-Version Container-Runtime",
            ["x", "NotReady,SchedulingDisabled", "big,worker", "5m", "v1.37.0", "10.1", "<none>", "Debian", "<unknown>", "<unknown>"],
        ),
        ("v1", "Namespace", {"status": {"phase": "Active"}}, "Name Status Age", ["x", "Active", "5m"]),
        (
            "v1", "Service",
            {
                "spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30000}, {"port": 53, "protocol": "UDP"}]},
            },
            "Name Type Cluster-IP External-IP Port(s) Age Selector",
            ["x", "NodePort", "10.0.0.1", "<none>", "80:30000/TCP,53/UDP", "5m", "<none>"],
        ),
        (
            "v1", "Endpoints",
            {"subsets": [{"addresses": [{"ip": "1"}, {"ip": "2"}], "ports": [{"port": 8}, {"port": 9}]}, {"addresses": [{"ip": "3"}]}]},
            "Name Endpoints Age", ["x", "1:8,2:8,1:9 + 2 more...", "5m"],
        ),
        (
            "discovery.k8s.io/v1", "EndpointSlice", {"addressType": "IPv4", "endpoints": [{"addresses": ["1"]}, {"addresses": ["2"]}]},
            "Name AddressType Ports Endpoints Age", ["x", "IPv4", "<unset>", "1,2", "5m"],
        ),
        ("v1", "ConfigMap", {"data": {"a": ""}, "binaryData": {"b": ""}}, "Name Data Age", ["x", 2, "5m"]),
        ("v1", "Secret", {"type": "Opaque", "data": {"a": ""}}, "Name Type Data Age", ["x", "Opaque", 1, "5m"]),
        ("v1", "ServiceAccount", {}, "Name Secrets Age", ["x", 0, "5m"]),
        (
            "v1", "PersistentVolumeClaim",
            {
                "spec": {"volumeName": "v", "storageClassName": "s"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]},
            },
            "Name Status Volume Capacity Access Modes StorageClass VolumeAttributesClass Age VolumeMode",
            ["x", "Bound", "v", "1Gi", "RWO,RWX", "s", "<unset>", "5m", "<unset>"],
        ),
        (
            "v1", "ResourceQuota", {"status": {"hard": {"pods": "4", "limits.cpu": "2"}, "used": {"pods": "1", "limits.cpu": "0"}}},
            "Name Request Limit Age", ["x", "pods: 1/4", "limits.cpu: 0/2", "5m"],
        ),
        (
            "policy/v1", "PodDisruptionBudget", {"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}},
            "Name Min Available Max Unavailable Allowed Disruptions Age", ["x", "50%", "N/A", 1, "5m"],
        ),
        ("coordination.k8s.io/v1", "Lease", {"spec": {"holderIdentity": "me"}}, "Name Holder Age", ["x", "me", "5m"]),
        (
            "rbac.authorization.k8s.io/v1", "RoleBinding",
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
            },
            "Name Role Age Users Groups ServiceAccounts", ["x", "Role/r", "5m", "u, v", "", "n/s"],
        ),
        (
            "networking.k8s.io/v1", "Ingress", {"spec": {"rules": [{"host": "a"}, {"host": "b"}], "tls": [{}]}},
            "Name Class Hosts Address Ports Age", ["x", "<none>", "a,b", "", "80, 443", "5m"],
        ),
        (
            "storage.k8s.io/v1", "StorageClass",
            {"metadata": meta(annotations={"storageclass.kubernetes.io/is-default-class": "true"}), "provisioner": "p"},
            "Name Provisioner ReclaimPolicy VolumeBindingMode AllowVolumeExpansion Age",
            ["x (default)", "p", "Delete", "Immediate", False, "5m"],
        ),
    ],
)  # fmt: skip
def test_a_kind_is_shown_as_kubectl_shows_it(
    api_version: str, kind: str, tree: dict[str, Any], names: str, cells: list[Any]
) -> None:
    assert header(kind, api_version) == names
    assert row(kind, {"metadata": meta(), **tree}, api_version=api_version, wide=True) == cells


@pytest.mark.parametrize(
    ("event", "cells"),
    [
        (
            {
                "firstTimestamp": ago(hours=2), "lastTimestamp": ago(minutes=1), "count": 4, "type": "Warning", "reason": "R",
                "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec"}, "message": " m\n", "source": {"component": "c", "host": "h"},
            },
            ["60s", "Warning", "R", "pod/p", "spec", "c, h", "m", "120m", 4, "x"],
        ),
        (
            {"eventTime": ago(minutes=9), "reportingComponent": "s", "reportingInstance": "i", "involvedObject": {"kind": "Node"}},
            ["9m", "", "", "node", "", "s, i", "", "9m", 1, "x"],
        ),
        (
            {"eventTime": ago(minutes=9), "series": {"count": 7, "lastObservedTime": ago(seconds=3)}},
            ["3s", "", "", "", "", "", "", "9m", 7, "x"],
        ),
    ],
)  # fmt: skip
def test_an_event_shows_when_and_how_often_it_was_seen(event: dict[str, Any], cells: list[Any]) -> None:
    assert row("Event", {"metadata": meta(), **event}, wide=True) == cells


@pytest.mark.parametrize(
    ("spec", "status", "shown"),
    [
        ({"type": "ExternalName", "externalName": "e.example"}, {}, "e.example"),
        ({"type": "LoadBalancer"}, {}, "<pending>"),
        (
            {"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]},
            {"loadBalancer": {"ingress": [{"hostname": "h"}]}},
            "h,9.9.9.9",
        ),
        ({"type": "ClusterIP", "externalIPs": ["9.9.9.9"]}, {}, "9.9.9.9"),
    ],
)
def test_a_service_shows_where_it_can_be_reached_from_outside(
    spec: dict[str, Any], status: dict[str, Any], shown: str
) -> None:
    assert row("Service", {"metadata": meta(), "spec": spec, "status": status})[3] == shown


def test_no_cell_fails_on_an_object_that_is_almost_empty() -> None:
    for resource in SCHEME:
        trees: list[dict[str, Any]] = [
            {"metadata": {"name": "x"}},
            {"metadata": {}, "spec": {}, "status": {}},
        ]
        for tree in trees:
            for column in resource.columns:
                assert isinstance(column.cell(tree, NOW), str | int), (resource.kind, column.name)
