"""Definitions of custom kinds for tests, and a client that makes them."""

from collections.abc import Mapping
from typing import Any

import httpx

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
Tree = dict[str, Any]


def definition(
    plural: str,
    kind: str,
    schema: Mapping[str, Any] | None = None,
    *,
    group: str = "example.com",
    scope: str = "Namespaced",
    versions: list[Tree] | None = None,
    names: Mapping[str, Any] | None = None,
    **version: Any,
) -> Tree:
    """Return a definition: of one version v1 whose spec has a schema, or of several."""
    root = {"type": "object", "properties": {"spec": dict(schema or OPEN), "status": dict(OPEN)}}
    one = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root},
        **version,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "kind": kind, **(names or {})},
            "versions": versions or [one],
        },
    }


OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


class Api:
    """The API as JSON goes in and out of it."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def define(self, tree: Tree) -> str:
        """Create a definition; return the path of its objects in the namespace default, in the first version."""
        answer = self.client.post(CRDS, json=tree)
        assert answer.status_code == 201, answer.text
        return paths_of(tree)[0]

    def undefine(self, tree: Tree) -> None:
        """Delete a definition."""
        self.client.delete(f"{CRDS}/{tree['metadata']['name']}")

    def refused(self, method: str, path: str, code: int, **request: Any) -> Tree:
        """Send a request that is refused; return the status: none where there is no API at all."""
        answer = self.client.request(method, path, **request)
        assert answer.status_code == code, answer.text
        if answer.text == "404 page not found\n":
            return {}
        status: Tree = answer.json()
        return status

    def made(self, method: str, path: str, **request: Any) -> Tree:
        """Send a request that is answered; return what with."""
        answer = self.client.request(method, path, **request)
        assert answer.is_success, answer.text
        tree: Tree = answer.json()
        return tree


def paths_of(tree: Tree) -> list[str]:
    """Return the paths of the objects of a definition, one for each version."""
    spec = tree["spec"]
    where = "namespaces/default/" if spec["scope"] == "Namespaced" else ""
    return [
        f"/apis/{spec['group']}/{version['name']}/{where}{spec['names']['plural']}"
        for version in spec["versions"]
    ]


def thing(kind: str, name: str, spec: Any = None, *, version: str = "v1", **more: Any) -> Tree:
    """Return an object of a custom kind."""
    tree = {"apiVersion": f"example.com/{version}", "kind": kind, "metadata": {"name": name}, **more}
    return tree if spec is None else {**tree, "spec": spec}
