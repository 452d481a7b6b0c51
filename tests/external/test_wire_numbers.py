"""The field numbers of our classes against those that Go programs carry: kubectl and Helm name them in their binaries."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubelib.api.builtin import SCHEME
from kubelib.api.fields import field_types
from kubelib.api.protobuf import field_numbers
from tests.external.conftest import real_binary

_TAG = re.compile(rb'protobuf:"[a-z0-9]+,([0-9]+),(?:(?:opt|rep|req),)?name=([A-Za-z0-9_]+)')
# Of these kinds neither program knows the protocol buffers.
UNKNOWN = {"APIServiceSpec"}


def tags_in(binary: str) -> set[tuple[str, int]]:
    return {(name.decode().lower(), int(number)) for number, name in _TAG.findall(Path(binary).read_bytes())}


def classes() -> Iterator[Any]:
    # Kinds of our own, which those programs cannot know, are in groups of our own.
    waiting: list[Any] = [r.cls for r in SCHEME if not r.group.endswith("kubelib.dev")]
    seen: set[Any] = set()
    while waiting:
        cls = waiting.pop()
        if cls in seen or cls.__name__ in UNKNOWN:
            continue
        seen.add(cls)
        yield cls
        waiting += (kind.model for kind in field_types(cls).values() if kind.model is not None)
        waiting += (base for base in field_numbers(cls).values() if not isinstance(base, str))


def test_every_field_has_the_number_that_go_programs_give_it() -> None:
    known = tags_in(real_binary("kubectl")) | tags_in(real_binary("helm"))
    assert len(known) > 1000
    own = {
        # The tag of a field such as x-kubernetes-list-type has it in one word; $ref and $schema have no dollar.
        (re.sub("[-$]", "", name).lower(), number): cls.__name__
        for cls in classes()
        for number, name in field_numbers(cls).items()
        if isinstance(name, str)
    }
    assert len(own) > 1000
    assert {
        f"{cls}.{name} = {number}" for (name, number), cls in own.items() if (name, number) not in known
    } == set()
