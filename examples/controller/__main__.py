"""Run the mirror controller against the cluster of your kubeconfig: ``python -m examples.controller``."""

import anyio

from examples.controller.mirror import mirror_controller
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import kubeconfig_paths, load_connection
from kubelib.clock import system_random
from kubelib.controllers import Manager
from kubelib.informers import SharedInformers


async def main() -> None:
    """Connect, and run until interrupted."""
    async with HttpClient(load_connection(kubeconfig_paths())) as client:
        informers = SharedInformers(client, random=system_random())
        await Manager([informers, mirror_controller(informers)]).run()


if __name__ == "__main__":
    anyio.run(main)
