"""Real container engines, each in a directory and a network namespace of its own, and the images that they are given."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import docker
import docker.errors
import podman
import requests

from tests.engines import Server, program

SCRIPT = Path(__file__).parents[1] / "scripts" / "images"
AWAY = (docker.errors.DockerException, requests.exceptions.RequestException)
"""What calls raise when there is no engine."""
BUSYBOX = "localhost/kubelib/busybox:1"
COPY = "localhost/kubelib/copy"


RANGES = {"docker": (241, 31), "podman": (242, 30)}
"""By kind of engine: the second part of the addresses that lead to its network, and of its Pods' addresses."""


def build_images(directory: Path, *names: str) -> Path:
    """Build images; return the directory with their archives."""
    subprocess.run([sys.executable, str(SCRIPT), "-o", str(directory), *names], check=True, timeout=120)
    return directory


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


class Network:
    """A network namespace with a way to and from this machine's, whose Pods can be reached from here."""

    def __init__(self, kind: str) -> None:
        assert os.geteuid() == 0, "only root may make network namespaces"
        for self.number in range(1, 250):
            self.name = f"kubelib-{kind}-{self.number}"
            # Whoever makes it has it: others on this machine may be looking for a free one as well.
            if (
                subprocess.run(["ip", "netns", "add", self.name], capture_output=True, check=False).returncode
                == 0
            ):
                break
        second, third = RANGES[kind]
        self.host, self.inside = f"10.{second}.{self.number}.1", f"10.{second}.{self.number}.2"
        self.pods = f"172.{third}.{self.number}"
        self.device = device = f"kubelib{kind[0]}{self.number}"
        _ip("-n", self.name, "link", "set", "lo", "up")
        _ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("addr", "add", f"{self.host}/30", "dev", device)
        _ip("link", "set", device, "up")
        _ip("-n", self.name, "addr", "add", f"{self.inside}/30", "dev", "eth0")
        _ip("-n", self.name, "link", "set", "eth0", "up")
        _ip("-n", self.name, "route", "add", "default", "via", self.host)
        _ip("route", "add", f"{self.pods}.0/24", "via", self.inside)

    def command(self, *words: str) -> list[str]:
        """Return a command that runs in the namespace, its mounts seen by nobody else."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "-m", "--propagation", "slave", *words]

    def pids(self) -> list[int]:
        done = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return [int(word) for word in done.stdout.split()]

    def remove(self) -> None:
        """Kill what is left in it, and remove it."""
        deadline = time.monotonic() + 60
        while left := self.pids():
            assert time.monotonic() < deadline, f"processes {left} do not end"
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        # The namespace's own end takes a while: the next of this number must not meet this one's route.
        _ip("link", "del", self.device)
        _ip("netns", "del", self.name)


REGISTRY_PORTS = {"docker": 0, "podman": 5000}
"""By kind of engine: where a registry may listen from which it fetches without TLS; 0: on any port."""


class Docker:
    """A Docker Engine whose API is a socket in its directory."""

    kind = "docker"

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.socket = directory / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._options = options
        self.network: Network | None = None
        self.server: Server | None = None

    def __enter__(self) -> "Docker":
        self.directory.mkdir(parents=True, exist_ok=True)
        # In memory: an engine writes its notes to the disk, and waits for that, several times for each container.
        # And short: the path of a socket may have no more than 107 bytes.
        self.data = Path(tempfile.mkdtemp(prefix="kubelib-docker-", dir="/dev/shm"))
        self.network = Network("docker")
        self.cgroup, pods = f"/kubelib-docker-{self.network.number}", self.network.pods
        self.server = Server(
            self.network.command(
                program("dockerd", "docker.io"),
                *("--data-root", str(self.data / "data"), "--exec-root", str(self.data / "exec")),
                *("-p", str(self.directory / "pid"), "-H", self.url),
                *("--bip", f"{pods}.1/24", "--cgroup-parent", self.cgroup),
                *("--insecure-registry", f"{self.network.host}/30", "--shutdown-timeout", "2"),
                *self._options,
            ),
            self.directory / "log",
        )
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def pid(self) -> int:
        """The process in whose mount namespace containers are made."""
        assert self.server is not None
        assert self.server.process is not None
        return self.server.process.pid

    def start(self, within: float = 120) -> None:
        """Start it, also again, and wait until it answers."""
        assert self.server is not None
        assert self.network is not None
        self.server.start()
        deadline = time.monotonic() + within
        while not self._answers():
            assert self.server.running, f"dockerd ended: {(self.directory / 'log').read_text()[-2000:]}"
            assert time.monotonic() < deadline, "dockerd does not answer"
            time.sleep(0.05)
        forward = ["nsenter", f"--net=/run/netns/{self.network.name}", "iptables", "-P", "FORWARD", "ACCEPT"]
        subprocess.run(forward, check=True)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as one:
            if one.connect_ex(str(self.socket)) != 0:  # the client would leave its socket open
                return False
        with contextlib.suppress(*AWAY), self.client() as client:
            return bool(client.version(api_version=False))
        return False

    def stop(self) -> None:
        """Stop it as a system does that is shut down: containers end with it."""
        assert self.server is not None
        assert self.server.process is not None
        self.server.signal(signal.SIGTERM)
        self.server.process.wait(120)

    def client(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.url, version="1.41", timeout=120)

    def load(self, images: Path, names: Sequence[str]) -> None:
        with self.client() as client:
            for name in names:
                with (images / f"{name}.tar").open("rb") as archive:
                    for line in client.load_image(archive):
                        assert "error" not in line, line

    def containers(self) -> list[str]:
        """Return the names of all containers."""
        with self.client() as client:
            return [name.lstrip("/") for line in client.containers(all=True) for name in line["Names"]]

    def told(self) -> str:
        """Return what the engine tells of its containers, and the end of its log, for who must find out why they are there."""
        with self.client() as client:
            lines = [
                f"{line['Names']}: {line['State']}, {line['Status']}" for line in client.containers(all=True)
            ]
        return "\n".join([*lines, (self.directory / "log").read_text()[-4000:]])

    def copy_image(self) -> str:
        """Make an image of its own with two names that has what busybox's has; return one of them."""
        with self.client() as client:
            made = client.create_container_from_config({"Image": BUSYBOX, "Cmd": ["true"]}, "copied")
            client.commit(made["Id"], COPY, "1")
            client.remove_container(made["Id"])
            client.tag(f"{COPY}:1", COPY, "2")
        return f"{COPY}:1"

    def forget_image(self, image: str) -> None:
        """Take a name from an image, and remove the image if it has no other."""
        with self.client() as client:
            client.remove_image(image)

    def kill(self) -> None:
        """Kill it. Its containers run on, until it is started again: it then ends what it finds."""
        assert self.server is not None
        self.server.kill()
        # Its containerd ends with it, a little later: one that is started before would take it for its own.
        note = self.data / "exec" / "containerd" / "containerd.pid"
        with contextlib.suppress(FileNotFoundError):
            pid = int(note.read_text())
            while is_running(pid):
                time.sleep(0.01)
            note.unlink()

    def __exit__(self, *_: object) -> None:
        assert self.network is not None
        assert self.server is not None
        cgroups = {self.cgroup}
        if self.server.running:
            self.server.resume()
            with contextlib.suppress(*AWAY), self.client() as client:
                for line in client.containers(all=True):
                    cgroups.add(client.inspect_container(line["Id"])["HostConfig"]["CgroupParent"])
                    client.remove_container(line["Id"], force=True, v=True)
            self.stop()
        self.network.remove()
        for name in filter(None, cgroups):
            for cgroup in Path("/sys/fs/cgroup").glob(f"*{name}"):
                for inner in (*cgroup.glob("*/"), cgroup):  # a container's may be left for a moment after it
                    with contextlib.suppress(OSError):
                        inner.rmdir()
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)


CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=8192:8192"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
exit_command_delay = 5
[network]
default_subnet = "{subnet}"
"""
"""Without these limits nothing starts where the machine allows less; the rest keeps one service apart from others."""


class Podman:
    """A Podman service whose API is a socket in its directory, with storage and networks of its own."""

    kind = "podman"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "podman.sock"
        self.url = f"unix://{self.socket}"
        self.network: Network | None = None
        self.server: Server | None = None

    def __enter__(self) -> "Podman":
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data = Path(tempfile.mkdtemp(prefix="kubelib-podman-", dir="/dev/shm"))
        self.network = Network("podman")
        self.settings = self.directory / "containers.conf"
        self.settings.write_text(CONTAINERS_CONF.format(subnet=f"{self.network.pods}.0/24"))
        self.registries = self.directory / "registries.conf"
        place = f"{self.network.host}:{REGISTRY_PORTS[self.kind]}"
        self.registries.write_text(f'[[registry]]\nlocation = "{place}"\ninsecure = true\n')
        self.environment = {
            "CONTAINERS_CONF": str(self.settings),
            "CONTAINERS_REGISTRIES_CONF": str(self.registries),
            "TMPDIR": str(self.data),
            "TZ": "UTC",
        }
        # Its mounts, of containers and networks, are there as long as this one is: also while the service is not.
        self.holder = subprocess.Popen(
            self.network.command("sleep", "infinity"), start_new_session=True, stdin=subprocess.DEVNULL
        )
        self.server = Server(
            self.inside(*self.command("system", "service", "--time=0", self.url)),
            self.directory / "log",
            **self.environment,
        )
        try:
            self._wait_for_holder()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def pid(self) -> int:
        """The process in whose mount namespace containers are made."""
        return self.holder.pid

    def inside(self, *words: str) -> list[str]:
        """Return a command that runs in the service's network and sees its mounts."""
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-m", *words]

    def _wait_for_holder(self, within: float = 120) -> None:
        deadline = time.monotonic() + within
        comm = Path(f"/proc/{self.holder.pid}/comm")
        while comm.read_text().strip() != "sleep":
            assert time.monotonic() < deadline, "there is no holder of mounts"
            time.sleep(0.01)

    def command(self, *words: str) -> list[str]:
        """Return a command of Podman's on the same storage."""
        return [
            program("podman", "podman"),
            *("--root", str(self.data / "root"), "--runroot", str(self.data / "run")),
            *("--tmpdir", str(self.data / "tmp"), "--network-config-dir", str(self.data / "networks")),
            *words,
        ]

    def run(self, *words: str) -> str:
        """Run a command of Podman's beside the service, in its network and with its mounts."""
        done = subprocess.run(
            self.inside(*self.command(*words)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **self.environment},
        )
        assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"
        return done.stdout

    def start(self, within: float = 120) -> None:
        """Start the service, also again, and wait until it answers. What runs does not depend on it."""
        assert self.server is not None
        self.socket.unlink(missing_ok=True)
        self.server.start()
        deadline = time.monotonic() + within
        while not self._listens():
            assert self.server.running, f"podman ended: {(self.directory / 'log').read_text()[-2000:]}"
            assert time.monotonic() < deadline, "podman does not answer"
            time.sleep(0.05)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as one:
            return one.connect_ex(str(self.socket)) == 0

    def load(self, images: Path, names: Sequence[str]) -> None:
        for name in names:
            self.run("load", "-q", "-i", str(images / f"{name}.tar"))

    def containers(self) -> list[str]:
        """Return the names of all pods and containers."""
        with podman.PodmanClient(base_url=self.url, timeout=120) as client:
            listed = client.api.get("/containers/json", params={"all": "true"}).json()
            pods = client.api.get("/pods/json").json() or []
        return [name for line in listed or [] for name in line["Names"]] + [pod["Name"] for pod in pods]

    def told(self) -> str:
        """Return what the engine tells of its pods and containers, and the end of its log, for who must find out why they are there."""
        shown = [
            subprocess.run(
                self.inside(*self.command(*words)),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
                env={**os.environ, **self.environment},
            )
            for words in (("pod", "ps"), ("ps", "--all", "--pod"))
        ]
        lines = [f"{done.stdout}{done.stderr}" for done in shown]
        return "\n".join([*lines, (self.directory / "log").read_text()[-4000:]])

    def copy_image(self) -> str:
        """Make an image of its own with two names that has what busybox's has; return one of them."""
        self.run("create", "--name", "copied", BUSYBOX, "true")
        self.run("commit", "-q", "copied", f"{COPY}:1")
        self.run("rm", "copied")
        self.run("tag", f"{COPY}:1", f"{COPY}:2")
        return f"{COPY}:1"

    def forget_image(self, image: str) -> None:
        """Take a name from an image, and remove the image if it has no other."""
        self.run("rmi", image)

    def kill(self) -> None:
        """Kill it. What runs does not depend on it."""
        assert self.server is not None
        self.server.kill()

    def __exit__(self, *_: object) -> None:
        assert self.network is not None
        if self.server is not None and self.server.running:
            self.server.resume()
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.run("pod", "rm", "--all", "--force", "--time", "0")
                self.run("rm", "--all", "--force", "--time", "0")
            self.server.kill()
        self.holder.kill()
        self.holder.wait()
        self.network.remove()
        for pid in self.monitors():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for cgroup in Path("/sys/fs/cgroup").glob("*/libpod_parent"):
            with contextlib.suppress(OSError):  # not empty: another Podman of this machine has it too
                cgroup.rmdir()
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def monitors(self) -> list[int]:
        """Return the processes of this machine that are about this Podman's storage."""
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if process.name.isdigit() and str(self.data).encode() in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
        return found


def is_running(pid: int) -> bool:
    """Return whether a process is there, and not only waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def mounts_below(directory: Path, pid: str = "self") -> list[str]:
    """Return what is mounted below a directory, as a process sees it."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(str(directory))]
