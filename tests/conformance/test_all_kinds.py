"""What holds for every kind, and for which it does not: the lists of exceptions are those of Kubernetes' integration tests."""

import pytest

from tests.conformance.conftest import MERGE, Api, Tree
from tests.conformance.kinds import SAMPLES, Sample, identity, named

CREATED_BY_UPDATE = {
    "leases", "clusterrolebindings", "clusterroles", "endpoints", "events", "limitranges", "rolebindings", "roles",
    "runtimeclasses", "services",
}  # fmt: skip
WITHOUT_GENERATION = {
    # of those with a status
    "apiservices", "certificatesigningrequests", "namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes",
    "resourceclaims", "resourcequotas", "servicecidrs", "services", "volumeattachments",
    # of those without
    "clusterrolebindings", "clusterroles", "clustertrustbundles", "configmaps", "controllerrevisions", "csinodes",
    "csistoragecapacities", "endpoints", "events", "ipaddresses", "leases", "limitranges", "resourceclaimtemplates",
    "rolebindings", "roles", "runtimeclasses", "secrets", "serviceaccounts", "storageclasses", "volumeattributesclasses",
}  # fmt: skip
METADATA_WITH_STATUS = {
    "cronjobs", "daemonsets", "horizontalpodautoscalers", "ingresses", "jobs", "nodes", "persistentvolumeclaims",
    "persistentvolumes", "poddisruptionbudgets", "pods", "replicasets", "replicationcontrollers", "resourcequotas", "services",
    "statefulsets",
}  # fmt: skip
ORPHANS = {"jobs", "replicationcontrollers"}
HELD = "example.com/held"


def at_status(api: Api, path: str, sample: Sample) -> tuple[bool, bool]:
    """Write metadata with a status; return whether a patch, and whether an apply, may do that."""
    marked = {"metadata": {"labels": {"patched": "1"}}, "status": sample.status}
    patched = api.patch(f"{path}/status", marked, MERGE)
    body = {name: patched[name] for name in ("kind", "apiVersion")}
    body |= {
        "metadata": {"labels": {"applied": "1"}},
        "status": sample.status,
        "spec": sample.body.get("spec"),
    }
    applied = api.apply(f"{path}/status", body, force="true")["metadata"]
    (own,) = [e["fieldsV1"] for e in applied["managedFields"] if e["manager"] == "applier"]
    assert "f:spec" not in own
    labels = applied.get("labels") or {}
    assert ("f:metadata" in own) == ("applied" in labels)
    return "patched" in labels, "applied" in labels


@pytest.mark.parametrize("sample", SAMPLES, ids=identity)
def test_a_kind_goes_by_the_rules_for_all_kinds(api: Api, namespace: str, sample: Sample) -> None:
    collection = sample.collection(namespace)
    name = sample.name if sample.name != "sample" else f"ruled-{namespace}"
    path, body = f"{collection}/{name}", named(sample, namespace, name)
    if sample.plural in CREATED_BY_UPDATE:
        made: Tree = api.put(path, body, status=201)
    else:
        api.put(path, body, status=404)
        made = api.create(collection, body)
    generation = made["metadata"].get("generation")
    assert generation == (None if sample.plural in WITHOUT_GENERATION else 1)
    if sample.status is not None:
        written = sample.plural in METADATA_WITH_STATUS
        assert at_status(api, path, sample) == (written, written)
        assert api.get(path)["metadata"].get("generation") == generation
    api.patch(path, {"metadata": {"annotations": {"dry": "1"}}}, MERGE, dryRun="All")
    api.delete(path, dryRun="All")
    api.delete(collection, dryRun="All", fieldSelector=f"metadata.name={name}")
    meta = api.get(path)["metadata"]
    assert "dry" not in (meta.get("annotations") or {}) and "deletionTimestamp" not in meta
    # Who deletes it without saying more leaves its dependents to be collected, or orphans them; only Pods take their time.
    api.patch(path, {"metadata": {"finalizers": [HELD]}}, MERGE)
    api.delete(path, gracePeriodSeconds="30")
    meta = api.get(path)["metadata"]
    assert ("orphan" in meta["finalizers"]) == (sample.plural in ORPHANS)
    assert not meta["deletionGracePeriodSeconds"]
    api.ask("DELETE", path, propagationPolicy="Foreground")
    # What is said of dependents of Pods that are ending comes too late.
    late = sample.plural in ("events", "pods")
    assert ("foregroundDeletion" in api.get(path)["metadata"]["finalizers"]) == (not late)
    api.patch(path, {"metadata": {"finalizers": None}}, MERGE)


def test_labels_of_a_deployment_are_not_written_with_its_status_but_annotations_are(
    api: Api, namespace: str
) -> None:
    (sample,) = [s for s in SAMPLES if s.plural == "deployments"]
    path = f"{sample.collection(namespace)}/d"
    api.create(sample.collection(namespace), named(sample, namespace, "d"))
    meta = {"labels": {"a": "1"}, "annotations": {"a": "1"}}
    written = api.patch(f"{path}/status", {"metadata": meta}, MERGE)["metadata"]
    assert (written["labels"], written["annotations"]) == ({"test": "life"}, {"a": "1"})
    body = {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {**meta, "annotations": {"b": "1"}}}
    applied = api.apply(f"{path}/status", body)["metadata"]
    assert applied["labels"] == {"test": "life"} and set(applied["annotations"]) == {"a", "b"}
