"""Runtimes by name; further ones register in the entry point group ``kubelib.runtimes``."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from kubelib.clock import SYSTEM_CLOCK, system_random
from kubelib.runtime.base import Runtime

ENTRY_POINTS = "kubelib.runtimes"


def open_runtime(name: str, root: Path) -> AbstractAsyncContextManager[Runtime]:
    """Return a context manager that opens a runtime whose files are below `root`.

    A plug-in is a callable that takes the directory and returns such a context manager. Raises ValueError, naming the
    runtimes that there are, for an unknown one.
    """
    if name == "process":
        from kubelib.runtime.process import ProcessRuntime

        return ProcessRuntime(root / "runtime")
    if name == "fake":
        from kubelib.runtime.fake import FakeRuntime

        return FakeRuntime(random=system_random(), clock=SYSTEM_CLOCK)
    from importlib.metadata import entry_points

    plugins = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in plugins:
        opened: AbstractAsyncContextManager[Runtime] = plugins[name].load()(root / "runtime")
        return opened
    raise ValueError(
        f"there is no runtime {name!r}: choose one of {', '.join(('fake', 'process', *sorted(plugins)))}"
    )
