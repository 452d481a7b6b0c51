"""The generic registry: every resource's verbs over a store, a watch cache, a strategy and the rules of admission."""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio

from kubelib.api import codec
from kubelib.api.defaults import apply_defaults
from kubelib.api.document import Document
from kubelib.api.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotFound,
    Problem,
    ServiceUnavailable,
    Timeout,
    already_exists,
    conflict,
    invalid,
    not_found,
)
from kubelib.api.meta import Key
from kubelib.api.names import generate_name
from kubelib.api.patch import apply_json_patch, apply_merge_patch, apply_strategic_patch
from kubelib.api.scheme import Resource, Tree
from kubelib.api.times import format_time, parse_time
from kubelib.api.validation import validate_create, validate_update
from kubelib.clock import new_uid
from kubelib.registry.admission import Attributes
from kubelib.registry.base import (
    DEFAULT_OPTIONS,
    NO_PRECONDITIONS,
    WHOLE_CLUSTER,
    Deleted,
    DocumentList,
    Patch,
    Preconditions,
    Propagation,
    Query,
    WriteOptions,
)
from kubelib.registry.cache import Watcher
from kubelib.registry.keys import prefix_of, store_key
from kubelib.store import (
    ABSENT,
    Check,
    Delete,
    Operation,
    Put,
    Revision,
    RevisionCompacted,
    RevisionInFuture,
    RevisionMismatch,
    StoreUnavailable,
    ValueTooLarge,
)

if TYPE_CHECKING:
    from kubelib.registry.registries import ResourceRegistries
    from kubelib.registry.strategies.base import Strategy

RETRIES = 8
Operations = list[Operation]
_OWNED_BY_SERVER = (
    "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink",
)  # fmt: skip


class GenericRegistry:
    """One resource's verbs on documents; see `kubelib.registry.base.DocumentRegistry`."""

    def __init__(self, resource: Resource, owner: "ResourceRegistries", strategy: "Strategy") -> None:
        self.resource = resource
        self.strategy = strategy
        self.owner = owner
        self.store = owner.store
        self.cache = owner.cache.of(resource)
        self.prefix = prefix_of(resource)

    # Reading

    async def get(self, key: Key, *, subresource: str = "") -> Document:
        """Return one document."""
        document = self.cache.get(key)
        if document is None:
            raise self.not_found(key)
        if subresource and subresource != "status":
            return self.strategy.view(self, document, subresource)
        return document

    def not_found(self, key: Key) -> NotFound:
        """Return the error for an object that is not there."""
        return not_found(self.resource.group_resource, key.name)

    async def list(
        self,
        query: Query = WHOLE_CLUSTER,
        *,
        limit: int = 0,
        page: str = "",
        resource_version: str = "",
        match: str = "",
    ) -> DocumentList:
        """Return documents as of one revision."""
        wanted = _number(resource_version) if resource_version not in ("", "0") else None
        if match:
            if not resource_version:
                raise BadRequest("resourceVersionMatch is forbidden unless resourceVersion is provided")
            if page:
                raise BadRequest("resourceVersionMatch is forbidden when continue is provided")
            if match not in ("Exact", "NotOlderThan"):
                raise BadRequest(
                    f'resourceVersionMatch: Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
                )
            if match == "Exact" and resource_version == "0":
                raise BadRequest(
                    'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
                )
        if page and wanted is not None:
            raise BadRequest("specifying resource version is not allowed when using continue")
        self.cache.fields.require_known(query.fields)
        exact = match == "Exact" or (wanted is not None and limit > 0 and not match)
        if limit or page or exact:
            return await self._list_page(query, limit, page, wanted if exact else None)
        if wanted is not None and wanted > self.cache.revision:
            with anyio.move_on_after(3):
                await self.owner.cache.reached(wanted)
            if wanted > self.cache.revision:
                raise Timeout(
                    f"Too large resource version: {wanted}, current: {self.cache.revision}", retry_after=1
                )
        return DocumentList(self.cache.select(query), str(self.cache.revision))

    async def _list_page(self, query: Query, limit: int, page: str, at: int | None) -> DocumentList:
        prefix = self.prefix + (f"{query.namespace}/" if query.namespace else "")
        start = ""
        if page:
            at, start = _read_token(page)
            start = self.prefix + start
        if at is None:
            await self.owner.cache.reached(await self.store.revision())
            at = self.cache.revision
        found: list[Document] = []
        remaining: int | None = None
        while True:
            try:
                part = await self.store.list(prefix, limit=limit, start=start, at=Revision(at))
            except RevisionCompacted as error:
                if not page:
                    raise Expired(f"The resourceVersion for the provided list is too old: {error}") from None
                raise Expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a new"
                    " list without the continue parameter, or use the continue token in this response to retrieve the"
                    " remainder of the results. Continuing with the provided token results in an inconsistent list -"
                    " objects that were created, modified, or deleted between the time the first chunk was returned and"
                    " now may show up in the list."
                ) from None
            except RevisionInFuture:
                raise Timeout(f"Too large resource version: {at}", retry_after=1) from None
            for number, entry in enumerate(part.entries):
                document = Document(codec.splice_resource_version(entry.value, entry.modified))
                if self.cache.matches(document, query):
                    found.append(document)
                    if limit and len(found) == limit:
                        later = (
                            part.entries[number + 1].key if number + 1 < len(part.entries) else part.next_key
                        )
                        if query.labels.everything and query.fields.everything and part.remaining is not None:
                            remaining = part.remaining + len(part.entries) - number - 1
                        token = _token(at, later.removeprefix(self.prefix)) if later else ""
                        return DocumentList(found, str(at), token, remaining if token else None)
            if not part.next_key:
                return DocumentList(found, str(at))
            start = part.next_key

    @asynccontextmanager
    async def watch(
        self, query: Query = WHOLE_CLUSTER, *, since: str = "", initial_events: bool = False
    ) -> AsyncIterator[Watcher]:
        """Report changes; see `kubelib.registry.base.DocumentRegistry.watch`."""
        start = None if since in ("", "0") or initial_events else _number(since)
        if start is not None and start > self.cache.revision:
            with anyio.move_on_after(3):
                await self.owner.cache.reached(start)
        watcher = self.cache.watch(query, start)
        try:
            yield watcher
        finally:
            self.cache.unwatch(watcher)

    # Creating

    async def create(
        self,
        tree: Tree,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> Document:
        """Store a new object, or carry out a subresource that is created."""
        if subresource:
            return await self.strategy.create_subresource(
                self, Key(namespace, name), subresource, tree, options
            )
        if "create" not in self.resource.verbs:
            raise MethodNotAllowed(f"create is not supported on {self.resource.group_resource}")
        meta = self._prepare_metadata(tree, namespace, name)
        self._check_fields(tree, options)
        if meta.get("resourceVersion"):
            raise BadRequest("resourceVersion should not be set on objects to be created")
        now = format_time(self.owner.clock.now())
        for part in _OWNED_BY_SERVER:
            meta.pop(part, None)
        meta["uid"] = new_uid(self.owner.random)
        meta["creationTimestamp"] = now
        self.strategy.prepare_for_create(self, tree)
        base = "" if meta.get("name") else meta.get("generateName") or ""
        for attempt in range(RETRIES):
            if base:
                meta["name"] = generate_name(base, self.owner.random)
            key = Key(meta.get("namespace", ""), meta.get("name", ""))
            if attempt == 0 or base:
                apply_defaults(self.resource.kind, tree)
                await self._admit("create", key, tree, None, options)
                self._require_valid(validate_create(self.resource, tree), meta.get("name") or "")
            operations = self._namespace_check(key)
            path = store_key(self.prefix, key)
            if path_taken := self.cache.get(key) is not None:
                if not base:
                    raise already_exists(self.resource.group_resource, key.name)
                continue
            assert not path_taken
            extra = await self.strategy.reserve(self, tree, None)
            raw = codec.encode_tree(tree, self.resource)
            if options.dry_run:
                return Document(raw)
            try:
                await self._commit(Put(path, raw, ABSENT, self.strategy.lease), *operations, *extra)
            except RevisionMismatch as mismatch:
                if mismatch.key == path and not base:
                    raise already_exists(self.resource.group_resource, key.name) from None
                continue
            return self._stored(key)
        raise already_exists(self.resource.group_resource, meta.get("name") or "")

    def _prepare_metadata(self, tree: Tree, namespace: str, name: str) -> Tree:
        meta = tree.setdefault("metadata", {})
        if not isinstance(meta, dict):
            raise BadRequest(f"{self.resource.kind}: metadata is not an object")
        if self.resource.namespaced:
            given = meta.get("namespace")
            if given and namespace and given != namespace:
                raise BadRequest(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            if namespace:
                meta["namespace"] = namespace
        elif namespace or meta.get("namespace"):
            meta.pop("namespace", None)
        if name:
            given = meta.get("name")
            if given and given != name:
                raise BadRequest(
                    f"the name of the object ({given}) does not match the name on the URL ({name})"
                )
            meta["name"] = name
        return meta

    def _check_fields(self, tree: Tree, options: WriteOptions) -> None:
        if options.trusted:
            return
        try:
            codec.check_types(tree, self.resource)
        except codec.DecodeError as error:
            raise BadRequest(str(error)) from None
        if options.field_validation == "Ignore":
            return
        unknown = codec.unknown_fields(tree, self.resource.cls)
        if not unknown:
            return
        messages = [f'unknown field "{path}"' for path in unknown]
        if options.field_validation == "Strict":
            raise BadRequest(f"strict decoding error: {', '.join(messages)}")
        for message in messages:
            self._warn(options, message)

    @staticmethod
    def _warn(options: WriteOptions, message: str) -> None:
        if options.warn is not None:
            options.warn(message)

    async def _admit(
        self, verb: str, key: Key, tree: Tree, old: Tree | None, options: WriteOptions, subresource: str = ""
    ) -> None:
        if not self.owner.admission:
            return
        attributes = Attributes(
            verb=verb,
            resource=self.resource,
            subresource=subresource,
            key=key,
            tree=tree,
            old=old,
            options=options,
        )
        for admission in self.owner.admission:
            await admission.mutate(attributes)
        for admission in self.owner.admission:
            await admission.validate(attributes)

    def _require_valid(self, problems: Sequence[Problem], name: str) -> None:
        if problems:
            raise invalid(self.resource.kind, self.resource.group, name, problems)

    def _namespace_check(self, key: Key) -> Operations:
        """Return the check that the namespace still is as it was found: there, and not being deleted."""
        if not key.namespace or not self.owner.check_namespaces:
            return []
        namespaces = self.owner.namespaces
        document = namespaces.cache.get(Key("", key.namespace))
        if document is None:
            raise not_found("namespaces", key.namespace)
        if document.meta.deletion_timestamp:
            raise Forbidden(
                f'{self.resource.group_resource} "{key.name}" is forbidden: unable to create new content in namespace'
                f" {key.namespace} because it is being terminated",
                group=self.resource.group,
                kind=self.resource.plural,
                name=key.name,
                causes=[
                    Problem(
                        "NamespaceTerminating",
                        "metadata.namespace",
                        f"namespace {key.namespace} is being terminated",
                    )
                ],
            )
        return [
            Check(
                store_key(namespaces.prefix, Key("", key.namespace)),
                Revision(int(document.meta.resource_version)),
            )
        ]

    async def _commit(self, *operations: Operation) -> None:
        try:
            revision = await self.store.commit(*operations)
        except ValueTooLarge as error:
            raise Invalid(f"{self.resource.kind} is too large for the store: {error}") from None
        except StoreUnavailable as error:
            raise ServiceUnavailable(str(error), retry_after=1) from None
        await self.owner.cache.reached(revision)

    def _stored(self, key: Key) -> Document:
        document = self.cache.get(key)
        if document is None:  # deleted by somebody else since
            raise self.not_found(key)
        return document

    # Changing

    async def update(
        self, key: Key, tree: Tree, *, subresource: str = "", options: WriteOptions = DEFAULT_OPTIONS
    ) -> tuple[Document, bool]:
        """Replace an object; return it and whether it was created by this."""
        if subresource and subresource not in ("status", "finalize", "resize", "ephemeralcontainers"):
            return await self.strategy.update_subresource(self, key, subresource, tree, options), False
        meta = self._prepare_metadata(tree, key.namespace, key.name)
        self._check_fields(tree, options)
        if (
            self.cache.get(key) is None
            and self.strategy.create_on_update
            and not subresource
            and not meta.get("uid")
        ):
            meta.pop("resourceVersion", None)
            return await self.create(tree, namespace=key.namespace, name=key.name, options=options), True
        conditional = bool(meta.get("resourceVersion"))
        for _ in range(RETRIES):
            document = self._stored(key)
            old = document.tree()
            if conditional and meta["resourceVersion"] != document.meta.resource_version:
                raise conflict(self.resource.group_resource, key.name)
            done = await self._replace(key, document, old, dict(tree), subresource, options)
            if done is not None:
                return done, False
            if conditional:
                break
        raise conflict(self.resource.group_resource, key.name)

    async def patch(
        self, key: Key, patch: Patch, *, subresource: str = "", options: WriteOptions = DEFAULT_OPTIONS
    ) -> tuple[Document, bool]:
        """Change parts of an object; return it and whether it was created by this."""
        if subresource == "scale":
            return await self._patch_scale(key, patch, options), False
        for _ in range(RETRIES):
            document = self.cache.get(key)
            if document is None:
                if patch.type == "apply" and not subresource:
                    from kubelib.api.patch.apply import server_side_apply

                    tree = server_side_apply(
                        None, patch.body, self._applier(patch, subresource), self.resource.cls
                    )
                    return await self.create(
                        tree, namespace=key.namespace, name=key.name, options=options
                    ), True
                raise self.not_found(key)
            old = document.tree()
            tree = self._patched(document.tree(), patch, subresource)
            meta = self._prepare_metadata(tree, key.namespace, key.name)
            self._check_fields(tree, options)
            wanted = meta.get("resourceVersion")
            if wanted and wanted != document.meta.resource_version:
                raise conflict(self.resource.group_resource, key.name)
            done = await self._replace(key, document, old, tree, subresource, options)
            if done is not None:
                return done, False
            if isinstance(patch.body, dict) and (patch.body.get("metadata") or {}).get("resourceVersion"):
                break
        raise conflict(self.resource.group_resource, key.name)

    async def _patch_scale(self, key: Key, patch: Patch, options: WriteOptions) -> Document:
        pinned = isinstance(patch.body, dict) and (patch.body.get("metadata") or {}).get("resourceVersion")
        for attempt in range(1, RETRIES + 1):
            view = (await self.get(key, subresource="scale")).tree()
            if patch.type == "json":
                view = apply_json_patch(view, patch.body)
            else:
                view = apply_merge_patch(view, patch.body)
            try:
                return await self.strategy.update_subresource(self, key, "scale", view, options)
            except Conflict:
                # Somebody was quicker; that matters only to a client who said which version it means.
                if pinned or attempt == RETRIES:
                    raise
        raise conflict(self.resource.group_resource, key.name)

    def _patched(self, tree: Tree, patch: Patch, subresource: str) -> Tree:
        match patch.type:
            case "json":
                result = apply_json_patch(tree, patch.body)
            case "merge":
                if not isinstance(patch.body, dict):
                    raise BadRequest("the patch is not an object")
                result = apply_merge_patch(tree, patch.body)
            case "strategic":
                result = apply_strategic_patch(tree, patch.body, self.resource.cls)
            case "apply":
                from kubelib.api.patch.apply import server_side_apply

                result = server_side_apply(
                    tree, patch.body, self._applier(patch, subresource), self.resource.cls
                )
        if not isinstance(result, dict):
            raise BadRequest("the patched document is not an object")
        codec.drop_nulls(result)
        if result.get("kind") != self.resource.kind or result.get("apiVersion") != self.resource.api_version:
            raise BadRequest("a patch cannot change kind or apiVersion")
        return result

    def _applier(self, patch: Patch, subresource: str) -> Any:
        from kubelib.api.patch.apply import Applier

        return Applier(
            manager=patch.manager,
            api_version=self.resource.api_version,
            subresource=subresource,
            force=patch.force,
            time=format_time(self.owner.clock.now()),
        )

    async def _replace(
        self, key: Key, document: Document, old: Tree, tree: Tree, subresource: str, options: WriteOptions
    ) -> Document | None:
        """Store the successor of a document; None if somebody was quicker."""
        meta = tree["metadata"] = dict(tree["metadata"])
        before = old["metadata"]
        if meta.get("uid") and meta["uid"] != before.get("uid"):
            raise conflict(
                self.resource.group_resource,
                key.name,
                f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {before.get('uid')}",
            )
        for part in _OWNED_BY_SERVER:
            meta.pop(part, None)
            if part in before:
                meta[part] = before[part]
        meta["resourceVersion"] = before["resourceVersion"]
        tree = self.strategy.prepare_for_update(self, tree, old, subresource)
        meta = tree["metadata"]
        if before.get("managedFields"):
            self._track(old, tree, subresource, options)
        apply_defaults(self.resource.kind, tree)
        await self._admit("update", key, tree, old, options, subresource)
        self._require_valid(validate_update(self.resource, tree, old, subresource=subresource), key.name)
        finished = self._finished(tree)
        if tree == old and not finished:
            return document
        if before.get("generation") and any(
            tree.get(part) != old.get(part) for part in {*tree, *old} - {"metadata", "status"}
        ):
            meta["generation"] = before["generation"] + 1
        extra = await self.strategy.reserve(self, tree, old)
        raw = codec.encode_tree(tree, self.resource)
        if options.dry_run:
            return Document(codec.splice_resource_version(raw, int(before["resourceVersion"])))
        expect = Revision(int(document.meta.resource_version))
        path = store_key(self.prefix, key)
        try:
            if finished:
                extra += await self.strategy.release(self, tree)
                await self._commit(Delete(path, expect), *extra)
                return Document(codec.splice_resource_version(raw, self.cache.revision))
            await self._commit(Put(path, raw, expect, self.strategy.lease), *extra)
        except RevisionMismatch:
            return None
        return self._stored(key)

    def _track(self, old: Tree, tree: Tree, subresource: str, options: WriteOptions) -> None:
        """Keep account of who set which field, unless an apply has just done so."""
        meta = tree["metadata"]
        if meta.get("managedFields") not in (None, old["metadata"]["managedFields"]):
            return
        from kubelib.api.patch.apply import Applier, track_update

        applier = Applier(
            manager=options.manager,
            api_version=self.resource.api_version,
            subresource=subresource,
            time=format_time(self.owner.clock.now()),
        )
        track_update(old, tree, applier, self.resource.cls)

    def _finished(self, tree: Tree) -> bool:
        """Whether an object that is being deleted has nothing left to wait for."""
        meta = tree["metadata"]
        return bool(
            meta.get("deletionTimestamp")
            and not meta.get("finalizers")
            and not meta.get("deletionGracePeriodSeconds")
            and not self.strategy.holds(tree)
        )

    # Deleting

    async def delete(
        self,
        key: Key,
        *,
        preconditions: Preconditions = NO_PRECONDITIONS,
        grace: float | None = None,
        propagation: Propagation | None = None,
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> Deleted:
        """Delete an object, or mark it for deletion."""
        for _ in range(RETRIES):
            document = self.cache.get(key)
            if document is None:
                raise self.not_found(key)
            self._require(preconditions, document)
            deleted = await self._delete_once(key, document, grace, propagation, options)
            if deleted is not None:
                return deleted
        raise conflict(self.resource.group_resource, key.name)

    def _require(self, preconditions: Preconditions, document: Document) -> None:
        for name, wanted, found in (
            ("UID", preconditions.uid, document.meta.uid),
            ("ResourceVersion", preconditions.resource_version, document.meta.resource_version),
        ):
            if wanted and wanted != found:
                raise conflict(
                    self.resource.group_resource,
                    document.meta.name,
                    f"Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {found}",
                )

    async def _delete_once(
        self,
        key: Key,
        document: Document,
        grace: float | None,
        propagation: Propagation | None,
        options: WriteOptions,
    ) -> Deleted | None:
        tree = document.tree()
        await self._admit("delete", key, tree, tree, options)
        meta = tree["metadata"]
        seconds = self.strategy.grace_period(tree, grace)
        finalizers = [f for f in meta.get("finalizers") or () if f not in ("orphan", "foregroundDeletion")]
        policy = propagation or self.strategy.propagation
        if propagation is not None or not meta.get("deletionTimestamp"):
            if policy == "Orphan":
                finalizers.append("orphan")
            elif policy == "Foreground":
                finalizers.append("foregroundDeletion")
        else:
            finalizers = list(meta.get("finalizers") or ())
        changed = finalizers != list(meta.get("finalizers") or ())
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        path, expect = store_key(self.prefix, key), Revision(int(document.meta.resource_version))
        if seconds or finalizers or self.strategy.holds(tree):
            marked = meta.get("deletionTimestamp")
            now = self.owner.clock.now()
            if not marked:
                meta["deletionTimestamp"] = format_time(now + timedelta(seconds=seconds))
                meta["deletionGracePeriodSeconds"] = int(seconds)
                if "generation" in meta:
                    meta["generation"] += 1
            elif seconds < (meta.get("deletionGracePeriodSeconds") or 0):
                began = parse_time(marked) - timedelta(seconds=meta["deletionGracePeriodSeconds"])
                meta["deletionTimestamp"] = format_time(max(began + timedelta(seconds=seconds), now))
                meta["deletionGracePeriodSeconds"] = int(seconds)
            elif not changed:
                return Deleted(document, finished=False)
            if not self._finished(tree):
                self.strategy.mark_deleted(tree)
                raw = codec.encode_tree(tree, self.resource)
                if options.dry_run:
                    return Deleted(Document(codec.splice_resource_version(raw, expect)), finished=False)
                try:
                    await self._commit(Put(path, raw, expect))
                except RevisionMismatch:
                    return None
                return Deleted(self.cache.get(key) or document, finished=False)
        if options.dry_run:
            return Deleted(document, finished=True)
        try:
            await self._commit(Delete(path, expect), *await self.strategy.release(self, tree))
        except RevisionMismatch:
            return None
        return Deleted(document, finished=True)

    async def delete_collection(
        self,
        query: Query,
        *,
        grace: float | None = None,
        propagation: Propagation | None = None,
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> DocumentList:
        """Delete all matching objects; return what they were."""
        found = self.cache.select(query)
        revision = str(self.cache.revision)
        for document in found:
            try:
                await self.delete(document.key, grace=grace, propagation=propagation, options=options)
            except (NotFound, Conflict):
                continue
        return DocumentList(found, revision)


def _number(resource_version: str) -> int:
    try:
        number = int(resource_version)
    except ValueError:
        number = -1
    if number < 0 or not resource_version.isdigit():
        raise BadRequest(
            f'resourceVersion: Invalid value: "{resource_version}": strconv.ParseUint: parsing "{resource_version}": invalid syntax'
        )
    return number


def _token(revision: int, start: str) -> str:
    document = codec.encode_json({"v": "meta.k8s.io/v1", "rv": revision, "start": start})
    return base64.urlsafe_b64encode(document).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    try:
        tree = codec.parse_json(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        revision, start = tree["rv"], tree["start"]
        if (
            tree["v"] != "meta.k8s.io/v1"
            or not isinstance(revision, int)
            or not isinstance(start, str)
            or revision < 1
        ):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise BadRequest("continue key is not valid: it must be one that the server gave") from None
    return revision, start


__all__ = ["ApiError", "GenericRegistry"]
