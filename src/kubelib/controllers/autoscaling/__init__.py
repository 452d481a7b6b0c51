"""How many replicas metrics call for, and how fast to get there. Pure."""

from kubelib.controllers.autoscaling.metrics import CannotCompute, MetricsUnavailable, PodMetrics, Usage
from kubelib.controllers.autoscaling.rates import Recommendations, limited

__all__ = ["CannotCompute", "MetricsUnavailable", "PodMetrics", "Recommendations", "Usage", "limited"]
