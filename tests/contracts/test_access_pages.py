"""The pages about authentication, the audit log and nodes: their examples run, their policy is one, and their options exist."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from kubelib.server.audit.policy import load_policy
from reference_cluster.cli import kubelib

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [DOCS / "authentication.md", DOCS / "audit.md", DOCS / "nodes.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_run_as_shown(page: Path) -> None:
    failed, attempted = doctest.testfile(str(page), module_relative=False)
    assert attempted > 3
    assert failed == 0


def test_the_policy_of_the_page_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "audit.md").read_text(), re.DOTALL)
    assert load_policy(text) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_option_and_command_exists(page: Path) -> None:
    text = page.read_text()
    runner = CliRunner()
    blocks = [block.replace("\\\n", "") for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
    lines = [line for block in blocks for line in block.splitlines()]
    for command in (line for line in lines if line.startswith("kubelib ")):
        done = runner.invoke(kubelib, [*shlex.split(command)[1:], "--help"])
        assert done.exit_code == 0, done.output
    told = "".join(
        runner.invoke(kubelib, [*command.split(), "--help"]).output
        for command in ("apiserver", "controller-manager", "kubelet", "proxy", "token create", "up")
    )
    own = {"--as", "--clusterip", "--containers", "--list", "--patch", "--subresource", "--tcp"}  # kubectl's
    for option in sorted(set(re.findall(r"--[a-z][a-z-]+[a-z]", text)) - own):
        assert option in told, option
