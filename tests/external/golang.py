"""Go programs around Kubernetes' own libraries, as Debian packages them: what the tests ask how it is done."""

import functools
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "go"
PACKAGED = Path("/usr/share/gocode/src")
"""Where Debian has the sources of libraries."""
VERSIONED = ("sigs.k8s.io/structured-merge-diff/v4",)
"""Import paths that end with a version, which the directories of the packages do not."""


@functools.cache
def _workspace() -> tuple[tempfile.TemporaryDirectory[str], Path]:
    """Return a Go workspace outside of the repository; it goes when this process ends."""
    directory = tempfile.TemporaryDirectory(prefix="kubelib-go-")
    sources = Path(directory.name) / "src"
    for path in VERSIONED:
        link = sources / path
        link.parent.mkdir(parents=True)
        link.symlink_to(PACKAGED / Path(path).parent)
    for place in PACKAGED.iterdir():
        (sources / place.name).mkdir(exist_ok=True)
        for library in place.iterdir():
            if not (sources / place.name / library.name).exists():
                (sources / place.name / library.name).symlink_to(library)
    return directory, Path(directory.name)


@functools.cache
def program(name: str) -> Path:
    """Return the program of a directory beside this file, built from what Debian packages."""
    _, workspace = _workspace()
    built = workspace / "bin" / name
    environment = {
        **os.environ,
        "GOPATH": str(workspace),
        "GOCACHE": str(Path(tempfile.gettempdir()) / f"kubelib-go-build-{os.getuid()}"),
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
    }
    subprocess.run(["go", "build", "-o", built, "."], cwd=HERE / name, env=environment, check=True)
    return built


class Oracle:
    """A program that answers each line of JSON with one."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def tell(self, document: Any) -> None:
        """Send what has no answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(document) + "\n")
        self._process.stdin.flush()

    def ask(self, document: Any) -> Any:
        """Return the answer to a document."""
        self.tell(document)
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def oracle(name: str) -> Iterator[Oracle]:
    """Run a program that answers questions."""
    with subprocess.Popen(
        [program(name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Oracle(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(120) == 0
