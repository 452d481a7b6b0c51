"""What all writes have in common: their documents are checked, completed, admitted and committed."""

from collections.abc import Callable, Sequence

import attrs

from kubelib.api import codec
from kubelib.api.defaults import apply_defaults
from kubelib.api.document import Document
from kubelib.api.errors import (
    BadRequest,
    Forbidden,
    Invalid,
    Problem,
    ServiceUnavailable,
    Unexplained,
    invalid,
    not_found,
)
from kubelib.api.meta import Key
from kubelib.api.patch.managedfields import Applier, with_managed_fields
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.api.validation import problems, validate_create
from kubelib.registry.admission import Attributes, Verb
from kubelib.registry.base import Patch, WriteOptions
from kubelib.registry.keys import store_key
from kubelib.registry.owners import drop_repeated_owners
from kubelib.registry.reading import ReadingRegistry
from kubelib.store import Check, CommitTooLarge, Operation, Revision, RevisionMismatch, StoreUnavailable

RETRIES = 8
Operations = list[Operation]
ManagedFields = list[Tree]
OWNED_BY_SERVER = (
    "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink",
)  # fmt: skip
UNCHECKED = WriteOptions(field_validation="Ignore")


def not_applicable(patch: Patch, patched: Tree, why: str) -> Invalid:
    """Return the refusal of a patch after which a document cannot be read. `why` is what is said of that in JSON."""
    if patch.type == "strategic":
        # Kubernetes makes the object from the patched map; of other patches it reads the patched document as JSON.
        shown, why = problems.show_map(patch.body), codec.of_map(why)
    else:
        shown = codec.encode_json(patched).decode()
    return invalid("", "", "", [problems.invalid("patch", shown, why)])


class WritingRegistry(ReadingRegistry):
    """The way of a document from a client to the store."""

    def accept(self, tree: Tree, old: Tree, patch: Patch, options: WriteOptions) -> Tree:
        """Check what a patch has changed, and return the document; what it has left alone was checked when it was stored."""
        changed = {name: value for name, value in tree.items() if value != old.get(name)}
        kept = old.keys() - changed.keys()
        codec.drop_nulls(changed)
        self._check_patched(changed, patch, options, whole=tree)
        return {
            name: changed.get(name, value) for name, value in tree.items() if name in changed or name in kept
        }

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
        if meta.get("resourceVersion") == "0":
            del meta["resourceVersion"]  # whichever version there is, as without one
        if name:
            given = meta.get("name")
            if given and given != name:
                raise BadRequest(
                    f"the name of the object ({given}) does not match the name on the URL ({name})"
                )
            meta["name"] = name
        return meta

    def _check_fields(self, tree: Tree, options: WriteOptions, *, patched: bool = False) -> None:
        if options.trusted or (codec.is_exact(tree, self.resource.cls) and not options.repeated):
            return
        try:
            codec.check_types(tree, self.resource)
        except codec.DecodeError as error:
            raise BadRequest(str(error)) from None
        codec.drop_zeros(tree, self.resource.cls)
        if options.field_validation == "Ignore":
            return
        # Who allows them gets them stored: a document of a newer API than ours comes back whole.
        unknown = codec.unknown_fields(tree, self.resource.cls)
        # The fields of a body are told in its order, those of what a patch has made in that of their names.
        self._tell_unknown(sorted(unknown) if patched else unknown, options)

    def _tell_unknown(self, unknown: Sequence[str], options: WriteOptions) -> None:
        """Refuse or warn of fields that the kind does not have, and of what a patch names twice. Raises BadRequest."""
        messages = [*options.repeated, *(f'unknown field "{path}"' for path in unknown)]
        if messages and options.field_validation == "Strict":
            kind = self.resource.kind
            raise BadRequest(
                f'{kind} in version "{self.resource.version}" cannot be handled as a {kind}: strict decoding error:'
                f" {', '.join(messages)}"
            )
        for message in messages:
            self._warn(options, message)

    def _check_patched(self, changed: Tree, patch: Patch, options: WriteOptions, *, whole: Tree) -> None:
        """Check what a patch has made of a part or the whole of a document.

        In Kubernetes it is then the patch that is invalid, not the request.
        """
        try:
            self._check_fields(changed, options, patched=True)
        except BadRequest as error:
            why = (
                error.message.partition(f" cannot be handled as a {self.resource.kind}: ")[2] or error.message
            )
            raise not_applicable(patch, whole, why) from None

    def conform(self, tree: Tree) -> None:
        """Bring a document that admission has changed into the form of the kind, in place. Raises BadRequest."""
        codec.drop_nulls(tree)
        self._check_fields(tree, UNCHECKED)
        self.fill_in(tree)

    def fill_in(self, tree: Tree) -> None:
        """Add the defaults of the kind, in place."""
        if self.resource.builtin:
            apply_defaults(self.resource.kind, tree)
        elif self.resource.rules is not None and self.resource.rules.default is not None:
            self.resource.rules.default(tree)

    def _keep_owners_once(self, meta: Tree, options: WriteOptions, *, admitted: bool = False) -> None:
        """Drop owners that metadata name twice, and warn of them. `admitted`: what admission may have added."""
        if "ownerReferences" in meta and (warning := drop_repeated_owners(meta, admitted=admitted)):
            self._warn(options, warning)

    def _tell(self, messages: Sequence[str], options: WriteOptions) -> None:
        for message in messages:
            self._warn(options, message)

    @staticmethod
    def _warn(options: WriteOptions, message: str) -> None:
        if options.warn is not None:
            options.warn(message)

    # Admitting and committing

    async def admit(
        self,
        verb: Verb,
        key: Key,
        tree: Tree,
        old: Tree | None,
        options: WriteOptions,
        subresource: str = "",
        *,
        check: Callable[[], Key | None] | None = None,
        given: Tree | None = None,
        managed: ManagedFields | None = None,
        managed_before: Sequence[Tree] = (),
    ) -> Attributes | None:
        """Let the plug-ins of admission change a document, and refuse it; None if none of them wants to see it.

        `check` refuses what is not valid, once all have changed what they wanted, and returns where the object is if that is known
        only then. `given` are the options of a delete. The managed
        fields, which the documents do not contain, are shown to those outside of the server.
        """
        admission = self.owner.admission
        if options.admitted or not admission.concerns(verb, self.resource, subresource):
            if check is not None:
                check()
            return None
        attributes = Attributes(
            verb=verb,
            resource=self.resource,
            subresource=subresource,
            key=key,
            tree=tree,
            old=old,
            options=options,
            registries=self.owner,
            managed=list(managed or ()),
            managed_before=managed_before,
            given=given or {},
        )
        await admission.mutate(attributes)
        if check is not None and (found := check()) is not None and found != key:
            attributes = attrs.evolve(attributes, key=found)
        await admission.validate(attributes)
        return attributes

    async def _write(
        self, attributes: Attributes | None, options: WriteOptions, *operations: Operation
    ) -> None:
        """Commit, together with what the plug-ins of admission keep account of; a dry run only asks them."""
        if attributes is not None:
            await self.owner.admission.commit(attributes, self._commit, operations)
        elif not options.dry_run:
            await self._commit(*operations)

    def _require_valid_create(self, tree: Tree) -> None:
        self._require_valid(validate_create(self.resource, tree), tree["metadata"].get("name") or "")

    def _require_valid(self, found: Sequence[Problem], name: str) -> None:
        if found:
            raise invalid(self.resource.kind, self.resource.group, name, found)

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

    async def _commit(self, *operations: Operation) -> Revision:
        """Commit what belongs to one write: Kubernetes passes on what its store says of an object that is too large."""
        try:
            return await self.commit(*operations)
        except CommitTooLarge as error:
            raise Unexplained(str(error)) from None

    async def commit(self, *operations: Operation) -> Revision:
        """Commit, and wait until the cache has what was written. Raises RevisionMismatch, CommitTooLarge and ServiceUnavailable."""
        try:
            revision = await self.store.commit(*operations)
        except RevisionMismatch:
            if self.owner.shared:  # another API server wrote: look at what it wrote before trying again
                await self.owner.catch_up()
            raise
        except StoreUnavailable as error:
            raise ServiceUnavailable(str(error), retry_after=1) from None
        await self.owner.cache.reached(revision)
        return revision

    def _unstored(self, raw: bytes, tree: Tree, managed: ManagedFields | None) -> Document:
        """Return the outcome of a dry run, in the form of this resource."""
        if self.resource.structure is None:
            return Document(raw)
        return Document(codec.encode_tree(with_managed_fields(tree, managed), self.resource))

    async def _stored(self, key: Key) -> Document:
        document = await self.current(key)
        if document is None:  # deleted by somebody else since
            raise self.not_found(key)
        return document

    def _applier(self, options: WriteOptions, subresource: str = "") -> Applier:
        where = options.tracked_as or subresource
        return Applier(
            manager=options.manager,
            api_version=self.resource.api_version,
            subresource=where,
            time=format_time(self.owner.clock.now()) if where != "scale" else "",
        )

    def _finished(self, tree: Tree) -> bool:
        """Whether an object that is being deleted has nothing left to wait for."""
        meta = tree["metadata"]
        return bool(
            meta.get("deletionTimestamp")
            and not meta.get("finalizers")
            and not meta.get("deletionGracePeriodSeconds")
            and not self.strategy.holds(tree)
        )
