"""What the built-in roles allow, asked as Kubernetes' users would: by impersonation over HTTP."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.registry import ResourceRegistries
from kubelib.registry.base import User
from kubelib.server.authz.bootstrap import cluster_role_bindings, cluster_roles, ensure_policy
from kubelib.server.authz.rbac import RbacAuthorizer
from kubelib.server.requestinfo import RequestInfo
from kubelib.store import MemoryStore
from kubelib.testing.cluster import Cluster

GROUP = "rbac.authorization.k8s.io"


@pytest.fixture
def admin(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield client


def bind(admin: httpx.Client, role: str, user: str, namespace: str = "default") -> None:
    body = {
        "kind": "RoleBinding",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": f"{user}-{role}"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }
    answer = admin.post(f"/apis/{GROUP}/v1/namespaces/{namespace}/rolebindings", json=body)
    assert answer.status_code == 201, answer.text


def status(admin: httpx.Client, user: str, method: str, path: str, body: Any = None, **headers: str) -> int:
    return admin.request(method, path, json=body, headers={"impersonate-user": user, **headers}).status_code


def config_map(name: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}}


def test_view_reads_but_neither_writes_nor_sees_secrets(admin: httpx.Client) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    assert status(admin, "jane", "GET", maps) == 403
    bind(admin, "view", "jane")
    assert status(admin, "jane", "GET", maps) == 200
    assert status(admin, "jane", "GET", "/api/v1/namespaces/kube-system/configmaps") == 403
    assert status(admin, "jane", "GET", "/api/v1/namespaces/default/secrets") == 403
    assert status(admin, "jane", "POST", maps, config_map("a")) == 403


def test_edit_writes_but_gives_no_rights(admin: httpx.Client) -> None:
    bind(admin, "edit", "joe")
    assert status(admin, "joe", "POST", "/api/v1/namespaces/default/configmaps", config_map("a")) == 201
    assert status(admin, "joe", "GET", "/api/v1/namespaces/default/secrets") == 200
    assert status(admin, "joe", "GET", f"/apis/{GROUP}/v1/namespaces/default/rolebindings") == 403
    assert status(admin, "joe", "GET", "/api/v1/nodes") == 403


def test_admin_gives_rights_within_its_namespace(admin: httpx.Client) -> None:
    bind(admin, "admin", "ann")
    assert status(admin, "ann", "GET", f"/apis/{GROUP}/v1/namespaces/default/rolebindings") == 200
    assert status(admin, "ann", "GET", f"/apis/{GROUP}/v1/namespaces/kube-system/rolebindings") == 403


def test_whoever_is_known_may_discover_and_ask_what_is_allowed(admin: httpx.Client) -> None:
    for path in ("/api", "/apis", "/openapi/v2", "/version"):
        assert status(admin, "jane", "GET", path) == 200
    review = {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert status(admin, "jane", "POST", path, review) == 201


def test_strangers_see_health_and_version_only(kubelib_cluster: Cluster) -> None:
    with httpx.Client(base_url=kubelib_cluster.url, timeout=60) as stranger:
        assert stranger.get("/version").status_code == 200
        assert stranger.get("/healthz").status_code == 200
        for path in ("/api", "/apis", "/api/v1/pods", "/metrics", "/openapi/v2"):
            assert stranger.get(path).status_code == 403, path


@pytest.mark.parametrize(
    ("user", "groups", "path", "allowed"),
    [
        ("system:kube-scheduler", "", "/api/v1/nodes", True),
        ("system:kube-scheduler", "", "/api/v1/namespaces", True),
        ("system:kube-scheduler", "", "/api/v1/secrets", False),
        ("system:kube-proxy", "", "/apis/discovery.k8s.io/v1/endpointslices", True),
        ("system:kube-proxy", "", "/api/v1/pods", False),
        ("system:kube-controller-manager", "", "/apis/apps/v1/deployments", True),
        ("system:node:n", "system:nodes", "/api/v1/services", True),
        ("system:node:n", "system:nodes", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn", True),
        ("system:node:n", "system:nodes", "/api/v1/pods", False),
        ("system:node:n", "", "/api/v1/services", False),
        ("root", "system:masters", "/api/v1/secrets", True),
    ],
)
def test_each_component_may_do_its_work_and_no_more(
    admin: httpx.Client, user: str, groups: str, path: str, allowed: bool
) -> None:
    headers = {"impersonate-group": groups} if groups else {}
    assert status(admin, user, "GET", path, **headers) == (200 if allowed else 403)


@pytest.mark.kubelib(controllers=True)
def test_a_role_with_the_right_label_becomes_part_of_view(admin: httpx.Client) -> None:
    bind(admin, "view", "jane")
    path = "/apis/storage.k8s.io/v1/storageclasses"
    role = {
        "kind": "ClusterRole",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": "more", "labels": {f"{GROUP}/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}],
    }
    assert admin.post(f"/apis/{GROUP}/v1/clusterroles", json=role).status_code == 201
    assert status(admin, "jane", "GET", path) == 403
    deadline = time.monotonic() + 60
    for name in ("view", "edit", "admin"):  # each is a part of the next
        while True:
            rules = admin.get(f"/apis/{GROUP}/v1/clusterroles/{name}").json()["rules"]
            if role["rules"][0] in rules:  # type: ignore[index]
                break
            assert time.monotonic() < deadline, name
            time.sleep(0.01)


def test_there_is_a_binding_for_every_role_that_is_meant_for_somebody() -> None:
    roles = {role["metadata"]["name"] for role in cluster_roles()}
    bound = {binding["roleRef"]["name"] for binding in cluster_role_bindings()}
    assert bound <= roles
    assert len(roles) > 50


@pytest.mark.anyio
async def test_what_was_taken_from_a_role_comes_back_and_what_was_added_stays() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        await ensure_policy(registries)
        revision = await store.revision()
        await ensure_policy(registries)
        assert await store.revision() == revision  # nothing to do, nothing written
        roles = registries.of(registries.scheme.path(GROUP, "v1", "clusterroles"))
        changed = roles.cache.get(next(d.key for d in roles.cache.all() if d.meta.name == "system:kube-dns"))
        assert changed is not None
        mine = {"apiGroups": ["example.com"], "resources": ["zones"], "verbs": ["list"]}
        await roles.update(changed.key, {**changed.tree(), "rules": [mine]})
        await ensure_policy(registries)
        restored = roles.cache.get(changed.key)
        assert restored is not None
        parts = [
            {"verbs": [verb], "apiGroups": [""], "resources": [resource]}
            for verb in ("list", "watch")
            for resource in ("endpoints", "services")
        ]
        assert restored.tree()["rules"] == [mine, *parts]
        await roles.update(
            changed.key, {**restored.tree(), "rules": [{**parts[0], "verbs": ["*"], "resources": ["*"]}]}
        )
        revision = await store.revision()
        await ensure_policy(registries)
        assert await store.revision() == revision  # what covers all that is wanted lacks nothing


@pytest.mark.anyio
@pytest.mark.parametrize("autoupdate", ["true", "false"])
async def test_a_binding_that_leads_elsewhere_is_made_anew_unless_it_wants_to_be_left_alone(
    autoupdate: str,
) -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        bindings = registries.of(registries.scheme.path(GROUP, "v1", "clusterrolebindings"))
        wanted = next(b for b in cluster_role_bindings() if b["metadata"]["name"] == "system:discovery")
        elsewhere = {**wanted, "roleRef": {**wanted["roleRef"], "name": "cluster-admin"}, "subjects": []}
        annotations = {"rbac.authorization.kubernetes.io/autoupdate": autoupdate}
        await bindings.create({**elsewhere, "metadata": {**wanted["metadata"], "annotations": annotations}})
        await ensure_policy(registries)
        found = next(d for d in bindings.cache.all() if d.meta.name == "system:discovery").tree()
        if autoupdate == "true":
            assert found["roleRef"]["name"] == "system:discovery" and len(found["subjects"]) == 1
        else:
            assert found["roleRef"]["name"] == "cluster-admin" and not found.get("subjects")


@pytest.mark.anyio
async def test_an_aggregated_role_gets_back_by_which_label_it_gathers() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        await ensure_policy(registries)
        roles = registries.of(registries.scheme.path(GROUP, "v1", "clusterroles"))
        view = next(d for d in roles.cache.all() if d.meta.name == "view")
        own = {"matchLabels": {"a": "b"}}
        await roles.update(
            view.key, {**view.tree(), "aggregationRule": {"clusterRoleSelectors": [own]}, "rules": []}
        )
        await ensure_policy(registries)
        tree = next(d for d in roles.cache.all() if d.meta.name == "view").tree()
        gathers = {"matchLabels": {f"{GROUP}/aggregate-to-view": "true"}}
        assert tree["aggregationRule"]["clusterRoleSelectors"] == [own, gathers]
        assert not tree.get("rules")


@pytest.mark.anyio
async def test_secrets_are_cleaned_in_one_namespace_only_and_signers_are_kubernetes_own() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        await ensure_policy(registries)
        authorizer = RbacAuthorizer(registries)

        def of_secrets(namespace: str) -> bool:
            info = RequestInfo("delete", "", "", "v1", namespace, "secrets", "", "bootstrap-token-abcdef")
            return authorizer.decide(User("system:serviceaccount:kube-system:token-cleaner"), info).allowed

        assert of_secrets("kube-system") and not of_secrets("default")

        def of_signer(verb: str, name: str) -> bool:
            info = RequestInfo(verb, "", "certificates.k8s.io", "v1", "", "signers", "", name)
            return authorizer.decide(
                User("system:serviceaccount:kube-system:certificate-controller"), info
            ).allowed

        assert of_signer("sign", "kubernetes.io/kubelet-serving")
        assert of_signer("approve", "kubernetes.io/kube-apiserver-client-kubelet")
        assert not of_signer("approve", "kubernetes.io/kubelet-serving")
        assert not of_signer("sign", "example.com/signer")


@pytest.mark.anyio
async def test_a_role_that_wants_to_be_left_alone_is() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        await ensure_policy(registries)
        roles = registries.of(registries.scheme.path(GROUP, "v1", "clusterroles"))
        key = next(d.key for d in roles.cache.all() if d.meta.name == "system:kube-dns")
        found = roles.cache.get(key)
        assert found is not None
        tree = found.tree()
        tree["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false"
        tree["rules"] = []
        await roles.update(key, tree)
        await ensure_policy(registries)
        left = roles.cache.get(key)
        assert left is not None
        assert not left.tree().get("rules")
