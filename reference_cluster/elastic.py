"""Elastic clusters: the templates of a file, and the nodes that `kubelib up` starts and ends in its own process."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

from kubelib.sched.elastic.base import NodeTemplate
from kubelib.sched.elastic.settings import ElasticSettings

LOCAL = NodeTemplate(name="local", capacity={"cpu": "1", "memory": "1Gi", "pods": "110"})
"""What a node is that nobody has described."""
MOST = 250
_TEMPLATE = ("name", "capacity", "price", "labels", "minimum", "maximum")
_TIMES = tuple(field.name for field in attrs.fields(ElasticSettings) if field.name != "backoff")


@attrs.frozen
class ElasticPlan:
    """Which nodes can be had, and how they are kept."""

    templates: tuple[NodeTemplate, ...]
    settings: ElasticSettings = ElasticSettings()  # noqa: RUF009 - a value that nothing changes


def read_plan(text: str) -> ElasticPlan:
    """Return the plan that ``MIN:MAX`` means, or a YAML file describes. Raises ValueError with one sentence."""
    if bounds := re.fullmatch(r"(\d+):(\d+)", text):
        minimum, maximum = map(int, bounds.groups())
        if not minimum <= maximum <= MOST:
            raise ValueError(f"--elastic {text}: write the smaller number first, and none above {MOST}.")
        return ElasticPlan((attrs.evolve(LOCAL, minimum=minimum, maximum=maximum),))
    path = Path(text)
    if not path.is_file():
        raise ValueError(
            f"--elastic {text}: write MIN:MAX, for example 1:5, or the path of a file with templates."
        )
    try:
        return plan_of(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8.") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def plan_of(tree: Any) -> ElasticPlan:
    """Return what a document describes. Raises ValueError with one sentence."""
    document = _mapping(tree, "The document", ("templates", "settings"))
    templates = document.get("templates")
    if not isinstance(templates, list) or not templates:
        raise ValueError("There is no list of templates.")
    made = tuple(_template(one) for one in templates)
    if len({template.name for template in made}) < len(made):
        raise ValueError("Two templates have the same name.")
    settings = _mapping(document.get("settings") or {}, "The settings", _TIMES)
    for name, value in settings.items():
        _number(value, f"The setting {name}")
    return ElasticPlan(made, ElasticSettings(**settings))


def _template(tree: Any) -> NodeTemplate:
    fields = dict(_mapping(tree, "A template", _TEMPLATE))
    if not isinstance(fields.get("name"), str):
        raise ValueError("A template has no name.")
    what = f"The template {fields['name']}"
    for name in ("capacity", "labels"):
        fields[name] = {
            str(key): str(value)
            for key, value in _mapping(fields.get(name) or {}, f"The {name} of {what}").items()
        }
    for name in ("price", "minimum", "maximum"):
        if name in fields:
            _number(fields[name], f"The {name} of {what}", whole=name != "price")
    return NodeTemplate(**fields)


def _mapping(tree: Any, what: str, names: tuple[str, ...] = ()) -> Mapping[str, Any]:
    if not isinstance(tree, dict):
        raise ValueError(f"{what} is no mapping.")
    for name in tree:
        if names and name not in names:
            raise ValueError(f"{what} has {name!r}, which is not one of {', '.join(names)}.")
    return tree


def _number(value: Any, what: str, *, whole: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise ValueError(f"{what} is {value!r}, and no{' whole' if whole else ''} number.")
