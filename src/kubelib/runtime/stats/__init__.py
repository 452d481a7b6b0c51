"""What a node and its Pods use, in the manner of cAdvisor: read from /proc and cgroups, told as a summary and as metrics."""

from kubelib.runtime.stats.node import NodeStats

__all__ = ["NodeStats"]
