"""Programs of others that are written with client-go, on `kubelib up`: Traefik as its ingress controller, and the Kubernetes MCP server."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.engines import free_ports
from tests.external.conftest import Cluster, Kubectl, eventually, real_binary

Tree = dict[str, Any]

ANSWERING = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["NAME"].encode())
http.server.HTTPServer((os.environ["POD_IP"], 8000), Handler).serve_forever()
"""


def field(name: str, path: str) -> Tree:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def web(namespace: str) -> list[Tree]:
    """Return what answers at ``web.example``."""
    container = {
        "name": "web",
        "image": "python",
        "command": ["python3", "-c", ANSWERING],
        "env": [field("NAME", "metadata.name"), field("POD_IP", "status.podIP")],
    }
    backend = {"service": {"name": "web", "port": {"name": "http"}}}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {
                "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": 8000}],
            },
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": namespace},
            "spec": {"controller": "traefik.io/ingress-controller"},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "web"},
            "spec": {
                "ingressClassName": namespace,
                "rules": [
                    {
                        "host": "web.example",
                        "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
                    }
                ],
            },
        },
    ]


def rights(namespace: str) -> list[Tree]:
    """Return a user for the controller, with the rights that Traefik's documentation names."""
    read = ["get", "list", "watch"]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "traefik"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": namespace},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "secrets", "nodes"], "verbs": read},
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["list", "watch"],
                },
                {
                    "apiGroups": ["networking.k8s.io"],
                    "resources": ["ingresses", "ingressclasses"],
                    "verbs": read,
                },
                {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses/status"], "verbs": ["update"]},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace},
            "subjects": [{"kind": "ServiceAccount", "name": "traefik", "namespace": namespace}],
        },
    ]


@contextmanager
def running(*command: str | Path, log: Path, **pipes: Any) -> Iterator["subprocess.Popen[str]"]:
    """Run a program as long as the block goes on."""
    with log.open("w") as errors, subprocess.Popen(command, text=True, stderr=errors, **pipes) as process:
        try:
            yield process
        finally:
            process.terminate()


def asked(port: int) -> str | None:
    """Return what answers at ``web.example``; None if nothing does."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": "web.example"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None


def test_an_ingress_controller_follows_ingresses_services_and_pods(
    cluster: Cluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    documents = [*rights(namespace), *web(namespace)]
    kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(documents))
    config = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = tmp_path / "ca.crt"
    authority.write_text(
        kubectl("get", "configmap", "-n", namespace, "kube-root-ca.crt", "-o", r"jsonpath={.data.ca\.crt}")
    )
    (port,) = free_ports(1)
    provider = {
        "endpoint": config["server"],
        "token": kubectl("create", "token", "-n", namespace, "traefik").strip(),
        "certAuthFilePath": str(authority),
        "ingressClass": namespace,
        "namespaces": [namespace],
        "ingressEndpoint": {"ip": "127.0.0.1"},
        "throttleDuration": "50ms",
    }
    settings = {
        "log": {"level": "INFO"},
        "entryPoints": {"web": {"address": f"127.0.0.1:{port}"}},
        "providers": {"kubernetesIngress": provider},
    }
    file, log = tmp_path / "traefik.yaml", tmp_path / "traefik.log"
    file.write_text(yaml.safe_dump(settings))

    def pods() -> set[str]:
        names = kubectl(
            "get", "pods", "-n", namespace, "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"
        )
        return set(names.split())

    try:
        with running(real_binary("traefik"), f"--configFile={file}", log=log, stdout=subprocess.DEVNULL):
            kubectl("rollout", "status", "-n", namespace, "deployment/web", "--timeout=120s")
            seen: set[str | None] = set()

            def all_have_answered() -> bool:
                seen.add(asked(port))
                return pods() <= seen

            eventually(all_have_answered)
            shown = (
                "get",
                "ingress",
                "-n",
                namespace,
                "web",
                "-o",
                "jsonpath={.status.loadBalancer.ingress[0].ip}",
            )
            eventually(lambda: kubectl(*shown) == "127.0.0.1")
            kubectl("scale", "-n", namespace, "deployment/web", "--replicas=1")
            eventually(lambda: len(pods()) == 1 and {asked(port) for _ in range(4)} == pods())
            kubectl("delete", "ingress", "-n", namespace, "web")
            eventually(lambda: asked(port) is None)
    finally:
        kubectl("delete", "clusterrole,clusterrolebinding,ingressclass", namespace)


class Mcp:
    """A session of the Model Context Protocol over standard input and output."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._count = 0
        self.ask(
            "initialize",
            protocolVersion="2025-03-26",
            capabilities={},
            clientInfo={"name": "t", "version": "1"},
        )
        self._send({"method": "notifications/initialized"})

    def _send(self, message: Tree) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()

    def ask(self, method: str, **params: Any) -> Tree:
        """Return the result of a request."""
        self._count += 1
        self._send({"id": self._count, "method": method, "params": params})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer: Tree = json.loads(line)
            if answer.get("id") == self._count:
                return dict(answer["result"])
        raise AssertionError("the server has ended")

    def __call__(self, tool: str, /, **arguments: Any) -> str:
        result = self.ask("tools/call", name=tool, arguments=arguments)
        text = "\n".join(part["text"] for part in result["content"])
        assert not result.get("isError"), text
        return text


def test_the_kubernetes_mcp_server_does_all_that_it_offers(
    cluster: Cluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    command = (
        real_binary("kubernetes-mcp-server"), "--kubeconfig", cluster.kubeconfig, "--toolsets", "core,config,helm",
        "--log-file", tmp_path / "mcp.log",
    )  # fmt: skip
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with running(*command, log=tmp_path / "errors", **pipes) as process:
        call = Mcp(process)
        within = {"namespace": namespace}
        assert namespace in call("namespaces_list")
        deployment = yaml.safe_dump({**web(namespace)[0], "metadata": {"name": "web", **within}})
        assert "kubernetes-mcp-server" in call("resources_create_or_update", resource=deployment)
        of_web = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", **within}
        # It reads the scale and writes it back, and others write to the Deployment meanwhile.
        eventually(lambda: "replicas: 3" in call("resources_scale", **of_web, scale=3))
        kubectl("rollout", "status", "-n", namespace, "deployment/web", "--timeout=120s")
        names = kubectl("get", "pods", "-n", namespace, "-o", "jsonpath={.items[*].metadata.name}").split()
        listed = call("pods_list_in_namespace", **within, labelSelector="app=web")
        assert len(names) == 3
        assert all(name in listed for name in names)
        assert call("pods_exec", name=names[0], **within, command=["echo", "hello"]).strip() == "hello"
        eventually(lambda: "web" in call("pods_top", **within))
        eventually(lambda: "node-1" in call("nodes_top"))
        assert "node-1" in call("nodes_stats_summary", name="node-1")
        eventually(lambda: "Scheduled" in call("events_list", **within))
        call("pods_run", image="python", name="run", **within)
        assert "run" in call("pods_list", labelSelector="app.kubernetes.io/name=run")
        call("pods_delete", name="run", **within)
        assert "web" in call("resources_list", apiVersion="apps/v1", kind="Deployment", **within)
        call("resources_delete", **of_web)
        assert "No Helm releases" in call("helm_list", **within)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(120) == 0
