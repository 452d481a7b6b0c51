"""Evictions: a Pod is deleted if the disruption budgets allow it.

The rules, answers and messages are those of ``pkg/registry/core/pod/storage/eviction.go``. The budget is charged before the Pod
is deleted; the disruption controller gives back what was charged for a Pod that then stayed.
"""

from typing import TYPE_CHECKING, Any

import attrs

from kubelib.api import codec
from kubelib.api.disruption import ALLOWED, SYNC_FAILED, with_condition
from kubelib.api.document import Document
from kubelib.api.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    InternalError,
    NotFound,
    Problem,
    Timeout,
    TooManyRequests,
)
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.api.policy import PodDisruptionBudget
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.labels import SelectorError, selector_from_label_selector
from kubelib.registry.base import Preconditions, WriteOptions

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

TRIES = 20
MOST_DISRUPTED = 2000
"""With more evictions that the controller has not seen through, none is allowed."""
VIOLATION = "Cannot evict pod as it would violate the pod's disruption budget."


async def evict(registry: "GenericRegistry", key: Key, tree: Tree, options: WriteOptions) -> None:
    """Delete a Pod on behalf of an Eviction. Raises TooManyRequests if a budget is against it, now."""
    named = (tree.get("metadata") or {}).get("name")
    if named and named != key.name:
        raise BadRequest("name in URL does not match name in Eviction object")
    delete = tree.get("deleteOptions") or {}
    if delete.get("dryRun"):
        options = attrs.evolve(options, dry_run=True)
    await registry.admit("create", key, tree, None, options, "eviction")
    wanted = delete.get("preconditions") or {}
    given = Preconditions(wanted.get("uid") or "", wanted.get("resourceVersion") or "")
    grace = delete.get("gracePeriodSeconds")
    for attempt in range(1, TRIES + 1):
        document = registry.cache.get(key)
        if document is None:
            raise registry.not_found(key)
        pod = document.tree()
        budget = None if _is_free(pod) else _budget_of(registry, document)
        unready = False
        if budget is not None:
            unready = _may_go_unready(pod, budget)
            if not unready:
                await _charge(registry, budget, key.name, options)
        pinned = given
        if unready or (budget is None and _phase(pod) not in ("Succeeded", "Failed")):
            # The Pod must still be as it was judged: one that has become ready meanwhile counts.
            pinned = attrs.evolve(
                given, resource_version=given.resource_version or document.meta.resource_version
            )
        try:
            await _delete(registry, key, pod, pinned, grace, options)
        except Conflict:
            if given.resource_version or given.uid:
                raise
            if unready and budget is not None:
                raise _processing(budget.metadata.name) from None
            if budget is not None or attempt == TRIES:
                raise
        else:
            return


def _phase(pod: Tree) -> str:
    return str((pod.get("status") or {}).get("phase") or "")


def _is_free(pod: Tree) -> bool:
    """Whether a Pod serves nobody: it has ended, has not begun, or is going anyway."""
    return _phase(pod) in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


def _is_ready(pod: Tree) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _budget_of(registry: "GenericRegistry", pod: Document) -> PodDisruptionBudget | None:
    owner = registry.owner
    budgets = owner.of(owner.scheme.of(PodDisruptionBudget)).cache
    found = []
    for document in budgets.within(pod.meta.namespace):
        budget = document.view(PodDisruptionBudget)
        if budget.spec.selector is None:
            continue
        try:
            selector = selector_from_label_selector(budget.spec.selector)
        except SelectorError:
            continue
        if selector.matches(pod.meta.labels):
            found.append(budget)
    if len(found) > 1:
        raise InternalError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    return found[0] if found else None


def _may_go_unready(pod: Tree, budget: PodDisruptionBudget) -> bool:
    """Whether a Pod goes without being charged, because it does not serve as it is."""
    if _is_ready(pod):
        return False
    if budget.spec.unhealthy_pod_eviction_policy == "AlwaysAllow":
        return True
    status = budget.status
    return status.current_healthy >= status.desired_healthy > 0


def _refusal(message: str, retry_after: int = 0) -> TooManyRequests:
    return TooManyRequests(
        VIOLATION, causes=[Problem("DisruptionBudget", "", message)], retry_after=retry_after
    )


def _processing(name: str) -> TooManyRequests:
    return _refusal(f"The disruption budget {name} is still being processed by the server.", 10)


async def _charge(
    registry: "GenericRegistry", budget: PodDisruptionBudget, pod: str, options: WriteOptions
) -> None:
    """Take one disruption from a budget. Raises TooManyRequests if there is none left."""
    budgets = registry.owner.of(registry.owner.scheme.of(PodDisruptionBudget))
    now = registry.owner.clock.now()
    for _ in range(TRIES):
        _require_allowed(budget)
        status = replace(
            budget.status,
            disruptions_allowed=budget.status.disruptions_allowed - 1,
            disrupted_pods={**budget.status.disrupted_pods, pod: now.replace(microsecond=0)},
        )
        if not status.disruptions_allowed:
            status = with_condition(status, now)
        if options.dry_run:
            return
        after = codec.to_tree(replace(budget, status=status))
        # A status is replaced as a whole, and no field of it is unknown to the class.
        after["metadata"] = codec.to_tree(budget)["metadata"]
        try:
            await budgets.update(
                budget.key, after, subresource="status", options=WriteOptions(manager=options.manager)
            )
        except Conflict:
            document = budgets.cache.get(budget.key)
            if document is None:
                return
            budget = document.view(PodDisruptionBudget)
        except NotFound:
            return
        else:
            return
    raise Timeout(
        f'couldn\'t update PodDisruptionBudget "{budget.metadata.name}" due to conflicts', retry_after=10
    )


def _require_allowed(budget: PodDisruptionBudget) -> None:
    name, status = budget.metadata.name, budget.status
    if status.observed_generation < budget.metadata.generation:
        raise _processing(name)
    if status.disruptions_allowed < 0:
        raise _forbidden(name, "pdb disruptions allowed is negative")
    if len(status.disrupted_pods) > MOST_DISRUPTED:
        raise _forbidden(
            name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        )
    if status.disruptions_allowed:
        return
    told = next((c for c in status.conditions if c.type == ALLOWED), None)
    if told is not None and told.status == "False" and told.reason == SYNC_FAILED:
        why = f"does not allow evicting pods currently because it failed sync: {told.message}"
    elif status.current_healthy <= status.desired_healthy:
        why = f"needs {status.desired_healthy} healthy pods and has {status.current_healthy} currently"
    else:
        why = "does not allow evicting pods currently"
    raise _refusal(f"The disruption budget {name} {why}")


def _forbidden(name: str, why: str) -> ApiError:
    return Forbidden(
        f'poddisruptionbudget.policy "{name}" is forbidden: {why}',
        group="policy",
        kind="poddisruptionbudget",
        name=name,
    )


async def _delete(
    registry: "GenericRegistry",
    key: Key,
    pod: Tree,
    preconditions: Preconditions,
    grace: float | None,
    options: WriteOptions,
) -> None:
    """Note in the Pod why it goes, then delete it: admission has seen the eviction, and is asked about neither, as in Kubernetes."""
    options = attrs.evolve(options, admitted=True)
    if not options.dry_run and not pod["metadata"].get("deletionTimestamp"):
        preconditions = await _note(registry, key, pod, preconditions)
    await registry.delete(key, grace=grace, preconditions=preconditions, options=options)


async def _note(
    registry: "GenericRegistry", key: Key, pod: Tree, preconditions: Preconditions
) -> Preconditions:
    for name, wanted, found in (
        ("UID", preconditions.uid, pod["metadata"]["uid"]),
        ("ResourceVersion", preconditions.resource_version, pod["metadata"]["resourceVersion"]),
    ):
        if wanted and wanted != found:
            raise Conflict(
                f'Operation cannot be fulfilled on pods "{key.name}": Precondition failed: {name} in precondition:'
                f" {wanted}, {name} in object meta: {found}",
                kind="pods",
                name=key.name,
            )
    status: dict[str, Any] = pod.setdefault("status", {})
    conditions = [c for c in status.get("conditions") or () if c.get("type") != "DisruptionTarget"]
    conditions.append(
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "lastTransitionTime": format_time(registry.owner.clock.now()),
            "observedGeneration": pod["metadata"].get("generation", 0),
        }
    )
    status["conditions"] = conditions
    if not preconditions.resource_version:
        pod["metadata"].pop("resourceVersion", None)
    noted, _ = await registry.update(key, pod, subresource="status", options=WriteOptions(admitted=True))
    if preconditions.resource_version:
        return attrs.evolve(preconditions, resource_version=noted.meta.resource_version)
    return preconditions
