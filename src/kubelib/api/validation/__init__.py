"""What a document must be like to be stored: each rule answers with Kubernetes' cause, field path and message."""

from kubelib.api.validation.registry import validate_create, validate_update

__all__ = ["validate_create", "validate_update"]
