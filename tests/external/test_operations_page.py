"""The page about keeping a cluster: its commands do what it says, one after the other."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import yaml

from kubelib.api.codec import decode, encode_json
from kubelib.api.storagemigration import StorageVersionMigration
from tests.engines import free_ports
from tests.external.conftest import real_binary

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
WHERE = "127.0.0.1:6443"


def test_the_migration_of_the_page_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    migration = decode(StorageVersionMigration, encode_json(yaml.safe_load(text)))
    assert migration.spec.resource.resource == "secrets"


def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) > 5
    (port,) = free_ports(1)
    script = "set -eux\n" + "".join(blocks).replace(WHERE, f"127.0.0.1:{port}")
    folders = [Path(sys.executable).parent, Path(real_binary("kubectl")).parent, os.environ["PATH"]]
    environment = {**os.environ, "PATH": ":".join(map(str, folders)), "HOME": str(tmp_path)}
    log = tmp_path / "said"
    with log.open("w") as said:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            shell.wait(timeout=180)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    assert shell.returncode == 0, log.read_text()[-4000:]
    assert "half.backup ends too early" in log.read_text()
    with contextlib.closing(sqlite3.connect(tmp_path / "cluster" / "store.sqlite")) as store:
        ((kept,),) = store.execute(
            "SELECT value FROM changes WHERE key LIKE '%/secrets/default/door' ORDER BY revision DESC LIMIT 1"
        )
    assert kept.startswith(b"kubelib:enc:aesgcm:v1:second:")
