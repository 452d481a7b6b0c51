"""What signals do to a daemon."""

import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest


def ready(url: str) -> int:
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(f"{url}/readyz", context=context, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_a_server_at_once_that_takes_its_time(tmp_path: Path, number: int) -> None:
    words = ["apiserver", "--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, "-m", "reference_cluster", *words, "--shutdown-delay-duration", "10m"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split(" is ready at ")[1].split(": ")[0]
            assert ready(url) == 200
            process.send_signal(signal.SIGTERM)
            until = time.monotonic() + 60
            while ready(url) != 500:
                assert time.monotonic() < until
                time.sleep(0.02)
            assert process.poll() is None
            process.send_signal(number)
            assert process.wait(60) == 1
        finally:
            process.kill()
