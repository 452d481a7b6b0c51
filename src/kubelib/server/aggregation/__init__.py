"""Aggregated API servers: groups and versions of the API that other servers answer for, as APIServices say."""

from kubelib.server.aggregation.aggregator import Aggregator
from kubelib.server.aggregation.base import FrontProxy, Remote
from kubelib.server.aggregation.extension import Extension

__all__ = ["Aggregator", "Extension", "FrontProxy", "Remote"]
