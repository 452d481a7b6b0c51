"""The images that are built without a registry: small, complete, and the same bytes each time."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.engines import free_ports

SCRIPT = Path(__file__).parents[2] / "scripts" / "images"
NAMES = ("pause", "busybox", "redis", "frontend")


def build(directory: Path, *names: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "-o", str(directory), *names]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("images")
    done = build(directory, *NAMES)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(directory / f"{name}.tar") for name in NAMES]
    return directory


def contents(image: Path) -> tuple[dict[str, Any], dict[str, Any], list[bytes]]:
    """Return what an archive says of its image, the image's own description, and its layers."""
    with tarfile.open(image) as archive:

        def read(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()

        [manifest] = json.loads(read("manifest.json"))
        return manifest, json.loads(read(manifest["Config"])), [read(name) for name in manifest["Layers"]]


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_named_and_its_layers_are_those_that_it_lists(images: Path, name: str) -> None:
    manifest, config, layers = contents(images / f"{name}.tar")
    assert manifest["RepoTags"] == [f"localhost/kubelib/{name}:1"]
    listed = config["rootfs"]["diff_ids"]
    assert listed == [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]


def test_the_same_packages_give_the_same_bytes(images: Path, tmp_path: Path) -> None:
    build(tmp_path, *NAMES)
    for name in NAMES:
        assert (tmp_path / f"{name}.tar").read_bytes() == (images / f"{name}.tar").read_bytes()


def test_what_an_image_shares_with_another_is_stored_once(images: Path) -> None:
    [_, _, [shared]], [_, _, layers] = contents(images / "busybox.tar"), contents(images / "redis.tar")
    assert layers[0] == shared
    with tarfile.open(fileobj=io.BytesIO(layers[1])) as archive:
        assert "usr/bin/redis-cli" in archive.getnames()


def test_the_program_that_holds_a_pod_ends_when_it_is_told_to(images: Path, tmp_path: Path) -> None:
    _, config, [layer] = contents(images / "pause.tar")
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        archive.extract("pause", tmp_path, filter="data")
    process = subprocess.Popen([tmp_path / config["config"]["Entrypoint"][0].lstrip("/")])
    deadline = time.monotonic() + 60
    while (
        "State:\tS" not in Path(f"/proc/{process.pid}/status").read_text()
    ):  # waits: nothing else makes it sleep
        assert time.monotonic() < deadline
    process.terminate()
    assert process.wait(60) == 0


@contextmanager
def started(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def asked(
    port: int, method: str, path: str, body: str | bytes | None = None, **headers: str
) -> tuple[int, str]:
    """Ask the front end, as soon as it listens."""
    deadline = time.monotonic() + 60
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        finally:
            connection.close()


def test_the_front_end_keeps_entries_in_redis(images: Path, tmp_path: Path) -> None:
    _, config, layers = contents(images / "frontend.tar")
    program, script = config["config"]["Cmd"][0], config["config"]["Cmd"][-1]
    with tarfile.open(fileobj=io.BytesIO(layers[1])) as archive:
        assert f"usr/bin/{program}" in archive.getnames()
    with tarfile.open(fileobj=io.BytesIO(layers[-1])) as archive:
        archive.extractall(tmp_path, filter="data")
    redis, port = free_ports(2)
    where = {
        f"REDIS_{role}_SERVICE_{what}": value
        for role in ("MASTER", "SLAVE")
        for what, value in (("HOST", "127.0.0.1"), ("PORT", str(redis)))
    }
    with started(f"/usr/bin/{program}", str(tmp_path / script.lstrip("/")), PORT=str(port), **where):
        assert asked(port, "GET", "/healthz") == (200, "ok\n")
        assert asked(port, "GET", "/entries")[0] == 503
        server = ("redis-server", "--port", str(redis), "--save", "", "--dir", str(tmp_path))
        with started(*server):
            deadline = time.monotonic() + 60
            while asked(port, "GET", "/entries")[0] == 503:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert asked(port, "POST", "/entries", "hello <b>§</b>".encode()) == (201, "1\n")
            assert asked(port, "POST", "/entries", " ")[0] == 400
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            assert asked(port, "POST", "/entries", "entry=a+form%21", **form)[0] == 303
            assert asked(port, "GET", "/entries") == (200, '["hello <b>§</b>", "a form!"]\n')
            assert "<li>hello &lt;b&gt;§&lt;/b&gt;</li><li>a form!</li>" in asked(port, "GET", "/")[1]
            assert asked(port, "GET", "/nothing")[0] == 404


def test_an_image_that_is_not_known_is_refused(tmp_path: Path) -> None:
    done = build(tmp_path, "nonsense")
    assert done.returncode == 2
    assert "there is no image 'nonsense': choose of pause, busybox" in done.stderr
