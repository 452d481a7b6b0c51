"""The file of bearer tokens, as kube-apiserver reads it."""

from pathlib import Path

import pytest

from kubelib.registry.base import User
from reference_cluster.apiserver import TokenFileError, read_tokens


def test_a_line_says_who_a_token_is(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('a,ann,1,"dev,ops"\nb,bob,2\n')
    assert read_tokens(tokens) == {
        "a": User("ann", ("dev", "ops", "system:authenticated"), "1"),
        "b": User("bob", ("system:authenticated",), "2"),
    }


@pytest.mark.parametrize("line", ["a,ann", ",ann,1", "a,,1"])
def test_a_line_without_a_token_or_a_user_is_refused(tmp_path: Path, line: str) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text(line)
    with pytest.raises(TokenFileError, match="line 1"):
        read_tokens(tokens)
