"""The parent of one container's process: a program of its own, so that containers survive the agent that started them.

It is run as ``python -I -S shim.py DIRECTORY`` and imports little. It starts what ``spec.json`` says, writes the output to the
log in the CRI format (time, stream, ``F`` or ``P``, text), notes in ``state.json`` what runs and in ``exit.json`` how it ended,
and rings a bell (a named pipe) for whoever listens. Nothing here imports kubelib.
"""

import json
import os
import select
import signal
import sys
import time

LONGEST_LINE = 16 * 1024
LARGEST_LOG = 10 * 1024 * 1024
LOOK_AROUND = 2000
"""Milliseconds after which a shim sees that its directory was deleted: nobody could find, or end, its container then."""


def write_file(path, text):
    """Write a file so that it is there whole or not at all."""
    with open(path + ".new", "w") as file:
        file.write(text)
        file.flush()
    os.replace(path + ".new", path)


def start_ticks(pid):
    """Return when a process started: with its number, what tells it from a later one with the same number."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def myself():
    """Return how a state tells which process its shim is."""
    return {"shim": os.getpid(), "shim_ticks": start_ticks(os.getpid())}


def timestamp():
    """Return the time as logs and states have it."""
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


class Log:
    """The log file: whole lines of each stream, rotated once it is large."""

    def __init__(self, path):
        self.path = path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.file = open(path, "ab", buffering=0)
        self.partial = {"stdout": b"", "stderr": b""}

    def add(self, stream, data):
        """Add output of a stream."""
        *lines, rest = (self.partial[stream] + data).split(b"\n")
        head = f"{timestamp()} {stream} ".encode()
        out = [head + b"F " + line + b"\n" for line in lines]
        while len(rest) > LONGEST_LINE:
            out.append(head + b"P " + rest[:LONGEST_LINE] + b"\n")
            rest = rest[LONGEST_LINE:]
        self.partial[stream] = rest
        self.write(b"".join(out))

    def end(self, stream):
        """Write what is left of a stream that has ended."""
        if self.partial[stream]:
            self.write(f"{timestamp()} {stream} F ".encode() + self.partial[stream] + b"\n")
            self.partial[stream] = b""

    def write(self, data):
        try:
            if data and self.file.tell() + len(data) > LARGEST_LOG:
                os.replace(self.path, self.path + ".1")
                self.file.close()
                self.file = open(self.path, "ab", buffering=0)
            self.file.write(data)
        except OSError:
            pass  # a full disk must not end the container


def become_subreaper():
    """Make orphans among the descendants ours, so that they can be found and ended."""
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def children(pid):
    """Return the children of a process."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def end_descendants():
    """Kill and reap everything that is left below this process."""
    for _ in range(1000):
        left = children(os.getpid())
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def start(spec, out, err, failed):
    """Become the container's process. Does not return."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        if spec["memory"]:
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (spec["memory"], spec["memory"]))
        os.chdir(spec["directory"])
        if spec["group"] is not None:
            os.setgroups([])
            os.setgid(spec["group"])
        if spec["user"] is not None:
            os.setuid(spec["user"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        os.write(failed, f"{error.strerror}: {error.filename or spec['argv'][0]}".encode())
    except ValueError as error:
        os.write(failed, str(error).encode())
    os._exit(127)


def main(directory):
    """Run one container to its end."""
    with open(directory + "/spec.json") as file:
        spec = json.load(file)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    log = Log(spec["log"])
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    failed_read, failed_write = os.pipe()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    pid = os.fork()
    if pid == 0:
        start(spec, out_write, err_write, failed_write)
    os.close(out_write)
    os.close(err_write)
    os.close(failed_write)
    started = timestamp()
    try:
        ticks = start_ticks(pid)
    except OSError:
        ticks = 0
    # The other end is closed by exec: an empty read means that the command runs.
    failure = os.read(failed_read, 4096).decode(errors="replace")
    os.close(failed_read)
    if failure:
        os.waitpid(pid, 0)
        write_file(
            directory + "/exit.json",
            json.dumps({"failure": failure, "started": started, "finished": timestamp(), **myself()}),
        )
        ring(spec, directory)
        return
    state = {"pid": pid, "ticks": ticks, "started": started, **myself()}
    write_file(directory + "/state.json", json.dumps(state))
    ring(spec, directory)
    streams = {out_read: "stdout", err_read: "stderr"}
    poll = select.poll()
    for descriptor in (*streams, wake_read):
        poll.register(descriptor, select.POLLIN)
    status = None
    while status is None:
        if not os.path.exists(directory + "/spec.json"):
            end_descendants()
            return
        for descriptor, _ in poll.poll(LOOK_AROUND):
            if descriptor == wake_read:
                os.read(wake_read, 4096)
            else:
                data = os.read(descriptor, 65536)
                if data:
                    log.add(streams[descriptor], data)
                else:
                    poll.unregister(descriptor)
                    log.end(streams[descriptor])
        while True:
            try:
                ended, code = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if ended == 0:
                break
            if ended == pid:
                status = code
    end_descendants()
    for descriptor, stream in streams.items():
        os.set_blocking(descriptor, False)
        try:
            while data := os.read(descriptor, 65536):
                log.add(stream, data)
        except OSError:
            pass
        log.end(stream)
    code, number = (
        (128 + os.WTERMSIG(status), os.WTERMSIG(status))
        if os.WIFSIGNALED(status)
        else (os.WEXITSTATUS(status), 0)
    )
    write_file(
        directory + "/exit.json",
        json.dumps({"code": code, "signal": number, "started": started, "finished": timestamp()}),
    )
    ring(spec, directory)


def ring(spec, directory):
    """Tell whoever listens that something happened here; nobody need listen."""
    try:
        bell = os.open(spec["bell"], os.O_WRONLY | os.O_NONBLOCK)
        try:
            # When many ring at once the pipe may be full for a moment; a listener that hangs is not waited for.
            select.select([], [bell], [], 1)
            os.write(bell, (directory + "\n").encode())
        finally:
            os.close(bell)
    except OSError:
        pass


if __name__ == "__main__":
    # The shim is a daemon: it outlives its parent and shares nothing with it.
    if os.fork():
        os._exit(0)
    os.setsid()
    main(sys.argv[1])
