"""The example of a tested operator: a hundred tests, each on a cluster of its own, in less than half a minute."""

import re
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_hundred_tests_with_a_cluster_each_pass_within_their_time() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/website"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    counted = re.search(r"(\d+) passed", done.stdout)
    assert counted is not None
    assert int(counted[1]) >= 100
    # Of the processor, as what else the machine does is not the suite's affair: on a quiet one it is less on the clock.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 30
