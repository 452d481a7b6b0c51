"""Decisions are made once for all objects of a resource, and once for each where rules name some."""

from typing import Any

import anyio

from kubelib.registry import ResourceRegistries
from kubelib.registry.base import User
from kubelib.server.authz.rbac import RbacAuthorizer
from kubelib.server.flow import FlowControl
from kubelib.server.flow.defaults import ensure_flow_objects
from kubelib.server.requestinfo import parse_request
from kubelib.store import MemoryStore

GROUP = "rbac.authorization.k8s.io"
JANE, JOE = User("jane"), User("joe")
PODS = "/api/v1/namespaces/default/pods"


async def allow(registries: ResourceRegistries, user: User, name: str, rule: dict[str, Any]) -> None:
    """Bind a role with one rule."""
    role = {"kind": "Role", "apiVersion": f"{GROUP}/v1", "metadata": {"name": name}, "rules": [rule]}
    binding = {
        "kind": "RoleBinding",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": name},
        "subjects": [{"kind": "User", "apiGroup": GROUP, "name": user.name}],
    }
    for tree in (role, binding):
        kind = registries.scheme.kind(f"{GROUP}/v1", str(tree["kind"]))
        await registries.of(kind).create(tree, namespace="default")


def rule(*names: str, verbs: tuple[str, ...] = ("get",), groups: tuple[str, ...] = ("",)) -> dict[str, Any]:
    return {
        "verbs": list(verbs),
        "apiGroups": list(groups),
        "resources": ["pods"],
        **({"resourceNames": list(names)} if names else {}),
    }


def test_a_rule_that_names_objects_is_about_these_whoever_is_asked_about_first() -> None:
    async def main() -> None:
        async with MemoryStore() as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            await allow(registries, JANE, "one", rule("p1"))
            await allow(registries, JOE, "all", rule())
            authorizer = RbacAuthorizer(registries)

            def may(user: User, method: str, path: str) -> bool:
                return authorizer.decide(user, parse_request(method, path)).allowed

            for _ in range(2):
                assert not may(JANE, "GET", f"{PODS}/p2")
                assert may(JANE, "GET", f"{PODS}/p1")
                assert not may(JANE, "GET", PODS)
                assert not may(JANE, "DELETE", f"{PODS}/p1")
                assert may(JOE, "GET", f"{PODS}/p1")
                assert may(JOE, "GET", f"{PODS}/p2")
                assert not may(JOE, "DELETE", f"{PODS}/p2")
            await allow(registries, JANE, "more", rule(groups=("*",)))
            named = authorizer.decide(JANE, parse_request("GET", f"{PODS}/p1"))
            other = authorizer.decide(JANE, parse_request("GET", f"{PODS}/p2"))
            assert 'of Role "more"' in other.reason
            assert named is other, "what a rule for all names allows is decided once for all of them"

    anyio.run(main)


def test_all_objects_of_a_resource_belong_to_one_flow_and_paths_apart() -> None:
    async def main() -> None:
        async with MemoryStore() as store, ResourceRegistries(store) as registries:
            await ensure_flow_objects(registries)
            flow = FlowControl(registries)
            user = User("jane", ("system:authenticated",))
            first = flow.flow(user, parse_request("GET", f"{PODS}/p1"))
            assert flow.flow(user, parse_request("GET", f"{PODS}/p2")) is first
            health = flow.flow(user, parse_request("GET", "/healthz"))
            assert health.schema.name != flow.flow(user, parse_request("GET", "/other")).schema.name

    anyio.run(main)
