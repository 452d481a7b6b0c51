"""Tables and bare metadata: objects as ``kubectl get`` asks for them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from kubelib.api.codec import encode_json
from kubelib.api.document import Document
from kubelib.api.scheme import Resource, Tree

META = "meta.k8s.io"


def _meta(version: str) -> dict[str, Any]:
    return {"kind": "PartialObjectMetadata", "apiVersion": f"{META}/{version}"}


def column_definitions(resource: Resource) -> list[dict[str, Any]]:
    """Return the columns of a resource's table."""
    from kubelib.api.descriptions.columns import COLUMNS

    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description or COLUMNS.get(column.name, column.name),
            "priority": column.priority,
        }
        for column in resource.columns
    ]


_ENDED = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}


def _conditions(tree: Tree) -> list[dict[str, str]]:
    """Return what a row says of a Pod that has ended, so that clients may leave it out."""
    phase: str = (tree.get("status") or {}).get("phase") or ""
    message = _ENDED.get(phase)
    if message is None:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": message}]


def _in_order(documents: Sequence[Document]) -> Sequence[Document]:
    """Return FlowSchemas in the order in which they are tried, as Kubernetes shows them."""

    def place(document: Document) -> tuple[int, str]:
        spec = document.tree().get("spec") or {}
        return spec.get("matchingPrecedence") or 0, document.meta.name

    return sorted(documents, key=place)


def _row(document: Document, resource: Resource, now: datetime, include: str, bare: Any) -> dict[str, Any]:
    # No column of ours is about managed fields, which are more than half of most documents.
    apart = document.apart()
    tree = document.tree() if resource.structure is not None else apart.tree
    row: dict[str, Any] = {"cells": [column.cell(tree, now) for column in resource.columns]}
    if resource.kind == "Pod" and resource.builtin and (conditions := _conditions(tree)):
        row["conditions"] = conditions
    if include == "Object":
        row["object"] = document.whole
    elif include != "None":
        row["object"] = {**bare, "metadata": apart.metadata}
    return row


def table(
    documents: Sequence[Document],
    resource: Resource,
    now: datetime,
    *,
    include: str = "Metadata",
    metadata: dict[str, Any] | None = None,
    columns: bool = True,
    version: str = "v1",
) -> bytes:
    """Return a ``Table`` of documents. `include` is ``includeObject``: Metadata, Object or None."""
    bare = _meta(version)
    if resource.kind == "FlowSchema" and resource.builtin:
        documents = _in_order(documents)
    return encode_json(
        {
            "kind": "Table",
            "apiVersion": f"{META}/{version}",
            "metadata": metadata or {},
            "columnDefinitions": column_definitions(resource) if columns else [],
            "rows": [_row(document, resource, now, include, bare) for document in documents],
        }
    )


def partial_metadata(document: Document, version: str = "v1") -> bytes:
    """Return the ``PartialObjectMetadata`` of a document."""
    return encode_json({**_meta(version), "metadata": document.metadata})


def partial_metadata_list(
    documents: Sequence[Document], metadata: dict[str, Any], version: str = "v1"
) -> bytes:
    """Return the ``PartialObjectMetadataList`` of documents."""
    head = _meta(version)
    items = [{**head, "metadata": document.metadata} for document in documents]
    return encode_json({**head, "kind": "PartialObjectMetadataList", "metadata": metadata, "items": items})
