"""The guestbook's store: one master that takes entries, any number of replicas that follow it.

Plain Python, nothing installed. The protocol is lines of text over TCP:

    APPEND <json>   master only; answers OK <number of entries> once the entry is on disk
    RANGE           answers one line: the JSON list of all entries
    FOLLOW <n>      streams every entry after the first n, one JSON line each, until the connection ends

    python3 store.py master            keeps its entries in the file $DATA_FILE (default: entries.jsonl)
    python3 store.py replica           follows $GUESTBOOK_MASTER_SERVICE_HOST:$GUESTBOOK_MASTER_SERVICE_PORT
"""

import contextlib
import json
import os
import signal
import socket
import socketserver
import sys
import threading
import time
from pathlib import Path

PORT = int(os.environ.get("PORT", "6379"))


class Entries:
    """An append-only list that threads wait on."""

    def __init__(self, file: Path | None) -> None:
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self._file = None
        if file is not None:
            if file.exists():
                # A line without its end was never acknowledged.
                whole, _, _ = file.read_text().rpartition("\n")
                self.lines = whole.split("\n") if whole else []
                file.write_text("".join(line + "\n" for line in self.lines))
            self._file = file.open("a")

    def append(self, line: str) -> int:
        with self.changed:
            if self._file is not None:
                self._file.write(line + "\n")
                self._file.flush()
                os.fsync(self._file.fileno())
            self.lines.append(line)
            self.changed.notify_all()
            return len(self.lines)

    def wait_for(self, count: int) -> str:
        with self.changed:
            self.changed.wait_for(lambda: len(self.lines) > count)
            return self.lines[count]


class Session(socketserver.StreamRequestHandler):
    """One connection."""

    server: "Server"

    def handle(self) -> None:
        for raw in self.rfile:
            verb, _, rest = raw.decode().rstrip("\n").partition(" ")
            if verb == "APPEND" and self.server.writable:
                try:
                    line = json.dumps(json.loads(rest))
                except ValueError:
                    self._say("ERROR not JSON")
                else:
                    self._say(f"OK {self.server.entries.append(line)}")
            elif verb == "APPEND":
                self._say("ERROR this is a replica: write to the master")
            elif verb == "RANGE":
                self._say("[" + ",".join(self.server.entries.lines) + "]")
            elif verb == "FOLLOW" and rest.isdigit():
                position = int(rest)
                while True:
                    self._say(self.server.entries.wait_for(position))
                    position += 1
            else:
                self._say("ERROR expected APPEND, RANGE or FOLLOW")

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\n")

    def finish(self) -> None:
        with contextlib.suppress(OSError):  # the other side has gone
            super().finish()


class Server(socketserver.ThreadingTCPServer):
    """The listening socket and what all sessions share."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], entries: Entries, *, writable: bool) -> None:
        super().__init__(address, Session)
        self.entries = entries
        self.writable = writable

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def follow(entries: Entries, host: str, port: int) -> None:
    """Copy the master's entries for ever, from where this replica stands."""
    while True:
        try:
            with socket.create_connection((host, port), timeout=5) as connection:
                connection.settimeout(None)
                connection.sendall(f"FOLLOW {len(entries.lines)}\n".encode())
                print(f"following {host}:{port} from entry {len(entries.lines)}", flush=True)
                for line in connection.makefile("r"):
                    if line.endswith("\n"):
                        entries.append(line.rstrip("\n"))
        except OSError as error:
            print(f"cannot reach the master at {host}:{port}: {error}", flush=True)
        time.sleep(0.2)


def main() -> None:
    """Serve as the role that the command line names."""
    role = sys.argv[1] if len(sys.argv) == 2 else ""
    if role not in ("master", "replica"):
        sys.exit("usage: store.py master|replica")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    host = os.environ.get("POD_IP", "127.0.0.1")
    if role == "master":
        entries = Entries(Path(os.environ.get("DATA_FILE", "entries.jsonl")))
    else:
        entries = Entries(None)
        master = os.environ["GUESTBOOK_MASTER_SERVICE_HOST"]
        port = int(os.environ["GUESTBOOK_MASTER_SERVICE_PORT"])
        threading.Thread(target=follow, args=(entries, master, port), daemon=True).start()
    with Server((host, PORT), entries, writable=role == "master") as server:
        print(f"{role} with {len(entries.lines)} entries listens on {host}:{PORT}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
