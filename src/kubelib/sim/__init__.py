"""Virtual time and seeded hardship: production code, run repeatably, under faults, in milliseconds."""

from kubelib.sim.cluster import NotReached as NotReached
from kubelib.sim.cluster import SimCluster as SimCluster
from kubelib.sim.hardship import Conflicting as Conflicting
from kubelib.sim.hardship import Lossy as Lossy
from kubelib.sim.hardship import Slow as Slow
from kubelib.sim.loop import SimLoop as SimLoop
from kubelib.sim.loop import SimulationStalled as SimulationStalled
from kubelib.sim.loop import sim_backend as sim_backend
from kubelib.sim.loop import simulate as simulate
