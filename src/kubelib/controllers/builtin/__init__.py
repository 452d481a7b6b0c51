"""The controllers that every cluster has."""

from random import Random

from kubelib.client.base import Client
from kubelib.clock import Clock
from kubelib.informers import Component


def builtin_controllers(client: Client, *, clock: Clock, random: Random) -> list[Component]:
    """Return all built-in controllers as components, with the informers and the event recorder that they share."""
    from kubelib.controllers.builtin.deployment import deployment_controller
    from kubelib.controllers.builtin.replicaset import replica_set_controller
    from kubelib.controllers.builtin.replicationcontroller import replication_controller
    from kubelib.controllers.events import EventRecorder
    from kubelib.informers import SharedInformers

    informers = SharedInformers(client, random=random)
    events = EventRecorder(client, clock=clock, random=random)
    made = [
        make(informers, clock=clock, recorder=events)
        for make in (replication_controller, replica_set_controller, deployment_controller)
    ]
    return [events, informers, *made]
