"""What is allowed and yet most likely not meant: Kubernetes tells it in ``Warning`` headers, and kubectl shows it.

The cases and words are those of Kubernetes' strategies: https://kubernetes.io/blog/2020/09/03/warnings/
"""

from kubelib.api.warnings.kinds import TOLD, finalizer_warnings, status_warnings, warnings_of

__all__ = ["TOLD", "finalizer_warnings", "status_warnings", "warnings_of"]
