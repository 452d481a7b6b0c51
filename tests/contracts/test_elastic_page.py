"""The page about elastic clusters: its example runs, its file of templates is one, its commands are understood."""

import doctest
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from reference_cluster.cli import kubelib
from reference_cluster.elastic import plan_of, read_plan

PAGE = Path(__file__).resolve().parents[2] / "docs" / "elastic.md"
TEXT = PAGE.read_text()


def test_the_example_runs_as_shown() -> None:
    failed, attempted = doctest.testfile(str(PAGE), module_relative=False)
    assert attempted > 8
    assert failed == 0


def test_the_file_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    plan = plan_of(yaml.safe_load(text))
    assert [template.name for template in plan.templates] == ["small", "large"]
    assert plan.settings.unneeded_time == 600


def test_every_command_is_understood() -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines():
        _, name, *words = shlex.split(line)
        command = kubelib.get_command(click.Context(kubelib), name)
        assert command is not None
        with command.make_context(name, words) as context:
            assert context.params["elastic"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5:1", "the smaller number first"),
        ("1:9999", "none above 250"),
        ("nowhere.yaml", "write MIN:MAX"),
        ("[", "is not YAML"),
        ("a: 1", "has 'a', which is not one of"),
        ("templates: []", "no list of templates"),
        ("templates: [{name: x}]", "does not say its cpu"),
        ("templates: [{name: x, price: cheap}]", "'cheap', and no number"),
        ("templates: [{name: x, minimum: 1.5}]", "1.5, and no whole number"),
        ("templates: [{price: 1}]", "A template has no name"),
        ("templates: [x]", "A template is no mapping"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_in_a_sentence(text: str, message: str, tmp_path: Path) -> None:
    if (":" in text and not text[0].isdigit()) or text == "[":
        path = tmp_path / "templates.yaml"
        path.write_text(text)
        text = str(path)
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        read_plan(text)
    assert "\n" not in str(refused.value)
