"""Which namespaces may be written to, and which may go."""

import pytest

from kubelib.api.errors import ApiError, Forbidden
from kubelib.api.meta import Key
from tests.registry.admission.asking import Api, thing


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_the_namespaces_of_every_cluster_are_not_deleted(api: Api, name: str) -> None:
    with pytest.raises(Forbidden) as raised:
        await api.of("Namespace").delete(Key("", name))
    assert raised.value.message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


async def test_nothing_is_created_in_a_missing_namespace_even_if_it_is_invalid(api: Api) -> None:
    with pytest.raises(ApiError) as raised:
        await api.create(thing("Pod", namespace="nowhere", spec={"containers": []}))
    assert raised.value.code == 404
    assert raised.value.message == 'namespaces "nowhere" not found'


async def test_nothing_is_created_in_a_namespace_that_goes(api: Api) -> None:
    await api.create(thing("Namespace", name="team", namespace=""))
    await api.of("Namespace").delete(Key("", "team"))
    with pytest.raises(Forbidden) as raised:
        await api.create(thing("ConfigMap", namespace="team"))
    assert raised.value.message == (
        'configmaps "x" is forbidden: unable to create new content in namespace team because it is being terminated'
    )
    assert raised.value.status()["details"]["causes"] == [
        {
            "reason": "NamespaceTerminating",
            "message": "namespace team is being terminated",
            "field": "metadata.namespace",
        }
    ]
