"""The operator under test: what it makes, repairs, reports and leaves behind, and how it behaves on a bad day."""

from typing import Any

import pytest
from lightkube.core.exceptions import ApiError
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Secret, Service
from lightkube.types import PatchType

from examples.website.operator import FINALIZER, Operator, Website
from kubelib.runtime.lives import case, lives
from kubelib.testing import Cluster
from kubelib.testing.webhooks import allowed, denied, on


def website(name: str = "shop", **spec: Any) -> Any:
    return Website(
        metadata={"name": name, "namespace": "default"}, spec={"domain": f"{name}.example.org", **spec}
    )


def make(client: Any, operator: Operator, **spec: Any) -> Any:
    site = client.create(website(**spec))
    operator.reconcile(site.metadata.name, "default")
    return client.get(Website, site.metadata.name)


# What it makes


@pytest.mark.parametrize("replicas", [0, 1, 2, 3, 7, 20])
@pytest.mark.parametrize("image", ["nginx:1.27", "registry.example.org/web@sha256:" + "0" * 64])
def test_a_deployment_has_the_replicas_and_the_image(
    client: Any, operator: Operator, replicas: int, image: str
) -> None:
    make(client, operator, replicas=replicas, image=image)
    deployment = client.get(Deployment, "shop")
    assert deployment.spec.replicas == replicas
    assert deployment.spec.template.spec.containers[0].image == image


@pytest.mark.parametrize("port", [1, 80, 8080, 65535])
def test_the_service_leads_to_the_port(client: Any, operator: Operator, port: int) -> None:
    make(client, operator, port=port)
    service = client.get(Service, "shop")
    assert service.spec.ports[0].targetPort == "http"
    assert service.spec.clusterIP
    assert client.get(Deployment, "shop").spec.template.spec.containers[0].ports[0].containerPort == port


@pytest.mark.parametrize(
    "pages",
    [
        {},
        {"index.html": "hello"},
        {"a.html": "a", "b.html": "b"},
        {"uni.html": "grüße — ✓"},
        {"large.html": "x" * 50_000},
    ],
)
def test_the_pages_are_in_a_config_map(client: Any, operator: Operator, pages: dict[str, str]) -> None:
    make(client, operator, pages=pages)
    assert client.get(ConfigMap, "shop").data == (pages or {"index.html": "This is shop.example.org."})


@pytest.mark.parametrize("kind", [ConfigMap, Deployment, Service])
def test_what_it_makes_belongs_to_the_website(client: Any, operator: Operator, kind: Any) -> None:
    site = make(client, operator)
    [owner] = client.get(kind, "shop").metadata.ownerReferences
    assert (owner.kind, owner.name, owner.uid, owner.controller) == (
        "Website",
        "shop",
        site.metadata.uid,
        True,
    )


# What the definition refuses and adds


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("domain", d) for d in ("", "localhost", "UPPER.example.org", "-a.example.org", "a..org", "x" * 250 + ".org", 7, None)],
        *[("replicas", r) for r in (-1, 21, 1.5, "two", True)],
        *[("port", p) for p in (0, 65536, "http")],
        *[("image", i) for i in ("", 3)],
        *[("pages", p) for p in ("text", {"a": 1}, ["a"])],
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(client: Any, field: str, value: Any) -> None:
    with pytest.raises(ApiError) as caught:
        client.create(website(**{field: value}))
    assert caught.value.status.code == 422
    assert f"spec.{field}" in str(caught.value.status.message)


@pytest.mark.parametrize(("field", "default"), [("image", "nginx:1.27"), ("replicas", 1), ("port", 8080)])
def test_what_is_not_said_has_a_default(client: Any, field: str, default: Any) -> None:
    assert client.create(website()).spec[field] == default


@pytest.mark.parametrize("unknown", ["colour", "replica"])
def test_what_is_unknown_is_not_kept(client: Any, unknown: str) -> None:
    assert unknown not in client.create(website(**{unknown: "x"})).spec


# Changes and repairs


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 5},
        {"image": "nginx:2"},
        {"port": 9090},
        {"pages": {"new.html": "new"}},
        {"replicas": 0, "image": "x"},
    ],
)
def test_a_change_is_carried_out(client: Any, operator: Operator, change: dict[str, Any]) -> None:
    make(client, operator, pages={"old.html": "old"})
    client.patch(Website, "shop", {"spec": change}, patch_type=PatchType.MERGE)
    operator.reconcile("shop", "default")
    container = client.get(Deployment, "shop").spec.template.spec.containers[0]
    found = {
        "replicas": client.get(Deployment, "shop").spec.replicas,
        "image": container.image,
        "port": container.ports[0].containerPort,
        "pages": client.get(ConfigMap, "shop").data,
    }
    for field, value in change.items():
        assert value.items() <= found[field].items() if isinstance(value, dict) else found[field] == value


@pytest.mark.parametrize("pages", [{"a.html": "2"}, {"b.html": "1"}])
def test_other_pages_roll_the_pods(client: Any, operator: Operator, pages: dict[str, str]) -> None:
    make(client, operator, pages={"a.html": "1"})
    before = client.get(Deployment, "shop").spec.template.metadata.annotations
    client.patch(Website, "shop", {"spec": {"pages": pages}}, patch_type=PatchType.MERGE)
    operator.reconcile("shop", "default")
    assert client.get(Deployment, "shop").spec.template.metadata.annotations != before


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        (Deployment, {"spec": {"replicas": 9}}),
        (Deployment, {"metadata": {"labels": {"app.kubernetes.io/name": "mine"}}}),
        (Service, {"spec": {"selector": {"app": "another"}}}),
        (ConfigMap, {"data": {"index.html": "defaced"}}),
        (ConfigMap, {"metadata": {"ownerReferences": []}}),
    ],
)
def test_damage_is_repaired(client: Any, operator: Operator, kind: Any, damage: dict[str, Any]) -> None:
    make(client, operator)
    good = client.get(kind, "shop").to_dict()
    client.patch(kind, "shop", damage, patch_type=PatchType.MERGE)
    operator.reconcile("shop", "default")
    repaired = client.get(kind, "shop").to_dict()
    for part in ("spec", "data"):
        assert repaired.get(part) == good.get(part)
    assert repaired["metadata"]["labels"] == good["metadata"]["labels"]
    assert repaired["metadata"]["ownerReferences"] == good["metadata"]["ownerReferences"]


@pytest.mark.parametrize("kind", [ConfigMap, Deployment, Service])
def test_what_somebody_deletes_comes_back(client: Any, operator: Operator, kind: Any) -> None:
    make(client, operator)
    client.delete(kind, "shop")
    operator.reconcile("shop", "default")
    assert client.get(kind, "shop").metadata.name == "shop"


@pytest.mark.parametrize(
    "note", [{"metadata": {"annotations": {"note": "mine"}}}, {"metadata": {"labels": {"team": "a"}}}]
)
def test_what_others_add_is_left_alone(client: Any, operator: Operator, note: dict[str, Any]) -> None:
    make(client, operator)
    client.patch(Deployment, "shop", note, patch_type=PatchType.MERGE)
    operator.reconcile("shop", "default")
    metadata = client.get(Deployment, "shop").metadata.to_dict()
    for part, added in note["metadata"].items():
        assert added.items() <= metadata[part].items()


@pytest.mark.parametrize("times", [2, 5])
def test_doing_it_again_changes_nothing(client: Any, operator: Operator, times: int) -> None:
    make(client, operator)
    before = [client.get(kind, "shop").metadata.resourceVersion for kind in (ConfigMap, Deployment, Service)]
    for _ in range(times):
        operator.reconcile("shop", "default")
    after = [client.get(kind, "shop").metadata.resourceVersion for kind in (ConfigMap, Deployment, Service)]
    assert after == before


# Status


@pytest.mark.parametrize("replicas", [0, 1, 4])
def test_the_status_says_what_is_so(client: Any, operator: Operator, replicas: int) -> None:
    site = make(client, operator, replicas=replicas)
    [condition] = site.status["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "True" if replicas == 0 else "False")
    assert condition["message"] == f"0 of {replicas} replicas are available"
    assert site.status["observedGeneration"] == site.metadata.generation == 1
    assert site.status["url"] == "https://shop.example.org"


@pytest.mark.kubelib(controllers=True, scheduler=True, fake_nodes=1)
@pytest.mark.parametrize("replicas", [1, 3])
def test_a_website_becomes_ready(
    kubelib_cluster: Cluster, client: Any, operator: Operator, replicas: int
) -> None:
    make(client, operator, replicas=replicas)

    def ready() -> bool:
        operator.reconcile("shop", "default")
        return bool(client.get(Website, "shop").status["conditions"][0]["status"] == "True")

    kubelib_cluster.eventually(ready)
    assert client.get(Website, "shop").status["replicas"] == replicas


@pytest.mark.kubelib(
    controllers=True,
    scheduler=True,
    fake_nodes=1,
    rule=lives(case(image="broken:*", refusal="no such program")),
)
def test_a_website_that_cannot_start_is_not_ready(
    kubelib_cluster: Cluster, client: Any, operator: Operator
) -> None:
    make(client, operator, image="broken:1")
    kubelib_cluster.eventually(
        lambda: "no such program" in kubelib_cluster.kubectl("get", "pods", "-o", "yaml")
    )
    operator.reconcile("shop", "default")
    assert client.get(Website, "shop").status["conditions"][0]["reason"] == "Starting"


# Deletion


@pytest.mark.parametrize("others", [[], ["example.com/other"]])
def test_a_domain_is_released_before_the_website_goes(
    client: Any, operator: Operator, others: list[str]
) -> None:
    make(client, operator)
    assert operator.registrar == {"shop.example.org"}
    if others:
        patch = {"metadata": {"finalizers": [FINALIZER, *others]}}
        client.patch(Website, "shop", patch, patch_type=PatchType.MERGE)
    client.delete(Website, "shop")
    assert client.get(Website, "shop").metadata.deletionTimestamp
    operator.reconcile("shop", "default")
    assert operator.registrar == set()
    if others:
        assert client.get(Website, "shop").metadata.finalizers == others
    else:
        with pytest.raises(ApiError):
            client.get(Website, "shop")


def test_a_website_that_is_gone_is_no_error(operator: Operator) -> None:
    operator.reconcile("never", "default")


# Rights


@pytest.mark.parametrize("kind", [Secret, Deployment, Website])
def test_the_operator_cannot_do_more_than_it_needs(operator: Operator, kind: Any) -> None:
    with pytest.raises(ApiError) as caught:
        operator.client.delete(kind, "x", namespace="default")
    assert caught.value.status.code == 403


# Bad days


@pytest.mark.parametrize("seed", range(15))
def test_it_gets_there_on_a_bad_day(
    kubelib_cluster: Cluster, client: Any, operator: Operator, seed: int
) -> None:
    client.create(website(replicas=2))
    with kubelib_cluster.faults(errors={500: 0.2, 503: 0.1}, lost_answers=0.1, retry_after=0, seed=seed):
        for _ in range(60):
            try:
                operator.reconcile("shop", "default")
                break
            except ApiError:
                continue
    assert client.get(Deployment, "shop").spec.replicas == 2
    assert client.get(Website, "shop").status["observedGeneration"] == 1


@pytest.mark.parametrize("verdict", [allowed(), denied("deployments are frozen")])
def test_it_meets_the_cluster_s_policies(
    kubelib_cluster: Cluster, client: Any, operator: Operator, verdict: dict[str, Any]
) -> None:
    kubelib_cluster.webhook(lambda review: verdict, rules=[on("deployments", "CREATE", group="apps")])
    if verdict["allowed"]:
        assert make(client, operator).status
    else:
        with pytest.raises(ApiError, match="deployments are frozen"):
            make(client, operator)


@pytest.mark.parametrize("replicas", [1, 2])
def test_stale_reads_do_no_harm(
    kubelib_cluster: Cluster, client: Any, operator: Operator, replicas: int
) -> None:
    make(client, operator, replicas=3)
    with kubelib_cluster.faults(stale_reads=True):
        client.patch(Website, "shop", {"spec": {"replicas": replicas}}, patch_type=PatchType.MERGE)
        operator.reconcile("shop", "default")
    operator.reconcile("shop", "default")
    assert client.get(Deployment, "shop").spec.replicas == replicas


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c"]])
def test_websites_do_not_disturb_each_other(client: Any, operator: Operator, names: list[str]) -> None:
    for name in names:
        client.create(website(name))
        operator.reconcile(name, "default")
    client.delete(Website, names[0])
    operator.reconcile(names[0], "default")
    assert operator.registrar == {f"{name}.example.org" for name in names[1:]}
    assert len(list(client.list(Deployment))) == len(names)
