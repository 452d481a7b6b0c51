"""LimitRanges fill in what is left open, and refuse what is out of bounds."""

import pytest

from tests.registry.admission.asking import Api, Tree, claim, pod, thing


def limits(*items: Tree) -> Tree:
    return thing("LimitRange", name="limits", spec={"limits": list(items)})


async def test_a_limit_range_fills_in_what_containers_leave_open_and_says_so(api: Api) -> None:
    await api.create(
        limits({"type": "Container", "default": {"memory": "512Mi"}, "defaultRequest": {"memory": "256Mi"}})
    )
    made = await api.create(pod())
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"memory": "512Mi"},
        "requests": {"memory": "256Mi"},
    }
    assert made["metadata"]["annotations"] == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: memory request for container c; memory limit for container c"
    }
    own = await api.create(pod("own", {"limits": {"memory": "1Gi"}}))
    assert own["spec"]["containers"][0]["resources"] == {
        "limits": {"memory": "1Gi"},
        "requests": {"memory": "1Gi"},
    }
    assert "annotations" not in own["metadata"]


@pytest.mark.parametrize(
    ("limit", "resources", "why"),
    [
        (
            {"type": "Container", "max": {"memory": "1Gi"}},
            {"limits": {"memory": "1536Mi"}, "requests": {"memory": "800Mi"}},
            "maximum memory usage per Container is 1Gi, but limit is 1536Mi",
        ),
        (
            {"type": "Container", "min": {"memory": "500Mi"}},
            {"limits": {"memory": "800Mi"}, "requests": {"memory": "100Mi"}},
            "minimum memory usage per Container is 500Mi, but request is 100Mi",
        ),
        (
            {"type": "Pod", "max": {"cpu": "1"}},
            {"requests": {"cpu": "500m"}},
            "maximum cpu usage per Pod is 1.  No limit is specified",
        ),
        (
            {"type": "Pod", "min": {"cpu": "1"}},
            None,
            "minimum cpu usage per Pod is 1.  No request is specified",
        ),
        (
            {"type": "Pod", "maxLimitRequestRatio": {"cpu": "2"}},
            {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}},
            "cpu max limit to request ratio per Pod is 2, but provided ratio is 3.000000",
        ),
    ],
)
async def test_a_limit_range_refuses_what_is_out_of_bounds(
    api: Api, limit: Tree, resources: Tree | None, why: str
) -> None:
    await api.create(limits(limit))
    assert await api.refused(pod("p", resources)) == f'pods "p" is forbidden: {why}'


async def test_a_limit_range_says_everything_that_is_out_of_bounds(api: Api) -> None:
    await api.create(limits({"type": "Container", "max": {"cpu": "1", "memory": "1Gi"}}))
    message = await api.refused(pod("p", {"limits": {"cpu": "2", "memory": "2Gi"}}))
    assert message == (
        'pods "p" is forbidden: [maximum cpu usage per Container is 1, but limit is 2,'
        " maximum memory usage per Container is 1Gi, but limit is 2Gi]"
    )


async def test_a_limit_range_bounds_claims(api: Api) -> None:
    await api.create(
        limits({"type": "PersistentVolumeClaim", "max": {"storage": "2Gi"}, "min": {"storage": "1Gi"}})
    )
    assert await api.refused(claim("5Gi")) == (
        'persistentvolumeclaims "x" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 5Gi'
    )
    assert await api.refused(claim("500Mi")) == (
        'persistentvolumeclaims "x" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi'
    )
    await api.create(claim("2Gi"))
