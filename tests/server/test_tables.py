"""What tables have beyond cells: which Pods have ended, and FlowSchemas in the order in which they are tried."""

import json

import httpx

from kubelib.testing.cluster import Cluster

PODS = "/api/v1/namespaces/default/pods"
SCHEMAS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


def test_rows_of_pods_that_have_ended_say_so(kubelib_cluster: Cluster) -> None:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        for name, phase in (("a", "Succeeded"), ("b", "Failed"), ("c", "Running")):
            body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
            assert client.post(PODS, json=body).status_code == 201
            patched = client.patch(
                f"{PODS}/{name}/status",
                content=json.dumps({"status": {"phase": phase}}),
                headers={"content-type": "application/merge-patch+json"},
            )
            assert patched.status_code == 200, patched.text
        rows = client.get(PODS, headers=TABLE).json()["rows"]
    completed = {"type": "Completed", "status": "True"}
    assert [row.get("conditions") for row in rows] == [
        [{**completed, "reason": "Succeeded", "message": "The pod has completed successfully."}],
        [{**completed, "reason": "Failed", "message": "The pod failed."}],
        None,
    ]


def test_flow_schemas_come_by_precedence(kubelib_cluster: Cluster) -> None:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        for name, precedence in (("z", 20), ("a", 9000), ("b", 20)):
            spec = {"matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": "exempt"}}
            answer = client.post(SCHEMAS, json={"metadata": {"name": name}, "spec": spec})
            assert answer.status_code == 201, answer.text
        table = client.get(SCHEMAS, headers=TABLE).json()
    order = [(row["cells"][2], row["cells"][0]) for row in table["rows"]]
    assert order == sorted(order)
    assert [name for _, name in order if name in ("a", "b", "z")] == ["b", "z", "a"]
