"""Containers that are shut in, without an engine: the suite's promises again, and what isolation adds to them."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.runtime.base import CannotStart, ImageNotFound, Mount, Resources, Security
from kubelib.runtime.isolation import cgroups
from kubelib.runtime.isolation.holders import CannotIsolate
from kubelib.runtime.isolation.images import Images, lay_over
from kubelib.runtime.isolation.inside import USUAL, below, kept, renounce
from kubelib.runtime.isolation.plan import check_rights, user_in
from kubelib.runtime.process import ProcessRuntime
from kubelib.testing.runtime import (
    MARK,
    AttachSuite,
    DeviceSuite,
    DurableSuite,
    ExecSuite,
    NamesSuite,
    Open,
    Program,
    ResizeSuite,
    RuntimeSuite,
    SandboxLimitSuite,
    StatsSuite,
    TerminalSuite,
    ended,
    text_of,
)
from tests.ownnetwork import networks_left, own_network, run
from tests.runtime.test_process import processes

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces, mounts and control groups need root")
BUSYBOX = Path("/bin/busybox")


def groups_left(root: Path) -> list[str]:
    """Return the control groups of a runtime."""
    prefix = f"kubelib-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"
    # Groups of others come and go meanwhile, which os.walk does not mind.
    walked = os.walk("/sys/fs/cgroup")
    return [place for place, _, _ in walked if os.path.basename(place).startswith(prefix)]


def mounts_left(root: Path) -> list[str]:
    """Return the mounts of a runtime."""
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(root) in line]


def left(root: Path) -> list[str]:
    """Return the control groups and mounts of a runtime."""
    return groups_left(root) + mounts_left(root)


@as_root
class TestIsolatedProcesses(
    RuntimeSuite,
    ExecSuite,
    DeviceSuite,
    NamesSuite,
    AttachSuite,
    TerminalSuite,
    StatsSuite,
    ResizeSuite,
    SandboxLimitSuite,
    DurableSuite,
):
    address = "10.244.77.1"

    @pytest.fixture(autouse=True)
    def network(self) -> Iterator[None]:
        with own_network():
            yield
            assert networks_left() == []

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def root(self, tmp_path: Path, network: None) -> Iterator[Path]:
        self.directory = tmp_path / "runtime"
        yield self.directory
        assert processes(str(self.directory)) == []
        assert left(self.directory) == []

    @pytest.fixture
    def open_runtime(self, root: Path) -> Open:
        def opened() -> AbstractAsyncContextManager[Any]:
            return ProcessRuntime(
                root,
                isolation="pod",
                images=root.parent / "images",
                pids_limit=200,
                network="10.244.0.0/16",
            )

        return opened

    def container(self, program: Program | None = None, **more: Any) -> Any:
        more["env"] = {MARK: str(self.directory), **more.get("env", {})}
        return super().container(program, **more)

    def held(self) -> dict[str, int]:
        """Return what there is in the kernel; of each network namespace one device is here."""
        return {
            "mounts": len(mounts_left(self.directory)),
            "control groups": len(groups_left(self.directory)),
            "network devices": len(run("ip", "-brief", "link").splitlines()),
        }

    def leftovers(self) -> list[str]:
        files = [str(path) for path in (self.directory / "sandboxes").glob("*/**")]
        return files + processes(str(self.directory))

    async def output(self, runtime: ProcessRuntime, script: str, **more: Any) -> str:
        """Run a line of shell in a container of its own; return what it says."""
        log = self.directory / "said"
        sandbox = await runtime.run_sandbox(self.sandbox())
        spec = self.container(Program(), log_path=str(log), **{"command": ("sh", "-c", script), **more})
        container = await runtime.start_container(sandbox, spec)
        await ended(runtime, container)
        return (await text_of(log)).decode()

    async def test_a_container_sees_its_own_processes_host_name_and_files(
        self, runtime: ProcessRuntime, tmp_path: Path
    ) -> None:
        volume, secret = tmp_path / "volume", tmp_path / "read-only"
        volume.mkdir()
        secret.mkdir()
        (secret / "key").write_text("secret\n")
        said = await self.output(
            runtime,
            "echo $$; hostname; ls /proc | grep -c '^[0-9]'; cat /etc/config/key; echo x > /data/made; echo y > /made;"
            " echo z > /etc/config/new || echo refused; cat /dev/null; mount | wc -l; echo w > /proc/sys/kernel/hostname || echo no",
            mounts=(Mount(str(volume), "/data"), Mount(str(secret), "/etc/config", True)),
        )
        lines = said.splitlines()
        assert lines[:2] == ["1", self.sandbox().hostname]
        assert int(lines[2]) < 10, "not the host's processes"
        assert lines[3] == "secret"
        assert "refused" in lines and "no" in lines
        assert (volume / "made").read_text() == "x\n"
        assert not Path("/made").exists() and not Path("/etc/config").exists()

    async def test_it_may_do_what_containers_usually_may_and_no_more(self, runtime: ProcessRuntime) -> None:
        script = "grep CapBnd /proc/self/status; grep NoNewPrivs /proc/self/status; mount -t tmpfs t /tmp || echo refused"
        said = await self.output(runtime, script, security=Security(no_new_privileges=True))
        bound = int(said.split()[1], 16)
        assert bound.bit_count() == len(USUAL) and not bound >> 21 & 1, "not CAP_SYS_ADMIN"
        assert "NoNewPrivs:\t1" in said and "refused" in said

    async def test_memory_beyond_the_limit_ends_it_and_is_said_to(self, runtime: ProcessRuntime) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox())
        script = "head -c 200M /dev/zero | tail"
        spec = self.container(
            Program(), command=("sh", "-c", f"exec {script}"), resources=Resources(memory=32 << 20)
        )
        found = await ended(runtime, await runtime.start_container(sandbox, spec))
        assert found.reason == "OOMKilled" and found.exit_code != 0

    async def test_forks_without_end_meet_a_limit_and_nothing_is_left_of_them(
        self, runtime: ProcessRuntime
    ) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox())
        bomb = "(while :; do sleep 1000 & done); exec sleep 1000"
        container = await runtime.start_container(
            sandbox, self.container(Program(), command=("sh", "-c", bomb))
        )
        with anyio.fail_after(60):
            while (await runtime.stats(container)).processes < 190:
                await anyio.sleep(0.05)
        assert (await runtime.stats(container)).processes <= 200
        await runtime.stop_container(container, grace=0.1)
        await runtime.remove_sandbox(sandbox)
        assert self.leftovers() == []

    async def test_commands_run_inside_as_the_same_user(self, runtime: ProcessRuntime) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox())
        spec = self.container(Program(), user=1234, group=1234)
        container = await runtime.start_container(sandbox, spec)
        said = await runtime.exec(
            container, ("sh", "-c", "id -u; id -g; hostname; cat /proc/1/comm; cat /proc/self/cgroup")
        )
        lines = said.stdout.decode().splitlines()
        assert lines[:4] == ["1234", "1234", self.sandbox().hostname, "sh"]
        assert any("kubelib-" in line for line in lines[4:])

    async def test_a_container_that_looks_into_another_sees_its_processes(
        self, runtime: ProcessRuntime
    ) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox())
        first = await runtime.start_container(sandbox, self.container(Program(), command=("sleep", "1234")))
        said = await self.output(runtime, "cat /proc/1/cmdline", name="look", target=first)
        assert said.replace("\0", " ").startswith("sleep 1234")

    async def test_two_containers_of_a_pod_share_ipc_and_not_processes(self, runtime: ProcessRuntime) -> None:
        sandbox = await runtime.run_sandbox(self.sandbox())
        first = await runtime.start_container(sandbox, self.container(Program()))
        second = await runtime.start_container(sandbox, self.container(Program(), name="second"))
        script = (
            "sh",
            "-c",
            "readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid; readlink /proc/self/ns/net",
        )
        one = (await runtime.exec(first, script)).stdout.decode().split()
        two = (await runtime.exec(second, script)).stdout.decode().split()
        assert one[0] == two[0] != os.readlink("/proc/self/ns/ipc")
        assert one[1] != two[1]
        assert one[2] == two[2] != os.readlink("/proc/thread-self/ns/net")

    async def test_an_unpacked_image_is_the_root(self, runtime: ProcessRuntime, tmp_path: Path) -> None:
        image = make_layout(tmp_path / "images" / "tool")
        said = await self.output(runtime, "", image="tool:1", command=())
        assert said == "hello from the image\n" * 1 + "/work nobody-here 65534\n", said
        assert (await runtime.pull("tool:1")) == f"sha256:{image}"
        said = await self.output(runtime, "", name="b", image="tool:1", command=("/bin/busybox", "ls", "/"))
        assert "made-by-layer-2" in said.split() and "made-by-layer-1" not in said.split()
        assert "home" not in said.split(), "nothing of the host's"

    async def test_a_root_that_is_read_only_is_not_written_to(self, runtime: ProcessRuntime) -> None:
        said = await self.output(
            runtime, "echo x > /x || echo refused", security=Security(read_only_root=True)
        )
        assert "refused" in said

    async def test_the_files_of_an_image_are_a_volume(self, runtime: ProcessRuntime, tmp_path: Path) -> None:
        make_layout(tmp_path / "images" / "tool")
        root = await runtime.image_volume("tool:1")
        assert (root / "made-by-layer-2").exists() and runtime.image_volumes
        with pytest.raises(ImageNotFound, match="'other' is not in the directory of images"):
            await runtime.image_volume("other")
        mount = Mount(str(root), "/image", read_only=True, options=("noexec",))
        script = "cat /image/bin/start | head -1; /image/bin/start || echo $?; echo x > /image/x || echo kept"
        said = await self.output(runtime, script, mounts=[mount])
        assert [line for line in said.splitlines() if "sh:" not in line] == [
            "#!/bin/busybox sh",
            "126",
            "kept",
        ]

    async def test_a_volume_is_mounted_with_options(self, runtime: ProcessRuntime, tmp_path: Path) -> None:
        (tmp_path / "shown").mkdir()
        mount = Mount(str(tmp_path / "shown"), "/shown", options=("nodev", "nosuid"))
        [line] = (await self.output(runtime, "grep ' /shown ' /proc/mounts", mounts=[mount])).splitlines()
        assert {"rw", "nodev", "nosuid"} <= set(line.split()[3].split(",")) and "noexec" not in line

    async def test_an_unknown_user_of_an_image_is_said(self, runtime: ProcessRuntime, tmp_path: Path) -> None:
        make_layout(tmp_path / "images" / "odd", user="ghost")
        with pytest.raises(
            CannotStart, match="unable to find user ghost: no matching entries in passwd file"
        ):
            await self.output(runtime, "true", image="odd")


def blob(place: Path, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    path = place / "blobs/sha256" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def layer(files: dict[str, bytes | None]) -> bytes:
    """Return a layer: files by name; None: a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755
            if content is None:
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


SCRIPT = b"""#!/bin/busybox sh
echo "hello from the image"
echo "$(/bin/busybox pwd) $WHO $(/bin/busybox id -u)"
"""


def make_layout(place: Path, *, user: str = "nobody", shell: bytes | None = None) -> str:
    """Write an OCI layout of two layers; return the digest of its configuration."""
    busybox = BUSYBOX.read_bytes() if shell is None else shell
    passwd = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    first = layer(
        {
            "bin": None,
            "bin/busybox": busybox,
            "etc": None,
            "etc/passwd": passwd,
            "made-by-layer-1": b"",
            "work": None,
        }
    )
    second = layer({"bin/start": SCRIPT, ".wh.made-by-layer-1": b"", "made-by-layer-2": b""})
    settings = {"Entrypoint": ["/bin/start"], "Env": ["WHO=nobody-here"], "WorkingDir": "/work", "User": user}
    config = blob(place, json.dumps({"config": settings}).encode())
    manifest = {"config": config, "layers": [blob(place, first), blob(place, second)]}
    (place / "index.json").write_text(json.dumps({"manifests": [blob(place, json.dumps(manifest).encode())]}))
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(config["digest"]).removeprefix("sha256:")


def test_layers_are_laid_over_each_other_once(tmp_path: Path) -> None:
    digest = make_layout(tmp_path / "images/team/tool", shell=b"shell")
    images = Images(tmp_path / "images", tmp_path / "cache")
    image = images.open("team/tool:1.2")
    assert image is not None and image.identity == f"sha256:{digest}"
    assert image.root == tmp_path / "cache" / digest
    assert (image.root / "bin/busybox").read_bytes() == b"shell"
    assert sorted(p.name for p in image.root.iterdir()) == ["bin", "etc", "made-by-layer-2", "work"]
    assert (image.entrypoint, image.working_dir, image.env) == (
        ["/bin/start"],
        "/work",
        {"WHO": "nobody-here"},
    )
    assert images.open("team/tool@sha256:ab") == image
    assert user_in(image.root, "nobody") == (65534, 65534) and user_in(image.root, "7:8") == (7, 8)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [digest]


@pytest.mark.parametrize("reference", ["none", "..", "../cache", "", "team/../../x", "."])
def test_what_is_not_below_the_directory_of_images_is_no_image(tmp_path: Path, reference: str) -> None:
    make_layout(tmp_path / "images/tool", shell=b"shell")
    (tmp_path / "cache").mkdir()
    assert Images(tmp_path / "images", tmp_path / "cache").open(reference) is None


def test_a_directory_is_a_root_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "images/plain/bin").mkdir(parents=True)
    (tmp_path / "images/bundle/rootfs/bin").mkdir(parents=True)
    images = Images(tmp_path / "images", tmp_path / "cache")
    plain, bundle = images.open("plain:3"), images.open("bundle")
    assert plain is not None and plain.root == tmp_path / "images/plain"
    assert bundle is not None and bundle.root == tmp_path / "images/bundle/rootfs"


def test_a_layout_that_was_damaged_or_leads_out_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "images/tool"
    make_layout(place, shell=b"shell")
    for path in (place / "blobs/sha256").iterdir():
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ImageNotFound, match="has another content"):
        Images(tmp_path / "images", tmp_path / "cache").open("tool")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").write_text("kept")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/away").symlink_to(tmp_path / "outside")
    for bad in ({"away/.wh.kept": b""}, {"away/.wh..wh..opq": b""}, {"away/new": b"x"}, {"../evil": b"x"}):
        (tmp_path / "layer").write_bytes(layer(dict(bad)))
        with pytest.raises(tarfile.TarError):
            lay_over(tmp_path / "root", tmp_path / "layer")
    assert [p.name for p in (tmp_path / "outside").iterdir()] == ["kept"]
    assert not (tmp_path / "evil").exists()


def test_limits_are_written_as_each_version_of_control_groups_wants_them(tmp_path: Path) -> None:
    resources = Resources(memory=64 << 20, cpu=0.25, cpu_request=0.5, pids=10)
    for controller in cgroups.V1_CONTROLLERS:
        (tmp_path / "v1" / controller / "mine").mkdir(parents=True)
    own = "".join(f"{n}:{c}:/mine\n" for n, c in enumerate(cgroups.V1_CONTROLLERS)) + "0::/\n"
    first = cgroups.Hierarchy("kubelib-x", root=tmp_path / "v1", own=own).groups("uid", "main-0")
    assert not first.unified
    assert cgroups.v1_limits(resources) == {
        "cpu/cpu.shares": "512", "cpu/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "25000",
        "memory/memory.limit_in_bytes": str(64 << 20), "pids/pids.max": "10",
    }  # fmt: skip
    first.make(resources)
    assert {str(p.relative_to(tmp_path)) for p in first.directories()} == {
        f"v1/{controller}/mine/kubelib-x/poduid/main-0" for controller in cgroups.V1_CONTROLLERS
    }
    first.remove()
    first.above().remove()
    assert not list((tmp_path / "v1").rglob("kubelib-*"))
    unified = tmp_path / "v2"
    unified.mkdir()
    (unified / "cgroup.controllers").write_text("cpu memory pids\n")
    (unified / "cgroup.subtree_control").write_text("")
    second = cgroups.Hierarchy("kubelib-x", root=unified, own="0::/system.slice/x.service\n").groups(
        "uid", "main-0"
    )
    group = unified / "system.slice/x.service/kubelib-x/poduid/main-0"
    assert second.unified and second.directories() == [group]
    group.mkdir(parents=True)
    for name in ("cpu.weight", "cpu.max", "memory.max", "memory.oom.group", "pids.max"):
        (group / name).write_text("")  # the kernel's files
    second.make(resources)
    assert {p.name: p.read_text() for p in group.iterdir()} == {
        "cpu.weight": "20", "cpu.max": "25000 100000", "memory.max": str(64 << 20), "memory.oom.group": "1", "pids.max": "10",
    }  # fmt: skip
    assert (unified / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert cgroups.groups_of(second.note()) == second
    for name in ("cpu.weight", "cpu.max", "memory.max", "memory.oom.group"):
        (group.parent / name).write_text("")
    second.above().make_together(Resources(memory=64 << 20))
    assert {p.name: p.read_text() for p in group.parent.glob("*.*")} == {
        "cpu.weight": "1", "cpu.max": "", "memory.max": str(64 << 20), "memory.oom.group": "",
    }  # fmt: skip
    second.above().make_together(Resources(cpu=0.25, cpu_request=0.5))
    assert [(group.parent / name).read_text() for name in ("cpu.weight", "cpu.max")] == ["20", "25000 100000"]


def test_links_of_a_container_lead_nowhere_but_below_its_root(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "etc").symlink_to("/../../var/etc")
    (tmp_path / "loop").symlink_to("loop")
    root = str(tmp_path)
    assert below(root, "/lib/x") == f"{root}/usr/lib/x"
    assert below(root, "../../etc/passwd") == f"{root}/var/etc/passwd"
    assert below(root, "/usr/../../..") == root
    with pytest.raises(OSError, match="Too many"):
        below(root, "/loop/x")


def test_capabilities_are_the_usual_ones_more_and_fewer() -> None:
    def of(**said: Any) -> set[str]:
        return kept({"privileged": False, "add": [], "drop": [], **said})

    assert of() == USUAL
    assert of(drop=["ALL"], add=["NET_ADMIN"]) == {"NET_ADMIN"}
    assert of(add=["SYS_TIME"]) == USUAL | {"SYS_TIME"}
    assert of(drop=["CHOWN"]) == USUAL - {"CHOWN"}
    assert len(of(privileged=True)) == len(of(add=["ALL"])) == 41


@as_root
def test_who_may_not_isolate_is_told_so_in_a_sentence(tmp_path: Path) -> None:
    check_rights(tmp_path / "attempt")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            renounce({"privileged": False, "add": [], "drop": ["ALL"], "no_new_privileges": False})
            check_rights(tmp_path / "attempt")
        except CannotIsolate as error:
            code = 0 if "which needs root and Linux: PermissionError" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not (tmp_path / "attempt").exists()
