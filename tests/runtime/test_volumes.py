import base64
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.api.core.config import ConfigMap, Secret
from kubelib.api.core.container import ResourceRequirements, VolumeMount
from kubelib.api.core.persistentvolumes import LocalVolumeSource, PersistentVolume, PersistentVolumeSpec
from kubelib.api.core.pod import Pod
from kubelib.api.core.projections import (
    ConfigMapProjection,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    KeyToPath,
    ObjectFieldSelector,
    ProjectedVolumeSource,
    ResourceFieldSelector,
    SecretProjection,
    VolumeProjection,
)
from kubelib.api.core.security import PodSecurityContext, SecurityContext
from kubelib.api.core.volumes import (
    ConfigMapVolumeSource,
    DownwardAPIVolumeSource,
    EmptyDirVolumeSource,
    HostPathVolumeSource,
    PersistentVolumeClaimVolumeSource,
    SecretVolumeSource,
    Volume,
)
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.registry.base import Patch
from kubelib.runtime.environment import ConfigMissing
from kubelib.runtime.mounts import show_mount, unmount
from kubelib.runtime.ownership import user_of
from kubelib.runtime.volumes import SHARED_MEMORY, Volumes, in_memory, publish
from kubelib.testing.objects import make_config_map, make_pod
from tests.containers import mounts_below
from tests.runtime.conftest import Configuration, SimNode, container, sim_node


@pytest.fixture
def volumes(tmp_path: Path, configuration: Configuration) -> Volumes:
    configuration.config_maps["settings"] = ConfigMap(
        data={"colour": "blue", "size": "9"}, binary_data={"raw": base64.b64encode(b"\0\xff").decode()}
    )
    configuration.secrets["key"] = Secret(data={"token": base64.b64encode(b"secret").decode()})
    return Volumes(tmp_path / "volumes", configuration)


def pod_with(**source: Any) -> Pod:
    resources = ResourceRequirements(limits={"cpu": "1500m", "memory": "64Mi"})
    spec = container(resources=resources)
    return make_pod(
        "a",
        labels={"app": "web", "zone": "b"},
        uid="uid",
        metadata={"annotations": {"note": 'say "hi"\nthere'}},
        containers=(spec,),
        volumes=(Volume(name="v", **source),),
    )


async def shown(volumes: Volumes, **source: Any) -> dict[str, tuple[bytes, int]]:
    """Return the files of a volume, as a reader finds them: content and mode."""
    place = (await volumes.prepare(pod_with(**source), address="127.244.0.2"))["v"]
    return files_of(place)


def files_of(place: Path) -> dict[str, tuple[bytes, int]]:
    def walk(directory: Path, prefix: str) -> Iterator[tuple[str, tuple[bytes, int]]]:
        for entry in sorted(directory.iterdir()):
            if entry.is_dir():
                yield from walk(entry, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name, (entry.read_bytes(), entry.stat().st_mode & 0o777)

    tops = [entry for entry in sorted(place.iterdir()) if not entry.name.startswith("..")]
    found: dict[str, tuple[bytes, int]] = {}
    for top in tops:
        if top.is_dir():
            found.update(walk(top, f"{top.name}/"))
        else:
            found[top.name] = (top.read_bytes(), top.stat().st_mode & 0o777)
    return found


async def test_an_empty_directory_is_empty_writable_by_all_and_kept(volumes: Volumes) -> None:
    pod = pod_with(empty_dir=EmptyDirVolumeSource())
    place = (await volumes.prepare(pod, address=""))["v"]
    assert list(place.iterdir()) == []
    assert place.stat().st_mode & 0o777 == 0o777
    (place / "file").write_text("kept")
    assert (await volumes.prepare(pod, address=""))["v"] == place
    assert (place / "file").read_text() == "kept"
    volumes.remove("uid")
    assert not place.exists()


async def test_a_config_map_is_a_file_for_each_key(volumes: Volumes) -> None:
    assert await shown(volumes, config_map=ConfigMapVolumeSource(name="settings")) == {
        "colour": (b"blue", 0o644),
        "raw": (b"\0\xff", 0o644),
        "size": (b"9", 0o644),
    }


async def test_items_choose_keys_paths_and_modes(volumes: Volumes) -> None:
    items = (KeyToPath(key="colour", path="etc/colour", mode=0o400), KeyToPath(key="size", path="etc/size"))
    source = ConfigMapVolumeSource(name="settings", items=items, default_mode=0o640)
    assert await shown(volumes, config_map=source) == {
        "etc/colour": (b"blue", 0o400),
        "etc/size": (b"9", 0o640),
    }


async def test_a_secret_is_decoded(volumes: Volumes) -> None:
    source = SecretVolumeSource(secret_name="key", default_mode=0o400)
    assert await shown(volumes, secret=source) == {"token": (b"secret", 0o400)}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"config_map": ConfigMapVolumeSource(name="no")}, 'volume "v" : configmap "no" not found'),
        ({"secret": SecretVolumeSource(secret_name="no")}, 'volume "v" : secret "no" not found'),
        (
            {"config_map": ConfigMapVolumeSource(name="settings", items=(KeyToPath(key="no", path="p"),))},
            "references non-existent config key: no",
        ),
    ],
)
async def test_what_is_missing_is_named_unless_it_is_optional(
    volumes: Volumes, source: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigMissing, match=message):
        await shown(volumes, **source)
    [(kind, value)] = source.items()
    assert await shown(volumes, **{kind: replace(value, optional=True)}) == {}


async def test_the_downward_api_tells_a_pod_of_itself(volumes: Volumes) -> None:
    def field(path: str, name: str) -> DownwardAPIVolumeFile:
        return DownwardAPIVolumeFile(path=path, field_ref=ObjectFieldSelector(field_path=name))

    def resource(path: str, name: str, divisor: str) -> DownwardAPIVolumeFile:
        reference = ResourceFieldSelector(container_name="main", resource=name, divisor=divisor)
        return DownwardAPIVolumeFile(path=path, resource_field_ref=reference)

    items = (
        field("name", "metadata.name"),
        field("labels", "metadata.labels"),
        field("annotations", "metadata.annotations"),
        field("one", "metadata.labels['app']"),
        resource("cpu", "limits.cpu", "1"),
        resource("cpu-milli", "limits.cpu", "1m"),
        resource("memory", "limits.memory", "1Mi"),
    )
    found = await shown(volumes, downward_api=DownwardAPIVolumeSource(items=items))
    assert {name: content.decode() for name, (content, _) in found.items()} == {
        "name": "a",
        "labels": 'app="web"\nzone="b"',
        "annotations": 'note="say \\"hi\\"\\nthere"',
        "one": "web",
        "cpu": "2",
        "cpu-milli": "1500",
        "memory": "64",
    }


async def test_a_projected_volume_joins_its_sources(volumes: Volumes) -> None:
    name = DownwardAPIVolumeFile(path="name", field_ref=ObjectFieldSelector(field_path="metadata.name"))
    sources = (
        VolumeProjection(
            config_map=ConfigMapProjection(name="settings", items=(KeyToPath(key="size", path="n"),))
        ),
        VolumeProjection(secret=SecretProjection(name="key")),
        VolumeProjection(downward_api=DownwardAPIProjection(items=(name,))),
    )
    source = ProjectedVolumeSource(sources=sources, default_mode=0o444)
    assert await shown(volumes, projected=source) == {
        "n": (b"9", 0o444),
        "name": (b"a", 0o444),
        "token": (b"secret", 0o444),
    }


async def test_a_host_path_is_itself_after_the_check_of_its_type(
    volumes: Volumes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mount(path: Path, kind: str) -> Path:
        source = HostPathVolumeSource(path=str(path), type=kind)
        return (await volumes.prepare(pod_with(host_path=source), address=""))["v"]

    file, directory, sock = tmp_path / "file", tmp_path / "directory", tmp_path / "s"
    file.touch()
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # the path of a socket must be short
        listening.bind("s")
        good = {
            "": [file, directory, sock, tmp_path / "none"],
            "File": [file],
            "Directory": [directory],
            "Socket": [sock],
            "CharDevice": [Path("/dev/null")],
            "DirectoryOrCreate": [directory, tmp_path / "new" / "deep"],
            "FileOrCreate": [file, tmp_path / "new-file"],
        }
        for kind, paths in good.items():
            for path in paths:
                assert await mount(path, kind) == path
        assert (tmp_path / "new" / "deep").is_dir()
        assert (tmp_path / "new-file").is_file()
        bad = {
            "File": directory,
            "Directory": file,
            "Socket": file,
            "CharDevice": file,
            "BlockDevice": file,
            "DirectoryOrCreate": file,
            "FileOrCreate": directory,
        }
        for kind, path in bad.items():
            with pytest.raises(ConfigMissing, match="hostPath type check failed"):
                await mount(path, kind)


def test_files_change_all_at_once_behind_one_link(tmp_path: Path) -> None:
    publish(tmp_path, {"a": (b"1", 0o644), "dir/b": (b"1", 0o644)})
    first = os.readlink(tmp_path / "..data")
    assert os.readlink(tmp_path / "a") == "..data/a"
    publish(tmp_path, {"a": (b"1", 0o644), "dir/b": (b"1", 0o644)})
    assert os.readlink(tmp_path / "..data") == first
    held = os.open(tmp_path / "a", os.O_RDONLY)
    publish(tmp_path, {"a": (b"2", 0o644), "c": (b"2", 0o600)})
    assert files_of(tmp_path) == {"a": (b"2", 0o644), "c": (b"2", 0o600)}
    assert os.read(held, 10) == b"1"
    os.close(held)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["..1", "..data", "a", "c"]
    publish(tmp_path, {"a": (b"2", 0o400), "c": (b"2", 0o600)})
    assert files_of(tmp_path)["a"] == (b"2", 0o400)
    publish(tmp_path, {})
    assert files_of(tmp_path) == {}


async def test_volumes_are_not_taken_from_a_container_whose_start_takes_longer_than_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with sim_node(tmp_path, pull_delay=100) as node, node.running():
        await node.client.resource(ConfigMap).create(make_config_map("settings", colour="blue"))
        volume = Volume(name="v", config_map=ConfigMapVolumeSource(name="settings"))
        spec = container(volume_mounts=(VolumeMount(name="v", mount_path="/etc/v"),))
        await node.run(containers=(spec,), volumes=(volume,))
        await node.until(lambda p: p.status.phase == "Running", within=102)
        [mount] = node.spec_of("main").mounts
        assert (Path(mount.source) / "colour").read_text() == "blue"
    assert "failed" not in caplog.text


async def test_a_running_container_sees_a_changed_config_map_at_once(node: SimNode) -> None:
    await node.client.resource(ConfigMap).create(make_config_map("settings", colour="blue"))
    volume = Volume(name="v", config_map=ConfigMapVolumeSource(name="settings"))
    spec = container(volume_mounts=(VolumeMount(name="v", mount_path="/etc/v"),))
    await node.run(containers=(spec,), volumes=(volume,))
    await node.until(lambda p: p.status.phase == "Running")
    [mount] = node.spec_of("main").mounts
    assert (Path(mount.source) / "colour").read_text() == "blue"
    await node.client.resource(ConfigMap).patch(
        Key("default", "settings"), Patch("merge", {"data": {"colour": "red", "size": "1"}})
    )
    await anyio.sleep(0.1)
    assert {name: content for name, (content, _) in files_of(Path(mount.source)).items()} == {
        "colour": b"red",
        "size": b"1",
    }
    await node.client.resource(ConfigMap).delete(Key("default", "settings"))
    await anyio.sleep(61)
    assert (Path(mount.source) / "colour").read_text() == "red"
    await node.client.resource(ConfigMap).create(make_config_map("settings", colour="green"))
    await anyio.sleep(0.1)
    assert (Path(mount.source) / "colour").read_text() == "green"
    assert (await node.status()).restart_count == 0


async def test_a_pod_waits_for_a_volume_that_cannot_be_made_and_says_why(node: SimNode) -> None:
    volume = Volume(name="v", config_map=ConfigMapVolumeSource(name="settings"))
    await node.run(volumes=(volume,))
    await node.until(lambda p: bool(p.status.container_statuses))
    waiting = (await node.status()).state.waiting
    assert waiting is not None and waiting.reason == "ContainerCreating"
    await anyio.sleep(1)
    [event] = await node.events("FailedMount")
    assert event.message == 'MountVolume.SetUp failed for volume "v" : configmap "settings" not found'
    await node.client.resource(ConfigMap).create(make_config_map("settings"))
    await node.until(lambda p: p.status.phase == "Running")


async def test_a_sub_path_is_made_and_may_name_variables_but_not_lead_out(node: SimNode) -> None:
    volume = Volume(name="v", empty_dir=EmptyDirVolumeSource())
    mounts = (
        VolumeMount(name="v", mount_path="/a", sub_path="logs/a"),
        VolumeMount(name="v", mount_path="/b", sub_path_expr="$(HOSTNAME)"),
    )
    await node.run(containers=(container(volume_mounts=mounts),), volumes=(volume,))
    await node.until(lambda p: p.status.phase == "Running")
    one, two = node.spec_of("main").mounts
    assert one.source.endswith("/v/logs/a") and Path(one.source).is_dir()
    assert two.source.endswith("/v/a") and Path(two.source).is_dir()


# In memory


def memory_pod(limit: str = "", size: str = "") -> Pod:
    limits = {"memory": limit} if limit else {}
    main = container(resources=ResourceRequirements(limits=limits))
    source = EmptyDirVolumeSource(medium="Memory", size_limit=size)
    return make_pod("m", uid="m-1", containers=(main,), volumes=(Volume(name="v", empty_dir=source),))


async def test_a_volume_in_memory_is_as_large_as_it_may_be_and_goes_with_its_pod(tmp_path: Path) -> None:
    before = Path("/proc/mounts").read_text()
    volumes = Volumes(tmp_path, Configuration())
    pod = memory_pod(limit="4Mi", size="8Mi")
    place = (await volumes.prepare(pod, address=""))["v"]
    assert (await volumes.prepare(pod, address=""))["v"] == place, "made once"
    (place / "file").write_bytes(b"x" * (1 << 20))
    assert place.resolve().stat().st_mode & 0o777 == 0o777
    kept = place.resolve()
    if place.is_symlink():  # whoever may not mount
        assert kept.parent == SHARED_MEMORY
    else:
        with pytest.raises(OSError, match="No space left"):
            (place / "large").write_bytes(b"x" * (5 << 20))
    volumes.remove("m-1")
    assert not kept.exists() and not place.exists()
    assert Path("/proc/mounts").read_text() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_process_that_hears_of_no_mounts_is_shown_one_and_loses_it_with_its_directory(
    tmp_path: Path,
) -> None:
    apart = ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo apart; exec sleep 1000"]
    with subprocess.Popen(apart, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"apart\n"
            there = Path(f"/proc/{process.pid}/root{tmp_path}/memory")
            place = in_memory(tmp_path / "memory", 1 << 20)
            show_mount(tmp_path, process.pid)  # nothing is mounted there
            (place / "file").touch()
            assert not list(there.iterdir())
            for _ in range(2):
                show_mount(place, process.pid)
                assert mounts_below(tmp_path, str(process.pid)) == [str(place)]
            assert [path.name for path in there.iterdir()] == ["file"]
            unmount(place)
            place.rmdir()
            assert mounts_below(tmp_path, str(process.pid)) == []
        finally:
            process.kill()


async def test_who_may_not_mount_gets_a_place_in_the_memory_that_all_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "shm").mkdir()
    monkeypatch.setattr("kubelib.runtime.volumes.mount", refuse)
    monkeypatch.setattr("kubelib.runtime.volumes.SHARED_MEMORY", tmp_path / "shm")
    volumes = Volumes(tmp_path / "volumes", Configuration())
    place = (await volumes.prepare(memory_pod(), address=""))["v"]
    (place / "file").write_text("kept")
    assert [p.name for p in (tmp_path / "shm").iterdir()] == [f"kubelib-{os.getuid()}-m-1-v"]
    assert (await volumes.prepare(memory_pod(), address=""))["v"] == place
    assert (place / "file").read_text() == "kept"
    volumes.remove("m-1")
    assert list((tmp_path / "shm").iterdir()) == []


async def test_after_a_restart_of_the_machine_a_volume_in_memory_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shm"
    shared.mkdir()
    monkeypatch.setattr("kubelib.runtime.volumes.SHARED_MEMORY", shared)
    volumes = Volumes(tmp_path / "volumes", Configuration())
    pod = pod_of_group(empty_dir=EmptyDirVolumeSource(medium="Memory"))
    for _ in range(2):
        place = (await volumes.prepare(pod, address=""))["v"]
        assert rights(place.resolve()) == (GROUP, 0o2777)
        assert list(place.iterdir()) == []
        (place / "file").touch()
        if place.is_symlink():  # whoever may not mount
            shutil.rmtree(place.resolve())
        else:
            unmount(place)
    volumes.remove("uid")


# Of a group

GROUP = 4321 if os.geteuid() == 0 else os.getegid()
"""Only root may give files to a group that it is not in."""


def pod_of_group(user: int | None = None, **source: Any) -> Pod:
    pod = pod_with(**source)
    return replace(
        pod,
        spec=replace(pod.spec, security_context=PodSecurityContext(fs_group=GROUP, run_as_user=user)),
    )


def rights(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_gid, found.st_mode & 0o7777


@pytest.mark.parametrize("medium", ["", "Memory"])
async def test_an_empty_directory_belongs_to_the_pods_group_with_all_that_is_made_there(
    volumes: Volumes, medium: str
) -> None:
    pod = pod_of_group(empty_dir=EmptyDirVolumeSource(medium=medium))
    place = (await volumes.prepare(pod, address=""))["v"].resolve()
    assert rights(place) == (GROUP, 0o2777)
    (place / "below").mkdir()
    (place / "below" / "file").touch(mode=0o600)
    assert (place / "below" / "file").stat().st_gid == GROUP
    await volumes.prepare(pod, address="")
    assert (place / "below" / "file").stat().st_mode & 0o777 == 0o600, "given once"
    volumes.remove("uid")


async def test_files_that_are_shown_may_be_read_by_the_pods_group_also_when_they_have_changed(
    volumes: Volumes, configuration: Configuration
) -> None:
    pod = pod_of_group(
        secret=SecretVolumeSource(
            secret_name="key", default_mode=0o400, items=(KeyToPath(key="token", path="deep/token"),)
        )
    )
    place = (await volumes.prepare(pod, address=""))["v"]
    for _ in range(2):
        assert rights(place) == (GROUP, 0o2755)
        assert rights((place / "deep").resolve()) == (GROUP, 0o2755)
        assert rights((place / "deep" / "token").resolve()) == (GROUP, 0o440)
        first = os.readlink(place / "..data")
        await volumes.prepare(pod, address="")
        assert os.readlink(place / "..data") == first, "nothing has changed"
        configuration.secrets["key"] = Secret(data={"token": base64.b64encode(b"changed").decode()})
        await volumes.prepare(pod, address="")
    assert (place / "deep" / "token").read_bytes() == b"changed"


@pytest.mark.parametrize(
    ("policy", "mode"), [("", 0o660), ("Always", 0o660), ("OnRootMismatch", 0o600)], ids=str
)
async def test_local_storage_is_given_to_the_group_as_the_policy_says_and_once(
    policy: str, mode: int, tmp_path: Path, configuration: Configuration
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()

    class Storage:
        async def claimed_volume(self, namespace: str, name: str) -> PersistentVolume:
            return PersistentVolume(spec=PersistentVolumeSpec(local=LocalVolumeSource(path=str(disk))))

    volumes = Volumes(tmp_path / "volumes", configuration, storage=Storage())
    pod = pod_of_group(persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name="c"))
    security = PodSecurityContext(fs_group=GROUP, fs_group_change_policy=policy)
    pod = replace(pod, spec=replace(pod.spec, security_context=security))
    await volumes.prepare(pod, address="")
    assert rights(disk) == (GROUP, 0o2775)
    (disk / "file").touch(mode=0o600)
    await volumes.prepare(pod, address="")
    assert rights(disk / "file") == (GROUP, 0o600), "this Pod has it already"
    volumes.remove("uid")
    await volumes.prepare(pod, address="")
    assert rights(disk / "file") == (GROUP, mode)


async def test_a_path_of_the_host_stays_whose_it_is(volumes: Volumes, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    before = rights(tmp_path / "own")
    pod = pod_of_group(host_path=HostPathVolumeSource(path=str(tmp_path / "own")))
    await volumes.prepare(pod, address="")
    assert rights(tmp_path / "own") == before


def test_all_containers_must_run_as_one_user_for_tokens_to_be_the_users() -> None:
    def pod(*users: int | None, shared: int | None = None) -> Pod:
        containers = tuple(
            container(f"c{number}", security_context=SecurityContext(run_as_user=user))
            for number, user in enumerate(users)
        )
        return make_pod("a", containers=containers, security_context=PodSecurityContext(run_as_user=shared))

    assert user_of(pod(7, None, shared=7)) == 7
    assert user_of(pod(7, 8)) is None
    assert user_of(pod(7, None)) is None
    assert user_of(make_pod("a")) is None
