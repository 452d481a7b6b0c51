"""Those who are attached to a container: they see its output, and reach its input and its terminal.

A part of the shim (`kubelib.runtime.shim`): nothing here imports kubelib.
"""

import os
import select
import socket
import struct
import time

INPUT, INPUT_ENDS, SIZE, HELLO = 0, 1, 4, 5
STREAMS = {"stdout": b"\x01", "stderr": b"\x02"}
"""What the messages on the socket are: each is one of these bytes, its length in four, and so many bytes."""
SLOWEST = 1024 * 1024
"""Bytes that may wait for a visitor: with more, the container's output waits too, as with other engines."""
PATIENCE = 5.0
"""Seconds in which a visitor that is waited for has to read something: otherwise it has to go."""


class Visitors:
    """Those who are attached to the container."""

    def __init__(self, directory, poll, spec, entrance, terminal):
        self.poll = poll
        self.entrance = entrance
        """The descriptor that leads to the container's input, or -1."""
        self.terminal = terminal
        self.once = spec.get("stdin_once", False)
        self.waiting = b""
        self.closing = False
        self.visitors = {}
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.chdir(directory)  # the path of a socket must be short
        self.listening.bind("attach")
        os.chdir("/")
        self.listening.listen(16)
        self.listening.setblocking(False)
        poll.register(self.listening, select.POLLIN)
        if entrance >= 0:
            os.set_blocking(entrance, False)

    def knows(self, descriptor):
        return (
            descriptor in self.visitors
            or descriptor == self.listening.fileno()
            or descriptor == self.entrance
        )

    def handle(self, descriptor, events):
        """Do what a descriptor is ready for."""
        if descriptor == self.listening.fileno():
            try:
                visitor, _ = self.listening.accept()
            except OSError:
                return
            visitor.setblocking(False)
            self.visitors[visitor.fileno()] = [visitor, b"", b"", False, time.monotonic()]
            self.poll.register(visitor, select.POLLIN)
        elif descriptor == self.entrance:
            self.put(b"")
        elif descriptor in self.visitors:
            if events & select.POLLOUT:
                self.show_rest(descriptor)
            if descriptor in self.visitors and events & ~select.POLLOUT:
                self.listen(descriptor)

    def listen(self, descriptor):
        visitor = self.visitors[descriptor]
        try:
            data = visitor[0].recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.leave(descriptor)
            return
        visitor[1] += data
        while len(visitor[1]) >= 5:
            kind, size = struct.unpack(">BI", visitor[1][:5])
            if len(visitor[1]) < 5 + size:
                return
            payload, visitor[1] = visitor[1][5 : 5 + size], visitor[1][5 + size :]
            if kind == HELLO:
                visitor[3] = payload == b"1"
            elif kind == INPUT:
                self.put(payload)
            elif kind == INPUT_ENDS:
                self.end_input()
            elif kind == SIZE and self.terminal >= 0:
                import fcntl
                import termios

                width, height = struct.unpack(">HH", payload)
                size = struct.pack("HHHH", height, width, 0, 0)
                fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, size)

    def leave(self, descriptor):
        visitor = self.visitors.pop(descriptor)
        self.poll.unregister(descriptor)
        visitor[0].close()
        if visitor[3] and self.once:
            self.end_input()

    def end_input(self):
        """Tell the container that no more input comes, once it has read what there is."""
        if self.terminal >= 0:
            self.put(b"\x04")
        else:
            self.closing = True
            self.put(b"")

    def put(self, data):
        """Give input to the container. While it does not read, nothing is read from the visitors: nothing is lost."""
        if self.entrance < 0:
            return
        waited = bool(self.waiting)
        self.waiting += data
        try:
            while self.waiting:
                self.waiting = self.waiting[os.write(self.entrance, self.waiting) :]
        except BlockingIOError:
            self.poll.register(self.entrance, select.POLLOUT)
        except OSError:
            self.close_entrance()
        if waited and not self.waiting and self.entrance >= 0:
            self.poll.unregister(self.entrance)
        if self.closing and not self.waiting:
            self.close_entrance()
        if waited != bool(self.waiting):
            for descriptor in self.visitors:
                self.watch(descriptor)

    def watch(self, descriptor):
        """Wait for what is wanted of a visitor."""
        wanted = select.POLLOUT if self.visitors[descriptor][2] else 0
        self.poll.modify(descriptor, wanted if self.waiting else wanted | select.POLLIN)

    def close_entrance(self):
        if self.entrance >= 0:
            if self.waiting:
                self.poll.unregister(self.entrance)
            os.close(self.entrance)
        self.entrance = -1
        self.waiting = b""

    def show(self, stream, data):
        """Show output to all visitors."""
        if not self.visitors:
            return
        message = STREAMS[stream] + struct.pack(">I", len(data)) + data
        for descriptor in list(self.visitors):
            visitor = self.visitors[descriptor]
            if not visitor[2]:
                visitor[4] = time.monotonic()
            visitor[2] += message
            self.show_rest(descriptor)

    def show_rest(self, descriptor):
        visitor = self.visitors[descriptor]
        try:
            while visitor[2]:
                visitor[2] = visitor[2][visitor[0].send(visitor[2]) :]
                visitor[4] = time.monotonic()
        except BlockingIOError:
            pass
        except OSError:
            self.leave(descriptor)
            return
        self.watch(descriptor)

    def fall_behind(self):
        """Return whether somebody has to be waited for; who has read nothing for too long leaves."""
        behind = [d for d, visitor in self.visitors.items() if len(visitor[2]) > SLOWEST]
        late = time.monotonic() - PATIENCE
        for descriptor in behind:
            if self.visitors[descriptor][4] < late:
                self.leave(descriptor)
        return any(descriptor in self.visitors for descriptor in behind)

    def say_goodbye(self):
        """Show everybody the rest, for as long as somebody reads."""
        self.listening.close()
        end = time.monotonic() + PATIENCE
        for visitor, _, rest, _, _ in self.visitors.values():
            try:
                while rest:
                    visitor.settimeout(max(0.0, end - time.monotonic()))
                    rest = rest[visitor.send(rest) :]
                    end = time.monotonic() + PATIENCE
            except OSError:
                pass
            visitor.close()
