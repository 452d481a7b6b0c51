"""`kubelib exec`: a command in a container, with this terminal's input, output and size."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

import anyio
import click

from kubelib.client.http import HttpClient
from kubelib.client.websocket import CommandStream, open_command
from reference_cluster.cli.client import namespace_option
from reference_cluster.cli.resources import find_resource, path_of, run


@click.command("exec", epilog="Example: kubelib exec -it web -- sh")
@click.argument("pod")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--container", "-c", default="", metavar="NAME", help="Which container, if there are several.")
@click.option("--stdin", "-i", is_flag=True, help="Pass standard input to the command.")
@click.option("--tty", "-t", is_flag=True, help="Give the command a terminal.")
@namespace_option
@click.pass_context
def exec_(
    ctx: click.Context,
    pod: str,
    command: tuple[str, ...],
    container: str,
    stdin: bool,
    tty: bool,
    namespace: str | None,
) -> None:
    """Run a command in a container. The exit code is the command's."""
    if tty and not (stdin and sys.stdin.isatty()):
        if stdin:
            click.echo("Unable to use a TTY - input is not a terminal or the right kind of file", err=True)
        tty = False
    query = [("command", part) for part in command]
    query += [("stdout", "true"), ("stderr", "false" if tty else "true")]
    query += [("container", container)] if container else []
    query += [("stdin", "true")] if stdin else []
    query += [("tty", "true")] if tty else []

    async def main(client: HttpClient) -> int:
        name = pod.removeprefix("pods/").removeprefix("pod/")
        path = path_of(find_resource("pods"), namespace or client.connection.namespace, name, "exec")
        await client.know_ourselves()
        async with open_command(client.connection, path, query) as stream:
            with _raw_terminal() if tty else contextlib.nullcontext():
                return await _relay(stream, stdin=stdin, tty=tty)

    code = run(ctx, main)
    if code:
        click.echo(f"command terminated with exit code {code}", err=True)
        ctx.exit(code)


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Let every key go to the command, until the context ends."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin, termios.TCSANOW)  # what has been typed already counts
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


async def _relay(stream: CommandStream, *, stdin: bool, tty: bool) -> int:
    async with anyio.create_task_group() as group:
        if stdin:
            group.start_soon(_input, stream)
        if tty:
            group.start_soon(_sizes, stream)
        while True:
            try:
                name, data = await stream.receive()
            except anyio.EndOfStream:
                break
            output = sys.stdout.buffer if name == "stdout" else sys.stderr.buffer
            output.write(data)
            output.flush()
        group.cancel_scope.cancel()
    return await stream.wait()


async def _input(stream: CommandStream) -> None:
    descriptor = sys.stdin.fileno()
    while True:
        # Not in a thread: a read that nobody waits for any more would keep the program from ending.
        with contextlib.suppress(PermissionError):  # a file, which never makes us wait
            await anyio.wait_readable(descriptor)
        data = os.read(descriptor, 32768)
        if not data:
            await stream.close_stdin()
            return
        await stream.send(data)


async def _sizes(stream: CommandStream) -> None:
    with anyio.open_signal_receiver(signal.SIGWINCH) as changes:
        while True:
            # The terminal's own size, whatever COLUMNS and LINES say: they do not follow when it changes.
            size = os.get_terminal_size(sys.stdin.fileno())
            await stream.resize(size.columns, size.lines)
            async for _ in changes:
                break
