"""The command line: one program, `kubelib`, whose commands are loaded when they are asked for."""

import gc
import importlib
import sys
from collections.abc import Sequence

import click

from kubelib import __version__

COMMANDS = {
    # name: (module, function, one line of help)
    "up": ("reference_cluster.cli.daemons", "up", "Run a whole cluster in this process."),
    "down": ("reference_cluster.cli.down", "down", "End the Pods of a cluster that has ended."),
    "apiserver": ("reference_cluster.cli.daemons", "apiserver", "Run the API server."),
    "scheduler": ("reference_cluster.cli.scheduling", "scheduler", "Run a scheduler, of any architecture."),
    "controller-manager": (
        "reference_cluster.cli.daemons",
        "controller_manager",
        "Run the built-in controllers.",
    ),
    "kubelet": ("reference_cluster.cli.daemons", "kubelet", "Run a node."),
    "proxy": ("reference_cluster.cli.daemons", "proxy", "Run the service proxy."),
    "elastic": ("reference_cluster.cli.elastic", "elastic", "Let a cluster grow and shrink."),
    "token": ("reference_cluster.cli.tokens", "token", "Make tokens by which nodes join."),
    "credentials": (
        "reference_cluster.cli.credentials",
        "credentials",
        "Make certificates for users and nodes.",
    ),
    "get": ("reference_cluster.cli.client", "get", "Show objects as a table, YAML, JSON or names."),
    "describe": ("reference_cluster.cli.describe", "describe", "Show objects with all that belongs to them."),
    "apply": ("reference_cluster.cli.client", "apply", "Create or change objects from files."),
    "delete": ("reference_cluster.cli.client", "delete", "Delete objects."),
    "scale": ("reference_cluster.cli.client", "scale", "Set the number of replicas."),
    "logs": ("reference_cluster.cli.client", "logs", "Print the logs of a container."),
    "exec": ("reference_cluster.cli.command", "exec_", "Run a command in a container."),
    "label": ("reference_cluster.cli.labelling", "label", "Set, change and remove labels."),
    "explain-scheduling": (
        "reference_cluster.cli.explaining",
        "explain_scheduling",
        "Show how a Pod is judged on every node.",
    ),
    "what-if": ("reference_cluster.cli.explaining", "what_if", "Show where Pods of files would go."),
    "wait": ("reference_cluster.cli.client", "wait", "Wait for a condition of objects."),
    "backup": ("reference_cluster.cli.storage", "backup", "Write a store to a file."),
    "restore": ("reference_cluster.cli.storage", "restore", "Make a store of a backup."),
    "simulate": ("reference_cluster.cli.simulate", "simulate", "Simulate cells under different schedulers."),
    "demo": ("reference_cluster.cli.demo", "demo", "Run an example and check that it works."),
}


class _Commands(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, function, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), function)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: kubelib up --data-dir ./cluster, then kubelib --kubeconfig ./cluster/admin.kubeconfig get pods -A",
)
@click.version_option(__version__, prog_name="kubelib")
@click.option(
    "--kubeconfig", metavar="FILE", help="The cluster to talk to (default: $KUBECONFIG, then ~/.kube/config)."
)
@click.option("--context", metavar="NAME", help="The context of the kubeconfig to use.")
@click.pass_context
def kubelib(ctx: click.Context, kubeconfig: str | None, context: str | None) -> None:
    """Kubernetes' control plane as a Python library, and a cluster made of it."""
    ctx.obj = {"kubeconfig": kubeconfig, "context": context}


_ANYWHERE = ("--kubeconfig", "--context")
_OWN = tuple(f"reference_cluster.cli.{module}" for module in ("daemons", "scheduling", "elastic", "demo"))
"""Modules of commands that have such options of their own."""


def in_order(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the options that say which cluster is meant before the command: kubectl takes them anywhere.

    >>> in_order(["get", "pods", "--kubeconfig", "a", "--context=b"])
    ['--kubeconfig', 'a', '--context=b', 'get', 'pods']
    """
    first: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            rest += [argument, *waiting]
            break
        if argument in _ANYWHERE and waiting:
            first += [argument, waiting.pop(0)]
        elif argument.startswith(tuple(f"{option}=" for option in _ANYWHERE)):
            first.append(argument)
        else:
            rest.append(argument)
    command = next((argument for argument in rest if not argument.startswith("-")), "")
    if command in COMMANDS and COMMANDS[command][0] not in _OWN:
        return first + rest
    return list(arguments)


def main() -> None:
    """Run the command line."""
    # What a start makes, modules above all, stays: looking through it again and again for garbage is wasted.
    gc.set_threshold(50_000, 20, 20)
    try:
        sys.exit(kubelib.main(in_order(sys.argv[1:]), standalone_mode=False) or 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
