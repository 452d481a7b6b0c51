"""Light-weight simulation of a cell: days of thousands of machines under different scheduling architectures, in seconds."""

from kubelib.sim.cell.architecture import Allocator as Allocator
from kubelib.sim.cell.architecture import Architecture as Architecture
from kubelib.sim.cell.architecture import DecisionTime as DecisionTime
from kubelib.sim.cell.architecture import SchedulerSpec as SchedulerSpec
from kubelib.sim.cell.base import Cell as Cell
from kubelib.sim.cell.base import Job as Job
from kubelib.sim.cell.base import Machines as Machines
from kubelib.sim.cell.base import Workload as Workload
from kubelib.sim.cell.engine import simulate as simulate
from kubelib.sim.cell.results import Results as Results
from kubelib.sim.cell.setup import Failures as Failures
from kubelib.sim.cell.setup import Setup as Setup
from kubelib.sim.cell.workloads import Shape as Shape
from kubelib.sim.cell.workloads import generate as generate
from kubelib.sim.cell.workloads import paper_like as paper_like
