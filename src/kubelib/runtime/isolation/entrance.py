"""Runs a further command in a container: a program of its own. It imports no kubelib.

It is run as ``python -I -S entrance.py DIRECTORY PID COMMAND…`` and joins the namespaces and control groups of the process, gives up
what the container has given up, and ends as the command does. What it needs to know of the container the file ``entrance`` says.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubelib.runtime import programs
    from kubelib.runtime.isolation import inside
else:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path += [here, os.path.dirname(here)]
    import inside
    import programs

KINDS = ("uts", "ipc", "net", "pid", "mnt")
CANNOT_ENTER, CANNOT_RUN = 126, 127


def run(argv: list[str], sections: Sequence[list[str]]) -> None:
    """Become the command. Does not return."""
    users, groups, rights, add, drop, _, env = sections
    security = {
        "privileged": bool(rights[0]),
        "no_new_privileges": bool(rights[1]),
        "seccomp": rights[2],
        "add": add,
        "drop": drop,
    }
    user, group = (int(word) if word else None for word in users)
    who = {"user": user, "group": group, "groups": list(map(int, groups))}
    variables = dict(entry.split("=", 1) for entry in env)
    if os.isatty(1):
        variables.setdefault("TERM", "xterm")
    try:
        inside.handle_signals((inside.PIPE,), ignore=False)  # Python ignores it, which a program takes over
        inside.give_up(security, lambda: programs.become_user(who))
        programs.execute(argv, variables)
    except OSError as error:
        os.write(2, f"{error.strerror}: {error.filename or argv[0]}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def main(directory: str, pid: str, argv: list[str]) -> int:
    """Run a command in a container; return its exit code."""
    try:
        with open(directory + "/entrance", "rb") as file:
            sections = programs.unpacked(file.read())
        spaces = [(kind, os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)) for kind in KINDS]
        root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_CLOEXEC)
        working = os.open(f"/proc/{pid}/cwd", os.O_RDONLY | os.O_CLOEXEC)
        inside.join_groups(sections[5])
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
        run(argv, sections)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
