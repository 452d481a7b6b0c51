"""The page about schedulers: its example runs, its transaction is one, its commands and policies exist."""

import doctest
import re
import shlex
from pathlib import Path
from typing import Any, get_args

import click
import yaml

from kubelib.api import codec
from kubelib.api.builtin import SCHEME
from kubelib.api.transactions import Transaction
from kubelib.sched.architectures import SHARINGS
from kubelib.transactions.base import Cause
from kubelib.transactions.policies import COMMIT_POLICIES
from reference_cluster.cli import kubelib

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scheduling.md"
TEXT = PAGE.read_text()


def test_the_example_runs_as_shown() -> None:
    failed, attempted = doctest.testfile(str(PAGE), module_relative=False)
    assert attempted > 10
    assert failed == 0


def test_the_transaction_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(apiVersion: scheduling.kubelib.dev.*?)```", TEXT, re.DOTALL)
    tree = yaml.safe_load(text)
    codec.check_types(tree, SCHEME.of(Transaction))
    assert not codec.unknown_fields(tree, Transaction)


def test_every_command_is_understood() -> None:
    """Parsed as if it were run, up to where it would begin."""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    commands = [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]
    assert len(commands) > 5
    for words in commands:
        command: Any = kubelib
        while isinstance(command, click.Group):
            name, *words = words
            found = command.get_command(click.Context(command), name)
            assert found is not None, name
            command = found
        with command.make_context(command.name, list(words)) as context:
            if command.name == "apiserver":
                from kubelib.transactions.policies import load_commit_policy

                assert [load_commit_policy(text).name for text in context.params["commit_policies"]]


def test_all_architectures_causes_and_policies_are_named() -> None:
    named = set(re.findall(r"`([\w-]+)", TEXT))
    assert set(SHARINGS) <= named
    assert {cause for cause in get_args(Cause) if cause} <= named
    assert set(COMMIT_POLICIES) <= named
