"""Custom resources and webhooks in the cluster for tests."""

from typing import Any

import pytest
from kubernetes import client, config, dynamic
from kubernetes.dynamic.exceptions import ForbiddenError, NotFoundError, UnprocessibleEntityError

from kubelib.testing import Cluster
from kubelib.testing.webhooks import allowed, denied, mutated, on

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.example.com
spec:
  group: example.com
  names: {kind: Widget, plural: widgets, singular: widget}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties: {size: {type: integer, minimum: 1}, colour: {type: string, default: blue}}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
"""


def widgets(cluster: Cluster) -> Any:
    api = dynamic.DynamicClient(config.new_client_from_config(str(cluster.kubeconfig)))
    return api.resources.get(api_version="example.com/v1", kind="Widget")


def widget(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


@pytest.mark.kubelib(crds=[DEFINITION], manifests=[widget("first", size=3)])
def test_definitions_are_established_when_the_cluster_is_ready(kubelib_cluster: Cluster) -> None:
    api = widgets(kubelib_cluster)
    assert api.get(name="first", namespace="default").spec.colour == "blue"
    with pytest.raises(UnprocessibleEntityError, match="size"):
        api.create(body=widget("none", size=0), namespace="default")


@pytest.mark.kubelib(crds=[DEFINITION])
def test_custom_objects_come_back_with_a_snapshot(kubelib_cluster: Cluster) -> None:
    api = widgets(kubelib_cluster)
    kept = api.create(body=widget("kept", size=1), namespace="default")
    snapshot = kubelib_cluster.snapshot()
    api.delete(name="kept", namespace="default")
    kubelib_cluster.restore(snapshot)
    assert api.get(name="kept", namespace="default").metadata.uid == kept.metadata.uid


def test_a_restore_takes_definitions_away_and_brings_them_back(kubelib_cluster: Cluster) -> None:
    before = kubelib_cluster.snapshot()
    kubelib_cluster.apply(DEFINITION)
    kubelib_cluster.apply(widget("w", size=1))
    after = kubelib_cluster.snapshot()
    api = widgets(kubelib_cluster)
    kubelib_cluster.restore(before)
    with pytest.raises(NotFoundError):
        api.get(namespace="default")
    kubelib_cluster.restore(after)
    assert [w.metadata.name for w in api.get(namespace="default").items] == ["w"]
    api.patch(
        name="w", namespace="default", body={"spec": {"size": 2}}, content_type="application/merge-patch+json"
    )


@pytest.mark.kubelib(crds=[DEFINITION])
def test_functions_answer_the_admission_of_what_they_are_for(kubelib_cluster: Cluster) -> None:
    def judge(review: dict[str, Any]) -> dict[str, Any]:
        if review["request"]["object"]["spec"]["size"] > 10:
            return denied("too large for this shop")
        return allowed()

    def paint(review: dict[str, Any]) -> dict[str, Any]:
        def change(obj: dict[str, Any]) -> None:
            obj["spec"]["colour"] = "red"
            obj["metadata"]["labels"] = {"painted": "yes"}

        return mutated(review, change)

    on_widgets = [on("widgets", "CREATE", "UPDATE", group="example.com")]
    judging = kubelib_cluster.webhook(judge, name="judge.example.com", rules=on_widgets)
    kubelib_cluster.webhook(paint, name="paint.example.com", mutating=True, rules=on_widgets)
    api = widgets(kubelib_cluster)
    made = api.create(body=widget("w", size=2, colour="green"), namespace="default")
    assert (made.spec.colour, made.metadata.labels.painted) == ("red", "yes")
    with pytest.raises(ForbiddenError, match="too large for this shop"):
        api.create(body=widget("large", size=11), namespace="default")
    asked = [review["request"]["object"]["metadata"]["name"] for review in judging.asked]
    assert asked == ["w", "large"]
    assert judging.asked[0]["request"]["object"]["spec"]["colour"] == "red"


def test_what_a_webhook_s_failure_means_is_for_its_policy_to_say(kubelib_cluster: Cluster) -> None:
    def broken(review: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("this webhook is broken")

    api = client.CoreV1Api(config.new_client_from_config(str(kubelib_cluster.kubeconfig)))
    rules = [on("configmaps", "CREATE")]
    kubelib_cluster.webhook(broken, name="broken.example.com", rules=rules)
    with pytest.raises(client.ApiException) as caught:
        api.create_namespaced_config_map("default", {"metadata": {"name": "c"}})
    assert caught.value.status == 500
    kubelib_cluster.webhook(broken, name="broken.example.com", rules=rules, failurePolicy="Ignore")
    api.create_namespaced_config_map("default", {"metadata": {"name": "c"}})


async def test_an_asynchronous_function_may_use_the_cluster_that_asks_it(kubelib_cluster: Cluster) -> None:
    from kubelib.api.core.config import ConfigMap
    from kubelib.api.core.namespace import Namespace
    from kubelib.api.meta import Key
    from kubelib.testing.objects import make_config_map

    async def namespaces_have_labels(review: dict[str, Any]) -> dict[str, Any]:
        namespaces = kubelib_cluster.client.resource(Namespace)
        namespace = await namespaces.get(Key("", review["request"]["namespace"]))
        return allowed(f"{namespace.metadata.name} is looked at")

    kubelib_cluster.webhook(namespaces_have_labels, rules=[on("configmaps", "CREATE")])
    async with kubelib_cluster.http_client() as api:
        assert (await api.resource(ConfigMap).create(make_config_map("c"))).key.name == "c"


def test_a_function_converts_between_versions(kubelib_cluster: Cluster) -> None:
    def convert(review: dict[str, Any]) -> dict[str, Any]:
        wanted = review["request"]["desiredAPIVersion"]
        objects = []
        for obj in review["request"]["objects"]:
            spec = dict(obj.get("spec") or {})
            if wanted.endswith("v2"):
                spec["dimension"] = spec.pop("size")
            else:
                spec["size"] = spec.pop("dimension")
            objects.append({**obj, "apiVersion": wanted, "spec": spec})
        return {"result": {"status": "Success"}, "convertedObjects": objects}

    served = kubelib_cluster.serve_webhook(convert, path="/convert")
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    kubelib_cluster.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com",
                "names": {"kind": "Widget", "plural": "widgets"},
                "scope": "Namespaced",
                "versions": [
                    {"name": "v1", "served": True, "storage": True, "schema": schema},
                    {"name": "v2", "served": True, "storage": False, "schema": schema},
                ],
                "conversion": {
                    "strategy": "Webhook",
                    "webhook": {"clientConfig": served.client_config, "conversionReviewVersions": ["v1"]},
                },
            },
        }
    )
    widgets(kubelib_cluster).create(body=widget("w", size=5), namespace="default")
    api = dynamic.DynamicClient(config.new_client_from_config(str(kubelib_cluster.kubeconfig)))
    newer = api.resources.get(api_version="example.com/v2", kind="Widget")
    assert newer.get(name="w", namespace="default").spec.dimension == 5
    assert served.asked
