"""Tables and bare metadata: objects as ``kubectl get`` asks for them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from kubelib.api.codec import encode_json
from kubelib.api.document import Document
from kubelib.api.scheme import Resource

_META = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}


def column_definitions(resource: Resource) -> list[dict[str, Any]]:
    """Return the columns of a resource's table."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description or column.name,
            "priority": int(column.wide),
        }
        for column in resource.columns
    ]


def _row(document: Document, resource: Resource, now: datetime, include: str) -> dict[str, Any]:
    tree = document.tree()
    row: dict[str, Any] = {"cells": [column.cell(tree, now) for column in resource.columns]}
    if include == "Object":
        row["object"] = tree
    elif include != "None":
        row["object"] = {**_META, "metadata": tree["metadata"]}
    return row


def table(
    documents: Sequence[Document],
    resource: Resource,
    now: datetime,
    *,
    include: str = "Metadata",
    metadata: dict[str, Any] | None = None,
    columns: bool = True,
) -> bytes:
    """Return a ``Table`` of documents. `include` is ``includeObject``: Metadata, Object or None."""
    return encode_json(
        {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata or {},
            "columnDefinitions": column_definitions(resource) if columns else [],
            "rows": [_row(document, resource, now, include) for document in documents],
        }
    )


def partial_metadata(document: Document) -> bytes:
    """Return the ``PartialObjectMetadata`` of a document."""
    return encode_json({**_META, "metadata": document.tree()["metadata"]})


def partial_metadata_list(documents: Sequence[Document], metadata: dict[str, Any]) -> bytes:
    """Return the ``PartialObjectMetadataList`` of documents."""
    items = [{**_META, "metadata": document.tree()["metadata"]} for document in documents]
    return encode_json({**_META, "kind": "PartialObjectMetadataList", "metadata": metadata, "items": items})
