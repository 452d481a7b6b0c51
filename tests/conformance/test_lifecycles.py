"""Every kind runs through its life as the published behaviours tell it: all verbs, the status apart, watched all along."""

import copy

import pytest

from tests.conformance.conftest import APPLY, JSON_PATCH, MERGE, STRATEGIC, Api, Tree
from tests.conformance.kinds import SAMPLES, Sample, identity, named


def conditions(tree: Tree) -> object:
    return (tree.get("status") or {}).get("conditions")


def holds(found: object, wanted: object) -> bool:
    """Whether all that is wanted is there; others may have added to it."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            holds(found.get(name), value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and all(any(holds(item, w) for item in found) for w in wanted)
    return found == wanted


@pytest.mark.parametrize("sample", SAMPLES, ids=identity)
def test_a_kind_runs_through_its_life(api: Api, namespace: str, sample: Sample) -> None:
    collection = sample.collection(namespace)
    path = f"{collection}/{sample.name}"
    selected = {"labelSelector": "test=life"}
    before = api.get(collection, **selected)
    assert before["kind"].endswith("List") and before["items"] == []
    with api.watch(collection, resourceVersion=before["metadata"]["resourceVersion"], **selected) as events:
        made = api.create(collection, named(sample, namespace, sample.name))
        assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"]
        kind, seen = events.next()
        assert kind == "ADDED" and seen["metadata"]["uid"] == made["metadata"]["uid"]

        assert (
            api.create(collection, named(sample, namespace, sample.name), status=409)["reason"]
            == "AlreadyExists"
        )
        assert api.get(path)["metadata"]["uid"] == made["metadata"]["uid"]
        listed = api.get(collection, **selected)
        assert [item["metadata"]["name"] for item in listed["items"]] == [sample.name]
        if sample.namespaced:
            everywhere = api.get(f"{sample.root}/{sample.plural}", **selected)
            assert sample.name in [item["metadata"]["name"] for item in everywhere["items"]]

        patched = api.patch(path, {"metadata": {"annotations": {"patched": "true"}}}, MERGE)
        assert patched["metadata"]["annotations"]["patched"] == "true"
        patched = api.patch(path, {"metadata": {"annotations": {"strategic": "true"}}}, STRATEGIC)
        assert patched["metadata"]["annotations"]["strategic"] == "true"
        patched = api.patch(
            path, [{"op": "add", "path": "/metadata/annotations/json", "value": "true"}], JSON_PATCH
        )
        assert patched["metadata"]["annotations"]["json"] == "true"
        applied = {
            "apiVersion": made["apiVersion"],
            "kind": made["kind"],
            "metadata": {"name": sample.name, "annotations": {"applied": "true"}},
        }
        assert (
            api.patch(path, applied, APPLY, fieldManager="test")["metadata"]["annotations"]["applied"]
            == "true"
        )

        before = api.get(path)
        updated = api.replace(path, lambda tree: tree["metadata"]["annotations"].update(updated="true"))
        assert updated["metadata"]["annotations"]["updated"] == "true"
        assert api.put(path, before, status=409)["reason"] == "Conflict"

        if sample.status is not None:
            status_of(api, path, sample)

        deleted = api.delete(path, gracePeriodSeconds="0", propagationPolicy="Background")
        if sample.returned:
            assert deleted["kind"] == made["kind"] and deleted["metadata"]["uid"] == made["metadata"]["uid"]
        elif deleted["kind"] == "Status":
            assert deleted["status"] == "Success"
            assert deleted["details"]["name"] == sample.name and deleted["details"]["kind"] == sample.plural
            assert deleted["details"]["uid"] == made["metadata"]["uid"]
        api.gone(path)
        kinds: list[str] = []
        while not kinds or kinds[-1] != "DELETED":
            kinds.append(events.next()[0])
        assert set(kinds) == {"MODIFIED", "DELETED"}
    if sample.name == "sample":
        collections(api, namespace, sample)


def status_of(api: Api, path: str, sample: Sample) -> None:
    """The status is read, patched and replaced at its own path, where nothing else changes."""
    assert sample.status is not None
    assert api.get(f"{path}/status")["kind"]
    said = copy.deepcopy(sample.status)
    patch = {"metadata": {"annotations": {"status": "patched"}}, "status": said}
    patched = api.patch(f"{path}/status", patch, MERGE)
    assert holds(patched["status"], said)
    noted = patched["metadata"]["annotations"].get("status")
    assert noted in ("patched", None)  # which kinds take metadata with a status, the rules for all kinds say

    def say(tree: Tree) -> None:
        tree["status"] = {**(tree.get("status") or {}), **said}
        tree["metadata"]["annotations"]["status"] = "replaced"

    replaced = api.replace(f"{path}/status", say)
    assert replaced["metadata"]["annotations"].get("status") == ("replaced" if noted else None)
    assert holds(replaced["status"], said)


def collections(api: Api, namespace: str, sample: Sample) -> None:
    """Several are deleted by their label, and the others stay."""
    collection = sample.collection(namespace)
    for name in ("one", "two", "three"):
        body = named(sample, namespace, name)
        if sample.plural == "servicecidrs":
            body["spec"]["cidrs"] = [f"10.124.{len(name)}.0/{24 + len(name) % 2}"]
        body["metadata"]["labels"]["test"] = "kept" if name == "three" else "life"
        api.create(collection, body)
    api.delete(collection, labelSelector="test=life", gracePeriodSeconds="0", propagationPolicy="Background")
    api.eventually(lambda: not api.get(collection, labelSelector="test=life")["items"])
    assert [item["metadata"]["name"] for item in api.get(collection, labelSelector="test=kept")["items"]] == [
        "three"
    ]
    api.delete(f"{collection}/three", gracePeriodSeconds="0", propagationPolicy="Background")


@pytest.mark.parametrize(
    ("plural", "status", "field"),
    [
        ("replicasets", {"replicas": -1}, "status.replicas"),
        ("deployments", {"replicas": 1, "readyReplicas": 2}, "status.readyReplicas"),
        ("daemonsets", {"numberReady": -1}, "status.numberReady"),
        ("jobs", {"failed": -1}, "status.failed"),
        ("horizontalpodautoscalers", {"currentReplicas": -1}, "status.currentReplicas"),
        ("poddisruptionbudgets", {"disruptionsAllowed": -1}, "status.disruptionsAllowed"),
        ("persistentvolumeclaims", {"capacity": {"storage": "-1Gi"}}, "status.capacity[storage]"),
        (
            "persistentvolumeclaims",
            {"allocatedResourceStatuses": {"storage": "Odd"}},
            "status.allocatedResourceStatus",
        ),
    ],
)
def test_a_status_that_cannot_be_is_refused(
    api: Api, namespace: str, plural: str, status: Tree, field: str
) -> None:
    sample = next(sample for sample in SAMPLES if sample.plural == plural)
    collection = sample.collection(namespace)
    api.create(collection, named(sample, namespace, "odd"))
    refused = api.patch(f"{collection}/odd/status", {"status": status}, status=422)
    assert refused["details"]["causes"][0]["field"] == field
