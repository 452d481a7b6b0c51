"""Kubernetes' objects: classes, scheme, codec, defaults, validation, patches, errors."""
