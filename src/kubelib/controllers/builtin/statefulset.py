"""StatefulSets: Pods that keep a name and storage, made, replaced and taken away in order."""

from collections.abc import Sequence

from kubelib.api.apps_sets import ControllerRevision, StatefulSet
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import AlreadyExists, ApiError, Conflict
from kubelib.api.meta import Key, controller_of
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself, nothing, owner_of_kind
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.identities import ordinal_of
from kubelib.controllers.matching import owner_or_matching, selector_of
from kubelib.controllers.ownership import Claims
from kubelib.controllers.parallel import slow_start
from kubelib.controllers.podcontrol import PodControl
from kubelib.controllers.pods import seconds_until_available
from kubelib.controllers.revisions import Revisions, template_of
from kubelib.controllers.stateful import (
    Action,
    Create,
    CreateClaims,
    Delete,
    Repair,
    Revision,
    UpdateClaim,
    plan,
    revisions_in_use,
    status_of,
)
from kubelib.controllers.statuses import write_status
from kubelib.informers import SharedInformers

NAME = "statefulset-controller"
LOOK_AGAIN = 1.0
"""Seconds after which is looked whether a claim that is on its way out is gone."""


class ClaimsLacking(ApiError):
    """A Pod cannot be made yet, because a claim that it needs cannot."""


class StatefulSetReconciler:
    """Carries out the plan of `kubelib.controllers.stateful`."""

    def __init__(self, informers: SharedInformers, *, clock: Clock, recorder: Recorder) -> None:
        client = informers.client
        self._owners = informers.of(StatefulSet)
        self._pods = informers.of(Pod)
        self._volume_claims = informers.of(PersistentVolumeClaim)
        self._owner_registry = client.resource(StatefulSet)
        self._pod_registry = client.resource(Pod)
        self._claim_registry = client.resource(PersistentVolumeClaim)
        self._revisions: Revisions[StatefulSet] = Revisions(
            informers, StatefulSet, hash_label="controller.kubernetes.io/hash"
        )
        self._claims: Claims[StatefulSet, Pod] = Claims(client, StatefulSet, self._pods.cache)
        self._control = PodControl(client, self._pods.cache, recorder)
        self._expectations = self._control.expectations
        self._clock = clock
        self._recorder = recorder

    async def reconcile(self, key: Key) -> After | None:
        """Take the next step of the set at `key`."""
        owner = self._owners.cache.view(key)
        if owner is None:
            self._expectations.forget(key)
            return None
        if not self._expectations.satisfied(key):
            return None  # what is on its way to our cache leads here again
        known = await self._revisions.of(owner)
        collisions = owner.status.collision_count or 0
        if owner.metadata.deletion_timestamp is None:
            update, collisions = await self._revisions.ensure(owner, known, collisions)
        elif known:
            update = known[-1]
        else:
            return None
        current = next((r for r in known if r.metadata.name == owner.status.current_revision), update)

        def ours(document: Document) -> bool:
            return ordinal_of(document.meta.name, key.name) >= 0

        claimed = await self._claims.claim(owner, selector_of(owner), belongs=ours)
        pods = [document.view(Pod) for document in claimed]
        now = self._clock.now()
        names = (current.metadata.name, update.metadata.name)
        step = plan(
            owner,
            pods,
            Revision(names[0], template_of(current)),
            Revision(names[1], template_of(update)),
            lambda name: self._volume_claims.cache.view(Key(key.namespace, name)),
            now,
        )
        errors = await self._carry_out(key, owner, step.actions)
        await write_status(self._owner_registry, owner, status_of(owner, pods, *names, collisions, now))
        if errors:
            raise errors[0]
        live = revisions_in_use(pods, current, update)
        await self._revisions.trim(owner, _with(known, update), live)
        waits = [LOOK_AGAIN] if step.waits_for_claim else []
        if (wait := seconds_until_available(pods, owner.spec.min_ready_seconds, now)) is not None:
            waits.append(wait)
        return After(min(waits)) if waits else None

    async def _carry_out(self, key: Key, owner: StatefulSet, actions: Sequence[Action]) -> list[Exception]:
        async def act(action: Action) -> None:
            match action:
                case Create(pod, claims, ending):
                    await self._create(key, owner, pod, claims, ending)
                case CreateClaims(pod, claims):
                    if problems := await self._create_claims(owner, pod, claims):
                        raise problems[0]
                case Delete(pod):
                    await self._delete(key, owner, pod)
                case Repair(pod):
                    await self._repair(owner, pod)
                case UpdateClaim(claim):
                    await self._claim_registry.update(claim)

        return await slow_start(actions, act)

    async def _create_claims(
        self, owner: StatefulSet, pod: Pod, claims: Sequence[PersistentVolumeClaim]
    ) -> list[ApiError]:
        """Create claims, all that can be; return what is wrong with the others."""
        problems: list[ApiError] = []
        what = f"Pod {pod.metadata.name} in StatefulSet {owner.metadata.name}"
        for claim in claims:
            name = claim.metadata.name
            try:
                await self._claim_registry.create(claim)
            except AlreadyExists:
                continue
            except ApiError as error:
                problems.append(ClaimsLacking(f"failed to create PVC {name}: {error}"))
                message = f"create Claim {name} for {what} failed error: {error}"
                self._recorder.warning(owner, "FailedCreate", message)
            else:
                self._recorder.normal(owner, "SuccessfulCreate", f"create Claim {name} {what} success")
        return problems

    async def _create(
        self,
        key: Key,
        owner: StatefulSet,
        pod: Pod,
        claims: Sequence[PersistentVolumeClaim],
        ending: Sequence[PersistentVolumeClaim],
    ) -> None:
        what = f"Pod {pod.metadata.name} in StatefulSet {owner.metadata.name}"
        problems = await self._create_claims(owner, pod, claims)
        problems += [ClaimsLacking(f"pvc {claim.metadata.name} is being deleted") for claim in ending]
        if problems:
            told = str(problems[0]) if len(problems) == 1 else f"[{', '.join(map(str, problems))}]"
            self._recorder.warning(owner, "FailedCreate", f"create {what} failed error: {told}")
            raise problems[0]
        try:
            created = await self._pod_registry.create(pod)
        except AlreadyExists:
            there = await self._pod_registry.get(pod.key)
            holder = controller_of(there)
            if holder is not None and holder.uid == owner.metadata.uid:
                return  # made a moment ago, the answer was lost
            raise
        except ApiError as error:
            self._recorder.warning(owner, "FailedCreate", f"create {what} failed error: {error}")
            raise
        self._expectations.created(key, created)
        self._recorder.normal(owner, "SuccessfulCreate", f"create {what} successful")

    async def _delete(self, key: Key, owner: StatefulSet, pod: Pod) -> None:
        what = f"Pod {pod.metadata.name} in StatefulSet {owner.metadata.name}"
        done, failed = f"delete {what} successful", f"delete {what} failed error"
        await self._control.delete_telling(key, owner, pod, done, failed)

    async def _repair(self, owner: StatefulSet, pod: Pod) -> None:
        what = f"Pod {pod.metadata.name} in StatefulSet {owner.metadata.name}"
        try:
            await self._pod_registry.update(pod)
        except ApiError as error:
            if not isinstance(error, Conflict):
                self._recorder.warning(owner, "FailedUpdate", f"update {what} failed error: {error}")
            raise
        self._recorder.normal(owner, "SuccessfulUpdate", f"update {what} successful")


def _with(known: Sequence[ControllerRevision], update: ControllerRevision) -> list[ControllerRevision]:
    return [*(r for r in known if r.metadata.name != update.metadata.name), update]


def stateful_set_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, workers: int = 5
) -> Controller:
    """Return the controller of StatefulSets."""
    own = recorder.source(NAME)
    owners = informers.of(StatefulSet)
    pods = owner_or_matching(owners, owner_of_kind(StatefulSet), selector_of)
    revisions = owner_of_kind(StatefulSet)
    return Controller(
        NAME,
        StatefulSetReconciler(informers, clock=clock, recorder=own),
        [
            (owners, itself),
            (informers.of(Pod), pods),
            (informers.of(ControllerRevision), revisions),
            (informers.of(PersistentVolumeClaim), nothing),
        ],
        workers=workers,
        recorder=own,
    )
