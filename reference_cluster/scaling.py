"""The elastic scheduler as a daemon: nodes that come when Pods fit nowhere and go when they are not needed."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.client.base import Client
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import Connection, load_connection
from kubelib.clock import SYSTEM_CLOCK, system_random
from kubelib.controllers.election import Timing
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.informers import Component
from kubelib.sched.elastic.base import NodeProvider, NodeTemplate
from kubelib.sched.elastic.plugins import OpenProvider, provider_named
from kubelib.sched.elastic.scaler import Elastic
from reference_cluster.credentials import write_node_credentials
from reference_cluster.daemon import Anew, connected, elected, running
from reference_cluster.elastic import ElasticPlan
from reference_cluster.nodeprocesses import KubeletOptions, NodeProcesses
from reference_cluster.pki import Authority

NAME = "kubelib-elastic"


def _local(
    connection: Connection,
    pki: Path,
    directory: Path,
    templates: Sequence[NodeTemplate],
    options: Mapping[str, Any],
) -> AbstractAsyncContextManager[NodeProvider]:
    kubelets = KubeletOptions.of(options)
    if not (pki / "ca.key").is_file():
        raise ValueError(
            f"The provider local makes certificates for nodes, and there is no {pki / 'ca.key'}:"
            " use the elastic.kubeconfig in the API server's data directory, or another provider."
        )

    def write(name: str, home: Path) -> None:
        authority = Authority(pki, issued=home)
        write_node_credentials(authority, connection, name, (kubelets.address,), home)

    return NodeProcesses(templates, directory, write, kubelets).opened()


class _Provided:
    """A provider, and who asks it, opened anew each time that it is run."""

    name = NAME

    def __init__(
        self, client: Client, plan: ElasticPlan, provider: OpenProvider, random: Random, recorder: Recorder
    ) -> None:
        self._client = client
        self._plan = plan
        self._provider = provider
        self._random = random
        self._recorder = recorder

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        async with self._provider(self._plan.templates, self._plan.options) as provider:
            elastic = Elastic(
                self._client,
                provider,
                random=self._random,
                settings=self._plan.settings,
                recorder=self._recorder,
            )
            await elastic.run(task_status=task_status)


@asynccontextmanager
async def run_elastic(
    kubeconfig: Path, plan: ElasticPlan, directory: Path, *, elect: Timing | None
) -> AsyncIterator[str]:
    """Let the cluster grow and shrink while the context is open and, if `elect` says how one is elected, while leading.

    `directory` is where the provider ``local`` keeps its nodes, which go on when the context is closed; yields the line that says
    that it is ready. Raises ValueError for a provider that cannot be used.
    """
    connection = load_connection([kubeconfig])
    local = partial(_local, connection, kubeconfig.parent / "pki", directory)
    provider = provider_named(plan.provider, {"local": local})
    if plan.provider == "local":
        local(plan.templates, plan.options)  # refused now, and not when this one is elected
    clock, random = SYSTEM_CLOCK, system_random()
    async with connected(kubeconfig, NAME) as client:
        events = EventRecorder(client, clock=clock, random=random)

        def components(client: HttpClient) -> Sequence[Component]:
            return [_Provided(client, plan, provider, random, events.source(NAME))]

        component: Component = (
            elected(NAME, components, client, elect, events=events, clock=clock, random=random)
            if elect is not None
            else Anew(NAME, lambda: components(client))
        )
        async with running(NAME, [events, component]):
            yield f"{NAME} is ready for {client.connection.server}"
