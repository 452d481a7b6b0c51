import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.engines import free_ports

ROOT = Path(__file__).resolve().parents[2]
KUBELIB = Path(sys.executable).with_name("kubelib")


def test_the_examples_of_the_readme_run_as_shown() -> None:
    failed, attempted = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert attempted > 5
    assert failed == 0


def test_the_commands_of_the_readme_exist() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    commands = [line for block in blocks for line in block.strip().splitlines()]
    scripts = [command for command in commands if not command.startswith("kubelib ")]
    assert scripts == ["scripts/run", "scripts/test"]
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)
    daemons = [shlex.split(command)[1:] for command in commands if command not in scripts]
    assert len(daemons) > 4
    # They run in tests/external/test_daemons.py; here an unknown word or option fails.
    for arguments in daemons:
        subprocess.run([KUBELIB, *arguments, "--help"], capture_output=True, check=True)


def test_the_first_command_ends_with_a_ready_cluster_and_the_guestbook_answering(tmp_path: Path) -> None:
    [port] = free_ports(1)
    environment = {
        **os.environ,
        "VENV": str(Path(sys.executable).parent.parent),
        "DATA_DIR": str(tmp_path / "cluster"),
        "LISTEN": f"127.0.0.1:{port}",
    }
    done = subprocess.run(
        [ROOT / "scripts" / "run"], capture_output=True, text=True, timeout=240, env=environment, check=False
    )
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        shown = re.search(r"```text\n(kubelib is ready.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        assert shown is not None

        def shape(text: str) -> list[str]:
            """Leave out what differs from run to run: times, addresses, generated names."""
            text = re.sub(r"https?://\S+|kubectl .*", "…", text)
            return [
                re.sub(r"^ *[\d.]+s|guestbook-\w+-\w+|\d+ entries", "…", line)
                for line in text.strip().splitlines()
            ]

        assert shape(done.stdout) == shape(shown[1])
    finally:
        kubeconfig = tmp_path / "cluster" / "admin.kubeconfig"
        _end_pods(kubeconfig)
        subprocess.run([ROOT / "scripts" / "run", "stop"], env=environment, check=True)


def _end_pods(kubeconfig: Path) -> None:
    """Delete everything in the namespace, so that no process is left behind."""
    import anyio

    from kubelib.api.core.pod import Pod
    from kubelib.api.core.replication import ReplicationController
    from kubelib.api.errors import NotFound
    from kubelib.client.http import HttpClient
    from kubelib.client.kubeconfig import load_connection

    async def main() -> None:
        async with HttpClient(load_connection([kubeconfig])) as client:
            for controller in (await client.resource(ReplicationController).list()).items:
                await client.resource(ReplicationController).delete(controller.key, propagation="Background")
            with anyio.fail_after(60):
                while pods := (await client.resource(Pod).list()).items:
                    for pod in pods:
                        try:
                            await client.resource(Pod).delete(pod.key, grace=0)
                        except NotFound:
                            continue
                    await anyio.sleep(0.2)

    if kubeconfig.exists():
        anyio.run(main)
