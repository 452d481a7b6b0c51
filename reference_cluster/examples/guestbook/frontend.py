"""The guestbook's web front end: reads from any replica, writes to the master, finds both through their Services.

GET  /          the page
GET  /entries   the entries as a JSON list, from a replica
POST /entries   a new entry (the body, or the form field "entry"), to the master
GET  /healthz   ok
"""

import html
import json
import os
import signal
import socket
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "8080"))
PAGE = """<!doctype html><meta charset="utf-8"><title>Guestbook</title>
<style>body{{font:16px sans-serif;max-width:40em;margin:3em auto}}li{{margin:.3em 0}}</style>
<h1>Guestbook</h1>
<form method="post" action="/entries"><input name="entry" autofocus required> <button>Sign</button></form>
<ul>{entries}</ul><p><small>served by {pod}</small></p>"""


def ask(service: str, line: str) -> str:
    """Send one line to a Service and return the line that it answers."""
    host = os.environ[f"GUESTBOOK_{service}_SERVICE_HOST"]
    port = int(os.environ[f"GUESTBOOK_{service}_SERVICE_PORT"])
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(line.encode() + b"\n")
        answer = connection.makefile("r").readline().rstrip("\n")
    if not answer or answer.startswith("ERROR"):
        raise OSError(answer or f"the {service.lower()} hung up")
    return answer


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._answer(200, "text/plain", "ok\n")
            return
        try:
            entries = ask("REPLICA", "RANGE")
        except OSError as error:
            self._answer(503, "text/plain", f"{error}\n")
            return
        if self.path == "/entries":
            self._answer(200, "application/json", entries + "\n")
        elif self.path == "/":
            items = "".join(f"<li>{html.escape(str(entry))}</li>" for entry in json.loads(entries))
            pod = os.environ.get("HOSTNAME", "")
            self._answer(200, "text/html; charset=utf-8", PAGE.format(entries=items, pod=html.escape(pod)))
        else:
            self._answer(404, "text/plain", "not found\n")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        form = (self.headers.get("Content-Type") or "").startswith("application/x-www-form-urlencoded")
        entry = urllib.parse.parse_qs(body).get("entry", [""])[0] if form else body
        if self.path != "/entries" or not entry.strip():
            self._answer(400, "text/plain", "POST a non-empty entry to /entries\n")
            return
        try:
            answer = ask("MASTER", "APPEND " + json.dumps(entry))
        except OSError as error:
            self._answer(503, "text/plain", f"{error}\n")
            return
        if form:
            self.send_response(303)
            self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._answer(201, "text/plain", answer + "\n")

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
    host = os.environ.get("POD_IP", "127.0.0.1")
    ThreadingHTTPServer.request_queue_size = 64
    with ThreadingHTTPServer((host, PORT), Handler) as server:
        print(f"frontend listens on {host}:{PORT}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
