"""Admission policies: expressions in objects of the API that refuse and change what is written."""

from kubelib.registry.admission.policies.mutating import MutatingAdmissionPolicyPlugin
from kubelib.registry.admission.policies.validating import ValidatingAdmissionPolicyPlugin

__all__ = ["MutatingAdmissionPolicyPlugin", "ValidatingAdmissionPolicyPlugin"]
