"""What expressions are told about a write: its documents, the request, the namespace, and whom to ask about rights."""

from collections.abc import Callable
from typing import Any

from kubelib.api.core.namespace import Namespace
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource, Tree
from kubelib.cel.libraries.authorization import Answer, Authorizer, Question, ResourceCheck
from kubelib.registry.admission.base import Attributes
from kubelib.registry.admission.matching import namespace_of
from kubelib.registry.admission.webhooks.review import request_of
from kubelib.registry.base import User


def variables_of(
    attributes: Attributes, form: Resource, tree: Tree | None, old: Tree | None
) -> dict[str, Any]:
    """Return the variables of an expression; what is costly to make is made when an expression reads it."""
    return {
        "object": tree,
        "oldObject": old,
        "request": lambda: request_of(form, attributes, tree),
        "namespaceObject": lambda: _namespace(attributes),
        "authorizer": lambda: Authorizer(_asks(attributes)),
        "authorizer.requestResource": lambda: ResourceCheck(
            _asks(attributes),
            Question(
                group=form.group,
                resource=form.plural,
                subresource=attributes.subresource,
                namespace=attributes.key.namespace,
                name=attributes.key.name,
            ),
        ),
    }


def _asks(attributes: Attributes) -> Callable[[Question], Answer]:
    decides = attributes.registries.decides

    def ask(question: Question) -> Answer:
        user = attributes.user
        if question.service_account:
            namespace, _, name = question.service_account.partition(":")
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
            user = User(f"system:serviceaccount:{namespace}:{name}", groups)
        if decides is None:
            return Answer(allowed=True)
        allowed, reason = decides(
            user,
            question.verb,
            question.path,
            question.group,
            question.resource,
            question.subresource,
            question.namespace,
            question.name,
        )
        return Answer(allowed, reason)

    return ask


def _namespace(attributes: Attributes) -> Tree | None:
    if (attributes.resource.group, attributes.resource.plural) == ("", "namespaces"):
        return None
    namespace = namespace_of(attributes)
    document = attributes.cache(Namespace).get(Key("", namespace)) if namespace else None
    if document is None:
        return None
    tree = document.tree()
    meta = {
        key: value
        for key, value in tree["metadata"].items()
        if key not in ("uid", "managedFields", "ownerReferences")
    }
    return {
        "metadata": {**meta, "UID": tree["metadata"].get("uid", "")},
        "spec": {"finalizers": (tree.get("spec") or {}).get("finalizers") or []},
        "status": {"phase": (tree.get("status") or {}).get("phase") or ""},
    }
