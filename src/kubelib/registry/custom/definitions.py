"""What is special about CustomResourceDefinitions: the server itself says at once which names are accepted, and what is stored."""

from typing import TYPE_CHECKING, Any

from kubelib.api.apiextensions import JSONSchemaProps
from kubelib.api.checking import typed_check
from kubelib.api.errors import BadRequest
from kubelib.api.parsing import DecodeError
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.registry.strategies.base import Strategy

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that holds a definition while there are objects of its kind."""


class DefinitionStrategy(Strategy):
    """A definition is established in the very write that creates it, so that its kind is served when the write answers."""

    unconditional_update = False
    goes_in_steps = True
    finalizers_on_delete = (CLEANUP,)

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Check what is within schemas, and note the version that is stored."""
        super().prepare_for_create(registry, tree)
        _require_schemas(tree)
        tree["status"] = {"conditions": [], "acceptedNames": {"kind": "", "plural": ""}, "storedVersions": []}
        _note_storage(tree)

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Note the version that is stored from now on."""
        tree = super().prepare_for_update(registry, tree, old, subresource)
        if not subresource:
            _require_schemas(tree)
            if tree.get("status"):
                tree["status"] = {**tree["status"]}
            _note_storage(tree)
        return tree

    def observe(self, registry: "GenericRegistry", tree: Tree, old: Tree | None) -> None:
        """Say which names are accepted, and whether the kind is served."""
        from kubelib.registry.custom.names import accept_names, judge_approval

        now = format_time(registry.owner.clock.now())
        status = tree["status"] = {**(tree.get("status") or {})}
        status["conditions"] = list(status.get("conditions") or ())
        name, group = tree["metadata"].get("name"), tree["spec"]["group"]
        others = [
            document.tree()
            for document in registry.cache.all()
            if document.meta.name != name and document.meta.name.partition(".")[2] == group
        ]
        if not tree["metadata"].get("deletionTimestamp"):
            accept_names(tree, others, now)
        judge_approval(tree, now)

    def mark_deleted(self, tree: Tree) -> None:
        """Say that the objects will go."""
        from kubelib.registry.custom.names import set_condition

        status = tree["status"] = {**(tree.get("status") or {})}
        status["conditions"] = list(status.get("conditions") or ())
        if any(c.get("type") == "Terminating" for c in status["conditions"]):
            return
        set_condition(
            tree,
            "Terminating",
            True,
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            tree["metadata"]["deletionTimestamp"],
        )


def _note_storage(tree: Tree) -> None:
    status = tree.setdefault("status", {})
    stored = list(status.get("storedVersions") or ())
    for version in (tree.get("spec") or {}).get("versions") or ():
        if version.get("storage") and version.get("name") not in stored:
            stored.append(version.get("name"))
    status["storedVersions"] = stored


def _require_schemas(tree: Tree) -> None:
    """Check the types within schemas where the class says only that a schema may be there. Raises BadRequest."""
    for at, version in enumerate((tree.get("spec") or {}).get("versions") or ()):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None:
            try:
                _look_within(schema)
            except DecodeError as error:
                raise BadRequest(
                    'CustomResourceDefinition in version "v1" cannot be handled as a CustomResourceDefinition:'
                    f" {error} (spec.versions[{at}])"
                ) from None


def _look_within(schema: Any) -> None:
    waiting = [schema]
    while waiting:
        current = waiting.pop()
        if type(current) is not dict:
            raise DecodeError("json: cannot unmarshal into Go value of type v1.JSONSchemaProps")
        for name in ("items", "additionalProperties", "additionalItems"):
            inner = current.get(name)
            if inner is None or (isinstance(inner, bool) and name != "items"):
                continue
            if not isinstance(inner, dict | list) or (isinstance(inner, list) and name != "items"):
                kind = "Array" if name == "items" else "Bool"
                raise DecodeError(
                    f"json: cannot unmarshal into Go struct field JSONSchemaProps.{name} of type v1.JSONSchemaPropsOr{kind}"
                )
            for part in inner if isinstance(inner, list) else (inner,):
                if not isinstance(part, dict):
                    raise DecodeError("json: cannot unmarshal into Go value of type v1.JSONSchemaProps")
                typed_check(part, JSONSchemaProps)
                waiting.append(part)
        for name in ("properties", "patternProperties", "definitions"):
            waiting += (current.get(name) or {}).values()
        for name in ("allOf", "anyOf", "oneOf"):
            waiting += current.get(name) or ()
        if current.get("not") is not None:
            waiting.append(current["not"])
