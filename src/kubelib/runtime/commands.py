"""Commands in containers, on any runtime that gives them streams."""

import contextlib

import anyio

from kubelib.runtime.base import ExecResult, ExecStream


async def run_to_end(stream: ExecStream) -> ExecResult:
    """Read all that a command writes, and return it with the exit code."""
    found: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            name, data = await stream.receive()
            found[name].append(data)
    return ExecResult(await stream.wait(), b"".join(found["stdout"]), b"".join(found["stderr"]))
