"""The page about runtimes: its commands do what it says, and it names the runtimes and versions that there are."""

import os
import re
import subprocess
from pathlib import Path

from kubelib.runtime.docker.configs import PAUSES
from kubelib.runtime.docker.engine import MINIMUM
from kubelib.runtime.garbage import HIGH, LOW
from reference_cluster.runtimes import RUNTIMES
from tests.containers import BUSYBOX, Docker

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "runtimes.md").read_text()


def test_the_commands_make_an_engine_ready(docker_engine: Docker, tmp_path: Path) -> None:
    [block] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    commands = block.replace("build/images", str(tmp_path))
    done = subprocess.run(
        ["sh", "-euc", commands],
        cwd=ROOT,
        env={**os.environ, "DOCKER_HOST": docker_engine.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"Loaded image: {BUSYBOX}" in done.stdout


def test_every_runtime_is_named_and_what_it_needs() -> None:
    for name in RUNTIMES:
        assert f"| `{name}` |" in PAGE
    assert f"(API {MINIMUM})" in PAGE
    assert all(f"`{image}`" in PAGE for image in PAUSES)
    assert f"more than {HIGH} % full" in PAGE
    assert f"until it is {LOW} % full" in PAGE
