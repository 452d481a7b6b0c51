"""Plug-ins of other packages, by their entry points."""

from importlib.metadata import EntryPoint


def make_plugin(point: EntryPoint) -> object:
    """Make what an entry point names. Raises LookupError that says what is wrong with the package that has it."""
    try:
        return point.load()()
    except Exception as error:
        package = point.dist.name if point.dist is not None else point.value
        why = f"{type(error).__name__}: {error}"
        raise LookupError(f"{point.name!r} of {package} cannot be used: {why}") from error
