"""The arithmetic of Deployments on the cases of Kubernetes' own tables."""

from datetime import UTC, datetime, timedelta

import pytest

from kubelib.api.apps import Deployment, DeploymentStrategy, ReplicaSet, RollingUpdateDeployment
from kubelib.api.model import replace
from kubelib.controllers.rollout import (
    DESIRED,
    MAXIMUM,
    max_surge,
    max_unavailable,
    new_set,
    plan,
    share,
    size_of,
)
from kubelib.testing.objects import make_deployment

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rolling(
    replicas: int, surge: int | str = 0, unavailable: int | str = 0, *, image: str = "new"
) -> Deployment:
    how = RollingUpdateDeployment(max_surge=surge, max_unavailable=unavailable)
    made = make_deployment(
        replicas=replicas, strategy=DeploymentStrategy(type="RollingUpdate", rolling_update=how)
    )
    (container,) = made.spec.template.spec.containers
    pod = replace(made.spec.template.spec, containers=(replace(container, image=image),))
    return replace(made, spec=replace(made.spec, template=replace(made.spec.template, spec=pod)))


def sized(
    image: str, size: int, was: int, surge: int = 0, *, at: int = 0, available: int | None = None
) -> ReplicaSet:
    """A ReplicaSet that was given its size when the whole was to be `was`, the younger the larger `at`."""
    made = new_set(rolling(was, surge, image=image))
    annotations = {DESIRED: str(was), MAXIMUM: str(was + surge), "deployment.kubernetes.io/revision": str(at)}
    meta = replace(
        made.metadata, uid=image, annotations=annotations, creation_timestamp=NOW + timedelta(hours=at)
    )
    status = replace(made.status, replicas=size, available_replicas=size if available is None else available)
    return replace(made, metadata=meta, spec=replace(made.spec, replicas=size), status=status)


def planned(deployment: Deployment, *sets: ReplicaSet) -> list[int]:
    """The sizes of the sets after one step."""
    found = {made.metadata.name: size_of(made) for made in plan(deployment, sets).sets}
    return [found[made.metadata.name] for made in sets]


SCALED = {
    "10 to 12": (12, 10, [10], [12]),
    "10 to 5": (5, 10, [10], [5]),
    "5 to 10, in proportion": (10, 5, [2, 3], [4, 6]),
    "5 to 3, in proportion": (3, 5, [2, 3], [1, 2]),
    "9 to 4, in proportion": (4, 9, [8, 1], [4, 0]),
    "7 to 10, in proportion": (10, 7, [2, 3, 2], [3, 4, 3]),
    "13 to 8, in proportion": (8, 13, [2, 8, 3], [1, 5, 2]),
    "3 to 4: what is left goes to the new one": (4, 3, [1, 1, 1], [2, 1, 1]),
    "3 to 2: what is left is taken from the oldest": (2, 3, [1, 1, 1], [1, 1, 0]),
    "6 to 0": (0, 6, [3, 2, 1], [0, 0, 0]),
    "0 to 6": (6, 6, [0, 0, 0], [6, 0, 0]),
}


@pytest.mark.parametrize(("wanted", "was", "before", "after"), SCALED.values(), ids=SCALED)
def test_scaling(wanted: int, was: int, before: list[int], after: list[int]) -> None:
    """`before` and `after` have the sizes from the newest set to the oldest one."""
    images = ["new", "old", "older"]
    sets = [
        sized(image, size, was, at=-n) for n, (image, size) in enumerate(zip(images, before, strict=False))
    ]
    assert planned(paused(rolling(wanted)), *sets) == after


def paused(deployment: Deployment) -> Deployment:
    return replace(deployment, spec=replace(deployment.spec, paused=True))


def test_scaling_without_a_set_of_the_present_template() -> None:
    same = [sized("old", 2, 4, at=1), sized("older", 2, 4)]
    assert planned(paused(rolling(5)), *same) == [3, 2]
    other = [sized("old", 7, 10, at=1), sized("older", 3, 10)]
    assert planned(paused(rolling(14)), *other) == [10, 4]


def test_scaling_goes_on_where_it_was_broken_off() -> None:
    sets = [sized("new", 2, 5, at=2), sized("old", 1, 3, at=1), sized("older", 1, 5)]
    assert planned(paused(rolling(5)), *sets) == [2, 2, 1]


def test_scaling_with_a_surge_and_with_another_one() -> None:
    sets = [sized("new", 6, 10, 2, at=1), sized("old", 6, 10, 2)]
    assert planned(paused(rolling(20, 2)), *sets) == [11, 11]
    sets = [sized("new", 5, 10, 3, at=1), sized("old", 8, 10, 3)]
    assert planned(paused(rolling(50, 6)), *sets) == [22, 34]


def test_a_new_set_that_is_complete_and_does_not_work_leaves_the_old_one_alone() -> None:
    sets = [sized("new", 2, 2, 1, at=1, available=0), sized("old", 1, 2, 1)]
    assert planned(paused(rolling(2, 1, 1)), *sets) == [2, 1]


@pytest.mark.parametrize(
    ("surge", "old", "new", "grown"),
    [(0, 10, 0, 0), (2, 10, 0, 2), (2, 5, 0, 7), (2, 10, 2, 2), (2, 2, 11, 10)],
)
def test_the_new_set_grows_to_what_the_surge_allows_and_no_further(
    surge: int, old: int, new: int, grown: int
) -> None:
    sets = [sized("new", new, 10, surge, at=1, available=0), sized("old", old, 10, surge)]
    assert planned(rolling(10, surge, 1 if not surge else 0), *sets)[0] == grown


@pytest.mark.parametrize(
    ("unavailable", "old", "new", "works", "shrunk"),
    [(0, 10, 0, 10, 9), (2, 10, 0, 10, 8), (2, 10, 0, 8, 8), (2, 10, 0, 9, 8), (2, 8, 2, 8, 8)],
)
def test_old_sets_shrink_by_what_may_be_missing(
    unavailable: int, old: int, new: int, works: int, shrunk: int
) -> None:
    sets = [sized("new", new, 10, at=1, available=0), sized("old", old, 10, available=works)]
    assert planned(rolling(10, 0, unavailable), *sets)[1] == shrunk


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "more", "less"),
    [
        ("0%", "0%", 0, 0, 0), ("39%", "39%", 10, 4, 3), (0, 5, 10, 0, 5), (0, 10, 10, 0, 10), (0, 5, 0, 0, 0),
        (0, 10, 5, 0, 5), (0, "50%", 10, 0, 5), (0, "100%", 10, 0, 10), (0, "50%", 5, 0, 2),
    ],
)  # fmt: skip
def test_how_many_may_be_too_many_and_missing(
    surge: int | str, unavailable: int | str, replicas: int, more: int, less: int
) -> None:
    deployment = rolling(replicas, surge, unavailable)
    assert (max_surge(deployment), max_unavailable(deployment)) == (more, less)
    assert share("0%", 10, up=True) == 0
