"""What clients learn of the API: the same in all three forms, for every kind."""

import json

import pytest

from kubelib.api.builtin import SCHEME
from kubelib.server import discovery

VERSIONS = sorted({(resource.group, resource.version) for resource in SCHEME})


@pytest.mark.parametrize(("group", "version"), VERSIONS)
def test_a_version_lists_its_resources_and_their_subresources(group: str, version: str) -> None:
    body = discovery.resource_list(SCHEME, group, version)
    assert body is not None
    listed = {entry["name"]: entry for entry in json.loads(body)["resources"]}
    for resource in SCHEME:
        if (resource.group, resource.version) == (group, version):
            assert listed[resource.plural]["kind"] == resource.kind
            assert listed[resource.plural]["verbs"] == sorted(resource.verbs)
            for subresource in resource.subresources:
                assert listed[f"{resource.plural}/{subresource}"]["verbs"]


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_aggregated_discovery_says_the_same_in_one_document(version: str) -> None:
    found = set()
    for core in (True, False):
        tree = json.loads(discovery.aggregated(SCHEME, core=core, version=version))
        for group in tree["items"]:
            for part in group["versions"]:
                for resource in part["resources"]:
                    found.add((group["metadata"].get("name", ""), part["version"], resource["resource"]))
                    for sub in resource.get("subresources", ()):
                        assert sub["verbs"]
    assert found == {(r.group, r.version, r.plural) for r in SCHEME}


def test_every_group_is_listed_with_the_version_that_clients_should_use() -> None:
    groups = {group["name"]: group for group in json.loads(discovery.group_list(SCHEME))["groups"]}
    assert set(groups) == {resource.group for resource in SCHEME} - {""}
    for name, group in groups.items():
        assert group["preferredVersion"] in group["versions"], name
