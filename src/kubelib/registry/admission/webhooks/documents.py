"""The documents of a write as webhooks see them, and what becomes of one that a webhook has changed."""

from typing import Any

from kubelib.api import codec
from kubelib.api.errors import BadRequest, Problem, invalid
from kubelib.api.patch.managedfields import managed_fields_problem, with_managed_fields
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.base import Attributes
from kubelib.registry.admission.webhooks.base import internal

_OF_SERVER = (
    "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink",
    "resourceVersion",
)  # fmt: skip


class Forms:
    """A write's documents, in each form of its resource that somebody wants to see."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self._made: dict[str, tuple[Tree | None, Tree | None]] = {}

    def of(self, form: Resource) -> tuple[Tree | None, Tree | None]:
        """Return the new document and the old one; None where there is none.

        Versions of custom kinds that are not merely names must have been prepared.
        """
        tree, old = self._present()
        if self._is_own(form):
            return tree, old
        made = self._made.get(form.api_version)
        if made is None:
            translated = self._attributes.registries.of(form).translated
            made = self._made[form.api_version] = (
                None if tree is None else translated(tree),
                None if old is None else translated(old),
            )
        return made

    async def prepare(self, form: Resource) -> None:
        """Convert the documents into a form, before they are asked for. Raises ApiError if they cannot be converted."""
        if self._is_own(form) or form.api_version in self._made:
            return
        tree, old = self._present()
        registry, own = self._attributes.registries.of(form), self._attributes.resource
        self._made[form.api_version] = (
            None if tree is None else await registry.adopted(tree, own),
            None if old is None else await registry.adopted(old, own),
        )

    async def back(self, form: Resource, tree: Tree) -> Tree:
        """Return a document of `form` in the form in which it is written. Raises ApiError if it cannot be converted."""
        if self._is_own(form):
            return tree
        attributes = self._attributes
        return await attributes.registries.of(attributes.resource).adopted(tree, form)

    def stored(self, form: Resource, tree: Tree) -> Tree:
        """Return a document of `form`, which is no version of a custom kind, in the form in which it is written."""
        return tree if self._is_own(form) else self._attributes.registries.of(form).untranslated(tree)

    def _present(self) -> tuple[Tree | None, Tree | None]:
        """Return the documents as they are asked for: with their managed fields, which the server sets aside."""
        attributes = self._attributes
        if attributes.verb == "delete":
            return None, attributes.tree
        old = attributes.old
        return (
            with_managed_fields(attributes.tree, attributes.managed),
            None if old is None else with_managed_fields(old, attributes.managed_before),
        )

    def _is_own(self, form: Resource) -> bool:
        attributes = self._attributes
        return form is attributes.resource or attributes.subresource not in ("", "status")


def settle(attributes: Attributes, forms: Forms, form: Resource, patched: Any) -> bool:
    """Make a patched document the one that is written, in place; return whether that changes anything.

    What the server alone decides stays as it was. Raises ApiError for what cannot be written whatever else is so.
    """
    before = attributes.tree
    if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict | None):
        raise internal("the patched document is not an object")
    shown, _ = forms.of(form)
    if shown is None or any(patched.get(part) != shown.get(part) for part in ("kind", "apiVersion")):
        raise internal("a webhook cannot change the kind or the version of an object")
    after = forms.stored(form, patched)
    meta = after["metadata"] = dict(after.get("metadata") or {})
    managed_changed = _take_over(attributes, meta.pop("managedFields", None) or [])
    own = not attributes.subresource or attributes.subresource == "status"
    try:
        if own:
            attributes.registries.of(attributes.resource).conform(after)
        else:
            codec.drop_nulls(after)
    except (codec.DecodeError, BadRequest) as error:
        raise internal(str(error)) from None
    if after == before:
        return managed_changed
    _keep_identity(attributes, before, after)
    if own:
        _keep_other_half(attributes, before, after)
    if after == before:
        return managed_changed
    before.clear()
    before.update(after)
    return True


def _take_over(attributes: Attributes, managed: list[Tree]) -> bool:
    """Take over what a webhook has made of the managed fields, if it makes sense; return whether that changes anything."""
    if managed == attributes.managed:
        return False
    if why := managed_fields_problem(managed):
        attributes.warn(
            ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating"
            f" admission controller; please fix your requests: {why}"
        )
        return False
    attributes.managed[:] = managed
    return True


def _keep_identity(attributes: Attributes, before: Tree, after: Tree) -> None:
    meta = after["metadata"] = dict(after.get("metadata") or {})
    was = before.get("metadata") or {}
    resource, name = attributes.resource, was.get("name") or ""
    if (meta.get("namespace") or "") != (was.get("namespace") or ""):
        raise BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if attributes.verb == "update":
        for part in ("name", "uid"):
            if meta.get(part) != was.get(part):
                problem = Problem(
                    "FieldValueInvalid",
                    f"metadata.{part}",
                    f'Invalid value: "{meta.get(part) or ""}": field is immutable',
                )
                raise invalid(resource.kind, resource.group, name, [problem])
    for part in _OF_SERVER:
        meta.pop(part, None)
        if part in was:
            meta[part] = was[part]


def _keep_other_half(attributes: Attributes, before: Tree, after: Tree) -> None:
    """Let webhooks, as everybody, write the status only with the status."""
    registry = attributes.registries.of(attributes.resource)
    if attributes.old is not None:
        prepared = registry.strategy.prepare_for_update(
            registry, dict(after), attributes.old, attributes.subresource
        )
        if prepared is not after:
            after.clear()
            after.update(prepared)
    elif "status" in attributes.resource.subresources:
        after.pop("status", None)
        if "status" in before:
            after["status"] = before["status"]
