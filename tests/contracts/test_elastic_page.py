"""The page about elastic clusters: its example runs, its file of templates is one, its commands are understood."""

import doctest
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import click
import pytest
import yaml

from kubelib.api.core.node import Taint
from kubelib.sched.elastic import NodeProvider, NodeTemplate
from kubelib.testing.provider import ProviderSuite
from reference_cluster.cli import kubelib
from reference_cluster.elastic import plan_of, read_plan

PAGE = Path(__file__).resolve().parents[2] / "docs" / "elastic.md"
TEXT = PAGE.read_text()


def test_the_example_runs_as_shown() -> None:
    failed, attempted = doctest.testfile(str(PAGE), module_relative=False)
    assert attempted > 8
    assert failed == 0


def test_the_files_are_some() -> None:
    plan, other = (
        plan_of(yaml.safe_load(text)) for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    )
    assert [template.name for template in plan.templates] == ["small", "large"]
    assert plan.templates[1].taints == (Taint(key="big", value="yes", effect="NoSchedule"),)
    assert plan.settings.unneeded_time == 600
    assert (plan.provider, other.provider, other.options) == ("local", "machines", {"file": "machines.json"})


def test_every_command_is_understood() -> None:
    for line in "".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)).splitlines():
        _, name, *words = shlex.split(line)
        command = kubelib.get_command(click.Context(kubelib), name)
        assert command is not None
        with command.make_context(name, words) as context:
            assert context.params["elastic" if name == "up" else "config"]


MACHINES: dict[str, Any] = {"__name__": "machines"}
exec(compile(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0], "machines", "exec"), MACHINES)  # noqa: S102
RACK = NodeTemplate(name="rack", capacity={"cpu": "1", "memory": "1Gi", "pods": "9"}, maximum=3)


class TestMachines(ProviderSuite):
    """The provider that the page shows."""

    @pytest.fixture
    async def provider(self, tmp_path: Path) -> AsyncIterator[NodeProvider]:
        async with MACHINES["open_machines"]([RACK], {"file": str(tmp_path / "machines.json")}) as opened:
            yield opened


def test_who_has_not_said_enough_to_a_plug_in_is_told_so() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="in which file"):
            await MACHINES["open_machines"]([RACK], {}).__aenter__()

    anyio.run(main)


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
        ("templates: [{name: x, taints: 1}]", "The template x has taints that are no list"),
        ("templates: [{name: x, taints: [{kay: y}]}]", "has 'kay', which is not one of"),
        ("{provider: [x], templates: []}", "The provider is ['x'], and no name"),
        ("{provider: x, options: 1}", "options is no mapping"),
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
