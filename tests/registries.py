"""A registry of images, as small as an engine can pull from: one image, one user, HTTP on one address."""

import base64
import gzip
import hashlib
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

USER, PASSWORD = "someone", "something"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _blobs(archive: Path) -> tuple[bytes, dict[str, bytes]]:
    """Return the manifest of an image in an archive, and by digest all that is fetched of it."""
    with tarfile.open(archive) as tar:

        def read(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()

        [listed] = json.loads(read("manifest.json"))
        config, layers = read(listed["Config"]), [gzip.compress(read(name), 1) for name in listed["Layers"]]
    kinds = (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    )
    described = [
        {"mediaType": kinds[min(n, 1)], "size": len(data), "digest": _digest(data)}
        for n, data in enumerate([config, *layers])
    ]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
    return json.dumps(manifest).encode(), {_digest(data): data for data in (config, *layers)}


@contextmanager
def private_registry(address: str, archive: Path, port: int = 0) -> Iterator[str]:
    """Serve an image as ``private:1`` to who knows the password; yields the registry's name. Port 0: any that is free."""
    manifest, blobs = _blobs(archive)
    allowed = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != allowed:
                self._answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}')
            elif self.path == "/v2/":
                self._answer(200, b"{}")
            elif self.path in ("/v2/private/manifests/1", f"/v2/private/manifests/{_digest(manifest)}"):
                self._answer(200, manifest, MANIFEST)
            elif (digest := self.path.rpartition("/")[2]) in blobs:
                self._answer(200, blobs[digest], "application/octet-stream")
            else:
                self._answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

        do_HEAD = do_GET

        def _answer(self, status: int, data: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            if status == 200 and kind == MANIFEST:
                self.send_header("Docker-Content-Digest", _digest(data))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer((address, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"{address}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
