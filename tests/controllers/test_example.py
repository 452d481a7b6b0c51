import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "controller"


def test_the_example_controller_is_under_sixty_lines() -> None:
    assert len((EXAMPLE / "mirror.py").read_text().splitlines()) < 60


def test_the_example_controller_passes_its_own_test_in_virtual_time() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE)],
        capture_output=True,
        text=True,
        check=False,
        cwd=EXAMPLE.parents[1],
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "10 passed" in run.stdout
