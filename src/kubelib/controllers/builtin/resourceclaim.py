"""Claims to devices: made for Pods from templates, reserved for Pods that nobody scheduled, given back when no Pod uses them."""

from collections.abc import Iterable, Mapping, Sequence

from kubelib.api.core.pod import Pod, PodResourceClaim
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, Conflict, NotFound
from kubelib.api.meta import Key, ObjectMeta, OwnerReference, controller_of
from kubelib.api.model import replace
from kubelib.api.resource import (
    ResourceClaim,
    ResourceClaimConsumerReference,
    ResourceClaimStatus,
    ResourceClaimTemplate,
)
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself, nothing
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.expectations import Expectations
from kubelib.controllers.manager import Manager
from kubelib.controllers.ownership import controller_reference
from kubelib.controllers.pods import is_terminal
from kubelib.informers import BY_CONTROLLER, SharedInformers
from kubelib.registry.base import Patch, Preconditions

NAME = "resource-claim-controller"
SOURCE = "resource_claim"
MANAGER = "ResourceClaimController"
MADE_FOR = "resource.kubernetes.io/pod-claim-name"
FINALIZER = "resource.kubernetes.io/delete-protection"
USERS = "pods by resource claim"
MAX_USERS = 256
MAX_BASE = 57
"""How long a name may be before five random characters come after it."""
LOOK_AGAIN = 0.2


def claim_names(pod: Pod) -> Mapping[str, str]:
    """Return the claims of a Pod by its own names for them: those that it names, and those that were made for it.

    A name is empty where it has been decided that no claim is needed.
    """
    made = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses}
    return {
        claim.name: claim.resource_claim_name or made[claim.name]
        for claim in pod.spec.resource_claims
        if claim.resource_claim_name or claim.name in made
    }


def is_done(pod: Pod) -> bool:
    """Return whether none of a Pod's containers runs, and none ever will."""
    return is_terminal(pod) or (pod.metadata.deletion_timestamp is not None and not pod.spec.node_name)


def claim_for(pod: Pod, name: str, template: ResourceClaimTemplate) -> ResourceClaim:
    """Return the claim that is made from a template for what a Pod calls `name`."""
    base = f"{pod.metadata.name}-{name}-"
    if len(base) > MAX_BASE:
        # Both parts are cut in proportion, so that one sees what it is for.
        first, second = (part[: len(part) * MAX_BASE // len(base)] for part in (pod.metadata.name, name))
        base = f"{first}-{second}"
    meta = template.spec.metadata
    return ResourceClaim(
        metadata=ObjectMeta(
            generate_name=base,
            namespace=pod.metadata.namespace,
            labels=meta.labels,
            annotations={**meta.annotations, MADE_FOR: name},
            owner_references=(controller_reference(pod),),
        ),
        spec=template.spec.spec,
    )


def may_be_reserved(claim: ResourceClaim, pod: Pod) -> bool:
    """Return whether a claim has devices that are to be reserved for a Pod, and are not yet."""
    users = claim.status.reserved_for
    return (
        claim.status.allocation is not None
        and len(users) < MAX_USERS
        and all(user.uid != pod.metadata.uid for user in users)
    )


def _has_claims(document: Document) -> bool:
    return b'"resourceClaims":' in document.raw


def _claims_of(document: Document) -> Sequence[Key]:
    if not _has_claims(document):
        return ()
    names = claim_names(document.view(Pod)).values()
    return [Key(document.meta.namespace, name) for name in names if name]


def _users_index(document: Document) -> Iterable[str]:
    return [str(key) for key in _claims_of(document)]


class PodClaims:
    """A `Reconciler` of Pods: makes the claims that they lack."""

    def __init__(self, informers: SharedInformers, *, recorder: Recorder) -> None:
        client = informers.client
        self._pods = informers.of(Pod).cache
        self._pods.add_index(USERS, _users_index)
        self._claims = informers.of(ResourceClaim).cache
        self._templates = informers.of(ResourceClaimTemplate).cache
        self._pod_registry = client.resource(Pod)
        self._registry = client.resource(ResourceClaim)
        self._expectations = Expectations(self._claims)
        self._recorder = recorder

    async def reconcile(self, key: Key) -> After | None:
        """Make the claims of one Pod."""
        document = self._pods.get(key)
        if document is None:
            self._expectations.forget(key)
            return None
        if document.meta.deletion_timestamp or not _has_claims(document):
            return None
        if not self._expectations.satisfied(key):
            return After(LOOK_AGAIN)  # a claim that we do not see yet would be made again
        pod = document.view(Pod)
        if is_done(pod):
            return None  # its claims go
        names = dict(claim_names(pod))
        for wanted in pod.spec.resource_claims:
            try:
                made = await self._made(pod, wanted, names.get(wanted.name))
            except ApiError as error:
                message = f"PodResourceClaim {wanted.name}: {error}"
                self._recorder.warning(pod, "FailedResourceClaimCreation", message)
                raise
            if made is not None:
                names[wanted.name] = made
        await self._tell(pod, names)
        if pod.spec.node_name:  # otherwise its scheduler reserves
            await self._reserve(pod, names.values())
        return None

    async def _made(self, pod: Pod, wanted: PodResourceClaim, name: str | None) -> str | None:
        """Return the name of the claim that is made from a template; None if there is nothing to make."""
        if not wanted.resource_claim_template_name or name == "":
            return None
        namespace = pod.metadata.namespace
        if name is not None:
            there = self._claims.view(Key(namespace, name))
            if there is not None and _is_for(there, pod):
                return None
        # One that was made while nobody could write down that it was.
        for document in self._claims.by_index(BY_CONTROLLER, pod.metadata.uid):
            if document.view(ResourceClaim).metadata.annotations.get(MADE_FOR) == wanted.name:
                return document.meta.name
        from_name = wanted.resource_claim_template_name
        template = self._templates.view(Key(namespace, from_name))
        if template is None:
            raise NotFound(
                f'resource claim template "{from_name}": resourceclaimtemplate.resource.k8s.io'
                f' "{from_name}" not found'
            )
        try:
            created = await self._registry.create(claim_for(pod, wanted.name, template))
        except ApiError as error:
            raise Conflict(f"create ResourceClaim : {error}") from error
        self._expectations.created(pod.key, created)
        return created.metadata.name

    async def _tell(self, pod: Pod, names: Mapping[str, str]) -> None:
        """Write the claims that were made into the status of their Pod."""
        from_templates = [c.name for c in pod.spec.resource_claims if c.resource_claim_template_name]
        statuses = [
            {"name": name, **({"resourceClaimName": names[name]} if names[name] else {})}
            for name in from_templates
            if name in names
        ]
        if all(names[status["name"]] == claim_names(pod).get(status["name"]) for status in statuses):
            return
        body = {
            "apiVersion": pod.api_version,
            "kind": pod.kind,
            "metadata": {
                "name": pod.metadata.name,
                "namespace": pod.metadata.namespace,
                "uid": pod.metadata.uid,
            },
            "status": {"resourceClaimStatuses": statuses},
        }
        try:
            await self._pod_registry.patch(
                pod.key, Patch("apply", body, manager=MANAGER, force=True), subresource="status"
            )
        except NotFound:
            return

    async def _reserve(self, pod: Pod, names: Iterable[str]) -> None:
        for name in filter(None, names):
            claim = self._claims.view(Key(pod.metadata.namespace, name))
            if claim is None or not may_be_reserved(claim, pod):
                continue
            user = ResourceClaimConsumerReference(
                resource="pods", name=pod.metadata.name, uid=pod.metadata.uid
            )
            status = replace(claim.status, reserved_for=(*claim.status.reserved_for, user))
            await self._registry.update(replace(claim, status=status), subresource="status")

    def users(self, document: Document) -> Iterable[Key]:
        """Map a claim to the Pods that use it, and to the one for which it was made."""
        users = [pod.key for pod in self._pods.by_index(USERS, str(document.key))]
        owner = _made_for(document.meta.owner_references)
        return users if owner is None else [*users, Key(document.meta.namespace, owner.name)]


class ClaimUse:
    """A `Reconciler` of claims: forgets Pods that do not use them any more, and deletes those that were made for such."""

    def __init__(self, informers: SharedInformers) -> None:
        client = informers.client
        self._pods = informers.of(Pod).cache
        self._claims = informers.of(ResourceClaim).cache
        self._pod_registry = client.resource(Pod)
        self._registry = client.resource(ResourceClaim)

    async def reconcile(self, key: Key) -> After | None:
        """Look at one claim."""
        claim = self._claims.view(key)
        if claim is None:
            return None
        users = [user for user in claim.status.reserved_for if await self._uses(key.namespace, user)]
        try:
            unused = claim.metadata.deletion_timestamp is not None and not users
            if unused or len(users) < len(claim.status.reserved_for):
                await self._give_back(claim, users)
            if not users:
                await self._delete_unused(claim)
        except NotFound:
            return None
        return None

    async def _uses(self, namespace: str, user: ResourceClaimConsumerReference) -> bool:
        if (user.api_group, user.resource) != ("", "pods"):
            return True  # nobody here knows what it is
        key = Key(namespace, user.name)
        pod = self._pods.view(key)
        if pod is None:
            # It may be so new that our cache does not know it.
            try:
                pod = await self._pod_registry.get(key)
            except NotFound:
                return False
            return pod.metadata.uid == user.uid
        return pod.metadata.uid == user.uid and not is_done(pod)

    async def _give_back(self, claim: ResourceClaim, users: Sequence[ResourceClaimConsumerReference]) -> None:
        """Write who still uses a claim. With the last user its devices go, and what keeps the claim from being deleted."""
        protected = FINALIZER in claim.metadata.finalizers
        allocation = claim.status.allocation if users or not protected else None
        status: ResourceClaimStatus = replace(claim.status, reserved_for=tuple(users), allocation=allocation)
        if status != claim.status:
            claim = await self._registry.update(replace(claim, status=status), subresource="status")
        if protected and allocation is None:
            kept = tuple(f for f in claim.metadata.finalizers if f != FINALIZER)
            await self._registry.update(replace(claim, metadata=replace(claim.metadata, finalizers=kept)))

    async def _delete_unused(self, claim: ResourceClaim) -> None:
        """Delete a claim that was made for a Pod which will not run any more; that is gone already is the collector's."""
        owner = _made_for(claim.metadata.owner_references)
        if owner is None or claim.metadata.deletion_timestamp is not None:
            return
        pod = self._pods.view(Key(claim.metadata.namespace, owner.name))
        if pod is not None and (pod.metadata.uid != owner.uid or is_done(pod)):
            await self._registry.delete(claim.key, preconditions=Preconditions(claim.metadata.uid))


def _made_for(references: Iterable[OwnerReference]) -> OwnerReference | None:
    for reference in references:
        if reference.controller and (reference.api_version, reference.kind) == ("v1", "Pod"):
            return reference
    return None


def _is_for(claim: ResourceClaim, pod: Pod) -> bool:
    owner = controller_of(claim)
    return owner is not None and owner.uid == pod.metadata.uid


def resource_claim_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Manager:
    """Return the controller: one part for Pods, one for claims."""
    own = recorder.source(SOURCE)
    pods, claims = informers.of(Pod), informers.of(ResourceClaim)
    making = PodClaims(informers, recorder=own)
    return Manager(
        [
            Controller(
                "resource claims of pods",
                making,
                [
                    (pods, lambda document: (document.key,) if _has_claims(document) else ()),
                    (claims, making.users),
                    (informers.of(ResourceClaimTemplate), nothing),
                ],
            ),
            Controller("resource claims", ClaimUse(informers), [(claims, itself), (pods, _claims_of)]),
        ],
        name=NAME,
    )
