"""Which kind of run a setup asks for."""

from kubelib.sim.cell.results import Results
from kubelib.sim.cell.run import Run
from kubelib.sim.cell.serial import SerialRun
from kubelib.sim.cell.setup import Setup
from kubelib.sim.cell.twolevel import OfferRun


def prepare(setup: Setup) -> Run:
    """Return the plain run of a setup, with the prefill in place and no time passed."""
    return OfferRun(setup) if setup.architecture.sharing == "two-level" else SerialRun(setup)


def simulate(setup: Setup) -> Results:
    """Run a setup and return its results; equal setups have equal results, whatever their engine.

    Raises ValueError if numba is asked for and not installed.
    """
    if setup.engine == "numba" and setup.can_be_compiled:
        try:
            from kubelib.sim.cell.compiled.run import CompiledRun
        except ImportError as error:
            raise ValueError(
                f"numba cannot be used ({error}): install kubelib-cluster[numba], or leave the engine at python."
            ) from None
        return CompiledRun(setup).results()
    return prepare(setup).results()
