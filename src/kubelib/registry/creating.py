"""How objects come about."""

import copy
from functools import partial

from kubelib.api.document import Document
from kubelib.api.errors import BadRequest, MethodNotAllowed, already_exists
from kubelib.api.meta import Key
from kubelib.api.names import generate_name
from kubelib.api.patch.managedfields import track_create, with_managed_fields
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.clock import new_uid
from kubelib.registry.base import DEFAULT_OPTIONS, WriteOptions
from kubelib.registry.keys import store_key
from kubelib.registry.writing import OWNED_BY_SERVER, RETRIES, WritingRegistry
from kubelib.store import ABSENT, Put, RevisionMismatch

_IDENTITY = ("uid", "creationTimestamp", "generation")
"""What a new object has only once admission has changed it: as in Kubernetes, those who change it do not see it, nor a generated name."""


class CreatingRegistry(WritingRegistry):
    """The verb create."""

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
        await self.catch_up()
        if subresource:
            return await self.strategy.create_subresource(
                self.whole, Key(namespace, name), subresource, tree, options
            )
        if "create" not in self.resource.verbs:
            raise MethodNotAllowed(f"create is not supported on {self.resource.group_resource}")
        meta = self._prepare_metadata(tree, namespace, name)
        managed = meta.pop("managedFields", None)
        self._make_new(tree, options)
        base = "" if meta.get("name") else meta.get("generateName") or ""
        for attempt in range(RETRIES):
            if base:
                meta["name"] = generate_name(base, self.owner.random)
            key = Key(meta.get("namespace", ""), meta.get("name", ""))
            operations = self._namespace_check(key)
            if attempt == 0 or base:
                self.fill_in(tree)
                if not options.applied:
                    # What admission adds belongs to nobody, as it does in Kubernetes.
                    managed = track_create(tree, self._applier(options), self.shape, without=self._unsettable)
                identity = {part: meta.pop(part) for part in _IDENTITY if part in meta}
                if base:
                    identity["name"] = meta.pop("name")
                admitted = await self.admit(
                    "create",
                    Key(key.namespace, meta.get("name", "")),
                    tree,
                    None,
                    options,
                    check=partial(self._complete, tree, identity, options),
                    managed=managed,
                )
                if admitted is not None:
                    managed = admitted.managed
                if options.warn is not None:
                    self._tell(self.strategy.warnings(self.resource, tree, None), options)
                meta = tree["metadata"]
                if meta.get("name") != key.name:  # admission has given it another
                    key, base = Key(key.namespace, meta.get("name", "")), ""
            path = store_key(self.prefix, key)
            if self.cache.get(key) is not None:
                if not base:
                    raise already_exists(self.resource.group_resource, key.name)
                continue
            self.strategy.observe(self.whole, tree, None)
            asked = copy.deepcopy(tree["spec"]) if self.strategy.reserves else None
            extra = await self.strategy.reserve(self.whole, tree, None)
            raw = await self.encoded(with_managed_fields(tree, managed))
            put = Put(path, raw, ABSENT, self.strategy.lease)
            try:
                await self._write(admitted, options, put, *operations, *extra)
            except RevisionMismatch as mismatch:
                if mismatch.key == path and not base:
                    raise already_exists(self.resource.group_resource, key.name) from None
                if asked is not None:
                    tree["spec"] = asked
                continue
            return self._unstored(raw, tree, managed) if options.dry_run else await self._stored(key)
        raise already_exists(self.resource.group_resource, meta.get("name") or "")

    def _make_new(self, tree: Tree, options: WriteOptions) -> None:
        """Check what was sent, and give it what the server decides alone. Raises BadRequest."""
        meta = tree["metadata"]
        self._check_fields(tree, options)
        if not options.applied:
            self._keep_owners_once(meta, options)
        if meta.get("resourceVersion"):
            raise BadRequest("resourceVersion should not be set on objects to be created")
        for part in OWNED_BY_SERVER:
            meta.pop(part, None)
        meta["uid"] = new_uid(self.owner.random)
        meta["creationTimestamp"] = format_time(self.owner.clock.now())
        self.strategy.note_requester(tree, options.user)
        self.strategy.prepare_for_create(self.whole, tree)

    def _complete(self, tree: Tree, identity: Tree, options: WriteOptions) -> Key:
        """Finish a new object that admission may have changed; return where it will be. Raises Invalid."""
        meta = tree["metadata"] = {**identity, **{k: v for k, v in tree["metadata"].items() if v is not None}}
        self._keep_owners_once(meta, options, admitted=True)
        self.strategy.complete(self.whole, tree)
        self._require_valid_create(tree)
        if options.may_create is not None:
            options.may_create()
        return Key(meta.get("namespace", ""), meta.get("name", ""))
