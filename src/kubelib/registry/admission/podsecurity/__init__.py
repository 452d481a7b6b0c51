"""The Pod Security Standards: what Pods of a namespace may ask of their nodes."""

from kubelib.registry.admission.podsecurity.levels import LevelVersion, Policy
from kubelib.registry.admission.podsecurity.plugin import PodSecurity

__all__ = ["LevelVersion", "PodSecurity", "Policy"]
