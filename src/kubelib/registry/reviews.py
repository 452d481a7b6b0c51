"""Access reviews in process: components beside the API server ask its authorizer as those far away do."""

from typing import Any

from kubelib.api import codec
from kubelib.api.document import Document
from kubelib.api.scheme import Tree
from kubelib.registry.base import DEFAULT_OPTIONS, User, WriteOptions
from kubelib.registry.generic import GenericRegistry


class AccessReviews(GenericRegistry):
    """The registry of SubjectAccessReview, which stores nothing. Over HTTP the server itself answers."""

    async def create(
        self,
        tree: Tree,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> Document:
        """Judge. Where there is no authorizer, everybody may everything."""
        spec: dict[str, Any] = tree.get("spec") or {}
        wanted: dict[str, Any] = spec.get("resourceAttributes") or {}
        extra = spec.get("extra") or {}
        user = User(
            spec.get("user") or "",
            tuple(spec.get("groups") or ()),
            spec.get("uid") or "",
            tuple((key, tuple(extra[key])) for key in sorted(extra)),
        )
        parts = ("verb", "group", "resource", "subresource", "namespace", "name")
        allows = self.owner.allows
        allowed = allows is None or allows(user, *(wanted.get(part) or "" for part in parts))
        return Document(codec.encode_json({**tree, "status": {"allowed": allowed}}))
