"""ReplicationControllers: the first controller of Kubernetes."""

from kubelib.api.core.pod import Pod
from kubelib.api.core.replication import ReplicationController
from kubelib.clock import Clock
from kubelib.controllers.controller import Controller, itself, owner_of_kind
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.matching import owner_or_matching
from kubelib.controllers.replication import Replication
from kubelib.informers import SharedInformers
from kubelib.labels import NOTHING, Selector, selector_from_match_labels

NAME = "replication-controller"


def selector_of(rc: ReplicationController) -> Selector:
    """Return which pods it is about; an empty selector selects none."""
    return selector_from_match_labels(rc.spec.selector) if rc.spec.selector else NOTHING


def replication_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, workers: int = 5
) -> Controller:
    """Return the controller of ReplicationControllers."""
    own = recorder.source(NAME)
    reconciler = Replication(ReplicationController, selector_of, informers, clock=clock, recorder=own)
    owners = informers.of(ReplicationController)
    pods = owner_or_matching(owners, owner_of_kind(ReplicationController), selector_of)
    return Controller(
        NAME, reconciler, [(owners, itself), (informers.of(Pod), pods)], workers=workers, recorder=own
    )
