"""Making Services reachable: rules from Services and endpoints, and a proxy in user space."""

from kubelib.network.services import Backend, Frontend, Rule, rules

__all__ = ["Backend", "Frontend", "Rule", "rules"]
