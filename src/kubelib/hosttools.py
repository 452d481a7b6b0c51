"""The programs that set up the network of a machine: ``ip``, ``iptables``, ``nft``.

Whoever makes networks for Pods, routes to them or ways to Services runs them so; none of these may know another.
"""

import shutil
import subprocess
from collections.abc import Sequence

PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
"""Where they are, whatever the environment says: daemons often have one without ``sbin``."""
TIMEOUT = 30.0
"""Seconds that one may take."""


class ToolError(RuntimeError):
    """A program is not there, does not end or fails; the message is what it says of it."""


def is_installed(program: str) -> bool:
    """Return whether there is such a program."""
    return shutil.which(program, path=PATH) is not None


def run_tool(words: Sequence[str], input: str = "", *, timeout: float = TIMEOUT) -> str:
    """Run a program and return what it says. Raises `ToolError`.

    >>> run_tool(["cat"], "blackhole default")
    'blackhole default'
    >>> run_tool(["ls", "/no/such/file"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    kubelib.hosttools.ToolError: ls: ...No such file or directory
    """
    try:
        done = subprocess.run(
            words,
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={"PATH": PATH},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{words[0]}: {error}") from error
    if done.returncode:
        raise ToolError(done.stderr.strip() or f"{' '.join(words)} fails")
    return done.stdout
