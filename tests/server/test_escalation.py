"""Nobody gives rights that they do not have, and nobody acts as somebody else without being allowed to."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.server.authz.escalation import uncovered
from kubelib.testing.cluster import Cluster

GROUP = "rbac.authorization.k8s.io"
ROLES = f"/apis/{GROUP}/v1/namespaces/default/roles"
BINDINGS = f"/apis/{GROUP}/v1/namespaces/default/rolebindings"
CLUSTER_ROLES = f"/apis/{GROUP}/v1/clusterroles"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
SECRETS = {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}


@pytest.fixture
def admin(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield client


def role(name: str, *rules: dict[str, Any], kind: str = "Role", **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": name},
        "rules": list(rules),
        **more,
    }


def binding(name: str, of: str, user: str, kind: str = "ClusterRole", **more: Any) -> dict[str, Any]:
    return {
        "kind": "RoleBinding",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": of},
        "subjects": [{"kind": "User", "name": user, "apiGroup": GROUP}],
        **more,
    }


def give(admin: httpx.Client, user: str, *rules: dict[str, Any]) -> None:
    """Let a user do something everywhere."""
    assert admin.post(CLUSTER_ROLES, json=role(f"of-{user}", *rules, kind="ClusterRole")).status_code == 201
    body = binding(f"of-{user}", f"of-{user}", user, kind="ClusterRole") | {"kind": "ClusterRoleBinding"}
    assert admin.post(f"/apis/{GROUP}/v1/clusterrolebindings", json=body).status_code == 201


def writer(admin: httpx.Client, user: str, *rules: dict[str, Any]) -> dict[str, str]:
    """Return the headers of a user who may write roles and bindings, and do what `rules` say."""
    give(admin, user, {"verbs": ["*"], "apiGroups": [GROUP], "resources": [
        "roles", "clusterroles", "rolebindings", "clusterrolebindings"], "resourceNames": []}, *rules)  # fmt: skip
    return {"impersonate-user": user}


def limited(admin: httpx.Client, user: str, *rules: dict[str, Any]) -> dict[str, str]:
    """Return the headers of a user who may write roles and bindings, but neither escalate nor bind."""
    verbs = ["create", "update", "patch", "get", "list", "delete"]
    kinds = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"]
    give(admin, user, {"verbs": verbs, "apiGroups": [GROUP], "resources": kinds}, *rules)
    return {"impersonate-user": user}


def test_roles_give_only_what_their_writer_has(admin: httpx.Client) -> None:
    eve = limited(admin, "eve", {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]})
    pods = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
    assert admin.post(ROLES, json=role("good", pods), headers=eve).status_code == 201
    refused = admin.post(ROLES, json=role("bad", SECRETS), headers=eve)
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        f'roles.{GROUP} "bad" is forbidden: user "eve" (groups=["system:authenticated"]) is attempting to grant RBAC'
        ' permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    assert admin.put(f"{ROLES}/good", json=role("good", pods, SECRETS), headers=eve).status_code == 403
    patch = {"rules": [SECRETS]}
    merge = {**eve, "content-type": "application/merge-patch+json"}
    assert admin.patch(f"{ROLES}/good", json=patch, headers=merge).status_code == 403
    applied = {**eve, "content-type": "application/apply-patch+yaml"}
    answer = admin.patch(
        f"{ROLES}/new", json=role("new", SECRETS), headers=applied, params={"fieldManager": "eve"}
    )
    assert answer.status_code == 403
    assert admin.put(f"{ROLES}/made", json=role("made", SECRETS), headers=eve).status_code == 403


def test_bindings_give_only_what_their_writer_has(admin: httpx.Client) -> None:
    eve = limited(admin, "eve")
    for name, of in (("a", "cluster-admin"), ("b", "view")):
        assert admin.post(BINDINGS, json=binding(name, of, "eve"), headers=eve).status_code == 403
    assert admin.post(BINDINGS, json=binding("c", "no-such", "eve"), headers=eve).status_code == 404
    everywhere = binding("d", "cluster-admin", "eve") | {"kind": "ClusterRoleBinding"}
    path = f"/apis/{GROUP}/v1/clusterrolebindings"
    assert admin.post(path, json=everywhere, headers=eve).status_code == 403
    own = {"subjects": [{"kind": "User", "name": "eve", "apiGroup": GROUP}]}
    merge = {**eve, "content-type": "application/merge-patch+json"}
    assert admin.patch(f"{path}/cluster-admin", json=own, headers=merge).status_code == 403


def test_an_aggregated_role_needs_every_right(admin: httpx.Client) -> None:
    eve = limited(admin, "eve")
    rule = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    body = role("sum", kind="ClusterRole", aggregationRule=rule)
    refused = admin.post(CLUSTER_ROLES, json=body, headers=eve)
    assert refused.status_code == 403
    assert refused.json()["message"].endswith(
        "forbidden: must have cluster-admin privileges to use the aggregationRule"
    )
    assert admin.post(CLUSTER_ROLES, json=body).status_code == 201
    dropped = admin.put(f"{CLUSTER_ROLES}/sum", json=role("sum", kind="ClusterRole"), headers=eve)
    assert dropped.status_code == 403


def test_the_admin_of_a_namespace_gives_others_the_aggregated_roles_that_it_has(admin: httpx.Client) -> None:
    assert admin.post(BINDINGS, json=binding("nora", "admin", "nora")).status_code == 201
    nora = {"impersonate-user": "nora"}
    for name in ("view", "edit", "admin"):
        answer = admin.post(BINDINGS, json=binding(f"{name}-for-bob", name, "bob"), headers=nora)
        assert answer.status_code == 201, answer.text
    refused = admin.post(BINDINGS, json=binding("too-much", "cluster-admin", "bob"), headers=nora)
    assert refused.status_code == 403


def test_escalate_and_bind_are_rights_of_their_own(admin: httpx.Client) -> None:
    bob = writer(admin, "bob")
    assert admin.post(ROLES, json=role("r", SECRETS), headers=bob).status_code == 201
    assert admin.post(BINDINGS, json=binding("r", "cluster-admin", "bob"), headers=bob).status_code == 201


def test_what_is_missing_is_told_in_order_with_the_verbs_together(admin: httpx.Client) -> None:
    eve = limited(admin, "eve")
    rules = (
        {"verbs": ["list", "get"], "apiGroups": [""], "resources": ["secrets", "pods"]},
        {"verbs": ["watch"], "apiGroups": [""], "resources": ["secrets"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]},
    )
    refused = admin.post(ROLES, json=role("bad", *rules), headers=eve)
    assert refused.json()["message"].partition("\n")[2].splitlines() == [
        '{APIGroups:[""], Resources:["pods"], Verbs:["list" "get"]}',
        '{APIGroups:[""], Resources:["secrets"], ResourceNames:["a"], Verbs:["get"]}',
        '{APIGroups:[""], Resources:["secrets"], Verbs:["list" "get" "watch"]}',
    ]


def test_what_only_the_garbage_collector_looks_at_needs_no_right(admin: httpx.Client) -> None:
    assert admin.post(ROLES, json=role("r", SECRETS)).status_code == 201
    assert admin.post(BINDINGS, json=binding("b", "cluster-admin", "root")).status_code == 201
    eve = limited(admin, "eve")
    merge = {**eve, "content-type": "application/merge-patch+json"}
    owner = {"kind": "Node", "apiVersion": "v1", "name": "n", "uid": "u"}
    for path in (f"{ROLES}/r", f"{BINDINGS}/b"):
        for ties in ({"finalizers": ["a.example/b"]}, {"ownerReferences": [owner]}, {"finalizers": None}):
            answer = admin.patch(path, json={"metadata": ties}, headers=merge)
            assert answer.status_code == 200, answer.text
        for name, parts in (("labels", {"a": "b"}), ("annotations", {"a": "b"})):
            answer = admin.patch(path, json={"metadata": {name: parts}}, headers=merge)
            assert answer.status_code == 403, answer.text


def test_nobody_makes_a_role_part_of_their_own_by_its_label(admin: httpx.Client) -> None:
    secrets = {"verbs": ["*"], "apiGroups": [""], "resources": ["nodes"]}
    assert admin.post(CLUSTER_ROLES, json=role("strong", secrets, kind="ClusterRole")).status_code == 201
    eve = limited(admin, "eve")
    merge = {**eve, "content-type": "application/merge-patch+json"}
    labels = {"metadata": {"labels": {f"{GROUP}/aggregate-to-view": "true"}}}
    assert admin.patch(f"{CLUSTER_ROLES}/strong", json=labels, headers=merge).status_code == 403


@pytest.mark.parametrize(
    ("held", "wanted", "covered"),
    [
        ({"resources": ["*"]}, {"resources": ["pods/exec"]}, True),
        ({"resources": ["pods"]}, {"resources": ["pods/exec"]}, False),
        ({"resources": ["*/scale"]}, {"resources": ["deployments/scale"]}, True),
        ({"resources": ["pods"]}, {"resources": ["*"]}, False),
        ({"resources": ["pods"], "resourceNames": ["a"]}, {"resources": ["pods"]}, False),
        ({"resources": ["pods"], "resourceNames": [""]}, {"resources": ["pods"]}, False),
        ({"resources": ["pods"]}, {"resources": ["pods"], "resourceNames": ["a"]}, True),
        (
            {"resources": ["pods"], "resourceNames": ["a"]},
            {"resources": ["pods"], "resourceNames": ["a", "b"]},
            False,
        ),
        ({"resources": ["pods"], "verbs": ["get"]}, {"resources": ["pods"], "verbs": ["*"]}, False),
        ({"resources": ["pods"], "apiGroups": ["apps"]}, {"resources": ["pods"]}, False),
        ({"nonResourceURLs": ["/a/*"]}, {"nonResourceURLs": ["/a/b"]}, True),
        ({"nonResourceURLs": ["/a/*"]}, {"nonResourceURLs": ["/*"]}, False),
        ({"nonResourceURLs": ["*"]}, {"resources": ["pods"]}, False),
    ],
)
def test_a_rule_covers_only_what_it_allows(
    held: dict[str, Any], wanted: dict[str, Any], covered: bool
) -> None:
    def whole(rule: dict[str, Any]) -> dict[str, Any]:
        return {"verbs": ["get"], **({} if "nonResourceURLs" in rule else {"apiGroups": [""]}), **rule}

    assert (not uncovered([whole(held)], [whole(wanted)])) is covered


# Impersonation


def me(client: httpx.Client, headers: list[tuple[str, str]]) -> httpx.Response:
    body = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    return client.post(WHO, json=body, headers=headers)


def test_every_part_of_an_identity_can_be_taken_on(admin: httpx.Client) -> None:
    headers = [
        ("Impersonate-User", "jane"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"), ("Impersonate-Uid", "u"),
        ("Impersonate-Extra-Scopes", "x"), ("Impersonate-Extra-Scopes", "y"), ("Impersonate-Extra-acme.com%2Fproject", "p"),
    ]  # fmt: skip
    assert me(admin, headers).json()["status"]["userInfo"] == {
        "username": "jane",
        "uid": "u",
        "groups": ["a", "b", "system:authenticated"],
        "extra": {"acme.com/project": ["p"], "scopes": ["x", "y"]},
    }


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Example.com%2FEscaped%e1%9b%84Scopes", "example.com/escapedᛄscopes"),
        ("Almost%zzpercent%xxencoded", "almost%zzpercent%xxencoded"),
        ("a%2fb%zz", "a%2fb%zz"),
        ("%41b", "Ab"),
    ],
)
def test_keys_of_more_are_escaped_from_end_to_end_or_not_at_all(
    admin: httpx.Client, header: str, key: str
) -> None:
    asked = [("Impersonate-User", "jane"), (f"Impersonate-Extra-{header}", "x")]
    assert me(admin, asked).json()["status"]["userInfo"]["extra"] == {key: ["x"]}


@pytest.mark.parametrize("name", ["ns:a:b", "Ns:robot", "ns:Robot", "n.s:robot", ":robot", "ns:"])
def test_what_cannot_be_a_service_account_is_a_user(admin: httpx.Client, name: str) -> None:
    user = me(admin, [("Impersonate-User", f"system:serviceaccount:{name}")]).json()["status"]["userInfo"]
    assert user["groups"] == ["system:authenticated"]


def test_service_accounts_and_nobody_bring_their_groups(admin: httpx.Client) -> None:
    robot = me(admin, [("Impersonate-User", "system:serviceaccount:ns:robot")]).json()["status"]["userInfo"]
    assert robot["groups"] == ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]
    assert me(admin, [("Impersonate-User", "system:anonymous")]).status_code == 403


def test_each_part_needs_its_own_right(admin: httpx.Client) -> None:
    give(
        admin,
        "eve",
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["joe"]},
    )
    signed = admin.post(
        "/api/v1/namespaces/default/serviceaccounts",
        json={"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "eve"}},
    )
    assert signed.status_code == 201
    answer = admin.post(
        "/api/v1/namespaces/default/serviceaccounts/eve/token",
        json={"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"},
    )
    body = binding("eve", "of-eve", "eve", kind="ClusterRole") | {"kind": "ClusterRoleBinding"}
    body["subjects"] = [{"kind": "ServiceAccount", "name": "eve", "namespace": "default"}]
    body["metadata"] = {"name": "eve-account"}
    assert admin.post(f"/apis/{GROUP}/v1/clusterrolebindings", json=body).status_code == 201
    bearer = ("Authorization", f"Bearer {answer.json()['status']['token']}")
    with httpx.Client(base_url=admin.base_url, timeout=60) as eve:
        assert me(eve, [bearer, ("Impersonate-User", "joe")]).status_code == 201
        for extra in (
            ("Impersonate-Group", "system:masters"),
            ("Impersonate-Uid", "1"),
            ("Impersonate-Extra-a", "b"),
        ):
            assert me(eve, [bearer, ("Impersonate-User", "joe"), extra]).status_code == 403
        assert me(eve, [bearer, ("Impersonate-User", "ann")]).status_code == 403
        assert me(eve, [bearer, ("Impersonate-User", "system:serviceaccount:a:b")]).status_code == 403
        assert me(eve, [("Impersonate-User", "joe")]).status_code == 403
    assert me(admin, [("Impersonate-Group", "a")]).status_code == 400
