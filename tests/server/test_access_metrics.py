"""``/metrics`` of who asks and whether he may: in Kubernetes' names, labels and classes of users, and never more of them."""

import socket
import ssl
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kubelib.server.access import BOUNDS, MOST_NAMES, AccessFigures, class_of
from kubelib.server.authz import Decision
from kubelib.testing.cluster import Cluster, ClusterOptions


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {cluster.token}"}
    with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
        yield client


def samples(text: str) -> dict[tuple[str, str], float]:
    """Return the values of metrics with one label, as Prometheus' own parser reads them."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
        if len(sample.labels) <= 1
    }


def shown(figures: AccessFigures) -> dict[tuple[str, str], float]:
    return samples("".join(f"{line}\n" for lines in figures.families() for line in lines))


def test_requests_are_counted_by_how_it_went_to_tell_who_asks(cluster: Cluster, client: httpx.Client) -> None:
    before = samples(client.get("/metrics").text)
    for token, path, status in (
        (cluster.token, "/api/v1/namespaces", 200),
        ("nonsense", "/api/v1/namespaces", 401),
        ("", "/api/v1/secrets", 403),
        ("", "/version", 200),
    ):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        assert httpx.get(cluster.url + path, headers=headers).status_code == status
    after = samples(client.get("/metrics").text)

    def grown(name: str, label: str) -> float:
        return after.get((name, label), 0) - before.get((name, label), 0)

    assert grown("authentication_attempts_total", "error") == 1
    # The cluster's own parts ask, too.
    assert grown("authentication_attempts_total", "success") >= 4
    assert grown("authentication_duration_seconds_count", "success") >= 4
    assert grown("authentication_duration_seconds_count", "error") == 1
    assert grown("authentication_duration_seconds_sum", "success") > 0
    assert grown("authenticated_user_requests_total", "other") >= 2
    assert grown("authorization_attempts_total", "allowed") >= 3
    assert grown("authorization_attempts_total", "no-opinion") == 1


def test_all_that_is_shown_is_what_prometheus_reads(client: httpx.Client) -> None:
    found = {metric.name: metric for metric in text_string_to_metric_families(client.get("/metrics").text)}
    [build] = found["kubernetes_build_info"].samples
    version = client.get("/version").json()
    assert build.value == 1
    assert (build.labels["git_version"], build.labels["minor"]) == (version["gitVersion"], version["minor"])
    assert len(build.labels) == 9
    durations = found["authentication_duration_seconds"]
    assert durations.type == "histogram"
    assert durations.documentation == "[ALPHA] Authentication duration in seconds broken out by result."
    bounds = [s.labels["le"] for s in durations.samples if s.name.endswith("_bucket") and s.labels["result"] == "success"]  # fmt: skip
    assert [float(bound) for bound in bounds] == [*BOUNDS, float("inf")]


def test_clients_that_cannot_agree_on_tls_are_counted_and_others_are_not(
    cluster: Cluster, client: httpx.Client
) -> None:
    def failed() -> float:
        return samples(client.get("/metrics").text)["apiserver_tls_handshake_errors_total", ""]

    before = failed()
    with pytest.raises(httpx.ConnectError):  # the authority of the cluster is none of the system's
        httpx.get(f"{cluster.https_url}/version", trust_env=False)
    port = int(cluster.https_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        plain.sendall(b"GET /version HTTP/1.1\r\nhost: a\r\n\r\n")
        while plain.recv(4096):
            pass
    assert failed() == before + 1 + 1
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    for _ in range(3):
        answer = httpx.get(f"{cluster.https_url}/version", verify=unchecked, trust_env=False)
        assert answer.status_code == 200
    assert failed() == before + 2


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("admin", "admin"), ("client", "client"), ("kube_proxy", "kube_proxy"), ("kubelet", "kubelet"),
        ("system:serviceaccount:kube-system:default", "system:serviceaccount:kube-system:default"),
        ("system:serviceaccount:default:default", "other"), ("system:node:a", "other"), ("jane@example.com", "email_id"),
        ("admin@example.com", "email_id"), ("", "other"),
    ],
)  # fmt: skip
def test_users_are_shown_in_kubernetes_classes(name: str, known: str) -> None:
    assert class_of(name) == known


def test_no_number_of_users_makes_the_figures_grow() -> None:
    figures = AccessFigures()
    for number in range(3 * MOST_NAMES):
        figures.authenticated(f"user-{number}", 1e-6)
        figures.authenticated(f"{number}@example.com", 1e-6)
    found = shown(figures)
    users = {key: value for key, value in found.items() if key[0] == "authenticated_user_requests_total"}
    assert users == {
        ("authenticated_user_requests_total", "other"): 3 * MOST_NAMES,
        ("authenticated_user_requests_total", "email_id"): 3 * MOST_NAMES,
    }
    assert shown(figures) == found, "to read them changes them"


def test_durations_are_in_their_classes_and_decisions_by_their_kind() -> None:
    figures = AccessFigures()
    for seconds in (0.0005, 0.001, 0.003, 20.0):
        figures.authenticated("admin", seconds)
    figures.refused("failure", 0.1)
    figures.forbidden(Decision(denied=True))
    figures.forbidden(Decision())
    figures.forbidden(Decision())
    found = shown(figures)
    assert found["authentication_duration_seconds_sum", "success"] == pytest.approx(20.0045)
    assert found["authentication_duration_seconds_count", "success"] == 4
    assert found["authentication_attempts_total", "failure"] == 1
    assert found["authorization_attempts_total", "denied"] == 1
    assert found["authorization_attempts_total", "no-opinion"] == 2
    lines = [line for lines in figures.families() for line in lines]
    assert 'authentication_duration_seconds_bucket{result="success",le="0.001"} 2' in lines
    assert 'authentication_duration_seconds_bucket{result="success",le="0.004"} 3' in lines
    assert 'authentication_duration_seconds_bucket{result="success",le="16.384"} 3' in lines
