"""The definition of a runtime: inherit `RuntimeSuite`, give a fixture `open_runtime`, and every test must pass.

What a runtime need not be able to do has a suite of its own: `ExecSuite`, `NamesSuite`, `DeviceSuite`, `TerminalSuite`, `StatsSuite`, `ResizeSuite`, `SandboxLimitSuite`, `ImageSuite` and `ImageNameSuite` for one that
has images, `WorkingDirectorySuite` for one that does not make a missing working directory, `DurableSuite` for one whose
containers outlive it. Containers are described by a `Program`, which is a line of shell unless a suite says otherwise.
"""

from kubelib.testing.runtime.abilities import (
    AttachSuite,
    DeviceSuite,
    DurableSuite,
    ExecSuite,
    NamesSuite,
    StatsSuite,
    TerminalSuite,
)
from kubelib.testing.runtime.core import (
    ImageNameSuite,
    ImageSuite,
    RuntimeSuite,
    WorkingDirectorySuite,
)
from kubelib.testing.runtime.resizing import ResizeSuite, SandboxLimitSuite
from kubelib.testing.runtime.shared import (
    MARK,
    OfRuntimes,
    Open,
    Program,
    containers,
    ended,
    output_of,
    text_of,
    until_told,
)

__all__ = [
    "MARK",
    "AttachSuite",
    "DeviceSuite",
    "DurableSuite",
    "ExecSuite",
    "ImageNameSuite",
    "ImageSuite",
    "NamesSuite",
    "OfRuntimes",
    "Open",
    "Program",
    "ResizeSuite",
    "RuntimeSuite",
    "SandboxLimitSuite",
    "StatsSuite",
    "TerminalSuite",
    "WorkingDirectorySuite",
    "containers",
    "ended",
    "output_of",
    "text_of",
    "until_told",
]
