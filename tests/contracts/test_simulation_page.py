"""The page about simulation: its commands and its program run, and it names every parameter that there is."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from kubelib.sim.figures.make import PLANS
from kubelib.sim.sweep.base import PARAMETERS
from reference_cluster.cli import kubelib

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "simulation.md"


def test_the_program_runs_as_shown() -> None:
    failed, attempted = doctest.testfile(str(PAGE), module_relative=False)
    assert attempted > 5
    assert failed == 0


def test_the_commands_run_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text()
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
        (name,) = re.findall(r"# (\w+\.toml)", block)
        Path(name).write_text(block)
    commands = [
        line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    ran = []
    for command in commands:
        words = shlex.split(command)[1:]
        match words[:3]:
            case ["simulate", "figure", _]:
                # the same, in small
                words += ["--days", "0.02", "--machines", "200", "--processes", "1"]
            case ["simulate", "trace", "convert"]:
                continue
            case ["install", *_]:
                continue
        done = CliRunner().invoke(kubelib, words)
        assert done.exit_code == 0, done.output
        ran.append(words[1])
    assert ran == ["cell", "figure", "trace"]
    assert len(Path("waits.csv").read_text().splitlines()) == 1 + 2 * 3 * 2
    assert len(Path("waits.mean.csv").read_text().splitlines()) == 1 + 2 * 3
    assert Path("figures/report.html").exists()
    done = CliRunner().invoke(kubelib, ["simulate", "cell", "traced.toml", "--processes", "1"])
    assert done.exit_code == 0, done.output


def test_every_parameter_is_named() -> None:
    text = PAGE.read_text()
    for name in set(PARAMETERS) - {"seed"}:
        assert f"`{name}`" in text, name


def test_the_page_of_the_paper_has_every_figure_that_is_made() -> None:
    text = (DOCS / "omega.md").read_text()
    for name in PLANS:
        picture = DOCS / "figures" / f"figure-{name}.png"
        assert picture.exists(), name
        assert picture.stat().st_size < 40_000
        assert f"(figures/{picture.name})" in text
