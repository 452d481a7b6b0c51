"""Asking for objects: in process (`LocalClient`) or over HTTP (`kubelib.client.http.HttpClient`), with the same verbs."""

from kubelib.client.base import Client, SupportsScales, SupportsTokens
from kubelib.client.local import LocalClient
from kubelib.client.update import patch_difference, update_with

__all__ = ["Client", "LocalClient", "SupportsScales", "SupportsTokens", "patch_difference", "update_with"]
