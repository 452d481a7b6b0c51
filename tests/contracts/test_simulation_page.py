"""The page about simulation: its commands and its program run, and it names every parameter that there is."""

import doctest
import gzip
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from kubelib.sim.figures.make import PLANS
from kubelib.sim.sweep.base import PARAMETERS
from reference_cluster.cli import kubelib

DOCS = Path(__file__).resolve().parents[2] / "docs"
SAMPLES = DOCS.parent / "tests" / "sim" / "traces" / "samples"
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
                words = published(words)
            case ["install", *_]:
                continue
        done = CliRunner().invoke(kubelib, words)
        assert done.exit_code == 0, done.output
        ran.append(words[1])
    assert ran == ["cell", "figure", "trace", "trace", "trace", "trace", "trace"]
    assert len(Path("waits.csv").read_text().splitlines()) == 1 + 2 * 3 * 2
    assert len(Path("waits.mean.csv").read_text().splitlines()) == 1 + 2 * 3
    assert Path("figures/report.html").exists()
    assert Path("trace.csv").read_text().startswith("workload,submit")
    for sweep in ("traced.toml", "gpus.toml"):
        done = CliRunner().invoke(kubelib, ["simulate", "cell", sweep, "--processes", "1"])
        assert done.exit_code == 0, done.output
    assert "disk_utilization" in Path("gpus.csv").read_text().splitlines()[0]


def published(words: list[str]) -> list[str]:
    """Put samples of the traces where a command looks for them, and return it with their names."""
    samples = SAMPLES / {"google-2011": "google2011", "google-2019": "google2019"}.get(words[4], "")
    arguments = []
    for word in words:
        if word in ("trace.csv", "machines.csv") or "." not in word:
            arguments.append(word)
            continue
        table = Path(word).parent.name or Path(word).name.partition(".")[0]
        kind = word.partition("*")[2].partition(".gz")[0]
        names = {"openb_node_list_all_node": "openb_node_list", "openb_pod_list_default": "openb_pod_list"}
        (sample,) = [file for file in samples.iterdir() if file.name.startswith(names.get(table, table)) and file.name.endswith(kind)]  # fmt: skip
        path = Path(word.replace("*", "part-00000"))
        path.parent.mkdir(exist_ok=True)
        content = sample.read_bytes()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        arguments.append(str(path))
    return arguments


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
