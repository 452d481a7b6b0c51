"""The log of a container: its output in the CRI format (time, stream, ``F`` or ``P``, text), rotated once it is large.

A part of the shim (`kubelib.runtime.shim`): nothing here imports kubelib.
"""

import os
import time

LONGEST_LINE = 16 * 1024
LARGEST_LOG = 10 * 1024 * 1024


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
        self.size = self.file.tell()
        self.partial = {"stdout": b"", "stderr": b""}

    def add(self, stream, data):
        """Add output of a stream."""
        head = f"{timestamp()} {stream} ".encode()
        if self.partial[stream]:
            data = self.partial[stream] + data
        end = data.rfind(b"\n")
        out = []
        if end >= 0:
            # All lines at once: what writes without end has many.
            full = head + b"F "
            out = [full, data[:end].replace(b"\n", b"\n" + full), b"\n"]
        rest = data[end + 1 :]
        while len(rest) > LONGEST_LINE:
            out += [head, b"P ", rest[:LONGEST_LINE], b"\n"]
            rest = rest[LONGEST_LINE:]
        self.partial[stream] = rest
        self.write(b"".join(out))

    def end(self, stream):
        """Write what is left of a stream that has ended: a line that nobody has ended is part of one."""
        if self.partial[stream]:
            self.write(f"{timestamp()} {stream} P ".encode() + self.partial[stream] + b"\n")
            self.partial[stream] = b""

    def write(self, data):
        try:
            if data and self.size + len(data) > LARGEST_LOG:
                os.replace(self.path, self.path + ".1")
                self.file.close()
                self.file = open(self.path, "ab", buffering=0)
                self.size = 0
            self.size += self.file.write(data)
        except OSError:
            pass  # a full disk must not end the container
