"""The built-in plug-ins of admission, and the interface for others; see `kubelib.registry.admission.base`."""

from kubelib.registry.admission.base import (
    Admission,
    Attributes,
    SupportsAttachment,
    SupportsMutation,
    SupportsReservation,
    SupportsValidation,
    Verb,
)
from kubelib.registry.admission.chain import AdmissionChain
from kubelib.registry.admission.plugins import NEED_CONTROLLERS, PLUGINS, default_admission

__all__ = [
    "NEED_CONTROLLERS",
    "PLUGINS",
    "Admission",
    "AdmissionChain",
    "Attributes",
    "SupportsAttachment",
    "SupportsMutation",
    "SupportsReservation",
    "SupportsValidation",
    "Verb",
    "default_admission",
]
