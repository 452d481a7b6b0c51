"""Elastic clusters: the templates of a file, and the nodes that `kubelib up` starts and ends in its own process."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

from kubelib.api.core.node import Taint
from kubelib.sched.elastic.base import NodeTemplate
from kubelib.sched.elastic.settings import ElasticSettings

LOCAL = NodeTemplate(name="local", capacity={"cpu": "1", "memory": "1Gi", "pods": "110"})
"""What a node is that nobody has described."""
MOST = 250
_TEMPLATE = ("name", "capacity", "price", "labels", "taints", "minimum", "maximum")
_TAINT = ("key", "value", "effect")
_TIMES = tuple(field.name for field in attrs.fields(ElasticSettings) if field.name != "backoff")


@attrs.frozen
class ElasticPlan:
    """Which nodes can be had, and how they are kept."""

    templates: tuple[NodeTemplate, ...]
    settings: ElasticSettings = ElasticSettings()  # noqa: RUF009 - a value that nothing changes
    provider: str = "local"
    """Who makes the nodes: this program, or a plug-in (`kubelib.sched.elastic.plugins`)."""
    options: Mapping[str, Any] = attrs.field(factory=dict)
    """What the provider is told."""


def read_plan(text: str, option: str = "--elastic") -> ElasticPlan:
    """Return the plan that ``MIN:MAX`` means, or a YAML file describes. Raises ValueError with one sentence."""
    if bounds := re.fullmatch(r"(\d+):(\d+)", text):
        minimum, maximum = map(int, bounds.groups())
        if not minimum <= maximum <= MOST:
            raise ValueError(f"{option} {text}: write the smaller number first, and none above {MOST}.")
        return ElasticPlan((attrs.evolve(LOCAL, minimum=minimum, maximum=maximum),))
    path = Path(text)
    if not path.is_file():
        raise ValueError(
            f"{option} {text}: write MIN:MAX, for example 1:5, or the path of a file with templates."
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
    document = _mapping(tree, "The document", ("templates", "settings", "provider", "options"))
    provider = document.get("provider", "local")
    if not isinstance(provider, str):
        raise ValueError(f"The provider is {provider!r}, and no name.")
    templates = document.get("templates")
    if provider != "local" and templates is None:
        templates = []  # it may have its own
    elif not isinstance(templates, list) or not templates:
        raise ValueError("There is no list of templates.")
    made = tuple(_template(one) for one in templates)
    if len({template.name for template in made}) < len(made):
        raise ValueError("Two templates have the same name.")
    settings = _mapping(document.get("settings") or {}, "The settings", _TIMES)
    for name, value in settings.items():
        _number(value, f"The setting {name}")
    options = _mapping(document.get("options") or {}, "What the provider has as options")
    return ElasticPlan(made, ElasticSettings(**settings), provider, options)


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
    taints = fields.get("taints") or []
    if not isinstance(taints, list):
        raise ValueError(f"{what} has taints that are no list.")
    fields["taints"] = tuple(_taint(taint, f"A taint of {what}") for taint in taints)
    for name in ("price", "minimum", "maximum"):
        if name in fields:
            _number(fields[name], f"The {name} of {what}", whole=name != "price")
    return NodeTemplate(**fields)


def _taint(tree: Any, what: str) -> Taint:
    said = {key: str(value) for key, value in _mapping(tree, what, _TAINT).items()}
    return Taint(key=said.get("key", ""), value=said.get("value", ""), effect=said.get("effect", ""))


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
