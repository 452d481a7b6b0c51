"""kubectl, told to speak SPDY as its older versions do, on a running cluster."""

import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from tests.external.conftest import Kubectl, eventually


@pytest.fixture
def old(kubectl: Kubectl, namespace: str) -> Iterator[Kubectl]:
    """A kubectl without WebSockets, and a Pod `p` that serves on port 8000."""
    older = Kubectl(kubectl.binary, kubectl.kubeconfig, kubectl.kubeconfig.parent / "older")
    older.environment |= {
        "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false",
        "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false",
    }
    serving = "echo hello > index.html; exec python3 -m http.server 8000 --bind $POD_IP"
    older("-n", namespace, "run", "p", "--image=process", "--command", "--", "sh", "-c", serving)
    older("-n", namespace, "wait", "--for=condition=Ready", "pod/p", "--timeout=120s")
    yield older
    older("-n", namespace, "delete", "pod", "p", "--now", "--wait=false")


def test_commands_copies_and_ports_go_over_spdy(old: Kubectl, namespace: str) -> None:
    there = ("-n", namespace)
    seen = old.run(*there, "exec", "p", "-v=8", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (seen.returncode, seen.stdout) == (7, "out\n")
    assert "Upgrade: SPDY/3.1" in seen.stderr
    assert "\nerr\n" in f"\n{seen.stderr}"
    much = "0123456789abcdef" * 65536
    assert old(*there, "exec", "-i", "p", "--", "cat", stdin=much) == much
    assert "no-such-program" in old.fails(*there, "exec", "p", "--", "no-such-program")
    assert 'pods "q" not found' in old.fails(*there, "exec", "q", "--", "ls")
    assert 'pods "q" not found' in old.fails(*there, "port-forward", "pod/q", ":8000")
    forwarding = old.popen(*there, "port-forward", "pod/p", ":8000")
    try:
        assert forwarding.stdout is not None
        port = forwarding.stdout.readline().split("127.0.0.1:")[1].split()[0]
        for _ in range(2):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
                assert answer.read() == b"hello\n"
    finally:
        forwarding.terminate()
        forwarding.communicate()


def test_a_command_has_a_terminal_over_spdy(old: Kubectl, namespace: str) -> None:
    command = (
        f"{old.binary} -n {namespace} exec -it p -- sh -c 'test -t 0 && test -t 1 && echo from a terminal'"
    )
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"], env=old.environment, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "from a terminal" in done.stdout


def test_what_a_container_says_is_heard_over_spdy(old: Kubectl, namespace: str) -> None:
    talk = 'while read -r line; do echo "got $line"; done; exit 4'
    ran = old.run(
        "-n", namespace, "run", "talk", "-i", "--image=process", "--restart=Never", "--command", "--", "sh", "-c", talk,
        stdin="one\ntwo\n",
    )  # fmt: skip
    assert "got one\ngot two\n" in ran.stdout
    assert ran.returncode == 4, ran.stderr
    phase = "jsonpath={.status.phase}"
    eventually(lambda: old("-n", namespace, "get", "pod", "talk", "-o", phase) == "Failed")
