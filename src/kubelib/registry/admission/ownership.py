"""Who may say of an object that another owns it: such a reference can delete the one and hold up the other."""

from kubelib.api.scheme import Resource, Tree, UnknownKind
from kubelib.registry.admission.base import Attributes, Verb


class OwnerReferencesPermissionEnforcement:
    """Lets those change owner references who may delete the object, and block an owner's deletion who may finalize the owner."""

    name = "OwnerReferencesPermissionEnforcement"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at everything that is created or changed; a Pod's status is the node's."""
        if (resource.group, resource.plural, subresource) == ("", "pods", "status"):
            return False
        return verb in ("create", "update")

    async def validate(self, attributes: Attributes) -> None:
        """Refuse the change."""
        before = _references(attributes.old)
        after = _references(attributes.tree)
        if before == after:
            return
        resource = attributes.resource
        name = attributes.key.name if attributes.verb == "update" else ""
        if not attributes.may(
            "delete",
            group=resource.group,
            resource=resource.plural,
            namespace=attributes.key.namespace,
            name=name,
        ):
            raise attributes.forbidden("cannot set an ownerRef on a resource you can't delete: , <nil>")
        known = {r.get("uid") for r in before if r.get("blockOwnerDeletion")}
        for reference in after:
            if not reference.get("blockOwnerDeletion") or reference.get("uid") in known:
                continue
            try:
                owner = attributes.registries.scheme.kind(
                    reference.get("apiVersion") or "", reference.get("kind") or ""
                )
            except UnknownKind as error:
                raise attributes.forbidden(
                    f"cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion"
                    f" {reference.get('apiVersion')} Kind {reference.get('kind')}: {error}"
                ) from None
            if not attributes.may(
                "update",
                group=owner.group,
                resource=owner.plural,
                subresource="finalizers",
                namespace=attributes.key.namespace if owner.namespaced else "",
                name=reference.get("name") or "",
            ):
                raise attributes.forbidden(
                    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers"
                    " on: , <nil>"
                )


def _references(tree: Tree | None) -> list[Tree]:
    return ((tree or {}).get("metadata") or {}).get("ownerReferences") or []
