"""``/metrics`` and ``/metrics/slis``: what was asked, how long it took, and what is healthy, in Kubernetes' names and labels."""

import re
from collections.abc import Iterator

import httpx
import pytest

from kubelib.testing.cluster import Cluster, ClusterOptions

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
            yield client


def figures(client: httpx.Client, path: str = "/metrics") -> dict[str, float]:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    found = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
    assert len(found) == len(lines), "a sample is there twice"
    return found


def asked(client: httpx.Client, **labels: str) -> float:
    """Return how many requests with these labels, and no other value in the rest, were counted."""
    every = {
        "code": "", "component": "apiserver", "dry_run": "", "group": "", "resource": "", "scope": "", "subresource": "", "verb": "",
        "version": "", **labels,
    }  # fmt: skip
    name = ",".join(f'{label}="{value}"' for label, value in sorted(every.items()))
    return figures(client).get(f"apiserver_request_total{{{name}}}", 0)


CORE = {"version": "v1", "resource": "configmaps"}


@pytest.mark.parametrize(
    ("method", "where", "body", "labels"),
    [
        ("GET", MAPS, None, {**CORE, "verb": "LIST", "scope": "namespace", "code": "200"}),
        ("GET", "/api/v1/configmaps", None, {**CORE, "verb": "LIST", "scope": "cluster", "code": "200"}),
        ("GET", f"{MAPS}/none", None, {**CORE, "verb": "GET", "scope": "resource", "code": "404"}),
        (
            "POST",
            f"{MAPS}?dryRun=All",
            {"metadata": {"name": "a"}},
            {**CORE, "verb": "POST", "scope": "resource", "code": "201", "dry_run": "All"},
        ),
        (
            "GET",
            "/apis/apps/v1/namespaces/default/deployments/none/scale",
            None,
            {
                "group": "apps",
                "version": "v1",
                "resource": "deployments",
                "subresource": "scale",
                "verb": "GET",
                "scope": "resource",
                "code": "404",
            },
        ),
        ("DELETE", f"{MAPS}?dryRun=All", None, {**CORE, "verb": "DELETECOLLECTION", "scope": "namespace", "code": "200", "dry_run": "All"}),
        ("GET", "/version", None, {"verb": "GET", "code": "200"}),
    ],
)  # fmt: skip
def test_requests_are_counted_by_what_they_are(
    client: httpx.Client, method: str, where: str, body: object, labels: dict[str, str]
) -> None:
    before = asked(client, **labels)
    client.request(method, where, json=body)
    # Reading the figures is a request as well, and it is counted when it has been answered.
    assert asked(client, **labels) >= before + 1


def test_an_apply_is_counted_as_one(client: httpx.Client) -> None:
    answer = client.patch(
        f"{MAPS}/applied?fieldManager=me",
        headers={"content-type": "application/apply-patch+yaml"},
        content='{"apiVersion":"v1","kind":"ConfigMap"}',
    )
    assert answer.status_code == 201
    assert asked(client, **CORE, verb="APPLY", scope="resource", code="201") == 1


def test_strangers_cannot_make_the_figures_grow(client: httpx.Client) -> None:
    def lines() -> int:
        return sum(name.startswith("apiserver_request") for name in figures(client))

    for path in (
        "/apis/x0/v1/a",
        f"{MAPS}/a/x0",
        "/api/v1/namespaces/default/x0/a",
        "/x0",
        "/apis/apps/v1/x0?dryRun=x0",
    ):
        client.get(path)
        client.request("BREW", path)
    before = lines()
    for number in range(20):
        client.get(f"/apis/x{number}/v1/a")
        client.get(f"{MAPS}/a/x{number}")
        client.get(f"/api/v{number + 2}/namespaces/x{number}/configmaps")
        client.request(f"BREW{number}", f"/x{number}")
        client.get(f"{MAPS}/name-{number}")
    assert lines() <= before + 60  # one kind of request more at most, with its histograms


def test_durations_sizes_and_what_is_under_way_are_shown(client: httpx.Client) -> None:
    client.get(MAPS)
    found = figures(client)
    labels = 'component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="LIST",version="v1"'
    assert found[f"apiserver_request_duration_seconds_count{{{labels}}}"] >= 1
    assert f'apiserver_request_duration_seconds_bucket{{{labels},le="0.005"}}' in found
    assert found[f"apiserver_request_duration_seconds_sum{{{labels}}}"] > 0
    sized = labels.replace('dry_run="",', "")
    assert found[f"apiserver_response_sizes_count{{{sized}}}"] >= 1
    assert found[f"apiserver_response_sizes_sum{{{sized}}}"] > 100
    assert found['apiserver_current_inflight_requests{request_kind="mutating"}'] == 0
    assert 'apiserver_current_inflight_requests{request_kind="readOnly"}' in found


def test_what_is_deprecated_is_shown_once_it_was_asked_for(client: httpx.Client) -> None:
    def shown() -> list[str]:
        return [name for name in figures(client) if name.startswith("apiserver_requested_deprecated_apis")]

    client.get("/api/v1/componentstatuses")
    name = 'apiserver_requested_deprecated_apis{group="",removed_release="",resource="componentstatuses",subresource="",version="v1"}'
    assert name in shown()
    assert not any("configmaps" in line for line in shown())


def test_admission_tells_how_long_its_steps_and_plug_ins_take(client: httpx.Client) -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert client.post("/api/v1/namespaces/default/pods?dryRun=All", json=pod).status_code == 201
    refused = {**pod, "spec": {**pod["spec"], "priorityClassName": "none"}}  # type: ignore[dict-item]
    assert client.post("/api/v1/namespaces/default/pods?dryRun=All", json=refused).status_code == 403
    found = figures(client)
    prefix = "apiserver_admission"
    for step in ("admit", "validate"):
        assert (
            found[
                f'{prefix}_step_admission_duration_seconds_count{{operation="CREATE",rejected="false",type="{step}"}}'
            ]
            >= 1
        )
    assert (
        found[
            f'{prefix}_step_admission_duration_seconds_count{{operation="CREATE",rejected="true",type="admit"}}'
        ]
        >= 1
    )
    names = {
        match[1]
        for name in found
        if (match := re.match(rf'{prefix}_controller_admission_duration_seconds_count{{name="(\w+)"', name))
    }
    assert {"Priority", "DefaultTolerationSeconds"} <= names


def test_the_process_is_measured(client: httpx.Client) -> None:
    found = figures(client)
    assert found["process_resident_memory_bytes"] > 1e6
    assert found["process_virtual_memory_bytes"] >= found["process_resident_memory_bytes"]
    assert 0 < found["process_open_fds"] <= found["process_max_fds"]
    assert found["process_cpu_seconds_total"] > 0
    assert found["process_start_time_seconds"] > 1e9


def test_the_checks_of_health_are_shown(client: httpx.Client) -> None:
    before = figures(client, "/metrics/slis")
    assert before['kubernetes_healthcheck{name="ping",type="livez"}'] == 1
    assert before['kubernetes_healthcheck{name="etcd",type="readyz"}'] == 1
    client.get("/livez")
    after = figures(client, "/metrics/slis")
    name = 'kubernetes_healthchecks_total{name="ping",status="success",type="livez"}'
    assert after[name] >= before[name] + 2


def test_what_the_pod_security_standards_say_is_counted(client: httpx.Client) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    client.post("/api/v1/namespaces", json={"metadata": {"name": "held", "labels": labels}})
    pod = {
        "metadata": {"name": "a"},
        "spec": {
            "hostPID": True,
            "containers": [{"name": "c", "image": "i"}],
            "automountServiceAccountToken": False,
        },
    }
    assert client.post("/api/v1/namespaces/held/pods", json=pod).status_code == 403
    [(name, count)] = [(n, c) for n, c in figures(client).items() if n.startswith("pod_security_evaluations_total{")
                       and 'mode="enforce"' in n]  # fmt: skip
    assert count == 1
    for label in (
        'decision="deny"', 'policy_level="baseline"', 'policy_version="latest"', 'request_operation="create"', 'resource="pod"',
        'subresource=""',
    ):  # fmt: skip
        assert label in name
