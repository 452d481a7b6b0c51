"""The component that keeps an elastic cluster as large as its Pods need it. What and how long is the cluster autoscaler's."""

import logging
from collections.abc import Sequence
from random import Random

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.api.apps_sets import DaemonSet
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.namespace import Namespace
from kubelib.api.core.node import Node
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.policy import PodDisruptionBudget
from kubelib.api.scheduling_v1beta1 import PodGroup
from kubelib.api.storage import CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment
from kubelib.client.base import Client
from kubelib.informers import SharedInformers
from kubelib.labels.fields import parse_field_selector
from kubelib.registry.base import Query
from kubelib.sched.budgets import Budgets
from kubelib.sched.elastic.asking import Asking
from kubelib.sched.elastic.base import NodeProvider, NodeTemplate, ProvidedNode, ProviderError
from kubelib.sched.elastic.draining import DRAINING, drain, uncordon
from kubelib.sched.elastic.planning import ClusterView, Offer, plan_growth
from kubelib.sched.elastic.settings import ElasticSettings
from kubelib.sched.elastic.shrinking import Spare, find_spare, is_over, why_not_moved
from kubelib.sched.groups import Groups
from kubelib.sched.pods import PodInfo
from kubelib.sched.reporting import Recorder
from kubelib.sched.volumes import StorageObject

log = logging.getLogger("kubelib.sched.elastic")

NOT_READY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
EXPENDABLE = -10
"""Pods of a priority below this neither get a node made nor keep one."""


class Elastic:
    """Asks a provider for the cheapest nodes for Pods that fit nowhere, and returns nodes that are not needed. A `Component`."""

    name = "elastic"

    def __init__(
        self,
        client: Client,
        provider: NodeProvider,
        *,
        random: Random,
        settings: ElasticSettings | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.settings = settings or ElasticSettings()
        self._client = client
        self._provider = provider
        self._random = random
        self._recorder = recorder
        self._asking = Asking(provider, random, self.settings)
        self._informers = SharedInformers(client, random=random)
        self._pods = self._informers.of(Pod)
        self._nodes = self._informers.of(Node)
        self._budgets = self._informers.of(PodDisruptionBudget)
        self._namespaces = self._informers.of(Namespace)
        self._daemons = self._informers.of(DaemonSet)
        self._classes = self._informers.of(StorageClass)
        self._volumes = self._informers.of(PersistentVolume)
        self._claims = self._informers.of(PersistentVolumeClaim)
        self._limits = self._informers.of(CSINode)
        self._drivers = self._informers.of(CSIDriver)
        self._capacities = self._informers.of(CSIStorageCapacity)
        self._attachments = self._informers.of(VolumeAttachment)
        # Servers of earlier versions do not know groups: nobody waits for these informers.
        self._about_groups = SharedInformers(client, random=random)
        self._groups = self._about_groups.of(PodGroup)
        self._spare_since: dict[str, float] = {}
        self._grown = self._kept_until = float("-inf")
        self._announced: set[str] = set()
        self._draining: set[str] = set()
        self._drains: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once the cluster is known."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._about_groups.run)
            await group.start(self._informers.run)
            self._drains = group
            task_status.started()
            failures = 0
            while True:
                try:
                    await self._pass()
                    failures = 0
                except (ApiError, ProviderError, TimeoutError) as error:
                    failures += 1
                    log.warning("the cluster's size is left as it is: %s", str(error) or "no answer in time")
                except Exception:
                    failures += 1
                    log.exception("the cluster's size is left as it is")
                pause = self.settings.backoff.delay(failures - 1, self._random) if failures else 0.0
                await anyio.sleep(max(self.settings.interval, pause))

    async def _pass(self) -> None:
        with anyio.fail_after(self.settings.request_timeout):
            templates = {template.name: template for template in await self._provider.templates()}
            provided = await self._provider.nodes()
        self._asking.note(provided)
        await self._restore()
        if await self._give_up_late(provided):
            return
        if not await self._grow(templates, provided):
            await self._shrink(templates, provided)

    # What is known

    def _ready(self) -> dict[str, Node]:
        nodes = {node.metadata.name: node for node in self._nodes.lister.list()}
        return {
            name: node
            for name, node in nodes.items()
            if any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
            # The taint of a node that has just become ready outlasts that by a moment: nothing fits there until it is gone.
            and not any(taint.key in NOT_READY for taint in node.spec.taints)
        }

    def _view(self, nodes: Sequence[Node], pods: Sequence[Pod]) -> ClusterView:
        infos, groups = [], Groups()
        for pod_group in self._groups.lister.list():
            groups.put(pod_group.key, pod_group)
        for pod in pods:
            node = pod.spec.node_name or pod.status.nominated_node_name
            if node and not is_over(pod):
                infos.append(attrs.evolve(PodInfo.of(pod), node=node))
                if pod.spec.node_name:
                    groups.bind(infos[-1])
        daemons = [
            PodInfo.of(
                Pod(
                    metadata=ObjectMeta(
                        name=d.metadata.name,
                        namespace=d.metadata.namespace,
                        uid=d.metadata.uid,
                        labels=d.spec.template.metadata.labels,
                    ),
                    spec=d.spec.template.spec,
                )
            )
            for d in self._daemons.lister.list()
        ]
        labels = {n.metadata.name: n.metadata.labels for n in self._namespaces.lister.list()}
        storage: tuple[StorageObject, ...] = (
            *self._classes.lister.list(),
            *self._volumes.lister.list(),
            *self._claims.lister.list(),
            *self._limits.lister.list(),
            *self._drivers.lister.list(),
            *self._capacities.lister.list(),
            *self._attachments.lister.list(),
        )
        return ClusterView(
            nodes=nodes, pods=infos, daemons=daemons, namespaces=labels, storage=storage, groups=groups
        )

    # More nodes

    async def _grow(self, templates: dict[str, NodeTemplate], provided: Sequence[ProvidedNode]) -> bool:
        """Ask for what is missing; return whether anything is missing or on its way."""
        ready, pods = self._ready(), list(self._pods.lister.list())
        coming = [node for node in self._asking.all(provided) if node.name not in ready]
        upcoming = [(node.name, templates[node.template]) for node in coming if node.template in templates]
        offers, wanted = [], {}
        for template in templates.values():
            count = sum(node.template == template.name for node in self._asking.all(provided))
            if count < template.minimum and self._asking.may(template.name):
                wanted[template.name] = template.minimum - count
                count = template.minimum
            if self._asking.may(template.name):
                offers.append(Offer(template, max(0, template.maximum - count)))
        pending = {info.uid: (pod, info) for pod in pods if _waits(pod) for info in (PodInfo.of(pod),)}
        hopeful = bool(pending)
        upcoming += [
            (f"{name}/minimum-{n}", templates[name]) for name, count in wanted.items() for n in range(count)
        ]
        if pending:
            growth = plan_growth(
                self._view(list(ready.values()), pods),
                [info for _, info in pending.values()],
                offers,
                upcoming=upcoming,
                random=self._random,
            )
            for name, count in growth.wanted.items():
                wanted[name] = wanted.get(name, 0) + count
            self._announce([pending[i.uid][0] for i in growth.helped], growth.wanted)
            self._regret([pending[i.uid][0] for i in growth.hopeless])
            hopeful = len(pending) > len(growth.hopeless)
        self._announced &= set(pending)
        if wanted:
            self._grown = anyio.current_time()
        await self._asking.ask(wanted)
        if hopeful:
            # What is free now, others are about to need.
            self._spare_since.clear()
        return bool(wanted or coming or hopeful)

    def _announce(self, pods: Sequence[Pod], wanted: object) -> None:
        if self._recorder is not None and pods:
            assert isinstance(wanted, dict)
            text = ", ".join(f"{count} {name}" for name, count in wanted.items())
            for pod in pods:
                self._announced.discard(pod.metadata.uid)
                self._recorder.normal(pod, "TriggeredScaleUp", f"pod triggered scale-up: {text}")

    def _regret(self, pods: Sequence[Pod]) -> None:
        for pod in pods:
            if self._recorder is not None and pod.metadata.uid not in self._announced:
                self._announced.add(pod.metadata.uid)
                message = "pod didn't trigger scale-up: no node that can be had would make it fit"
                self._recorder.normal(pod, "NotTriggerScaleUp", message)

    async def _give_up_late(self, provided: Sequence[ProvidedNode]) -> bool:
        """Return nodes that have been on their way for too long; return whether there were any."""
        late = self._asking.late(provided, set(self._ready()))
        for node in late:
            log.warning("node %s has not come after %g s", node.name, self.settings.provision_time)
            with anyio.fail_after(self.settings.request_timeout):
                await self._provider.remove(node.name)
            await self._forget(node.name)
            self._asking.failed(node.template)
        return bool(late)

    # Fewer nodes

    async def _restore(self) -> None:
        """Let nodes be used again that an earlier process of ours has cordoned."""
        for node in self._nodes.lister.list():
            if DRAINING in node.metadata.annotations and node.metadata.name not in self._draining:
                await uncordon(self._client, node.metadata.name)

    async def _shrink(self, templates: dict[str, NodeTemplate], provided: Sequence[ProvidedNode]) -> None:
        now, settings = anyio.current_time(), self.settings
        ready = self._ready()
        pods: dict[str, list[Pod]] = {}
        for pod in self._pods.lister.list():
            if pod.spec.node_name:
                pods.setdefault(pod.spec.node_name, []).append(pod)
        there = [node for node in provided if node.name in ready]
        removable = self._above_minimum(templates, there)
        view = self._view(list(ready.values()), [p for some in pods.values() for p in some])
        spare = find_spare(
            view,
            pods,
            [node.name for node in removable],
            budgets=self._known_budgets(),
            threshold=settings.threshold,
            random=self._random,
        )
        self._spare_since = {s.node: self._spare_since.get(s.node, now) for s in spare}
        if self._draining or now - self._grown < settings.delay_after_growth or now < self._kept_until:
            return
        due = [s for s in spare if now - self._spare_since[s.node] >= settings.unneeded_time]
        left = {name: self._allowed(templates.get(name), there, name) for name in {n.template for n in there}}
        template_of = {node.name: node.template for node in there}
        empty = [s for s in due if not s.pods]
        # All that are empty go at once; of others one, as those that go change where the rest of them would fit.
        for chosen in empty or due[:1]:
            if left[template_of[chosen.node]] > 0:
                left[template_of[chosen.node]] -= 1
                self._draining.add(chosen.node)
                assert self._drains is not None
                self._drains.start_soon(self._return_safely, chosen)

    @staticmethod
    def _allowed(template: NodeTemplate | None, there: Sequence[ProvidedNode], name: str) -> int:
        return sum(node.template == name for node in there) - (template.minimum if template else 0)

    def _above_minimum(
        self, templates: dict[str, NodeTemplate], there: Sequence[ProvidedNode]
    ) -> list[ProvidedNode]:
        return [n for n in there if self._allowed(templates.get(n.template), there, n.template) > 0]

    def _known_budgets(self) -> Budgets:
        budgets = Budgets()
        for budget in self._budgets.lister.list():
            budgets.put(budget)
        return budgets

    def _why(self, pod: Pod) -> str:
        return why_not_moved(pod, budgeted=self._known_budgets().concern(PodInfo.of(pod)))

    async def _return_safely(self, spare: Spare) -> None:
        """Give a node back; if that fails it is in use again, and no other is given back for a while."""
        try:
            await self._return(spare)
        except Exception as error:
            log.warning("node %s is kept: %s", spare.node, str(error) or repr(error))
            self._kept_until = anyio.current_time() + self.settings.delay_after_failure
        finally:
            self._spare_since.pop(spare.node, None)
            self._draining.discard(spare.node)

    async def _return(self, spare: Spare) -> None:
        await drain(
            self._client, spare.node, pods=self._pods_on, why=self._why, within=self.settings.drain_time
        )
        node = self._nodes.lister.get(Key("", spare.node))
        if node is not None and self._recorder is not None:
            self._recorder.normal(node, "ScaleDown", f"node {spare.node} removed: it is not needed")
        with anyio.fail_after(self.settings.request_timeout):
            await self._provider.remove(spare.node)
        await self._forget(spare.node)

    async def _forget(self, node: str) -> None:
        try:
            await self._client.resource(Node).delete(Key("", node))
        except NotFound:
            return

    async def _pods_on(self, node: str) -> list[Pod]:
        # Asked for, not remembered: a Pod that was bound just before the cordon must not be overlooked.
        found = await self._client.resource(Pod).list(
            Query(fields=parse_field_selector(f"spec.nodeName={node}"))
        )
        return list(found.items)


def _waits(pod: Pod) -> bool:
    """Return whether a Pod has been found to fit nowhere."""
    if pod.spec.node_name or pod.status.nominated_node_name or pod.metadata.deletion_timestamp is not None:
        return False
    if is_over(pod) or (pod.spec.priority or 0) < EXPENDABLE:
        return False
    return any(
        c.type == "PodScheduled" and c.status == "False" and c.reason == "Unschedulable"
        for c in pod.status.conditions
    )
