"""The controllers as a daemon."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from kubelib.client.http import HttpClient
from kubelib.clock import SYSTEM_CLOCK, system_random
from kubelib.controllers.election import LeaderElection, Timing
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.figures import controller_families
from kubelib.exposition import text
from kubelib.informers import Component
from reference_cluster.daemon import Anew, connected, elected, running
from reference_cluster.monitoring import daemon_families, monitored

NAME = "kube-controller-manager"


@asynccontextmanager
async def run_controller_manager(
    kubeconfig: Path,
    *,
    elect: Timing | None,
    signing: tuple[Path, Path] | None = None,
    address: tuple[str, int] | None = None,
) -> AsyncIterator[str]:
    """Run the built-in controllers while the context is open, and, if `elect` says how one is elected, while leading.

    `signing` are the certificate and the key of the authority by which requests for certificates are signed; without it they are
    signed only if both are where the API server beside the kubeconfig keeps them. Its figures are shown at `address`. Raises OSError if
    the files cannot be read.
    """
    from kubelib.controllers.autoscaling.asking import AskedMetrics
    from kubelib.controllers.builtin import builtin_controllers
    from kubelib.controllers.certificates import CertificateAuthority

    beside = kubeconfig.parent / "pki"
    if signing is None and (beside / "ca.key").is_file():
        signing = (beside / "ca.crt", beside / "ca.key")
    authority = (
        CertificateAuthority(*(path.read_bytes() for path in signing)) if signing is not None else None
    )
    clock, random = SYSTEM_CLOCK, system_random()
    made: list[Component] = []
    async with connected(kubeconfig, NAME) as client:
        events = EventRecorder(client, clock=clock, random=random)

        def controllers(client: HttpClient) -> Sequence[Component]:
            root_ca = client.connection.ca_data.decode()

            async def request(method: str, path: str, query: Mapping[str, str]) -> bytes:
                return (await client.request(method, path, query=query)).body

            made[:] = builtin_controllers(
                client,
                clock=clock,
                random=random,
                root_ca=root_ca,
                metrics=AskedMetrics(partial(request, "GET")),
                request=request,
                authority=authority,
                discover=True,
            )
            return made

        def figures() -> bytes:
            election = component if isinstance(component, LeaderElection) else None
            leads = election is None or election.leader
            return text(*daemon_families(client, election), *controller_families(made if leads else (), NAME))

        controllers(client)  # loads their modules now, and not when everybody waits for this one to lead
        component: Component = (
            elected(NAME, controllers, client, elect, events=events, clock=clock, random=random)
            if elect is not None
            else Anew(NAME, lambda: controllers(client))
        )
        async with (
            monitored(NAME, client, figures, address, clock) as where,
            running(NAME, [events, component]),
        ):
            at = f", with figures at {where}" if where else ""
            yield f"{NAME} is ready for {client.connection.server}{at}"
