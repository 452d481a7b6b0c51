"""Default classes of claims and Ingresses, and which claims may grow."""

from typing import Any

import pytest

from kubelib.api.errors import Forbidden, Invalid
from kubelib.api.meta import Key
from tests.registry.admission.asking import Api, Tree, claim, thing


def storage_class(name: str, *, default: bool = False, **parts: Any) -> Tree:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return thing(
        "StorageClass",
        "storage.k8s.io/v1",
        name,
        "",
        metadata={"annotations": annotations},
        provisioner="example.com/disk",
        **parts,
    )


async def test_claims_without_a_class_get_the_default_one(api: Api) -> None:
    await api.create(storage_class("slow"))
    assert "storageClassName" not in (await api.create(claim("1Gi")))["spec"]
    await api.of("PersistentVolumeClaim").delete(Key("default", "x"))
    await api.create(storage_class("fast", default=True))
    empty = claim("1Gi", storageClassName="")
    empty["metadata"]["name"] = "empty"
    assert (await api.create(empty))["spec"]["storageClassName"] == ""
    usual = claim("1Gi")
    usual["metadata"]["name"] = "usual"
    assert (await api.create(usual))["spec"]["storageClassName"] == "fast"


async def test_claims_grow_only_when_bound_and_where_their_class_allows_it(api: Api) -> None:
    claims = api.of("PersistentVolumeClaim")
    await api.create(storage_class("fixed"))
    await api.create(storage_class("elastic", allowVolumeExpansion=True))
    for name, bound, why in (
        ("fixed", False, "spec is immutable after creation except resources.requests"),
        (
            "fixed",
            True,
            (
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must"
                " support resize"
            ),
        ),
        ("elastic", True, ""),
    ):
        tree = claim("1Gi", storageClassName=name)
        tree["metadata"]["name"] = f"{name}-{bound}".lower()
        made = await api.create(tree)
        key = Key("default", made["metadata"]["name"])
        if bound:
            made["status"] = {"phase": "Bound"}
            made = (await claims.update(key, made, subresource="status"))[0].tree()
            made["spec"]["volumeName"] = "v"
            made = (await claims.update(key, made))[0].tree()
        made["spec"]["resources"]["requests"]["storage"] = "2Gi"
        if not why:
            await claims.update(key, made)
            continue
        with pytest.raises(Forbidden if bound else Invalid) as raised:
            await claims.update(key, made)
        if bound:
            assert raised.value.message == f'persistentvolumeclaims "{key.name}" is forbidden: {why}'
        else:  # the rules of the kind come before those of admission
            assert why in raised.value.message


async def test_ingresses_without_a_class_get_the_default_one(api: Api) -> None:
    version = "networking.k8s.io/v1"
    backend = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"}
    await api.create(
        thing(
            "IngressClass",
            version,
            "nginx",
            "",
            metadata={"annotations": annotations},
            spec={"controller": "k8s.io/ingress-nginx"},
        )
    )
    assert (await api.create(thing("Ingress", version, spec=backend)))["spec"]["ingressClassName"] == "nginx"
    old = thing(
        "Ingress",
        version,
        "old",
        metadata={"annotations": {"kubernetes.io/ingress.class": "other"}},
        spec=backend,
    )
    assert "ingressClassName" not in (await api.create(old))["spec"]
