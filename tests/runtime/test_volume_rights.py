"""What a Pod says of the rights to its volumes: the mode of an empty directory, and whose the files are."""

import os
from pathlib import Path
from typing import Any

import pytest

from kubelib.api.core.config import Secret
from kubelib.api.core.pod import Pod
from kubelib.api.core.projections import (
    ConfigMapProjection,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    KeyToPath,
    ObjectFieldSelector,
    ProjectedVolumeSource,
    SecretProjection,
    VolumeProjection,
)
from kubelib.api.core.security import PodSecurityContext
from kubelib.api.core.volumes import (
    ConfigMapVolumeSource,
    DownwardAPIVolumeSource,
    EmptyDirVolumeSource,
    SecretVolumeSource,
    Volume,
)
from kubelib.runtime.volumes import Volumes
from kubelib.testing.objects import make_config_map, make_meta, make_pod
from tests.runtime.conftest import Configuration, container

NAME = ObjectFieldSelector(field_path="metadata.name")
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def volumes(tmp_path: Path, configuration: Configuration) -> Volumes:
    configuration.config_maps["c"] = make_config_map("c", a="1", b="2")
    configuration.secrets["s"] = Secret(metadata=make_meta("s", "default"), data={"a": "MQ==", "b": "Mg=="})
    return Volumes(tmp_path, configuration)


def pod_with(security: PodSecurityContext | None = None, **source: Any) -> Pod:
    return make_pod(
        "a",
        uid="uid",
        containers=(container(),),
        volumes=(Volume(name="v", **source),),
        security_context=security,
    )


@pytest.mark.parametrize("medium", ["", "Memory"])
@pytest.mark.parametrize("mode", [0o750, 0o1777, 0, None])
async def test_an_empty_directory_has_the_mode_that_its_pod_says(
    volumes: Volumes, medium: str, mode: int | None
) -> None:
    pod = pod_with(empty_dir=EmptyDirVolumeSource(medium=medium, mode=mode))
    place = (await volumes.prepare(pod, address=""))["v"]
    assert place.stat().st_mode & 0o7777 == (0o777 if mode is None else mode)
    place.chmod(0o700)
    await volumes.prepare(pod, address="")
    assert place.stat().st_mode & 0o7777 == 0o700, "what containers made of it stays"
    volumes.remove("uid")


async def test_the_group_of_a_pod_goes_before_the_mode_of_an_empty_directory(volumes: Volumes) -> None:
    security = PodSecurityContext(fs_group=os.getegid())
    pod = pod_with(security, empty_dir=EmptyDirVolumeSource(mode=0o700))
    place = (await volumes.prepare(pod, address=""))["v"]
    assert place.stat().st_mode & 0o7777 == 0o2770


ITEMS = (KeyToPath(key="a", path="a", user=2001), KeyToPath(key="b", path="b"))
FIELDS = (
    DownwardAPIVolumeFile(path="a", field_ref=NAME, user=2001),
    DownwardAPIVolumeFile(path="b", field_ref=NAME),
)


@is_root
@pytest.mark.parametrize("usual", [2000, None])
@pytest.mark.parametrize(
    "source",
    [
        {"config_map": ConfigMapVolumeSource(name="c", items=ITEMS)},
        {"secret": SecretVolumeSource(secret_name="s", items=ITEMS)},
        {"downward_api": DownwardAPIVolumeSource(items=FIELDS)},
        {"projected": (VolumeProjection(config_map=ConfigMapProjection(name="c", items=ITEMS)),)},
        {"projected": (VolumeProjection(secret=SecretProjection(name="s", items=ITEMS)),)},
        {"projected": (VolumeProjection(downward_api=DownwardAPIProjection(items=FIELDS)),)},
    ],
)
async def test_files_belong_to_the_user_of_their_item_or_of_their_volume(
    volumes: Volumes, source: dict[str, Any], usual: int | None
) -> None:
    [(kind, of)] = source.items()
    given: Any = (
        ProjectedVolumeSource(sources=of, default_user=usual)
        if kind == "projected"
        else type(of)(**{name: getattr(of, name) for name in of.__struct_fields__} | {"default_user": usual})
    )
    place = (await volumes.prepare(pod_with(None, **{kind: given}), address=""))["v"]
    assert [(place / name).stat().st_uid for name in ("a", "b")] == [2001, usual or 0]


@is_root
async def test_all_files_of_a_volume_without_items_belong_to_its_user(volumes: Volumes) -> None:
    source = ConfigMapVolumeSource(name="c", default_user=2000)
    place = (await volumes.prepare(pod_with(config_map=source), address=""))["v"]
    assert {(place / name).stat().st_uid for name in ("a", "b")} == {2000}
