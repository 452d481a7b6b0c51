"""Which kind of run a setup asks for."""

from kubelib.sim.cell.results import Results
from kubelib.sim.cell.run import Run
from kubelib.sim.cell.serial import SerialRun
from kubelib.sim.cell.setup import Setup
from kubelib.sim.cell.twolevel import OfferRun


def prepare(setup: Setup) -> Run:
    """Return the run of a setup, with the prefill in place and no time passed."""
    return OfferRun(setup) if setup.architecture.sharing == "two-level" else SerialRun(setup)


def simulate(setup: Setup) -> Results:
    """Run a setup and return its results; equal setups have equal results."""
    return prepare(setup).results()
