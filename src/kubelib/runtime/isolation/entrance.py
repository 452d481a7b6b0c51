"""Runs a further command in a container: a program of its own. It imports no kubelib.

It is run as ``python -I -S entrance.py DIRECTORY PID COMMAND…`` and joins the namespaces and control groups of the process, gives up
what the container has given up, and ends as the command does.
"""

from __future__ import annotations

import json
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kubelib.runtime import shim
    from kubelib.runtime.isolation import inside
else:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:0] = [here, os.path.dirname(here)]
    import inside
    import shim

KINDS = ("uts", "ipc", "net", "pid", "mnt")
CANNOT_ENTER, CANNOT_RUN = 126, 127


def run(spec: dict[str, object], argv: list[str]) -> None:
    """Become the command. Does not return."""
    isolation = spec["isolation"]
    assert isinstance(isolation, dict)
    signal.signal(
        signal.SIGPIPE, signal.SIG_DFL
    )  # Python ignores it, and a program takes over what is ignored
    try:
        inside.give_up(isolation["security"], lambda: shim.become_user(spec))
        shim.execute(argv, spec["env"])
    except OSError as error:
        os.write(2, f"{error.strerror}: {error.filename or argv[0]}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def main(directory: str, pid: str, argv: list[str]) -> int:
    """Run a command in a container; return its exit code."""
    with open(directory + "/spec.json") as file:
        spec = json.load(file)
    if os.isatty(1):
        spec["env"].setdefault("TERM", "xterm")
    try:
        spaces = [(kind, os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)) for kind in KINDS]
        root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_CLOEXEC)
        working = os.open(f"/proc/{pid}/cwd", os.O_RDONLY | os.O_CLOEXEC)
        inside.join_groups(spec["isolation"]["groups"])
        for kind, descriptor in spaces:
            inside.join(descriptor, f"the {kind} namespace of {pid}")
    except OSError as error:
        os.write(2, f"{error.strerror}: {error.filename}\n".encode())
        return CANNOT_ENTER
    child = os.fork()  # only what is born now is in the process namespace
    if child == 0:
        os.fchdir(root)
        os.chroot(".")
        os.fchdir(working)
        run(spec, argv)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
