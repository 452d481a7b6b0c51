"""A small operator: a Website becomes a ConfigMap with its pages, a Deployment that serves them, and a Service.

It is written on lightkube and knows nothing of kubelib; `test_operator.py` beside it tests it, each test on a cluster of its own.
"""

import hashlib
from typing import Any

from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Service
from lightkube.types import PatchType

Website: Any = create_namespaced_resource("example.com", "v1", "Website", "websites")
MERGE = PatchType.MERGE
MANAGER = "website-operator"
FINALIZER = "example.com/release-domain"
RULES = [
    {
        "apiGroups": ["example.com"],
        "resources": ["websites"],
        "verbs": ["get", "list", "watch", "patch", "update"],
    },
    {"apiGroups": ["example.com"], "resources": ["websites/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["configmaps", "services"], "verbs": ["get", "create", "patch"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "create", "patch"]},
]
"""What the operator has to be allowed to do."""


class Operator:
    """With a client of lightkube: reconciles Websites; `registrar` is told which domains are taken and which are free again."""

    def __init__(self, client: Any, registrar: set[str]) -> None:
        self.client = client
        self.registrar = registrar

    def reconcile(self, name: str, namespace: str) -> None:
        """Bring the world into step with one Website, whatever has happened before."""
        try:
            site = self.client.get(Website, name, namespace=namespace)
        except ApiError as error:
            if error.status.code == 404:
                return
            raise
        finalizers = site.metadata.finalizers or []
        if site.metadata.deletionTimestamp:
            if FINALIZER in finalizers:
                self.registrar.discard(site.spec["domain"])
                self._finalize(site, [f for f in finalizers if f != FINALIZER])
            return
        if FINALIZER not in finalizers:
            site = self._finalize(site, [*finalizers, FINALIZER])
        self.registrar.add(site.spec["domain"])
        for child in children(site):
            self.client.apply(child, field_manager=MANAGER, force=True)
        self._report(site)

    def _finalize(self, site: Any, finalizers: list[str]) -> Any:
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": site.metadata.resourceVersion}}
        return self.client.patch(
            Website, site.metadata.name, patch, namespace=site.metadata.namespace, patch_type=MERGE
        )

    def _report(self, site: Any) -> None:
        name, namespace = site.metadata.name, site.metadata.namespace
        available = self.client.get(Deployment, name, namespace=namespace).status.availableReplicas or 0
        wanted = site.spec["replicas"]
        ready = available >= wanted
        status = {
            "replicas": available,
            "observedGeneration": site.metadata.generation,
            "url": f"https://{site.spec['domain']}",
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if ready else "False",
                    "reason": "Serving" if ready else "Starting",
                    "message": f"{available} of {wanted} replicas are available",
                }
            ],
        }
        self.client.patch(Website.Status, name, {"status": status}, namespace=namespace, patch_type=MERGE)


def children(site: Any) -> list[Any]:
    """Return the objects that a Website consists of."""
    name, spec = site.metadata.name, site.spec
    labels = {"app.kubernetes.io/name": "website", "app.kubernetes.io/instance": name}
    owner = OwnerReference(
        apiVersion="example.com/v1", kind="Website", name=name, uid=site.metadata.uid, controller=True
    )
    pages = spec.get("pages") or {"index.html": f"This is {spec['domain']}."}
    content = hashlib.sha256(repr(sorted(pages.items())).encode()).hexdigest()[:16]

    def metadata() -> ObjectMeta:
        return ObjectMeta(
            name=name, namespace=site.metadata.namespace, labels=labels, ownerReferences=[owner]
        )

    container = {
        "name": "web",
        "image": spec["image"],
        "ports": [{"containerPort": spec["port"], "name": "http"}],
        "volumeMounts": [{"name": "pages", "mountPath": "/pages"}],
    }
    template = {
        "metadata": {"labels": labels, "annotations": {"example.com/content": content}},
        "spec": {"containers": [container], "volumes": [{"name": "pages", "configMap": {"name": name}}]},
    }
    deployment: Any = Deployment.from_dict(
        {"spec": {"replicas": spec["replicas"], "selector": {"matchLabels": labels}, "template": template}}
    )
    deployment.metadata = metadata()
    service: Any = Service.from_dict(
        {"spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "http", "name": "http"}]}}
    )
    service.metadata = metadata()
    return [ConfigMap(metadata=metadata(), data=pages), deployment, service]
