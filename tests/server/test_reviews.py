"""The reviews of the authentication and authorization groups over HTTP, and what decides them."""

from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.registry import ResourceRegistries
from kubelib.registry.base import User
from kubelib.server.authz.modes import authorizer_of
from kubelib.server.authz.rbac import RbacAuthorizer, rule_allows
from kubelib.server.requestinfo import RequestInfo
from kubelib.store import MemoryStore
from kubelib.testing.cluster import Cluster

GROUP = "rbac.authorization.k8s.io"
AUTHORIZATION = "/apis/authorization.k8s.io/v1"


@pytest.fixture
def admin(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield client


def review(kind: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "apiVersion": "authorization.k8s.io/v1", "spec": spec}


def pods(verb: str = "get", **more: Any) -> dict[str, Any]:
    return {"verb": verb, "resource": "pods", "namespace": "default", **more}


def bind(admin: httpx.Client, role: str, *, user: str, namespace: str = "default") -> None:
    body = {
        "kind": "RoleBinding",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": f"{user}-{role}"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }
    assert admin.post(f"/apis/{GROUP}/v1/namespaces/{namespace}/rolebindings", json=body).status_code == 201


def test_a_review_says_which_binding_allows(admin: httpx.Client) -> None:
    bind(admin, "view", user="jane")
    path = f"{AUTHORIZATION}/subjectaccessreviews"
    answer = admin.post(path, json=review("SubjectAccessReview", user="jane", resourceAttributes=pods()))
    assert answer.status_code == 201
    assert answer.json()["status"] == {
        "allowed": True,
        "reason": 'RBAC: allowed by RoleBinding "jane-view/default" of ClusterRole "view" to User "jane"',
    }
    spec = review("SubjectAccessReview", user="jane", resourceAttributes=pods("delete"))
    assert admin.post(path, json=spec).json()["status"] == {"allowed": False}


def test_a_binding_to_a_role_that_is_missing_says_so_in_the_refusal(admin: httpx.Client) -> None:
    bind(admin, "gone", user="jane")
    answer = admin.get("/api/v1/namespaces/default/pods", headers={"impersonate-user": "jane"})
    assert answer.json()["message"].endswith(
        'in the namespace "default": RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'
    )


def test_groups_and_extra_of_the_one_asked_about_count(admin: httpx.Client) -> None:
    spec = review(
        "SubjectAccessReview",
        user="bob",
        groups=["system:masters"],
        extra={"Scope": ["a"]},
        nonResourceAttributes={"verb": "get", "path": "/metrics"},
    )
    answer = admin.post(f"{AUTHORIZATION}/subjectaccessreviews", json=spec).json()
    assert answer["status"]["allowed"] is True


@pytest.mark.parametrize(
    ("kind", "spec", "field", "words"),
    [
        ("SelfSubjectAccessReview", {}, "spec.resourceAttributes", 'Invalid value: "null": exactly one of'),
        (
            "SelfSubjectAccessReview",
            {"resourceAttributes": pods(), "nonResourceAttributes": {"path": "/", "verb": "get"}},
            "spec.nonResourceAttributes",
            "cannot be specified in combination",
        ),
        ("SubjectAccessReview", {"resourceAttributes": pods()}, "spec.user", "at least one of user or group"),
        (
            "LocalSubjectAccessReview",
            {"user": "a", "resourceAttributes": pods(namespace="other")},
            "spec.resourceAttributes.namespace",
            "must match metadata.namespace",
        ),
        (
            "LocalSubjectAccessReview",
            {"user": "a", "nonResourceAttributes": {"path": "/", "verb": "get"}},
            "spec.nonResourceAttributes",
            "disallowed on this kind of request",
        ),
        (
            "SelfSubjectAccessReview",
            {"resourceAttributes": pods(fieldSelector={})},
            "spec.resourceAttributes.fieldSelector.requirements",
            "requirements or rawSelector is required",
        ),
        (
            "SelfSubjectAccessReview",
            {"resourceAttributes": pods(labelSelector={"requirements": [{"key": "a", "operator": "In"}]})},
            "spec.resourceAttributes.labelSelector.requirements[0].values",
            "must be specified when",
        ),
    ],
)
def test_reviews_that_make_no_sense_are_invalid(
    admin: httpx.Client, kind: str, spec: dict[str, Any], field: str, words: str
) -> None:
    where = "/namespaces/default" if kind.startswith("Local") else ""
    answer = admin.post(f"{AUTHORIZATION}{where}/{kind.lower()}s", json=review(kind, **spec))
    assert answer.status_code == 422, answer.text
    (cause,) = answer.json()["details"]["causes"]
    assert cause["field"] == field
    assert words in cause["message"]


@pytest.mark.parametrize("spec", ["x", [], {"resourceAttributes": []}, {"resourceAttributes": {"verb": 1}}])
def test_reviews_of_the_wrong_types_are_refused(admin: httpx.Client, spec: Any) -> None:
    body = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": spec}
    assert admin.post(f"{AUTHORIZATION}/selfsubjectaccessreviews", json=body).status_code == 400


def test_selectors_are_accepted_in_reviews(admin: httpx.Client) -> None:
    attributes = pods("list", fieldSelector={"rawSelector": "spec.nodeName=n"})
    body = review("SelfSubjectAccessReview", resourceAttributes=attributes)
    answer = admin.post(f"{AUTHORIZATION}/selfsubjectaccessreviews", json=body)
    assert answer.json()["status"]["allowed"] is True


def test_rules_hold_for_one_namespace_and_want_its_name(admin: httpx.Client) -> None:
    bind(admin, "view", user="jane")
    path, jane = f"{AUTHORIZATION}/selfsubjectrulesreviews", {"impersonate-user": "jane"}
    assert admin.post(path, json=review("SelfSubjectRulesReview"), headers=jane).status_code == 400

    def rules(namespace: str) -> dict[str, Any]:
        body = review("SelfSubjectRulesReview", namespace=namespace)
        status: dict[str, Any] = admin.post(path, json=body, headers=jane).json()["status"]
        return status

    here, elsewhere = rules("default"), rules("kube-system")
    assert any("pods" in rule["resources"] for rule in here["resourceRules"])
    assert not any("pods" in rule["resources"] for rule in elsewhere["resourceRules"])
    assert any("/version" in rule["nonResourceURLs"] for rule in here["nonResourceRules"])
    assert here["incomplete"] is False


def test_only_known_authorization_modes_are_taken() -> None:
    async def main() -> None:
        async with ResourceRegistries(MemoryStore()) as registries:
            request = RequestInfo("get", "", "", "v1", "default", "pods", "", "p")
            jane, master = User("jane"), User("m", ("system:masters",))
            assert authorizer_of(registries, ["AlwaysAllow"]).decide(jane, request).allowed
            denying = authorizer_of(registries, ["AlwaysDeny", "AlwaysAllow"])
            assert denying.decide(jane, request).allowed
            assert not authorizer_of(registries, ["AlwaysDeny"]).decide(jane, request).allowed
            assert authorizer_of(registries, ["AlwaysDeny"]).decide(master, request).allowed
            with pytest.raises(ValueError, match="'ABC' is not an authorization mode"):
                authorizer_of(registries, ["ABC"])

    anyio.run(main)


WORDS = {
    "verbs": ["get", "list", "*"],
    "apiGroups": ["", "apps", "*"],
    "resources": ["pods", "pods/log", "*/log", "deployments", "*"],
    "resourceNames": ["a", "b", "*", ""],
}
RULES = st.one_of(
    st.fixed_dictionaries(
        {part: st.lists(st.sampled_from(words), max_size=3) for part, words in WORDS.items()}
    ),
    st.fixed_dictionaries(
        {
            "verbs": st.lists(st.sampled_from(WORDS["verbs"]), max_size=2),
            "nonResourceURLs": st.lists(st.sampled_from(["/a", "/a/*", "*", "/b*"]), max_size=2),
        }
    ),
)
REQUESTS = st.one_of(
    st.builds(
        RequestInfo,
        verb=st.sampled_from(["get", "list"]),
        path=st.just(""),
        group=st.sampled_from(["", "apps"]),
        resource=st.sampled_from(["pods", "deployments"]),
        subresource=st.sampled_from(["", "log", "exec"]),
        name=st.sampled_from(["", "a", "c", "*"]),
    ),
    st.builds(RequestInfo, verb=st.just("get"), path=st.sampled_from(["/a", "/a/b", "/b", "/c"])),
)


@given(rules=st.lists(RULES, min_size=1, max_size=4), requests=st.lists(REQUESTS, max_size=6))
@settings(max_examples=60)
def test_the_table_of_rules_decides_as_the_rules_one_by_one(
    rules: Sequence[dict[str, Any]], requests: Sequence[RequestInfo]
) -> None:
    async def main() -> None:
        async with ResourceRegistries(MemoryStore()) as registries:
            scheme = registries.scheme
            role = {"kind": "ClusterRole", "apiVersion": f"{GROUP}/v1", "metadata": {"name": "r"}}
            binding = {
                "kind": "ClusterRoleBinding",
                "apiVersion": f"{GROUP}/v1",
                "metadata": {"name": "b"},
                "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "r"},
                "subjects": [{"kind": "User", "apiGroup": GROUP, "name": "u"}],
            }
            valid = [
                rule
                for rule in rules
                if rule["verbs"]
                and (rule.get("nonResourceURLs") or (rule.get("apiGroups") and rule.get("resources")))
            ]
            roles = registries.of(scheme.kind(f"{GROUP}/v1", "ClusterRole"))
            await roles.create({**role, "rules": valid})
            await registries.of(scheme.kind(f"{GROUP}/v1", "ClusterRoleBinding")).create(binding)
            authorizer = RbacAuthorizer(registries)
            for request in requests:
                expected = any(rule_allows(rule, request) for rule in valid)
                assert authorizer.decide(User("u"), request).allowed is expected
                assert not authorizer.decide(User("v"), request).allowed

    anyio.run(main)


def test_a_change_of_roles_or_bindings_is_seen_at_once(admin: httpx.Client) -> None:
    jane = {"impersonate-user": "jane"}
    path = "/api/v1/namespaces/default/configmaps"
    assert admin.get(path, headers=jane).status_code == 403
    bind(admin, "mine", user="jane")
    assert admin.get(path, headers=jane).status_code == 403
    rule = {"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}
    role = {"kind": "ClusterRole", "apiVersion": f"{GROUP}/v1", "metadata": {"name": "mine"}, "rules": [rule]}
    roles = f"/apis/{GROUP}/v1/clusterroles"
    assert admin.post(roles, json=role).status_code == 201
    assert admin.get(path, headers=jane).status_code == 200
    role["rules"] = []
    assert admin.put(f"{roles}/mine", json=role).status_code == 200
    assert admin.get(path, headers=jane).status_code == 403
    role["rules"] = [rule]
    admin.put(f"{roles}/mine", json=role)
    assert admin.get(path, headers=jane).status_code == 200
    admin.delete(f"/apis/{GROUP}/v1/namespaces/default/rolebindings/jane-mine")
    assert admin.get(path, headers=jane).status_code == 403
