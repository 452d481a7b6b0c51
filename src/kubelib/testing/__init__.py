"""Suites that define the interfaces, fixtures and builders for tests of code that uses the library.

``from kubelib.testing import Cluster``: a cluster without pytest. It is loaded when it is asked for, as the suites need no server.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubelib.testing.cluster import Cluster as Cluster
    from kubelib.testing.cluster import ClusterOptions as ClusterOptions

__all__ = ["Cluster", "ClusterOptions"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from kubelib.testing import cluster

        return getattr(cluster, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
