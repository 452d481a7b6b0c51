"""The four ways to change part of a document."""

from kubelib.api.patch.json_patch import apply_json_patch
from kubelib.api.patch.merge import apply_merge_patch, diff_merge_patch
from kubelib.api.patch.strategic import apply_strategic_patch

__all__ = ["apply_json_patch", "apply_merge_patch", "apply_strategic_patch", "diff_merge_patch"]
