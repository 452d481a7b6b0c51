"""Options of a few shapes: a text, a number, seconds, one of several words. A default that is something is shown."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Option(Protocol):
    """Gives a command an option."""

    def __call__(self, function: F, /) -> F:
        """Return the command."""
        ...


def text(option: str, metavar: str, help: str, *, default: str = "", into: str = "") -> Option:
    """Return an option that takes a text; `into` is the parameter that gets it, if that is not called as the option."""
    return _option(option, into, default=default, show_default=bool(default), metavar=metavar, help=help)


def number(
    option: str,
    default: int | None,
    help: str,
    *,
    least: int = 0,
    most: int | None = None,
    metavar: str | None = None,
) -> Option:
    """Return an option that takes a whole number from `least` to `most`."""
    return _option(
        option,
        type=click.IntRange(least, most),
        default=default,
        show_default=default is not None,
        metavar=metavar,
        help=help,
    )


def seconds(option: str, default: float, help: str) -> Option:
    """Return an option that takes a number of seconds."""
    return _option(option, type=click.FloatRange(0), default=default, show_default=True, help=help)


def choice(
    option: str, words: Sequence[str], help: str, *, default: str | None = None, into: str = ""
) -> Option:
    """Return an option that takes one of several words: the first, unless there is another default."""
    return _option(
        option, into, type=click.Choice(words), default=default or words[0], show_default=True, help=help
    )


def _option(option: str, into: str = "", **more: Any) -> Option:
    return click.option(option, *([into] if into else []), **more)
