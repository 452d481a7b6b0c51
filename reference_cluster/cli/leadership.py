"""The options that say whether and how one of several copies of a daemon leads."""

import functools
from collections.abc import Callable

import click

from reference_cluster.cli import shapes


def leadership_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options, and call it with ``leader_elect`` (None: not said) and ``timing``, a `Timing`."""

    @functools.wraps(command)
    def with_timing(*, lease: str, renew: str, retry: str, **others: object) -> None:
        from kubelib.api.times import parse_duration
        from kubelib.controllers.election import Timing

        try:
            timing = Timing(
                lease=parse_duration(lease), renew=parse_duration(renew), retry=parse_duration(retry)
            )
        except ValueError as error:
            raise click.UsageError(f"--leader-elect-*: {error}") from None
        command(timing=timing, **others)

    return _elect(_lease(_renew(_retry(with_timing))))


_elect = click.option(
    "--leader-elect/--no-leader-elect",
    default=None,
    help="Whether of several copies one leads (default: yes, but for schedulers other than default-scheduler).",
)
_lease = shapes.text("--leader-elect-lease-duration", "DURATION", "For how long a leader that is not heard of is respected.", default="15s", into="lease")  # fmt: skip
_renew = shapes.text("--leader-elect-renew-deadline", "DURATION", "After how long a leader that cannot renew its lease stops.", default="10s", into="renew")  # fmt: skip
_retry = shapes.text("--leader-elect-retry-period", "DURATION", "How often copies try to lead, or to go on leading.", default="2s", into="retry")  # fmt: skip
