import os
from pathlib import Path

import pytest

from kubelib.runtime import envfiles

TEXT = """
# where things are
HOST='db.example'   # the first
  PORT='5432'
EMPTY= 'not this'
LINES='one
 two # no comment'
WINDOWS='x'\r
HASH='a#b=c'
HOST='another'
"""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("HOST", "db.example"),
        ("PORT", "5432"),
        ("EMPTY", ""),
        ("LINES", "one\n two # no comment"),
        ("WINDOWS", "x"),
        ("HASH", "a#b=c"),
        ("NOT_THERE", ""),
    ],
)
def test_variables_have_their_values_in_single_quotes(key: str, value: str) -> None:
    assert envfiles.value_of(TEXT, key) == value


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("A=1", "not in single quotes: A=1"),
        ('A="1"', "not in single quotes"),
        ("A=", "not in single quotes"),
        ("A", "not in single quotes"),
        ("A ='1'", "no name of a variable"),
        ("='1'", "no name of a variable"),
        ("A='1", "not closed"),
        ("A='1'2", "follows the closing quote"),
        ("A='1' 2", "follows the closing quote"),
        ("A='1\n2'3", "follows the closing quote: 2'3"),
    ],
)
def test_anything_else_is_refused(line: str, why: str) -> None:
    text = f"B='2'\n{line}"
    with pytest.raises(ValueError, match=why):
        envfiles.value_of(text, "NOT_THERE")
    assert envfiles.value_of(text, "B") == "2"  # nothing is read behind what is looked for


def test_a_file_is_read_only_where_it_is_one_in_its_volume(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("A='1'")
    (tmp_path / "secret").write_text("A='2'")
    (volume / "out").symlink_to(tmp_path / "secret")
    (volume / "within").symlink_to("file")
    os.mkfifo(volume / "pipe")
    assert envfiles.read(volume, "file") == envfiles.read(volume, "within") == "A='1'"
    for path, why in (
        ("out", "leads out"),
        ("../secret", "leads out"),
        ("pipe", "not a file"),
        (".", "not a file"),
        ("nothing", "No such file"),
    ):
        with pytest.raises(OSError, match=why):
            envfiles.read(volume, path)
    (volume / "bytes").write_bytes(b"A='\xff'")
    with pytest.raises(UnicodeDecodeError):
        envfiles.read(volume, "bytes")
