"""Objects that the tests of server-side apply share, and what is said of their managers."""

from typing import Any

from tests.conformance.conftest import Tree

CONTAINER: Tree = {"name": "c", "image": "registry.example/pause:1"}
TEMPLATE: Tree = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [CONTAINER]}}


def deployment(name: str = "d", **spec: Any) -> Tree:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE, **spec},
    }


def config(data: Tree | None = None, name: str = "m", **metadata: Any) -> Tree:
    tree: Tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}
    return tree if data is None else {**tree, "data": data}


def service(ports: list[Tree], **spec: Any) -> Tree:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"ports": ports, **spec},
    }


def entries(tree: Tree) -> dict[tuple[str, str, str], Tree]:
    """Return the fields of each manager: by name, operation and subresource."""
    return {
        (e["manager"], e["operation"], e.get("subresource", "")): e["fieldsV1"]
        for e in tree["metadata"].get("managedFields", ())
    }
