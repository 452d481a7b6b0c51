"""The page about clusters for tests, and what the README says of them: their files, copied, pass under pytest."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = re.compile(r"^```python\n# (test_\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("page", "least"), [("docs/testing.md", 12), ("README.md", 2)])
def test_the_files_of_the_page_pass(page: str, least: int, tmp_path: Path) -> None:
    for name, text in FILE.findall((ROOT / page).read_text()):
        (tmp_path / name).write_text(text)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "KUBECONFIG"))
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--rootdir={tmp_path}",
            str(tmp_path),
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert counted is not None, done.stdout
    assert int(counted[1]) >= least


def test_what_the_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([\w./-]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
    page = ROOT / "docs" / "testing.md"
    for target in re.findall(r"\]\(([\w./-]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target
