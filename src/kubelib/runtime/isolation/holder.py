"""What holds a Pod's namespaces while its containers come and go: a program of its own. It imports no kubelib.

It is run as ``python -I -S holder.py DIRECTORY`` and reads there, in ``wish``, what is wanted of it. It makes the namespaces, says
which process they are of, and waits for the word that the Pod's network is made; whoever started it and ends before that takes it
along. From then on it lives until it is killed or its directory goes. As the first process of a namespace that all containers share
it buries their orphans, and what comes to the host's ports of the Pod it carries there: its sockets are the host's, and end with it.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from kubelib.runtime import programs
    from kubelib.runtime.isolation import inside
else:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path += [here, os.path.dirname(here)]
    import inside
    import programs

KINDS = {"net": inside.NEWNET, "ipc": inside.NEWIPC, "uts": inside.NEWUTS, "pid": inside.NEWPID}


def say(*words: str) -> None:
    """Tell whoever started this."""
    os.write(1, " ".join(words).encode() + b"\n")


def fail(why: str) -> NoReturn:
    """Say why there will be no namespaces, and end."""
    say("failure", why)
    os._exit(1)


def make_namespaces(kinds: list[str], hostname: str, sysctls: list[str]) -> None:
    """Leave the host's namespaces. Raises OSError."""
    flags = 0
    for kind in kinds:
        flags |= KINDS[kind]
    inside.unshare(flags)
    if "uts" in kinds:
        inside.name_host(hostname)
    for sysctl in sysctls:
        name, _, value = sysctl.partition("=")
        with open("/proc/sys/" + name.replace(".", "/"), "w") as file:
            file.write(value)


def main(directory: str) -> None:
    """Hold namespaces until they are not needed any more."""
    # Nobody waits for what is adopted here: the kernel buries children whose ends are ignored.
    inside.handle_signals((inside.TERM, inside.INT, inside.HUP, inside.CHLD), ignore=True)
    with open(directory + "/wish", "rb") as file:
        (hostname, address), kinds, sysctls, ports = programs.unpacked(file.read())
    forwarders = []
    if ports:
        if TYPE_CHECKING:
            from kubelib.runtime.isolation import forwarder
        else:
            import forwarder

        network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for port in ports:
            protocol, host, host_port, aim = port.split("|")
            try:
                server = forwarder.listen(protocol, host, int(host_port))
            except OSError as error:
                fail(f"failed to listen on host port {host_port}/{protocol}: {error.strerror}")
            forwarders.append(forwarder.Forwarder(server, (address, int(aim)), network))
    try:
        make_namespaces(kinds, hostname, sysctls)
    except OSError as error:
        fail(f"{error.strerror}: {error.filename}")
    # The child is the first of its process namespace, and nobody waits for its end.
    if os.fork():
        os._exit(0)
    os.setsid()
    myself = int(os.readlink("/proc/self"))  # as /proc, which is the host's, has it
    say("pid", str(myself))
    if not os.read(0, 1):
        os._exit(0)
    state = f'{{"pid": {myself}, "ticks": {programs.start_ticks(myself)}}}'
    programs.write_file(directory + "/holder.json", state)
    say("ready", "now")
    nothing = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    for one in forwarders:
        one.begin()
    while os.path.exists(directory + "/sandbox.json"):
        time.sleep(programs.LOOK_AROUND / 1000)


if __name__ == "__main__":
    main(sys.argv[1])
