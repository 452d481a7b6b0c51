"""Variables from files in volumes: the strict part of the shell's syntax that the kubelet reads, values in single quotes."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

LONGEST = 1024 * 1024
"""How many bytes of a file are read: containers write them, and variables of more than this could not be given to any."""
_BLANKS = " \t"


def read(volume: Path, path: str) -> str:
    """Return the text of a file in a volume.

    Raises OSError, also for what is no file or leads out of the volume, and ValueError for what is not text.
    """
    place = (volume / path).resolve()
    if not place.is_relative_to(volume.resolve()):
        raise OSError(f"{path} leads out of its volume")
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(LONGEST).decode()
    finally:
        os.close(descriptor)


def value_of(text: str, key: str) -> str:
    """Return the value of a variable, empty if there is none. Raises ValueError for a text that is not of this form."""
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    for line in lines:
        assignment = line.lstrip(_BLANKS)
        if not assignment or assignment.startswith("#"):
            continue
        name, _, value = assignment.partition("=")
        if value.startswith(tuple(_BLANKS)):
            value = ""  # as in a shell, where what follows would be a command
        elif value.startswith("'"):
            value = _quoted(value[1:], lines)
        else:
            raise ValueError(f"a value is not in single quotes: {line}")
        if not name or name != name.rstrip(_BLANKS):
            raise ValueError(f"no name of a variable before '=': {line}")
        if name == key:
            return value
    return ""


def _quoted(text: str, more: Iterator[str]) -> str:
    """Return a text up to the quote that closes it, which may be on one of the lines that follow."""
    begun = []
    while "'" not in text:
        begun.append(text)
        following = next(more, None)
        if following is None:
            raise ValueError("a single quote is not closed")
        text = following
    last, _, after = text.partition("'")
    if after.lstrip(_BLANKS)[:1] not in ("", "#"):
        raise ValueError(f"something follows the closing quote: {text}")
    return "\n".join([*begun, last])
