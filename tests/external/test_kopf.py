"""A real kopf operator on the cluster of the fixture: handlers, timers, daemons, finalizers, events, its own webhooks."""

import gc
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kopf
import pytest
from kopf.testing import KopfRunner

from kubelib.testing import Cluster
from kubelib.testing.certificates import Authority
from kubelib.testing.kubectl import KubectlFailed

HERE = Path(__file__).parent / "kopf"
pytestmark = pytest.mark.kubelib(crds=[HERE / "definition.yaml"], controllers=True)


@contextmanager
def operator() -> Iterator[KopfRunner]:
    """Run the operator, and close what kopf leaves open for the garbage collector when its loop ends, unreported."""
    kopf.set_default_registry(kopf.OperatorRegistry())  # else handlers of one run are there in the next
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with KopfRunner(["run", "--all-namespaces", str(HERE / "operator.py")], timeout=120) as runner:
                yield runner
        finally:
            gc.collect()


@pytest.fixture
def surroundings(kubelib_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the operator finds around it: a kubeconfig, and certificates for its webhooks."""
    kubeconfig = str(kubelib_cluster.kubeconfig)
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    # The official client has looked when it was imported.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", kubeconfig)
    authority = Authority()
    certificate, key = authority.server("127.0.0.1").write(tmp_path, "webhook")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    monkeypatch.setenv("WEBHOOK_CERT", str(certificate))
    monkeypatch.setenv("WEBHOOK_KEY", str(key))
    monkeypatch.setenv("WEBHOOK_CA", str(tmp_path / "ca.crt"))


@pytest.fixture
def cluster(kubelib_cluster: Cluster, surroundings: None) -> Iterator[Cluster]:
    """A cluster in which the operator runs, and its webhooks are configured."""
    with operator() as runner:
        kubelib_cluster.eventually(
            lambda: (
                "caBundle" in kubelib_cluster.kubectl("get", "mutatingwebhookconfigurations", "-o", "yaml")
            ),
            within=120,
        )
        yield kubelib_cluster
    assert runner.exit_code == 0, runner.output
    assert runner.exception is None


def exercise(name: str, *, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Exercise",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"size": 1, **spec},
    }


def read(cluster: Cluster, name: str) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(cluster.kubectl("get", "exercise", name, "-o", "json"))
    return tree


def status_of(cluster: Cluster, name: str) -> dict[str, Any]:
    return read(cluster, name).get("status") or {}


def reasons(cluster: Cluster) -> set[str]:
    events = json.loads(cluster.kubectl("get", "events", "-o", "json"))["items"]
    return {event["reason"] for event in events if event["involvedObject"]["kind"] == "Exercise"}


def test_handlers_follow_an_object_from_creation_to_deletion(cluster: Cluster) -> None:
    cluster.apply(exercise("one"))
    cluster.eventually(lambda: status_of(cluster, "one").get("phase") == "Made")
    found = read(cluster, "one")
    assert found["status"]["made"] == {"child": "one"}
    assert found["metadata"]["finalizers"] == ["example.com/exercise"]
    child = json.loads(cluster.kubectl("get", "configmap", "one", "-o", "json"))
    assert child["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
    cluster.eventually(lambda: "Made" in reasons(cluster))

    cluster.apply(exercise("one", size=5))
    cluster.eventually(lambda: status_of(cluster, "one").get("resized") == "1 to 5")

    cluster.kubectl("delete", "exercise", "one", "--timeout", "30s")
    cluster.eventually(lambda: "Going" in reasons(cluster))
    # The garbage collector takes the child.
    cluster.eventually(lambda: "configmap/one" not in cluster.kubectl("get", "configmaps", "-o", "name"))


def test_what_fails_is_tried_again_or_given_up(cluster: Cluster) -> None:
    cluster.apply(exercise("flaky", flaky=True))
    cluster.eventually(lambda: status_of(cluster, "flaky").get("tries") == 2)
    cluster.apply(exercise("broken", broken=True))
    cluster.eventually(lambda: "Broken" in reasons(cluster))


def test_timers_and_daemons_run_while_an_object_lives(cluster: Cluster) -> None:
    cluster.apply(exercise("busy", labels={"ticks": "yes", "daemon": "yes"}))
    cluster.eventually(lambda: status_of(cluster, "busy").get("ticks", 0) >= 3)
    cluster.eventually(lambda: "Living" in reasons(cluster))
    cluster.kubectl("delete", "exercise", "busy", "--timeout", "30s")


def test_an_index_knows_all_objects(cluster: Cluster) -> None:
    for name, size in (("a", 7), ("b", 7), ("c", 8)):
        cluster.apply(exercise(name, size=size))
    cluster.eventually(lambda: all(status_of(cluster, name).get("phase") for name in "abc"))
    cluster.apply(exercise("c", size=8, labels={"ask": "7"}))
    cluster.eventually(lambda: status_of(cluster, "c").get("found") == ["a", "b"])


def test_its_webhooks_validate_and_change_what_is_made(cluster: Cluster) -> None:
    with pytest.raises(KubectlFailed, match="this is too large"):
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(exercise("large", size=101)))
    done = cluster.kubectl.run("create", "-f", "-", stdin=json.dumps(exercise("fair", size=60)))
    assert done.returncode == 0, done.stderr
    assert "Warning: this is quite large" in done.stderr
    assert read(cluster, "fair")["metadata"]["labels"]["seen"] == "yes"


@pytest.mark.kubelib(crds=[HERE / "definition.yaml"])
def test_an_operator_goes_on_where_it_stopped_and_survives_faults(
    kubelib_cluster: Cluster, surroundings: None
) -> None:
    kubelib_cluster.apply(exercise("early"))
    with (
        kubelib_cluster.faults(
            errors={503: 0.1},
            cut_watches=0.5,
            retry_after=0,
            only=lambda call: "/example.com/" in call.path,
            seed=3,
        ) as fault,
        operator(),
    ):
        kubelib_cluster.eventually(
            lambda: status_of(kubelib_cluster, "early").get("phase") == "Made", within=120
        )
    assert fault.happened["cut"]
    # Without an operator the finalizer holds the object; the next one lets it go.
    kubelib_cluster.kubectl("delete", "exercise", "early", "--wait=false")
    assert read(kubelib_cluster, "early")["metadata"]["deletionTimestamp"]
    with operator():
        kubelib_cluster.eventually(
            lambda: kubelib_cluster.kubectl("get", "exercises", "-o", "name") == "", within=120
        )
