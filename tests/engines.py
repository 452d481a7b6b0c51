"""Real etcd and ZooKeeper servers on loopback, in a directory and on ports of their own."""

import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

PREFIXES = (f"/store-{n}" for n in itertools.count())
"""Where the tests that share a server keep what is theirs."""


PORTS = range(12_000, 30_000)
"""Below those that the kernel gives to connections and those of Services: nobody takes them by chance, also while who has one is
started again, and no connection is made from one of them to itself."""
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, and that this process has not been given before."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            found.append(port)
    return found


def program(name: str, package: str) -> str:
    """Return the path of an engine's program."""
    found = shutil.which(name)
    assert found, f"{name} is not there: apt-get install {package} (scripts/engines does it)"
    return found


class Server:
    """A process that can be killed, frozen and started again."""

    def __init__(self, command: Sequence[str], log: Path, **environment: str) -> None:
        self.command = command
        self.log = log
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


@attrs.frozen
class Machine:
    """Where a server runs: here, or in a network of its own."""

    address: str = "127.0.0.1"
    command: Sequence[str] = ()
    """What is put before a command so that it runs there."""


class Etcd:
    """An etcd cluster of one or more members."""

    def __init__(
        self, directory: Path, members: int = 1, *options: str, machines: Sequence["Machine"] = ()
    ) -> None:
        """Make one, on this machine or, where `machines` are given, each member on another."""
        self.directory = directory
        at = machines or [Machine()] * members
        self.hosts = [machine.address for machine in at]
        ports = free_ports(2 * members)
        self.ports, peers = ports[:members], ports[members:]
        cluster = ",".join(f"n{n}=http://{self.hosts[n]}:{peer}" for n, peer in enumerate(peers))
        scheme = "https" if "--cert-file" in options else "http"
        self.scheme = scheme
        self.members = [
            Server(
                [
                    *at[n].command,
                    program("etcd", "etcd-server"),
                    *("--name", f"n{n}", "--data-dir", str(directory / f"n{n}"), "--log-level", "warn"),
                    *("--listen-client-urls", f"{scheme}://{self.hosts[n]}:{port}"),
                    *("--advertise-client-urls", f"{scheme}://{self.hosts[n]}:{port}"),
                    *("--listen-peer-urls", f"http://{self.hosts[n]}:{peer}"),
                    *("--initial-advertise-peer-urls", f"http://{self.hosts[n]}:{peer}"),
                    *(
                        "--initial-cluster",
                        cluster,
                        "--heartbeat-interval",
                        "50",
                        "--election-timeout",
                        "500",
                    ),
                    *options,
                ],
                directory / f"n{n}.log",
            )
            for n, (port, peer) in enumerate(zip(self.ports, peers, strict=True))
        ]

    def __enter__(self) -> "Etcd":
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            for member in self.members:
                member.start()
            for host, port in zip(self.hosts, self.ports, strict=True):
                self.wait(port, host=host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            if member.running:
                member.resume()
            member.kill()

    def wait(self, port: int, within: float = 120, host: str = "127.0.0.1") -> None:
        """Wait until a member listens. That it is ours is clear: it would not live if the port were another's."""
        deadline = time.monotonic() + within
        while True:
            try:
                socket.create_connection((host, port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "etcd did not start"
                assert all(member.running for member in self.members), "etcd ended"
                time.sleep(0.05)

    def url(self, prefix: str = "") -> str:
        return "etcd://" + ",".join(self._endpoints()) + prefix

    def _endpoints(self) -> list[str]:
        return [f"{host}:{port}" for host, port in zip(self.hosts, self.ports, strict=True)]

    def ctl(self, *arguments: str) -> str:
        """Run etcdctl."""
        endpoints = ",".join(f"{self.scheme}://{endpoint}" for endpoint in self._endpoints())
        done = subprocess.run(
            [program("etcdctl", "etcd-client"), "--endpoints", endpoints, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def leaders(self) -> list[int]:
        """Return whom each member takes for the leader, by id; 0 for a member that knows of none."""
        return [int(at["Status"].get("leader", 0)) for at in self._status()]

    def place_of(self, member: int) -> int:
        """Return which of the members has an id."""
        return [at["Status"]["header"]["member_id"] for at in self._status()].index(member)

    def _status(self) -> list[Any]:
        found: list[Any] = json.loads(self.ctl("endpoint", "status", "--write-out", "json"))
        order = {f"{self.scheme}://{endpoint}": place for place, endpoint in enumerate(self._endpoints())}
        return sorted(found, key=lambda at: order[at["Endpoint"]])

    def move_leader(self) -> None:
        """Let another member lead."""
        leader, members = 0, [0]
        while not leader:  # they are electing one
            found = self._status()
            members = [at["Status"]["header"]["member_id"] for at in found]
            leader = found[0]["Status"].get("leader", 0)
        self.ctl("move-leader", f"{next(one for one in members if one != leader):x}")


class ZooKeeper:
    """A ZooKeeper ensemble of one or more servers."""

    def __init__(self, directory: Path, members: int = 1, *, heap: str = "256m", **settings: str) -> None:
        assert Path("/usr/share/java/zookeeper.jar").exists(), (
            "ZooKeeper is not there: apt-get install zookeeper (scripts/engines does it)"
        )
        ports = free_ports(3 * members)
        self.ports, peers, elections = ports[:members], ports[members : 2 * members], ports[2 * members :]
        self.directory = directory
        self.members = []
        for n, port in enumerate(self.ports, 1):
            home = directory / f"z{n}"
            home.mkdir(parents=True)
            (home / "myid").write_text(f"{n}\n")
            lines = {
                "tickTime": "500",
                "dataDir": str(home),
                "clientPortAddress": "127.0.0.1",
                "clientPort": str(port),
                "admin.enableServer": "false",
                "4lw.commands.whitelist": "srvr",
                "maxClientCnxns": "0",
                **settings,
            }
            if members > 1:
                lines |= {"initLimit": "10", "syncLimit": "4"}
                for other in range(members):
                    lines[f"server.{other + 1}"] = f"127.0.0.1:{peers[other]}:{elections[other]}"
            configuration = home / "zoo.cfg"
            configuration.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
            command = [
                *(
                    program("java", "default-jre-headless"),
                    f"-Xmx{heap}",
                    "-XX:+UseSerialGC",
                    "-Dzookeeper.fsync.warningthresholdms=10000",
                ),
                # What the package names of Netty in its own class path is not enough for TLS.
                *("-cp", "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar:/usr/share/java/netty-codec.jar"),
                "org.apache.zookeeper.server.quorum.QuorumPeerMain",
                str(configuration),
            ]
            self.members.append(Server(command, home / "log"))

    def __enter__(self) -> "ZooKeeper":
        try:
            for member in self.members:
                member.start()
            for port in self.ports:
                self.wait(port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            if member.running:
                member.resume()
            member.kill()

    def wait(self, port: int, within: float = 120) -> None:
        """Wait until a server serves."""
        deadline = time.monotonic() + within
        while not self.role(port):
            assert time.monotonic() < deadline, "ZooKeeper did not start"
            time.sleep(0.1)

    def role(self, port: int) -> str:
        """Return leader, follower or standalone; nothing when it does not serve."""
        answer = self._asked(port, b"srvr")
        lines = dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)
        return lines.get("Mode", "")

    def sessions(self) -> set[str]:
        """Return the sessions that the first server, which must be the only one, has not given up; it must be allowed to `dump`."""
        answer = self._asked(self.ports[0], b"dump")
        assert "SessionTracker dump" in answer, answer
        return set(re.findall(r"^\t(0x[0-9a-f]+)$", answer.partition("ephemeral")[0], re.MULTILINE))

    def _asked(self, port: int, word: bytes) -> str:
        """Ask a server by one of its words of four letters; nothing when it does not serve."""
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.settimeout(2)
                connection.sendall(word)
                answer = b""
                while part := connection.recv(4096):
                    answer += part
        except OSError:
            return ""
        return answer.decode()

    def cli(self, *arguments: str) -> str:
        """Run ZooKeeper's own command line."""
        done = subprocess.run(
            [
                *(program("java", "default-jre-headless"), "-Xmx64m", "-XX:+UseSerialGC"),
                *("-cp", "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar"),
                *("org.apache.zookeeper.ZooKeeperMain", "-server", f"127.0.0.1:{self.ports[0]}", *arguments),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def url(self, chroot: str = "") -> str:
        return "zookeeper://" + ",".join(f"127.0.0.1:{port}" for port in self.ports) + chroot
