"""The parent of one container's process: a program of its own, so that containers survive the agent that started them.

It is run as ``python -I -S shim.py DIRECTORY DESCRIPTOR`` and imports little: the descriptor is kept open, which says that the
container is in hand. It starts what ``spec.json`` says, writes the output to the log in the CRI format (time, stream, ``F`` or
``P``, text), notes in ``state.json`` what runs and in ``exit.json`` how it ended,
and rings a bell (a named pipe) for whoever listens. Whoever connects to the socket ``attach`` sees the output from then on, and
reaches the input and the terminal. Nothing here imports kubelib.
"""

import json
import os
import select
import signal
import sys
import time

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    from programs import LOOK_AROUND, become_user, execute, start_ticks, write_file
    from shimlog import Log, timestamp
    from shimvisitors import Visitors
else:
    from kubelib.runtime.programs import LOOK_AROUND, become_user, execute, start_ticks, write_file
    from kubelib.runtime.shimlog import Log, timestamp
    from kubelib.runtime.shimvisitors import Visitors

PIPE, READ = 64 * 1024, 256 * 1024
"""Bytes that a pipe holds, usually and where a lot is written, which are read at once. A user may not have many large ones."""
SET_PIPE_SIZE = 1031


def myself():
    """Return how a state tells which process its shim is."""
    return {"shim": os.getpid(), "shim_ticks": start_ticks(os.getpid())}


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


def descendants():
    """Return all processes below this one."""
    found, todo = [], children(os.getpid())
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children(pid)
    return found


def send(pids, number):
    """Send a signal to processes, as far as they are still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def end_all(find):
    """Kill and reap all that `find` finds, also what starts others faster than it can be killed."""
    for _ in range(1000):
        left = find()
        if not left:
            return
        # What is stopped starts nothing: once nothing new is found, all of it is killed.
        send(left, signal.SIGSTOP)
        if set(find()) <= set(left):
            send(left, signal.SIGKILL)
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break
        time.sleep(0.001)


def end_container(isolation):
    """End everything that is left of the container."""
    end_all(descendants)
    if isolation and isolation["pid_of"]:
        # In the process namespace of others their first process has adopted what lost its parent.
        end_all(lambda: isolated().members(isolation["groups"]))


def isolated():
    """Return the part of this program that shuts containers in."""
    place = os.path.join(os.path.dirname(os.path.abspath(__file__)), "isolation")
    if place not in sys.path:
        sys.path.insert(0, place)
    import inside

    return inside


def was_killed_for_memory(files):
    """Return whether the kernel says that it has killed something in a container's control group."""
    for name in files:
        try:
            with open(name) as file:
                for line in file:
                    word, _, count = line.partition(" ")
                    if word == "oom_kill" and int(count) > 0:
                        return True
        except (OSError, ValueError):
            pass
    return False


def start(spec, stdin, out, err, failed):
    """Become the container's process. Does not return."""
    os.setsid()
    if spec.get("tty"):
        import fcntl
        import termios

        fcntl.ioctl(out, termios.TIOCSCTTY, 0)
    os.dup2(stdin, 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        if spec.get("isolation"):
            isolated().shut_in(spec["isolation"], spec["home"])
        elif spec.get("names"):
            isolated().apart(spec["names"]["files"], spec["names"]["hostname"])
        if spec["memory"]:
            import resource

            # The hard limit stays: whoever has the rights of the process may raise the soft one when the Pod is resized.
            highest = resource.getrlimit(resource.RLIMIT_AS)[1]
            wanted = spec["memory"] if highest == resource.RLIM_INFINITY else min(spec["memory"], highest)
            resource.setrlimit(resource.RLIMIT_AS, (wanted, highest))
        os.chdir(spec["directory"])
        if spec.get("isolation"):
            isolated().give_up(spec["isolation"]["security"], lambda: become_user(spec))
        else:
            become_user(spec)
        execute(spec["argv"], spec["env"])
    except OSError as error:
        os.write(failed, f"{error.strerror}: {error.filename or spec['argv'][0]}".encode())
    except ValueError as error:
        os.write(failed, str(error).encode())
    finally:
        os._exit(127)


def widen(descriptor):
    """Let a pipe hold more, if this user may have that: who writes a lot waits most of the time otherwise."""
    import fcntl

    try:
        fcntl.fcntl(descriptor, SET_PIPE_SIZE, READ)
    except OSError:  # a terminal; or all that this user may have is in use
        pass


def open_ends(spec):
    """Open what the container's process reads and writes: its three descriptors, and our ends of them.

    Ours are the streams by what is read from, the input's `entrance`, and the `terminal`; -1 where there is none.
    """
    if spec.get("tty"):
        terminal, theirs = os.openpty()
        return (theirs, theirs, theirs), {terminal: "stdout"}, os.dup(terminal), terminal
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    stdin, entrance = os.pipe() if spec.get("stdin") else (os.open("/dev/null", os.O_RDONLY), -1)
    return (stdin, out_write, err_write), {out_read: "stdout", err_read: "stderr"}, entrance, -1


def enter_processes(isolation):
    """Let the next child be in the process namespace that it is to be in. Returns what is wrong, or nothing."""
    try:
        if isolation and isolation["pid_of"]:
            isolated().enter(isolation["pid_of"], "pid")
        elif isolation and isolation["own_processes"]:
            isolated().unshare(isolated().NEWPID)
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    return ""


def fork(spec, theirs):
    """Start the container's process. Returns its number, and why it could not be started, or nothing."""
    failed_read, failed_write = os.pipe()
    problem = enter_processes(spec.get("isolation"))
    pid = os.fork()
    if pid == 0:
        if problem:
            os.write(failed_write, problem.encode())
            os._exit(127)
        start(spec, *theirs, failed_write)
    for descriptor in {*theirs, failed_write}:
        os.close(descriptor)
    # The other end is closed by exec: an empty read means that the command runs.
    failure = os.read(failed_read, 4096).decode(errors="replace")
    os.close(failed_read)
    return pid, failure


def reap(pid):
    """Reap all children that have ended. Returns the status of `pid` if it was among them."""
    status = None
    while True:
        try:
            ended, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if ended == 0:
            return status
        if ended == pid:
            status = code


class Output:
    """What the container writes, on its way to the log and to the visitors."""

    def __init__(self, streams, log, visitors, poll):
        self._streams, self._log, self._visitors, self._poll = streams, log, visitors, poll
        self._reading, self._wide = set(streams), set()
        self.held = False
        """Whether nothing is read for now, since visitors do not keep up."""
        for descriptor in streams:
            poll.register(descriptor, select.POLLIN)

    def hold(self, held):
        """Read on, or do not."""
        if held != self.held:
            self.held = held
            for descriptor in self._reading:
                # Without events, only that a stream has ended is told.
                self._poll.modify(descriptor, 0 if held else select.POLLIN)

    def read(self, descriptor):
        """Take what there is on a stream; nothing if the descriptor is none of them, as that of a visitor who has just left."""
        if descriptor not in self._reading:
            return
        try:
            data = os.read(descriptor, READ)
        except BlockingIOError:
            return
        except OSError:  # a terminal that nobody has open any more
            data = b""
        if data:
            if len(data) == PIPE and descriptor not in self._wide:
                self._wide.add(descriptor)
                widen(descriptor)
            self._pass_on(self._streams[descriptor], data)
        else:
            self._reading.discard(descriptor)
            self._poll.unregister(descriptor)
            self._log.end(self._streams[descriptor])

    def finish(self):
        """Take what is left, once nobody writes any more."""
        for descriptor, stream in self._streams.items():
            os.set_blocking(descriptor, False)
            try:
                while data := os.read(descriptor, READ):
                    self._pass_on(stream, data)
            except OSError:
                pass
            self._log.end(stream)

    def _pass_on(self, stream, data):
        self._log.add(stream, data)
        self._visitors.show(stream, data)


def follow(pid, directory, output, visitors, poll, wake):
    """Pass on what is written until the container's process ends. Returns its status; None if the container's directory has gone."""
    poll.register(wake, select.POLLIN)
    status = None
    while status is None:
        output.hold(visitors.fall_behind())
        if not os.path.exists(directory + "/spec.json"):
            return None
        for descriptor, events in poll.poll(LOOK_AROUND // 4 if output.held else LOOK_AROUND):
            if descriptor == wake:
                os.read(wake, 4096)
            elif visitors.knows(descriptor):
                visitors.handle(descriptor, events)
            else:
                output.read(descriptor)
        status = reap(pid)
    return status


def watch_children():
    """Return a descriptor that can be read when a child has ended."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    return wake_read


def main(directory):
    """Run one container to its end."""
    with open(directory + "/spec.json") as file:
        spec = json.load(file)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    spec["home"] = directory
    isolation = spec.get("isolation")
    log = Log(spec["log"])
    theirs, streams, entrance, terminal = open_ends(spec)
    poll = select.poll()
    visitors = Visitors(directory, poll, spec, entrance, terminal)
    wake = watch_children()
    pid, failure = fork(spec, theirs)
    started = timestamp()

    def note(name, **what):
        write_file(f"{directory}/{name}.json", json.dumps({**what, "started": started}))
        ring(spec, directory)

    if failure:
        os.waitpid(pid, 0)
        note("exit", failure=failure, finished=timestamp(), **myself())
        return
    try:
        ticks = start_ticks(pid)
    except OSError:
        ticks = 0
    note("state", pid=pid, ticks=ticks, **myself())
    output = Output(streams, log, visitors, poll)
    status = follow(pid, directory, output, visitors, poll, wake)
    end_container(isolation)
    if status is None:
        return
    output.finish()
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    note(
        "exit",
        code=128 + number if number else os.WEXITSTATUS(status),
        signal=number,
        finished=timestamp(),
        oom=bool(isolation) and was_killed_for_memory(isolation["oom_files"]),
    )
    visitors.say_goodbye()


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
    os.set_inheritable(int(sys.argv[2]), False)
    main(sys.argv[1])
