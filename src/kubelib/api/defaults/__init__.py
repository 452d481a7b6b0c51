"""What Kubernetes fills in: `apply_defaults` completes a document in place, as the API server does before validating."""

from kubelib.api.defaults.pods import canonical_quantities, default_pod, default_pod_template
from kubelib.api.defaults.registry import apply_defaults

__all__ = ["apply_defaults", "canonical_quantities", "default_pod", "default_pod_template"]
