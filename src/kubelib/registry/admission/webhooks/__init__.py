"""Admission webhooks: programs outside the server that change and refuse what is written."""

from kubelib.registry.admission.webhooks.plugins import MutatingAdmissionWebhook, ValidatingAdmissionWebhook

__all__ = ["MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"]
