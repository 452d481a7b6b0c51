"""Quotas: what the objects of a namespace may use together."""

from kubelib.registry.admission.quota.plugin import ResourceQuotaAdmission

__all__ = ["ResourceQuotaAdmission"]
