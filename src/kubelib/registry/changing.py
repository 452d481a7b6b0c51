"""How objects change: by replacing and by patching them."""

import json
from typing import Any

import attrs

from kubelib.api import codec
from kubelib.api.autoscaling import Scale
from kubelib.api.document import Document, as_written
from kubelib.api.errors import BadRequest, Conflict, Invalid, Problem, conflict, invalid
from kubelib.api.meta import Key
from kubelib.api.otherkinds import form_of, identity, why_unreadable
from kubelib.api.patch import apply_json_patch, apply_merge_patch, apply_strategic_patch
from kubelib.api.patch.apply import server_side_apply
from kubelib.api.patch.managedfields import Applier, track_update, with_managed_fields
from kubelib.api.patch.scaled import SCALE_VERSION, managed_by_scale, managed_in_scale
from kubelib.api.patch.shapes import shape_of
from kubelib.api.scheme import Resource, Scheme, Tree, UnknownKind
from kubelib.api.times import format_time
from kubelib.api.validation import validate_update
from kubelib.api.validation.meta import managed_fields_problems
from kubelib.registry.base import DEFAULT_OPTIONS, Patch, WriteOptions
from kubelib.registry.creating import CreatingRegistry
from kubelib.registry.keys import store_key
from kubelib.registry.reading import WHOLE
from kubelib.registry.writing import OWNED_BY_SERVER, RETRIES, UNCHECKED, ManagedFields, not_applicable
from kubelib.store import Delete, Put, Revision, RevisionMismatch

_COMPLETE = {"Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "CronJob"}
"""Kinds with nothing to fill in beside the spec. Not Jobs and ReplicationControllers: they take labels from their templates."""


class ChangingRegistry(CreatingRegistry):
    """The verbs update and patch."""

    async def update(
        self, key: Key, tree: Tree, *, subresource: str = "", options: WriteOptions = DEFAULT_OPTIONS
    ) -> tuple[Document, bool]:
        """Replace an object; return it and whether it was created by this."""
        if subresource and subresource != "finalize" and subresource not in WHOLE:
            self._prepare_metadata(tree, key.namespace, key.name)
            return await self.strategy.update_subresource(self.whole, key, subresource, tree, options), False
        meta = self._prepare_metadata(tree, key.namespace, key.name)
        given = meta.pop("managedFields", None)
        self._check_fields(tree, options)
        self._keep_owners_once(meta, options)
        await self.catch_up()
        if (
            self.cache.get(key) is None
            and self.strategy.create_on_update
            and not subresource
            and not meta.get("uid")
        ):
            meta.pop("resourceVersion", None)
            if given and options.applied:
                meta["managedFields"] = given
            return await self.create(tree, namespace=key.namespace, name=key.name, options=options), True
        conditional = bool(meta.get("resourceVersion"))
        if not conditional and not self.strategy.unconditional_update:
            await self._stored(key)
            raise self._version_missing(key)
        for _ in range(RETRIES):
            before = _Stored(await self._stored(key))
            if conditional and meta["resourceVersion"] != before.document.meta.resource_version:
                raise conflict(self.resource.group_resource, key.name)
            uid = before.document.meta.uid
            if meta.get("uid") and meta["uid"] != uid:
                why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {uid}"
                raise conflict(self.resource.group_resource, key.name, why)
            done = await self._replace(key, before, dict(tree), given, subresource, options)
            if done is not None:
                return done, False
            if conditional:
                break
        raise conflict(self.resource.group_resource, key.name)

    async def patch(
        self, key: Key, patch: Patch, *, subresource: str = "", options: WriteOptions = DEFAULT_OPTIONS
    ) -> tuple[Document, bool]:
        """Change parts of an object; return it and whether it was created by this."""
        await self.catch_up()
        if subresource == "scale":
            return await self._patch_scale(key, patch, options), False
        shared = False
        for _ in range(RETRIES):
            document = await self.current(key)
            if document is None:
                if patch.type == "apply" and not subresource:
                    if uid := _metadata_in(patch).get("uid"):
                        raise conflict(
                            self.resource.group_resource,
                            key.name,
                            f"uid mismatch: the provided object specified uid {uid}, and no existing object was found",
                        )
                    tree = self._applied(key, None, patch, subresource, options)
                    options = attrs.evolve(options, applied=True)
                    return await self.create(
                        tree, namespace=key.namespace, name=key.name, options=options
                    ), True
                raise self.not_found(key)
            if patch.type == "apply":
                stored = _Stored(document)
                tree = with_managed_fields(stored.tree, stored.managed)
            elif is_about_managed_fields(patch):
                tree, stored = document.tree(), _Stored(document)
            elif self._shares(patch, subresource):
                stored = _Stored(document)
                tree = stored.tree
                shared = True
            else:
                stored = _Stored(document)
                tree = stored.copy()
            tree, given = self._patched(key, tree, patch, subresource, options)
            tree = self.accept(tree, stored.tree, patch, options)
            meta = self._prepare_metadata(tree, key.namespace, key.name)
            wanted = meta.get("resourceVersion")
            if not wanted and not self.strategy.unconditional_update:
                raise self._version_missing(key)
            if wanted and wanted != document.meta.resource_version:
                raise conflict(self.resource.group_resource, key.name)
            if meta.get("uid") and meta["uid"] != document.meta.uid:
                why = f"Invalid value: {json.dumps(meta['uid'])}: field is immutable"
                self._require_valid([Problem("FieldValueInvalid", "metadata.uid", why)], key.name)
            tracked = attrs.evolve(options, applied=True) if patch.type == "apply" else options
            done = await self._replace(key, stored, tree, given, subresource, tracked, shared=shared)
            if done is not None:
                return done, False
            if _metadata_in(patch).get("resourceVersion"):
                break
        raise conflict(self.resource.group_resource, key.name)

    def _version_missing(self, key: Key) -> Invalid:
        """Return the refusal of a write that does not say which version it replaces, to a kind that wants to know."""
        missing = Problem(
            "FieldValueInvalid",
            "metadata.resourceVersion",
            "Invalid value: 0: must be specified for an update",
        )
        return invalid(self.resource.plural, self.resource.group, key.name, [missing])

    def _shares(self, patch: Patch, subresource: str) -> bool:
        """Return whether a patched document may share with the one before what the patch leaves alone.

        It may where nobody changes it in place: most of an object whose status is reported is then neither read twice nor compared.
        """
        return (
            self.resource.builtin
            and patch.type in ("merge", "strategic")
            and not self._fills_in(subresource)
            and not self.owner.admission.changes("update", self.resource, subresource)
        )

    def _fills_in(self, subresource: str) -> bool:
        """Return whether a change may lack defaults. What a status is written beside has its own, and most statuses need none."""
        resource = self.resource
        return subresource != "status" or not resource.builtin or resource.kind not in _COMPLETE

    async def _patch_scale(self, key: Key, patch: Patch, options: WriteOptions) -> Document:
        pinned = _metadata_in(patch).get("resourceVersion")
        options = attrs.evolve(options, applied=patch.type == "apply")
        for attempt in range(1, RETRIES + 1):
            view = self.strategy.scale_to_change(self.whole, await self.get(key)).tree()
            if patch.type == "apply":
                view = await self._applied_scale(key, view, patch)
            elif patch.type == "json":
                view = _json_patched(view, patch.body)
            else:
                view = apply_merge_patch(view, patch.body)
            self._check_scale(view, patch, options if attempt == 1 else UNCHECKED)
            try:
                return await self.strategy.update_subresource(self.whole, key, "scale", view, options)
            except Conflict:
                # Somebody was quicker; that matters only to a client who said which version it means.
                if pinned or attempt == RETRIES:
                    raise
        raise conflict(self.resource.group_resource, key.name)

    def _check_scale(self, view: Tree, patch: Patch, options: WriteOptions) -> None:
        """Check what a patch makes of a scale, and tell what is unknown in it. Raises Invalid."""
        messages: list[str] = []
        try:
            if patch.type != "strategic":
                kind, version = identity(view)
                kind, version = kind or "Scale", version or SCALE_VERSION
                if (kind, version) != ("Scale", SCALE_VERSION) and (
                    why := why_unreadable(kind, version, form_of(Scale), self.owner.scheme)
                ):
                    raise codec.DecodeError(why)
            view |= {"kind": "Scale", "apiVersion": SCALE_VERSION}
            codec.typed_check(view, Scale)
            if options.field_validation != "Ignore":
                unknown = sorted(codec.unknown_fields(view, Scale))
                messages = [*options.repeated, *(f'unknown field "{path}"' for path in unknown)]
            if messages and options.field_validation == "Strict":
                raise codec.DecodeError(f"strict decoding error: {', '.join(messages)}")
        except codec.DecodeError as error:
            raise not_applicable(patch, view, str(error)) from None
        self._tell(messages, options)

    async def _applied_scale(self, key: Key, view: Tree, patch: Patch) -> Tree:
        """Return what server-side apply makes of a scale, with the managed fields that the object has then."""
        entries = (await self._stored(key)).tree()["metadata"].get("managedFields") or ()
        replicas = self.strategy.replicas(self.whole)
        view["metadata"]["managedFields"] = managed_in_scale(entries, replicas)
        now = format_time(self.owner.clock.now())
        applier = Applier(patch.manager, SCALE_VERSION, "scale", patch.force, now)
        result = server_side_apply(view, patch.body, applier, shape_of(Scale))
        meta = result["metadata"]
        of_scale = meta["managedFields"]
        meta["managedFields"] = managed_by_scale(entries, of_scale, self.resource.api_version, replicas)
        return result

    def _patched(
        self, key: Key, tree: Tree, patch: Patch, subresource: str, options: WriteOptions
    ) -> tuple[Tree, ManagedFields | None]:
        """Return the changed document, and apart from it its managed fields."""
        match patch.type:
            case "json":
                result = _json_patched(tree, patch.body)
            case "merge":
                if not isinstance(patch.body, dict):
                    raise BadRequest("the patch is not an object")
                result = apply_merge_patch(tree, patch.body)
            case "strategic":
                result = apply_strategic_patch(tree, patch.body, self.resource.cls)
                # What a patch of this type says of kind and version, Kubernetes does not read.
                result |= {"kind": self.resource.kind, "apiVersion": self.resource.api_version}
            case "apply":
                result = self._applied(key, tree, patch, subresource, options)
        if not isinstance(result, dict):
            raise BadRequest("the patched document is not an object")
        meta = result.get("metadata")
        managed = meta.pop("managedFields", None) if isinstance(meta, dict) else None
        result = {name: value for name, value in result.items() if value is not None}
        if result.get("kind") != self.resource.kind or result.get("apiVersion") != self.resource.api_version:
            result = self._identified(result, patch, key.name)
        return result, managed

    def _identified(self, tree: Tree, patch: Patch, name: str) -> Tree:
        """Return a patched document that says that it is of another kind or version, in this one. Raises Invalid."""
        resource, scheme = self.resource, self.owner.scheme
        try:
            kind, version = identity(tree)
            kind, version = kind or resource.kind, version or resource.api_version
            if why := why_unreadable(kind, version, resource, scheme):
                raise codec.DecodeError(why)
            if version != resource.api_version and (form := _known(scheme, version, kind)) is not None:
                codec.typed_check(tree, form.cls)
                tree = self.translated(self.owner.of(form).untranslated(tree))
        except codec.DecodeError as error:
            raise not_applicable(patch, tree, str(error)) from None
        return {**tree, "kind": resource.kind, "apiVersion": resource.api_version}

    def _applied(
        self, key: Key, live: Tree | None, patch: Patch, subresource: str, options: WriteOptions
    ) -> Tree:
        """Return what server-side apply makes of a document. What its endpoint does not write is passed over."""
        foreign = ("spec",) if subresource == "status" else () if subresource else self._unsettable
        body = {name: value for name, value in patch.body.items() if name not in foreign}
        meta = body.get("metadata") or {}
        if not isinstance(meta, dict):
            raise BadRequest(f"{self.resource.kind}: metadata is not an object")
        if subresource == "status":
            apart = self.strategy.apart_from_status(self.resource)
            meta = {name: value for name, value in meta.items() if name not in apart}
        identity = {"name": key.name, **({"namespace": key.namespace} if key.namespace else {})}
        body["metadata"] = {**identity, **meta}
        options = attrs.evolve(options, manager=patch.manager)
        applier = attrs.evolve(self._applier(options, subresource), force=patch.force)
        return server_side_apply(live, body, applier, self.shape)

    async def _replace(
        self,
        key: Key,
        stored: "_Stored",
        tree: Tree,
        given: ManagedFields | None,
        subresource: str,
        options: WriteOptions,
        *,
        shared: bool = False,
    ) -> Document | None:
        """Store the successor of a document; None if somebody was quicker.

        `given` are the managed fields that came with the successor, which does not contain them. What is `shared` with the
        document, nobody has changed in place.
        """
        document, old, live = stored.document, stored.tree, stored.managed
        meta = tree["metadata"] = dict(tree["metadata"])
        before = old["metadata"]
        for part in OWNED_BY_SERVER:
            meta.pop(part, None)
            if part in before:
                meta[part] = before[part]
        meta["resourceVersion"] = before["resourceVersion"]
        tree = self.strategy.prepare_for_update(self.whole, tree, old, subresource)
        meta = tree["metadata"]
        # Before anything is tracked: what is left out and filled in again stays with those whose it was.
        if self._fills_in(subresource):
            self.fill_in(tree)
        if options.applied:
            managed = given or []
        else:
            managed = track_update(live, given, old, tree, self._applier(options, subresource), self.shape)

        def check() -> None:
            self._keep_owners_once(tree["metadata"], options, admitted=True)
            found = validate_update(self.resource, tree, old, subresource=subresource)
            if given:
                found = [*managed_fields_problems(managed), *found]
            self._require_valid(found, key.name)

        admitted = await self.admit(
            "update", key, tree, old, options, subresource, check=check, managed=managed, managed_before=live
        )
        if admitted is not None:
            managed = admitted.managed
        if options.warn is not None and not subresource:
            self._tell(self.strategy.warnings(self.resource, tree, old), options)
        elif options.warn is not None and subresource == "status":
            self._tell(self.strategy.status_warnings(self.resource, tree), options)
        meta = tree["metadata"]
        finished = self._finished(tree)
        if tree == old and managed == live and not finished and not await self.is_outdated(key):
            return document
        if before.get("generation") and any(
            tree.get(part) != old.get(part) for part in {*tree, *old} - self._ungenerated
        ):
            meta["generation"] = before["generation"] + 1
        self.strategy.observe(self.whole, tree, old)
        extra = await self.strategy.reserve(self.whole, tree, old)
        whole = stored.as_written(tree, managed) if shared else with_managed_fields(tree, managed)
        raw = await self.encoded(whole)
        expect = Revision(int(document.meta.resource_version))
        path = store_key(self.prefix, key)
        try:
            if finished:
                if options.dry_run:
                    return Document(codec.splice_resource_version(raw, expect))
                extra += await self.strategy.release(self.whole, tree)
                await self._commit(Delete(path, expect), *extra)
                return Document(codec.splice_resource_version(raw, self.cache.revision))
            put = Put(path, raw, expect, self.strategy.lease)
            await self._write(admitted, options, put, *extra)
        except RevisionMismatch:
            return None
        if options.dry_run:
            unstored = self._unstored(raw, tree, managed)
            return Document(codec.splice_resource_version(unstored.raw, expect))
        return await self._stored(key)


class _Stored:
    """What a write replaces: a document, and decoded apart its managed fields and the rest."""

    __slots__ = ("_apart", "document", "managed", "tree")

    def __init__(self, document: Document) -> None:
        self.document = document
        self._apart = apart = document.apart()
        self.tree: Tree = apart.tree
        self.managed: ManagedFields = apart.managed

    def copy(self) -> Tree:
        """Return a tree like that of the document, to be changed."""
        return self._apart.copy()

    def as_written(self, tree: Tree, managed: ManagedFields) -> Tree:
        """Return a successor whose tree shares with this one's: what is the same is not encoded again."""
        whole = with_managed_fields(tree, as_written(managed))
        spec = self._apart.spec
        return (
            {**whole, "spec": spec} if spec is not None and tree.get("spec") is self.tree["spec"] else whole
        )


def _known(scheme: Scheme, api_version: str, kind: str) -> Resource | None:
    """Return the resource of a kind, None for what is not served any more: its fields are those of its successor."""
    try:
        return scheme.kind(api_version, kind)
    except UnknownKind:
        return None


def _json_patched(tree: Tree, operations: Any) -> Any:
    try:
        return apply_json_patch(tree, operations)
    except Invalid:  # Kubernetes keeps from the client what it is that does not fit
        raise Invalid("the server rejected our request due to an error in our request") from None


def _metadata_in(patch: Patch) -> Tree:
    """Return what a patch says of the metadata, as far as that makes sense."""
    meta = patch.body.get("metadata") if isinstance(patch.body, dict) else None
    return meta if isinstance(meta, dict) else {}


def is_about_managed_fields(patch: Patch) -> bool:
    """Return whether a patch needs to see the managed fields of what it changes."""
    if isinstance(patch.body, list):
        return any("managedFields" in str(step.get("path")) for step in patch.body if isinstance(step, dict))
    meta = patch.body.get("metadata") if isinstance(patch.body, dict) else None
    return isinstance(meta, dict) and "managedFields" in meta
