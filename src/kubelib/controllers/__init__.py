"""Acting: the loop around a reconciler, leader election, ownership, events; and Kubernetes' own controllers."""

from kubelib.controllers.base import After as After
from kubelib.controllers.base import Reconciler as Reconciler
from kubelib.controllers.base import Terminal as Terminal
from kubelib.controllers.controller import Controller as Controller
from kubelib.controllers.controller import Keys as Keys
from kubelib.controllers.controller import itself as itself
from kubelib.controllers.controller import nothing as nothing
from kubelib.controllers.controller import owner_of_kind as owner_of_kind
from kubelib.controllers.election import Fence as Fence
from kubelib.controllers.election import LeaderElection as LeaderElection
from kubelib.controllers.election import NotLeading as NotLeading
from kubelib.controllers.election import Timing as Timing
from kubelib.controllers.events import EventRecorder as EventRecorder
from kubelib.controllers.events import Recorder as Recorder
from kubelib.controllers.expectations import Expectations as Expectations
from kubelib.controllers.manager import Manager as Manager
from kubelib.controllers.ownership import CannotAdopt as CannotAdopt
from kubelib.controllers.ownership import Claims as Claims
from kubelib.controllers.ownership import controller_reference as controller_reference
