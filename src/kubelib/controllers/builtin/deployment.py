"""Deployments: from one ReplicaSet to the next, and back."""

from collections.abc import Callable, Iterable

from kubelib.api.apps import Deployment, ReplicaSet
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import AlreadyExists, ApiError, NotFound
from kubelib.api.meta import Key, controller_of
from kubelib.api.model import replace
from kubelib.clock import Clock
from kubelib.controllers import progress
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself, owner_of_kind
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.matching import owner_or_matching, selector_of
from kubelib.controllers.ownership import Claims
from kubelib.controllers.podcontrol import namespace_is_ending
from kubelib.controllers.rollback import Rollback, roll_back
from kubelib.controllers.rollout import (
    REVISION,
    CreateSet,
    DeleteSet,
    Plan,
    UpdateSet,
    empty_selector,
    plan,
    revision_of,
    same_template,
)
from kubelib.informers import BY_CONTROLLER, SharedInformers

NAME = "deployment-controller"


class DeploymentReconciler:
    """Carries out the plan of `kubelib.controllers.rollout` and writes the status of `kubelib.controllers.progress`."""

    def __init__(self, informers: SharedInformers, *, clock: Clock, recorder: Recorder) -> None:
        client = informers.client
        self._deployments = informers.of(Deployment)
        self._sets = informers.of(ReplicaSet)
        self._pods = informers.of(Pod)
        self._deployment_registry = client.resource(Deployment)
        self._set_registry = client.resource(ReplicaSet)
        self._claims: Claims[Deployment, ReplicaSet] = Claims(client, Deployment, self._sets.cache)
        self._clock = clock
        self._recorder = recorder

    async def reconcile(self, key: Key) -> After | None:
        """Take the next step of a rollout."""
        deployment = self._deployments.cache.view(key)
        if deployment is None:
            return None
        if empty_selector(deployment.spec.selector):
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self._recorder.warning(deployment, "SelectingAll", message)
            status = replace(deployment.status, observed_generation=deployment.metadata.generation)
            await self._write(deployment, replace(deployment, status=status))
            return None
        claimed = await self._claims.claim(deployment, selector_of(deployment))
        sets = [document.view(ReplicaSet) for document in claimed]
        now = self._clock.now()
        current = deployment
        if deployment.metadata.deletion_timestamp is None:
            conditions = progress.paused_or_resumed(deployment, now)
            current = replace(deployment, status=replace(deployment.status, conditions=conditions))
        if not deployment.spec.paused and deployment.metadata.deletion_timestamp is None:
            rollback = roll_back(deployment, sets)
            if rollback is not None:
                await self._roll_back(rollback)
                return None
        step = plan(current, sets, old_pods_exist=lambda new: self._old_pods_exist(sets, new))
        current = await self._carry_out(current, step)
        if step.new is not None:
            annotations = {**current.metadata.annotations, REVISION: str(revision_of(step.new))}
            current = replace(current, metadata=replace(current.metadata, annotations=annotations))
        status = progress.status_of(current, step.sets, step.new, self._clock.now(), rolling=step.rolling)
        await self._write(deployment, replace(current, status=status))
        if not step.rolling:
            return None
        wait = progress.seconds_until_stuck(current, status, self._clock.now())
        return After(wait) if wait is not None else None

    async def _roll_back(self, rollback: Rollback) -> None:
        changed = rollback.deployment
        await self._deployment_registry.update(changed)
        report = self._recorder.normal if rollback.done else self._recorder.warning
        report(changed, rollback.reason, rollback.message)

    def _old_pods_exist(self, sets: Iterable[ReplicaSet], new: ReplicaSet | None) -> bool:
        for replica_set in sets:
            if new is not None and replica_set.metadata.uid == new.metadata.uid:
                continue
            if replica_set.status.replicas:
                return True
            for document in self._pods.cache.by_index(BY_CONTROLLER, replica_set.metadata.uid):
                if document.view(Pod).status.phase not in ("Failed", "Succeeded"):
                    return True
        return False

    async def _carry_out(self, deployment: Deployment, step: Plan) -> Deployment:
        """Write what the plan says; return the deployment with what that means for its conditions."""
        recorder, now = self._recorder, self._clock.now()
        status = deployment.status
        untold = progress.find(status.conditions, progress.PROGRESSING) is None
        if step.new is not None and untold and progress.has_deadline(deployment):
            message = f'Found new replica set "{step.new.metadata.name}"'
            conditions = progress.set_condition(
                status.conditions, progress.PROGRESSING, "True", progress.FOUND, message, now
            )
            deployment = replace(deployment, status=replace(status, conditions=conditions))
        for action in step.actions:
            match action:
                case CreateSet(new):
                    deployment = await self._create(deployment, new)
                case UpdateSet(_, after, messages):
                    await self._set_registry.update(after)
                    for message in messages:
                        recorder.normal(deployment, "ScalingReplicaSet", message)
                case DeleteSet(old):
                    try:
                        await self._set_registry.delete(old.key, propagation="Background")
                    except NotFound:
                        continue
        return deployment

    async def _create(self, deployment: Deployment, new: ReplicaSet) -> Deployment:
        now, status, name = self._clock.now(), deployment.status, new.metadata.name

        def marked(value: str, reason: str, message: str) -> Deployment:
            if not progress.has_deadline(deployment):
                return deployment
            conditions = progress.set_condition(
                status.conditions, progress.PROGRESSING, value, reason, message, now
            )
            return replace(deployment, status=replace(status, conditions=conditions))

        try:
            await self._set_registry.create(new)
        except AlreadyExists:
            there = await self._set_registry.get(new.key)
            owner = controller_of(there)
            if (
                owner is not None
                and owner.uid == deployment.metadata.uid
                and same_template(there.spec.template, new.spec.template)
            ):
                return deployment  # made a moment ago; our cache does not know it yet
            # Another template has the same hash, or somebody else the name: salt the hash and try again.
            collisions = (status.collision_count or 0) + 1
            await self._write(
                deployment, replace(deployment, status=replace(status, collision_count=collisions))
            )
            raise
        except ApiError as error:
            if not namespace_is_ending(error):
                await self._report_failure(deployment, marked, name, error)
            raise
        if new.spec.replicas:
            message = f"Scaled up replica set {name} from 0 to {new.spec.replicas}"
            self._recorder.normal(deployment, "ScalingReplicaSet", message)
        return marked("True", progress.CREATED, f'Created new replica set "{name}"')

    async def _report_failure(
        self,
        deployment: Deployment,
        marked: Callable[[str, str, str], Deployment],
        name: str,
        error: ApiError,
    ) -> None:
        message = f'Failed to create new replica set "{name}": {error}'
        self._recorder.warning(deployment, progress.CREATE_FAILED, message)
        await self._write(deployment, marked("False", progress.CREATE_FAILED, message))

    async def _write(self, before: Deployment, after: Deployment) -> None:
        if after != before:
            await self._deployment_registry.update(after, subresource="status")


def deployment_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, workers: int = 5
) -> Controller:
    """Return the controller of Deployments."""
    own = recorder.source(NAME)
    deployments = informers.of(Deployment)
    owners = owner_or_matching(deployments, owner_of_kind(Deployment), selector_of)

    def of_recreated(document: Document) -> Iterable[Key]:
        """Map an ending pod to the deployment that may be waiting for its end."""
        if not document.meta.deletion_timestamp:
            return ()
        for key in owner_of_kind(ReplicaSet)(document):
            if (replica_set := informers.of(ReplicaSet).cache.get(key)) is not None:
                return owners(replica_set)
        return ()

    reconciler = DeploymentReconciler(informers, clock=clock, recorder=own)
    return Controller(
        NAME,
        reconciler,
        [(deployments, itself), (informers.of(ReplicaSet), owners), (informers.of(Pod), of_recreated)],
        workers=workers,
        recorder=own,
    )
