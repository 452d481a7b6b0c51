"""Workloads: the scale subresource; jobs; events, which live for an hour."""

from typing import TYPE_CHECKING, Any

import attrs

from kubelib.api import codec
from kubelib.api.columns import label_selector_text, labels_text
from kubelib.api.document import Document
from kubelib.api.errors import BadRequest, conflict
from kubelib.api.meta import Key
from kubelib.api.scheme import Tree
from kubelib.api.validation.problems import quote
from kubelib.registry.base import Propagation, WriteOptions
from kubelib.registry.strategies.base import Strategy
from kubelib.registry.strategies.scales import admit_scale, require_valid_scale
from kubelib.store import Lease

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

EVENT_LIFETIME = 3600.0
"""Seconds that an Event is kept."""


class ScaledStrategy(Strategy):
    """A kind with replicas."""

    def __init__(self, *, orphans_by_default: bool = False) -> None:
        if orphans_by_default:
            self.propagation = "Orphan"

    def view(self, registry: "GenericRegistry", document: Document, subresource: str) -> Document:
        """Return the scale of an object."""
        if subresource != "scale":
            return super().view(registry, document, subresource)
        return _scale(document.tree())

    async def update_subresource(
        self, registry: "GenericRegistry", key: Key, subresource: str, tree: Tree, options: WriteOptions
    ) -> Document:
        """Set the number of replicas."""
        if subresource != "scale":
            return await super().update_subresource(registry, key, subresource, tree, options)
        require_valid_scale(tree, key)
        meta = tree.get("metadata") or {}
        for _ in range(8):
            current = (await registry.get(key)).tree()
            wanted = meta.get("resourceVersion")
            wanted = None if wanted == "0" else wanted  # as without one
            if wanted and wanted != current["metadata"]["resourceVersion"]:
                raise conflict(registry.resource.group_resource, key.name)

            def check() -> None:
                require_valid_scale(tree, key)

            await admit_scale(registry, key, tree, _scale(current).tree(), options, check)
            current["spec"] = {**current["spec"], "replicas": require_valid_scale(tree, key)}
            if options.applied:
                current["metadata"]["managedFields"] = meta.get("managedFields")
            try:
                tracked = attrs.evolve(options, tracked_as="scale", admitted=True)
                document, _ = await registry.update(key, current, options=tracked)
            except type(conflict("", "")):
                if wanted:
                    raise
                continue
            return _scale(document.tree())
        raise conflict(registry.resource.group_resource, key.name)


def _scale(tree: Tree) -> Document:
    meta, spec, status = tree["metadata"], tree.get("spec") or {}, tree.get("status") or {}
    selector = spec.get("selector")
    if isinstance(selector, dict) and not {"matchLabels", "matchExpressions"} & selector.keys():
        text = labels_text(selector)
    else:
        text = label_selector_text(selector)
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    scale = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in kept if name in meta},
        "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {},
        "status": {"replicas": status.get("replicas") or 0, "selector": text if text != "<none>" else ""},
    }
    return Document(codec.encode_json(scale))


class JobStrategy(Strategy):
    """Jobs choose their Pods by a label with their own identity, and leave them behind unless told otherwise."""

    propagation: Propagation = "Orphan"

    def complete(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Generate the selector and the labels that it looks for."""
        spec = tree.get("spec")
        if (
            not isinstance(spec, dict)
            or spec.get("manualSelector")
            or not isinstance(spec.get("template"), dict)
        ):
            return
        uid, name = tree["metadata"]["uid"], tree["metadata"].get("name", "")
        meta = spec["template"].get("metadata") or {}
        # What the user has set otherwise stays, and is refused when it is validated.
        labels = {
            "job-name": name,
            "batch.kubernetes.io/job-name": name,
            "controller-uid": uid,
            _CONTROLLER: uid,
        }
        spec["template"]["metadata"] = {**meta, "labels": {**labels, **(meta.get("labels") or {})}}
        selector = spec.get("selector") or {}
        spec["selector"] = {
            **selector,
            "matchLabels": {_CONTROLLER: uid, **(selector.get("matchLabels") or {})},
        }


_CONTROLLER = "batch.kubernetes.io/controller-uid"
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


class DaemonSetStrategy(Strategy):
    """DaemonSets count the changes of their template in an annotation, which was a field once and is still the server's."""

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Begin to count."""
        super().prepare_for_create(registry, tree)
        _set_template_generation(tree, max(1, _template_generation(tree)))

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Count on if the template has changed, whatever the annotation says."""
        _template_generation(tree)
        prepared = super().prepare_for_update(registry, tree, old, subresource)
        changed = _template(prepared) != _template(old)
        if changed:
            # What it leaves out is filled in later, and is no change.
            whole = codec.parse_json(codec.encode_json(prepared))
            registry.fill_in(whole)
            changed = _template(whole) != _template(old)
        _set_template_generation(prepared, _template_generation(old) + changed)
        return prepared


def _template(tree: Tree) -> Any:
    return (tree.get("spec") or {}).get("template")


def _template_generation(tree: Tree) -> int:
    text: str = (tree["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION) or "0"
    try:
        return int(text)
    except ValueError:
        raise BadRequest(
            f'DaemonSet in version "v1" cannot be handled as a DaemonSet: strconv.ParseInt: parsing {quote(text)}: invalid'
            " syntax"
        ) from None


def _set_template_generation(tree: Tree, number: int) -> None:
    annotations = tree["metadata"].get("annotations") or {}
    tree["metadata"]["annotations"] = {**annotations, TEMPLATE_GENERATION: str(number)}


class EventStrategy(Strategy):
    """Events live for an hour, where nothing else is said."""

    lease = Lease(EVENT_LIFETIME)
    cached = False
    create_on_update = True
    owns = False
