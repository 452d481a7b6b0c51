"""Serve flights to the cluster of your kubeconfig, on this machine: ``python -m examples.aggregated``, then ``kubectl get flights``."""

import tempfile
from contextlib import suppress
from pathlib import Path

import anyio

from examples.aggregated.flights import aggregated
from kubelib.client.kubeconfig import kubeconfig_paths


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with aggregated(kubeconfig_paths(), Path(directory)):
            print("flights are served: kubectl get flights", flush=True)
            await anyio.sleep_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(main)
