"""Structural schemas: what the schemas of custom kinds mean, compiled once to closures that then walk documents.

The rules are those of ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema``. `Structure` is what the rest asks; `normalizing` says what
is kept of a document and what is filled in, `validating` what is wrong with it, `listtypes` what may be there only once, `merging` how
it merges, `publishing` how its schema is shown, `fieldpaths` how a part of it is found by a path.
"""

from kubelib.api.structural.structure import Structure

__all__ = ["Structure"]
