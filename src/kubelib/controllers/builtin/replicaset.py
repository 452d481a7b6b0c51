"""ReplicaSets: what a ReplicationController is, with set-based selectors."""

from kubelib.api.apps import ReplicaSet
from kubelib.api.core.pod import Pod
from kubelib.clock import Clock
from kubelib.controllers.controller import Controller, itself, owner_of_kind
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.matching import owner_or_matching, selector_of
from kubelib.controllers.replication import Replication
from kubelib.informers import SharedInformers

NAME = "replicaset-controller"


def replica_set_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, workers: int = 5
) -> Controller:
    """Return the controller of ReplicaSets."""
    own = recorder.source(NAME)
    reconciler = Replication(ReplicaSet, selector_of, informers, clock=clock, recorder=own)
    owners = informers.of(ReplicaSet)
    pods = owner_or_matching(owners, owner_of_kind(ReplicaSet), selector_of)
    return Controller(
        NAME, reconciler, [(owners, itself), (informers.of(Pod), pods)], workers=workers, recorder=own
    )
