"""What the programs have in common that the process runtime starts: the shim, what holds namespaces, what enters them.

They start often, so each imports little; this imports only `os`. Notes for those that cannot afford JSON are words with a NUL between them.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

LOOK_AROUND = 2000
"""Milliseconds after which a program sees that its directory was deleted: nobody could find, or end, it then."""


def write_file(path: str, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    with open(path + ".new", "w") as file:
        file.write(text)
        file.flush()
    os.replace(path + ".new", path)


def start_ticks(pid: int) -> int:
    """Return when a process started: with its number, what tells it from a later one with the same number."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def packed(*sections: Sequence[str]) -> bytes:
    """Return lists of words, which have no NUL in them, as bytes."""
    words = [word for section in sections for word in (str(len(section)), *section)]
    return "\0".join(words).encode("utf-8", "surrogateescape")


def unpacked(data: bytes) -> list[list[str]]:
    """Return the lists of words that were packed."""
    words = data.decode("utf-8", "surrogateescape").split("\0")
    sections: list[list[str]] = []
    at = 0
    while at < len(words):
        end = at + 1 + int(words[at])
        sections.append(words[at + 1 : end])
        at = end
    return sections


def execute(argv: list[str], env: Mapping[str, str]) -> NoReturn:
    """Become a program, looked for in PATH. Python's own way imports more, which is out of sight in another root."""
    if "/" in argv[0]:
        os.execve(argv[0], argv, env)
    refused: OSError = FileNotFoundError(2, "No such file or directory", argv[0])
    for directory in env.get("PATH", os.defpath).split(":"):
        try:
            os.execve((directory or ".") + "/" + argv[0], argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refused = error
    raise refused


def become_user(spec: Mapping[str, Any]) -> None:
    """Become the user and the groups as which the container runs."""
    if spec["group"] is not None or spec.get("groups"):
        os.setgroups(spec.get("groups", []))
    if spec["group"] is not None:
        os.setgid(spec["group"])
    if spec["user"] is not None:
        os.setuid(spec["user"])
