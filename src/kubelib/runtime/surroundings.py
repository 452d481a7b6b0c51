"""What the parts of a node agent have in common, without the agent: its runtime, and whom to tell what."""

from typing import Protocol

from kubelib.clock import Clock
from kubelib.runtime.base import Runtime
from kubelib.runtime.counts import Counts
from kubelib.runtime.node import NodeReporter
from kubelib.runtime.pulls import Recorder
from kubelib.runtime.settings import NodeSettings


class Surroundings(Protocol):
    """Where a part of an agent is; a `kubelib.runtime.agent.NodeAgent` is one."""

    runtime: Runtime
    settings: NodeSettings
    clock: Clock
    recorder: Recorder
    counts: Counts
    node: NodeReporter
