"""How commands in containers end, over whichever protocol somebody talks to them."""

import contextlib
from typing import Any

import anyio

from kubelib.server.nodes import Stream

LAST_WORDS = 30.0
"""Seconds in which a command may end by itself once its client has gone."""


async def run_out(stream: Stream) -> None:
    """Let a command whose client has gone take in what it was sent, and end by itself: it has `LAST_WORDS` for that.

    Clients of most protocols have no other way to say that no more input comes. What the command still says is nobody's.
    """
    with anyio.move_on_after(LAST_WORDS):
        await stream.close_stdin()
        with contextlib.suppress(anyio.EndOfStream):
            while True:
                await stream.receive()
        await stream.wait()


def exit_status(code: int) -> dict[str, Any]:
    """Return the ``Status`` of a command that has ended with an exit code."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
