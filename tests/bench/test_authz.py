"""What authorization costs with 1,000 roles and bindings: ``us`` in the extra information is microseconds."""

import time
from typing import Any

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.registry import ResourceRegistries
from kubelib.registry.base import User
from kubelib.server.app import ApiServer
from kubelib.server.authz.bootstrap import ensure_policy
from kubelib.server.authz.modes import authorizer_of
from kubelib.server.flow.defaults import ensure_flow_objects
from kubelib.server.requestinfo import parse_request
from kubelib.store import MemoryStore

COUNT = 1000
GROUP = "rbac.authorization.k8s.io"
JANE = User("user-7", ("team-7", "system:authenticated"))


def role(number: int) -> dict[str, Any]:
    rule = {
        "verbs": ["get", "list"],
        "apiGroups": [""],
        "resources": ["pods"],
        "resourceNames": [f"p{number}"],
    }
    meta = {"name": f"r{number}"}
    return {"kind": "Role", "apiVersion": f"{GROUP}/v1", "metadata": meta, "rules": [rule]}


def binding(number: int) -> dict[str, Any]:
    return {
        "kind": "RoleBinding",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": f"b{number}"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": f"r{number}"},
        "subjects": [{"kind": "Group", "apiGroup": GROUP, "name": f"team-{number % 10}"}],
    }


async def fill(registries: ResourceRegistries) -> None:
    for make in (role, binding):
        registry = registries.of(registries.scheme.kind(f"{GROUP}/v1", make(0)["kind"]))
        for number in range(COUNT):
            await registry.create(make(number), namespace="default")


@pytest.mark.parametrize("when", ["again", "another object", "after a change"])
def test_decide(benchmark: BenchmarkFixture, when: str) -> None:
    """One decision: asked before, about an object not asked about before, and after some role has changed."""

    async def main() -> None:
        async with MemoryStore() as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            await ensure_policy(registries)
            await fill(registries)
            authorizer = authorizer_of(registries)
            roles = registries.of(registries.scheme.kind(f"{GROUP}/v1", "Role"))
            path = "/api/v1/namespaces/default/pods/"
            assert authorizer.decide(JANE, parse_request("GET", f"{path}p7")).allowed
            assert not authorizer.decide(JANE, parse_request("GET", f"{path}p8")).allowed
            rounds = 20 if when == "after a change" else 1000
            spent = 0.0
            for number in range(rounds):
                if when == "after a change":
                    await roles.create(role(COUNT + number), namespace="default")
                request = parse_request("GET", f"{path}{'p7' if when == 'again' else f'x{number}'}")
                begun = time.perf_counter()
                authorizer.decide(JANE, request)
                spent += time.perf_counter() - begun
            benchmark.extra_info["us"] = round(spent / rounds * 1e6, 2)

    benchmark.pedantic(anyio.run, args=(main,), rounds=1)  # type: ignore[no-untyped-call]


def test_get(benchmark: BenchmarkFixture) -> None:
    """A GET through the whole application (without the wire): authorized by RBAC among all those roles, and given its seat."""

    async def main() -> None:
        async with MemoryStore() as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            await ensure_policy(registries)
            await ensure_flow_objects(registries)
            await fill(registries)
            pod = {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {"name": "p7"},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            }
            await registries.of(registries.scheme.kind("v1", "Pod")).create(pod, namespace="default")
            app = ApiServer(registries)
            sent: list[Any] = []

            async def receive() -> Any:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Any) -> None:
                sent.append(message)

            def scope() -> dict[str, Any]:
                path = "/api/v1/namespaces/default/pods/p7"
                return {
                    "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
                    "headers": [(b"host", b"x"), (b"accept", b"application/json")], "state": {"user": JANE},
                }  # fmt: skip

            await app(scope(), receive, send)
            assert sent[0]["status"] == 200
            begun = time.process_time()
            for _ in range(COUNT):
                await app(scope(), receive, send)
            benchmark.extra_info["us"] = round((time.process_time() - begun) / COUNT * 1e6, 1)

    benchmark.pedantic(anyio.run, args=(main,), rounds=1)  # type: ignore[no-untyped-call]
