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
    terminal = entrance = -1
    if spec.get("tty"):
        terminal, out_write = os.openpty()
        entrance, stdin, err_write = os.dup(terminal), out_write, out_write
        streams = {terminal: "stdout"}
    else:
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        streams = {out_read: "stdout", err_read: "stderr"}
        if spec.get("stdin"):
            stdin, entrance = os.pipe()
        else:
            stdin = os.open("/dev/null", os.O_RDONLY)
    poll = select.poll()
    visitors = Visitors(directory, poll, spec, entrance, terminal)
    failed_read, failed_write = os.pipe()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    problem = ""
    try:
        if isolation and isolation["pid_of"]:
            isolated().enter(isolation["pid_of"], "pid")
        elif isolation and isolation["own_processes"]:
            isolated().unshare(isolated().NEWPID)
    except OSError as error:
        problem = f"{error.strerror}: {error.filename}"
    pid = os.fork()
    if pid == 0:
        if problem:
            os.write(failed_write, problem.encode())
            os._exit(127)
        start(spec, stdin, out_write, err_write, failed_write)
    for descriptor in {stdin, out_write, err_write, failed_write}:
        os.close(descriptor)
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
    for descriptor in (*streams, wake_read):
        poll.register(descriptor, select.POLLIN)
    reading, wide, held = set(streams), set(), False
    status = None
    while status is None:
        if held != visitors.fall_behind():
            held = not held
            for descriptor in reading:
                # Without events, only that a stream has ended is told.
                poll.modify(descriptor, 0 if held else select.POLLIN)
        if not os.path.exists(directory + "/spec.json"):
            end_container(isolation)
            return
        for descriptor, events in poll.poll(LOOK_AROUND // 4 if held else LOOK_AROUND):
            if descriptor == wake_read:
                os.read(wake_read, 4096)
            elif visitors.knows(descriptor):
                visitors.handle(descriptor, events)
            elif descriptor in streams:
                try:
                    data = os.read(descriptor, READ)
                except BlockingIOError:
                    continue
                except OSError:  # a terminal that nobody has open any more
                    data = b""
                if data:
                    if len(data) == PIPE and descriptor not in wide:
                        wide.add(descriptor)
                        widen(descriptor)
                    log.add(streams[descriptor], data)
                    visitors.show(streams[descriptor], data)
                else:
                    reading.discard(descriptor)
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
    end_container(isolation)
    for descriptor, stream in streams.items():
        os.set_blocking(descriptor, False)
        try:
            while data := os.read(descriptor, READ):
                log.add(stream, data)
                visitors.show(stream, data)
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
        json.dumps(
            {
                "code": code,
                "signal": number,
                "started": started,
                "finished": timestamp(),
                "oom": bool(isolation) and was_killed_for_memory(isolation["oom_files"]),
            }
        ),
    )
    ring(spec, directory)
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
