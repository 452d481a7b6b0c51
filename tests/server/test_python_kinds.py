"""Kinds that are classes in Python: served over HTTP like any other, and known to clients, informers and controllers."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated, Any, ClassVar, Literal

import anyio
import attrs
import httpx
import msgspec
import pytest

from kubelib.api.builtin import SCHEME
from kubelib.api.errors import Problem
from kubelib.api.kinds import custom_kind
from kubelib.api.meta import Key, Object, ObjectMeta
from kubelib.api.model import Model, replace
from kubelib.api.scheme import Scheme, Tree
from kubelib.api.validation.problems import invalid
from kubelib.client import LocalClient
from kubelib.informers import SharedInformers
from kubelib.registry import ResourceRegistries
from kubelib.store import MemoryStore
from kubelib.testing.cluster import Cluster
from tests.server.definitions import Api, thing


def _even(instance: Any, attribute: Any, value: int) -> None:
    if value % 2:
        raise ValueError("must be even")


@attrs.frozen
class Part:
    """A part of a kite."""

    part_name: str
    length_mm: int = attrs.field(default=2, validator=_even)


@attrs.frozen
class KiteSpec:
    """What is wanted of a kite."""

    color: Literal["red", "green"]
    parts: tuple[Part, ...] = ()
    labels: dict[str, str] = attrs.Factory(dict)
    tail: Part | None = None


@attrs.frozen
class Kite:
    """A kite."""

    spec: KiteSpec
    status: dict[str, Any] = attrs.Factory(dict)


class Sail(msgspec.Struct, rename="camel"):
    """A sail."""

    square_meters: Annotated[int, msgspec.Meta(ge=1, le=100)]
    numbers: list[int] = []


class BoatSpec(Model):
    """What is wanted of a boat."""

    name_of_boat: str = ""
    crew: int = 0


class BoatStatus(Model):
    """What is observed of a boat."""

    crew: int = 0


class Boat(Object):
    """A boat."""

    api_version: ClassVar[str] = "example.com/v1"
    kind: ClassVar[str] = "Boat"

    spec: BoatSpec = BoatSpec()
    status: BoatStatus = BoatStatus()


def _may_not_shrink(new: Tree, old: Tree) -> list[Problem]:
    crew, before = new["spec"].get("crew", 0), old["spec"].get("crew", 0)
    return [invalid("spec.crew", crew, "may not shrink")] if crew < before else []


KITES = custom_kind(Kite, api_version="example.com/v1", plural="kites", subresources=("status",))
SAILS = custom_kind(Sail, api_version="example.com/v1", plural="sails", namespaced=False)
BOATS = custom_kind(
    Boat, plural="boats", subresources=("status",), categories=("all",), validate_update=_may_not_shrink
)
ALL = Scheme(SCHEME)
ALL.add(KITES, SAILS, BOATS)
PATH = "/apis/example.com/v1/namespaces/default"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    directory: Path = tmp_path_factory.mktemp("cluster")
    with Cluster(directory, scheme=ALL) as cluster:
        headers = {"authorization": f"Bearer {cluster.token}"}
        with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
            yield Api(client)


def test_an_attrs_class_is_a_kind_over_http(api: Api) -> None:
    spec = {"color": "red", "parts": [{"partName": "bar", "lengthMm": 4}, {"partName": "line"}]}
    created = api.made("POST", f"{PATH}/kites", json=thing("Kite", "a", spec, status={"up": True}))
    assert (created["spec"], created.get("status")) == (spec, None)
    status = api.refused(
        "POST", f"{PATH}/kites", 422,
        json=thing("Kite", "b", {"color": "blue", "parts": [{"lengthMm": 3}, {"partName": "x", "lengthMm": 3}]}),
    )  # fmt: skip
    assert [(cause["field"], cause["message"]) for cause in status["details"]["causes"]] == [
        ("spec.color", 'Unsupported value: "blue": supported values: "red", "green"'),
        ("spec.parts[0].partName", "Required value"),
        ("spec.parts[1]", 'Invalid value: {"partName":"x","lengthMm":3}: must be even'),
    ]
    unknown = thing("Kite", "c", {"color": "red", "colour": "red"})
    strict = api.refused("POST", f"{PATH}/kites?fieldValidation=Strict", 400, json=unknown)
    assert strict["message"].endswith(': strict decoding error: unknown field "spec.colour"')
    wrong = api.refused("POST", f"{PATH}/kites", 400, json=thing("Kite", "d", {"color": 1}))
    assert "cannot unmarshal number into Go struct field" in wrong["message"]


def test_a_struct_is_a_kind_with_its_constraints(api: Api) -> None:
    path = "/apis/example.com/v1/sails"
    sail = {"apiVersion": "example.com/v1", "kind": "Sail", "metadata": {"name": "a"}, "squareMeters": 12}
    assert api.made("POST", path, json=sail)["squareMeters"] == 12
    sail["metadata"], sail["squareMeters"] = {"name": "b"}, 101
    status = api.refused("POST", path, 422, json=sail)
    assert status["details"]["causes"] == [
        {
            "field": "squareMeters",
            "message": "Invalid value: 101: Expected `int` <= 100",
            "reason": "FieldValueInvalid",
        }
    ]


def test_discovery_and_openapi_have_the_kinds(api: Api) -> None:
    found = {r["name"]: r for r in api.made("GET", "/apis/example.com/v1")["resources"]}
    assert set(found) == {"kites", "kites/status", "sails", "boats", "boats/status"}
    assert (found["boats"]["categories"], found["sails"]["namespaced"]) == (["all"], False)
    address = api.made("GET", "/openapi/v3")["paths"]["apis/example.com/v1"]["serverRelativeURL"]
    schemas = api.made("GET", address)["components"]["schemas"]
    kite = schemas["com.example.v1.Kite"]
    assert (kite["description"], kite["required"]) == ("A kite.", ["spec"])
    name = kite["properties"]["spec"]["allOf"][0]["$ref"].rpartition("/")[2]
    assert schemas[name]["properties"]["parts"]["type"] == "array"
    assert schemas[name]["required"] == ["color"]


def test_apply_and_the_status_work_as_for_other_kinds(api: Api) -> None:
    headers = {"content-type": "application/apply-patch+yaml"}
    applied = thing("Boat", "a", {"nameOfBoat": "Ann", "crew": 2})
    created = api.made("PATCH", f"{PATH}/boats/a?fieldManager=me", json=applied, headers=headers)
    assert created["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"] == {"f:crew": {}, "f:nameOfBoat": {}}
    changed = {**created, "status": {"crew": 1}, "spec": {}}
    written = api.made("PUT", f"{PATH}/boats/a/status", json=changed)
    assert (written["spec"]["crew"], written["status"]["crew"]) == (2, 1)
    merge = {"content-type": "application/merge-patch+json"}
    status = api.refused("PATCH", f"{PATH}/boats/a", 422, json={"spec": {"crew": 1}}, headers=merge)
    assert status["details"]["causes"][0]["message"] == "Invalid value: 1: may not shrink"
    assert (
        api.made("PATCH", f"{PATH}/boats/a", json={"spec": {"crew": 3}}, headers=merge)["metadata"][
            "generation"
        ]
        == 2
    )
    with api.client.stream("GET", f"{PATH}/boats?watch=1&timeoutSeconds=1") as stream:
        assert [json.loads(line)["type"] for line in stream.iter_lines()] == ["ADDED"]


async def test_clients_and_informers_take_the_class() -> None:
    async with MemoryStore() as store, ResourceRegistries(store, scheme=ALL) as registries:
        await registries.bootstrap()
        client = LocalClient(registries)
        boats = client.resource(Boat)
        meta = ObjectMeta(name="a", namespace="default")
        made = await boats.create(Boat(metadata=meta, spec=BoatSpec(name_of_boat="Ann", crew=1)))
        await boats.update(replace(made, spec=replace(made.spec, crew=2)))
        informers = SharedInformers(client, random=Random(1))
        informer = informers.of(Boat)
        async with anyio.create_task_group() as group:
            await group.start(informers.run)
            found = informer.lister.get(Key("default", "a"))
            group.cancel_scope.cancel()
        assert found is not None
        assert found.spec == BoatSpec(name_of_boat="Ann", crew=2)
        kites: Any = client.resource(KITES.cls)
        kite: Any = KITES.cls
        spec = KiteSpec(color="red", parts=(Part("tail", 4),), tail=Part("end"))
        await kites.create(kite(metadata=meta, spec=spec))
        found = (await kites.get(Key("default", "a"))).spec
        assert (found.color, found.parts[0].length_mm, found.tail.part_name) == ("red", 4, "end")
        await kites.update(replace(await kites.get(Key("default", "a")), spec=KiteSpec(color="green")))
        assert (await kites.get(Key("default", "a"))).spec == kite(spec=KiteSpec(color="green")).spec


def test_a_class_that_cannot_be_a_kind_is_refused_when_it_is_declared() -> None:
    @attrs.frozen
    class Strange:
        spec: complex

    with pytest.raises(TypeError, match="a field of a kind cannot be of the type"):
        custom_kind(Strange, api_version="example.com/v1", plural="stranges")
    with pytest.raises(TypeError, match=r"neither an Object, nor a msgspec\.Struct, nor an attrs class"):
        custom_kind(int, api_version="example.com/v1", plural="ints")
    with pytest.raises(ValueError, match="has no api_version or no kind"):
        custom_kind(Kite, plural="kites")
