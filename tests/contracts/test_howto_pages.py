"""The pages of docs/howto: a reader's copy of their files works.

A block of code is a file, and says in its first line which: ``# crds/site.yaml``. The files of a page are written to an empty
folder, and pytest runs there as its reader runs it. What is no file is a command that the reader types (``sh``: `pip install`,
`pytest`) or what is seen on a screen (``text``).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "howto").glob("*.md"))
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# ([\w./-]+\.\w+)$")
TYPED = re.compile(r"(pip install|pytest)\b")
BIN = Path(sys.executable).parent


@attrs.frozen
class Block:
    language: str
    text: str

    @property
    def path(self) -> str:
        """The file that it is, or nothing."""
        named = NAMED.match(self.text.partition("\n")[0])
        return named[1] if named and self.language != "text" else ""

    @property
    def is_known(self) -> bool:
        """Whether it is a file, or something that need not run."""
        typed = self.language == "sh" and all(map(TYPED.match, self.text.strip().splitlines()))
        return bool(self.path) or typed or self.language == "text"


def blocks_of(page: str) -> list[Block]:
    blocks = [Block(language.strip(), text) for language, text in FENCE.findall(page)]
    assert page.count("```") == 2 * len(blocks), "a block is not closed, or begins in the middle of a line"
    return blocks


def unknown(page: str) -> list[str]:
    """Return the blocks of a page that nothing runs, and those files that no other one names."""
    blocks = blocks_of(page)
    problems = [f"neither a file nor a command: {block.text}" for block in blocks if not block.is_known]
    files = [block for block in blocks if block.path]
    paths = [block.path for block in files]
    problems += [f"twice: {path}" for path in sorted({path for path in paths if paths.count(path) > 1})]
    for file in files:
        path = Path(file.path)
        if path.name.startswith("test_") or path.name == "conftest.py":
            continue
        names = [path.stem if path.suffix == ".py" else path.name, *(p.name for p in path.parents if p.name)]
        others = "\n".join(other.text for other in files if other is not file)
        if not any(re.search(rf"\b{re.escape(name)}\b", others) for name in names):
            problems.append(f"no other file uses {path}")
    return problems


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_copy_of_the_page_works(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    assert unknown(text) == []
    folder = tmp_path / "copy"
    tests = 0
    for block in blocks_of(text):
        if block.path:
            target = (folder / block.path).resolve()
            assert target.is_relative_to(folder.resolve()), f"{block.path} is not in the reader's folder"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
            tests += len(re.findall(r"^(?:async )?def test_", block.text, re.MULTILINE))
    assert tests > 0, "the page has no test"
    (tmp_path / "home").mkdir()
    # Nothing of the one who runs this is there for a page: a configuration of kubectl, options of pytest.
    mine = ("PYTEST", "KUBE", "COV_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    environment |= {"HOME": str(tmp_path / "home"), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", f"--rootdir={folder}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert counted is not None, done.stdout
    assert int(counted[1]) >= tests
    assert not re.search(r"\d+ (skipped|xfailed|xpassed|deselected)", done.stdout), done.stdout


def test_a_block_that_nothing_runs_is_found() -> None:
    assert unknown("```python\nprint(1)\n```\n") == ["neither a file nor a command: print(1)\n"]
    assert unknown("```sh\nkubectl get pods\n```\n") == ["neither a file nor a command: kubectl get pods\n"]
    assert unknown("```python\n# alone.py\n```\n") == ["no other file uses alone.py"]
    assert unknown("```python\n# test_a.py\n```\n" * 2) == ["twice: test_a.py"]
    with pytest.raises(AssertionError, match="not closed"):
        unknown("```python\nprint(1)\n")
    page = "```yaml\n# crds/a.yaml\n```\n```python\n# test_a.py\nCRDS = 'crds'\n```\n"
    assert unknown(page + "```sh\npip install x\npytest\n```\n```text\n1 passed\n```\n") == []


def test_there_are_pages() -> None:
    assert PAGES
