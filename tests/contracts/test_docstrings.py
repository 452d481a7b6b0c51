"""The examples in docstrings do what they say."""

import doctest
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest

import kubelib
import reference_cluster

MODULES = sorted(
    info.name
    for package in (kubelib, reference_cluster)
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if (spec := importlib.util.find_spec(info.name)) is not None
    and spec.origin is not None
    and ">>> " in Path(spec.origin).read_text()
)


def test_there_are_examples() -> None:
    assert len(MODULES) > 5


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert attempted
    assert not failed
