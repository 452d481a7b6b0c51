"""Plug-ins of third parties, and the choice of plug-ins by name."""

import pytest

from kubelib.api.meta import Key
from kubelib.api.scheme import Resource
from kubelib.registry.admission import Attributes, Verb, default_admission
from tests.registry.admission.asking import JANE, opened, thing


class Labelled:
    """Gives a label to what is created, and refuses a name."""

    name = "Labelled"

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bool]] = []

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        return resource.kind == "ConfigMap"

    async def mutate(self, attributes: Attributes) -> None:
        self.seen.append((attributes.verb, attributes.user.name, attributes.dry_run))
        if attributes.verb == "create":
            attributes.tree["metadata"]["labels"] = {"by": attributes.user.name}

    async def validate(self, attributes: Attributes) -> None:
        if attributes.key.name == "bad":
            raise attributes.forbidden("bad name")


async def test_third_parties_add_plug_ins_that_see_user_operation_and_dry_run() -> None:
    plugin = Labelled()
    async with opened(admission=[*default_admission(), plugin]) as api:
        made = await api.create(thing("ConfigMap"), user=JANE.user)
        assert made["metadata"]["labels"] == {"by": "jane"}
        assert await api.refused(thing("ConfigMap", name="bad"), user=JANE.user, dry_run=True) == (
            'configmaps "bad" is forbidden: bad name'
        )
        await api.of("ConfigMap").delete(Key("default", "x"), options=JANE)
        await api.create(thing("Secret"))
        assert plugin.seen == [("create", "jane", False), ("create", "jane", True), ("delete", "jane", False)]


def test_an_unknown_plug_in_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match="there is no admission plug-in 'Nope'; there are NamespaceLifecycle"
    ):
        default_admission(disable=["Nope"])
