"""The controllers that every cluster has."""

from random import Random

from kubelib.api.scheme import Scheme
from kubelib.client.base import Client
from kubelib.clock import Clock
from kubelib.informers import Component


def builtin_controllers(
    client: Client, *, clock: Clock, random: Random, scheme: Scheme | None = None, root_ca: str = ""
) -> list[Component]:
    """Return all built-in controllers as components, with the informers and the event recorder that they share.

    `root_ca` is the certificate, as PEM text, that is published in every namespace; none if empty.
    """
    from kubelib.api.builtin import SCHEME
    from kubelib.controllers.builtin.clusterroleaggregation import cluster_role_aggregation_controller
    from kubelib.controllers.builtin.deployment import deployment_controller
    from kubelib.controllers.builtin.endpoints import endpoints_controller
    from kubelib.controllers.builtin.endpointslice import endpoint_slice_controller
    from kubelib.controllers.builtin.garbagecollector import garbage_collector
    from kubelib.controllers.builtin.namespace import namespace_controller
    from kubelib.controllers.builtin.nodelifecycle import node_lifecycle_controller
    from kubelib.controllers.builtin.podgc import pod_garbage_collector
    from kubelib.controllers.builtin.replicaset import replica_set_controller
    from kubelib.controllers.builtin.replicationcontroller import replication_controller
    from kubelib.controllers.builtin.rootca import root_certificate_publisher
    from kubelib.controllers.builtin.serviceaccount import service_account_controller
    from kubelib.controllers.events import EventRecorder
    from kubelib.informers import SharedInformers

    informers = SharedInformers(client, random=random)
    events = EventRecorder(client, clock=clock, random=random)
    controllers: list[Component] = [
        replication_controller(informers, clock=clock, recorder=events),
        replica_set_controller(informers, clock=clock, recorder=events),
        deployment_controller(informers, clock=clock, recorder=events),
        endpoints_controller(informers, clock=clock, recorder=events),
        endpoint_slice_controller(informers, clock=clock, recorder=events),
        service_account_controller(informers, clock=clock, recorder=events),
        namespace_controller(informers, clock=clock, recorder=events, scheme=scheme or SCHEME),
        garbage_collector(informers, clock=clock, recorder=events, scheme=scheme or SCHEME),
        node_lifecycle_controller(informers, clock=clock, recorder=events),
        pod_garbage_collector(informers, clock=clock, recorder=events),
        cluster_role_aggregation_controller(informers, clock=clock, recorder=events),
    ]
    if root_ca:
        controllers.append(
            root_certificate_publisher(informers, clock=clock, recorder=events, certificate=root_ca)
        )
    return [events, informers, *controllers]
