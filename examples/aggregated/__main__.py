"""Serve flights to the cluster of your kubeconfig, on this machine: ``python -m examples.aggregated``, then ``kubectl get flights``."""

import signal
import tempfile
from pathlib import Path

import anyio

from examples.aggregated.flights import aggregated
from kubelib.client.kubeconfig import kubeconfig_paths


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with aggregated(kubeconfig_paths(), Path(directory)):
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                print("flights are served: kubectl get flights", flush=True)
                await anext(signals)


if __name__ == "__main__":
    anyio.run(main)
