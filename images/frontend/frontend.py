"""The web front end of a guestbook on Redis: reads from a slave, writes to the master, finds both by their Services' variables.

GET  /          the page
GET  /entries   the entries as a JSON list
POST /entries   a new entry, the body or the form field "entry"; answers how many there are then
GET  /healthz   ok
"""

import html
import json
import os
import signal
import socket
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

PORT = int(os.environ.get("PORT", "8080"))
KEY = "guestbook"
PAGE = """<!doctype html><meta charset="utf-8"><title>Guestbook</title>
<style>body{{font:16px sans-serif;max-width:40em;margin:3em auto}}li{{margin:.3em 0}}</style>
<h1>Guestbook</h1>
<form method="post" action="/entries"><input name="entry" autofocus required> <button>Sign</button></form>
<ul>{entries}</ul><p><small>served by {pod}</small></p>"""


def ask(service: str, *words: str) -> object:
    """Send a command to a Redis server and return its answer. Raises OSError, also for an answer that is an error."""
    host = os.environ[f"REDIS_{service}_SERVICE_HOST"]
    port = int(os.environ[f"REDIS_{service}_SERVICE_PORT"])
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(b"".join(parts))
        with connection.makefile("rb") as answer:
            return read(answer)


def read(answer: BinaryIO) -> object:
    """Read a value as Redis writes it."""
    line = answer.readline()
    if not line.endswith(b"\r\n"):
        raise OSError("the server hung up")
    kind, text = line[:1], line[1:-2].decode(errors="replace")
    if kind == b"+":
        return text
    if kind == b":":
        return int(text)
    if kind == b"*":
        return [read(answer) for _ in range(int(text))]
    if kind == b"$":
        size = int(text)
        return answer.read(size + 2)[:-2].decode(errors="replace") if size >= 0 else None
    raise OSError(text)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Show the entries."""
        if self.path == "/healthz":
            self._answer(200, "text/plain", "ok\n")
            return
        try:
            entries = ask("SLAVE", "LRANGE", KEY, "0", "-1")
        except OSError as error:
            self._answer(503, "text/plain", f"{error}\n")
            return
        assert isinstance(entries, list)
        if self.path == "/entries":
            self._answer(200, "application/json", json.dumps(entries, ensure_ascii=False) + "\n")
        elif self.path == "/":
            items = "".join(f"<li>{html.escape(str(entry))}</li>" for entry in entries)
            pod = html.escape(os.environ.get("HOSTNAME", ""))
            self._answer(200, "text/html; charset=utf-8", PAGE.format(entries=items, pod=pod))
        else:
            self._answer(404, "text/plain", "not found\n")

    def do_POST(self) -> None:
        """Add an entry."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        form = (self.headers.get("Content-Type") or "").startswith("application/x-www-form-urlencoded")
        entry = urllib.parse.parse_qs(body).get("entry", [""])[0] if form else body
        if self.path != "/entries" or not entry.strip():
            self._answer(400, "text/plain", "POST a non-empty entry to /entries\n")
            return
        try:
            count = ask("MASTER", "RPUSH", KEY, entry)
        except OSError as error:
            self._answer(503, "text/plain", f"{error}\n")
            return
        if form:
            self.send_response(303)
            self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._answer(201, "text/plain", f"{count}\n")

    def _answer(self, status: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    ThreadingHTTPServer.request_queue_size = 64
    with ThreadingHTTPServer(("", PORT), Handler) as server:
        print(f"frontend listens on port {server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
