"""Real Helm on `kubelib up`: a chart with hooks, a definition and its objects, a lookup, a schema and a test."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.external.conftest import Cluster, Kubectl, real_binary

CHART = str(Path(__file__).parent / "charts" / "shop")


class Helm:
    """The real Helm in one namespace."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.namespace = namespace
        self.environment = kubectl.environment
        self.binary = real_binary("helm")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.binary, "-n", self.namespace, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env=self.environment,
            check=False,
        )

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode != 0, f"helm {' '.join(arguments)} should have failed: {done.stdout}"
        return done.stderr

    def revisions(self, release: str) -> list[tuple[int, str]]:
        """Return the revisions of a release with their states."""
        return [(r["revision"], r["status"]) for r in json.loads(self("history", release, "-o", "json"))]


@pytest.fixture
def helm(cluster: Cluster, kubectl: Kubectl, namespace: str) -> Helm:
    return Helm(kubectl, namespace)


def data(kubectl: Kubectl, namespace: str, name: str, kind: str = "configmap") -> dict[str, str]:
    found: dict[str, str] = json.loads(kubectl("get", kind, name, "-n", namespace, "-o", "json"))["data"]
    return found


def names(kubectl: Kubectl, namespace: str, kinds: str) -> list[str]:
    return kubectl("get", kinds, "-n", namespace, "-o", "name").split()


def test_a_release_is_installed_upgraded_rolled_back_and_uninstalled(
    helm: Helm, kubectl: Kubectl, namespace: str
) -> None:
    shown = helm("install", "web", CHART, "--wait", "--timeout", "60s")
    assert "STATUS: deployed" in shown
    assert "The shop web says hello." in shown
    settings = data(kubectl, namespace, "web-settings")
    assert settings["greeting"] == "hello"
    assert settings["kube"].startswith("v1.")
    assert settings["apps"] == "true"
    password = data(kubectl, namespace, "web-password", "secret")

    # Hooks ran, the lighter ones first, and what was to be deleted after success is gone.
    made = [
        json.loads(kubectl("get", "configmap", f"web-{name}", "-n", namespace, "-o", "json"))["metadata"]
        for name in ("b-first", "a-second", "settings", "after")
    ]
    versions = [int(metadata["resourceVersion"]) for metadata in made]
    assert versions == sorted(versions)
    assert "pod/web-prepare" not in names(kubectl, namespace, "pods")
    assert "configmap/web-before-delete" not in names(kubectl, namespace, "configmaps")

    helm("upgrade", "web", CHART, "--set", "greeting=bye,replicas=2", "--wait", "--timeout", "60s")
    assert data(kubectl, namespace, "web-settings")["greeting"] == "bye"
    # The template looked the password up.
    assert data(kubectl, namespace, "web-password", "secret") == password
    deployment = kubectl(
        "get", "deployment", "web", "-n", namespace, "-o", "jsonpath={.status.readyReplicas}"
    )
    assert deployment == "2"
    assert helm.revisions("web") == [(1, "superseded"), (2, "deployed")]

    helm("rollback", "web", "1", "--wait", "--timeout", "60s")
    assert data(kubectl, namespace, "web-settings")["greeting"] == "hello"
    assert data(kubectl, namespace, "web-before-rollback")
    assert helm.revisions("web")[-1] == (3, "deployed")

    helm("uninstall", "web", "--keep-history", "--wait", "--timeout", "60s")
    assert data(kubectl, namespace, "web-before-delete")
    assert names(kubectl, namespace, "deployments,services,replicasets") == []
    assert "STATUS: uninstalled" in helm("status", "web")
    assert [r["name"] for r in json.loads(helm("list", "--uninstalled", "-o", "json"))] == ["web"]


def test_what_is_known_of_a_release_can_be_read(helm: Helm) -> None:
    helm("install", "web", CHART, "--set", "greeting=hi", "--description", "the first")
    assert json.loads(helm("get", "values", "web", "-o", "json"))["greeting"] == "hi"
    assert json.loads(helm("get", "values", "web", "--all", "-o", "json"))["image"] == "process"
    assert "kind: Deployment" in helm("get", "manifest", "web")
    assert "helm.sh/hook" in helm("get", "hooks", "web")
    assert "The shop web says hi." in helm("get", "notes", "web")
    assert json.loads(helm("get", "metadata", "web", "-o", "json"))["chart"] == "shop"
    listed: list[dict[str, Any]] = json.loads(helm("list", "-o", "json"))
    assert [(r["name"], r["status"], r["chart"]) for r in listed] == [("web", "deployed", "shop-0.1.0")]
    status = helm("status", "web")
    assert "v1/Deployment" in status
    assert "the first" in status


def test_the_tests_of_a_chart_run_in_the_cluster(helm: Helm) -> None:
    helm("install", "web", CHART, "--wait", "--timeout", "60s")
    shown = helm("test", "web", "--logs", "--timeout", "60s")
    assert "Phase:          Succeeded" in shown
    assert "the shop answers: hello" in shown
    helm("upgrade", "web", CHART, "--set", "greeting=wrong")
    assert "web-answers" in helm.fails("test", "web", "--timeout", "60s")


def test_a_failure_is_recorded_and_rolled_back_if_asked(helm: Helm, kubectl: Kubectl, namespace: str) -> None:
    helm("install", "web", CHART, "--wait", "--timeout", "60s")
    assert "pre-upgrade hooks failed" in helm.fails("upgrade", "web", CHART, "--set", "hookCommand=exit 1")
    assert helm.revisions("web") == [(1, "deployed"), (2, "failed")]
    broken = ("--set", "command=exit 3,greeting=broken")
    error = helm.fails("upgrade", "web", CHART, *broken, "--rollback-on-failure", "--wait", "--timeout", "4s")
    assert "has been rolled back" in error
    assert helm.revisions("web")[-2:] == [(3, "failed"), (4, "deployed")]
    assert data(kubectl, namespace, "web-settings")["greeting"] == "hello"
    error = helm.fails("install", "new", CHART, *broken, "--rollback-on-failure", "--wait", "--timeout", "4s")
    assert "uninstalled" in error
    assert "deployment.apps/new" not in names(kubectl, namespace, "deployments")


def test_a_dry_run_on_the_server_stores_nothing(helm: Helm, kubectl: Kubectl, namespace: str) -> None:
    shown = json.loads(
        helm(
            "install", "web", CHART, "--dry-run=server", "--skip-crds", "--set", "widget=false", "-o", "json"
        )
    )
    assert "kind: Deployment" in shown["manifest"]
    assert names(kubectl, namespace, "deployments,secrets") == []
    refused = helm.fails("install", "web", CHART, "--set", "replicas=many")
    assert "replicas" in refused


@pytest.mark.parametrize("how", [(), ("--server-side", "--force-conflicts")])
def test_a_rendered_chart_is_applied_with_kubectl(
    helm: Helm, kubectl: Kubectl, namespace: str, how: tuple[str, ...]
) -> None:
    rendered = helm("template", "web", CHART, "--no-hooks", "--set", "widget=false")
    applied = kubectl("apply", "-n", namespace, *how, "-f", "-", stdin=rendered)
    assert "deployment.apps/web" in applied
    kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout", "60s")
    again = kubectl("apply", "-n", namespace, *how, "-f", "-", stdin=rendered)
    assert "configmap/web-settings unchanged" in again or "configmap/web-settings serverside-applied" in again
    kubectl("delete", "-n", namespace, "-f", "-", stdin=rendered)


def test_client_side_releases_and_releases_of_older_waiting_work_too(
    helm: Helm, kubectl: Kubectl, namespace: str
) -> None:
    how = ("--server-side=false", "--set", "widget=false", "--wait=legacy", "--timeout", "60s")
    helm("install", "web", CHART, *how)
    helm("upgrade", "web", CHART, *how, "--set", "replicas=2")
    managers = kubectl(
        "get", "deployment", "web", "-n", namespace, "--show-managed-fields",
        "-o", "jsonpath={.metadata.managedFields[?(@.manager=='helm')].operation}",
    )  # fmt: skip
    assert managers == "Update"
    helm("uninstall", "web", "--cascade", "foreground", "--wait", "--timeout", "60s")
    assert names(kubectl, namespace, "pods,deployments") == []


def test_upgrade_installs_what_is_not_there_and_keeps_values(
    helm: Helm, kubectl: Kubectl, namespace: str
) -> None:
    helm("upgrade", "--install", "web", CHART, "--set", "greeting=mine")
    helm("upgrade", "--install", "web", CHART, "--reuse-values", "--set", "replicas=0")
    assert data(kubectl, namespace, "web-settings")["greeting"] == "mine"
    helm("upgrade", "web", CHART, "--reset-values")
    assert data(kubectl, namespace, "web-settings")["greeting"] == "hello"
    # Somebody else's objects are not taken over.
    kubectl("create", "configmap", "other-settings", "-n", namespace)
    assert "invalid ownership metadata" in helm.fails("install", "other", CHART)


def test_definitions_come_first_and_stay(helm: Helm, kubectl: Kubectl, namespace: str) -> None:
    helm("install", "web", CHART)
    size = kubectl("get", "widgets.shop.example.com", "web", "-n", namespace, "-o", "jsonpath={.spec.size}")
    assert size == "2"
    helm("upgrade", "web", CHART, "--set", "replicas=4")
    size = kubectl("get", "widget", "web", "-n", namespace, "-o", "jsonpath={.spec.size}")
    assert size == "5"
    helm("uninstall", "web", "--wait")
    assert names(kubectl, namespace, "widgets") == []
    assert "widgets.shop.example.com" in kubectl("get", "crd", "-o", "name")
