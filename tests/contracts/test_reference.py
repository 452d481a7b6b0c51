"""The reference can be made of the docstrings."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "docs"


def test_pages_are_made_of_the_modules_that_are_asked_for(tmp_path: Path) -> None:
    assert 'pdoc" --docformat markdown -o build/reference "$@"' in SCRIPT.read_text()
    made = subprocess.run(
        [sys.executable, "-m", "pdoc", "--docformat", "markdown", "-o", tmp_path, "kubelib.labels"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stderr == ""
    page = (tmp_path / "kubelib" / "labels.html").read_text()
    assert "Labels and selectors: pure values" in page
    assert 'id="Selector.matches"' in page
