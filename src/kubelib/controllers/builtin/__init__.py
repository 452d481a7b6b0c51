"""The controllers that every cluster has."""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from kubelib.api.scheme import Scheme
from kubelib.client.base import Client, SupportsScheme, SupportsTokens
from kubelib.clock import Clock
from kubelib.controllers.aggregated import Request
from kubelib.controllers.autoscaling.metrics import PodMetrics
from kubelib.controllers.loadbalancers import LoadBalancers
from kubelib.controllers.provisioning import Provisioner
from kubelib.informers import Component

if TYPE_CHECKING:
    from kubelib.controllers.certificates import CertificateAuthority


def builtin_controllers(
    client: Client,
    *,
    clock: Clock,
    random: Random,
    scheme: Scheme | None = None,
    root_ca: str = "",
    provisioners: Sequence[Provisioner] = (),
    metrics: PodMetrics | None = None,
    request: Request | None = None,
    discover: bool = False,
    authority: "CertificateAuthority | None" = None,
    load_balancers: LoadBalancers | None = None,
) -> list[Component]:
    """Return all built-in controllers as components, with the informers and the event recorder that they share.

    `root_ca` is the certificate, as PEM text, that is published in every namespace; none if empty. `provisioners` make
    storage when claims ask for it; storage classes say which. `metrics` knows what Pods use, for autoscalers. By `request`
    what other API servers keep in namespaces is deleted with them. `discover` keeps the scheme of a client in another process than the server in step with the kinds that definitions define; in the
    server's process it is so anyway. With an `authority`, approved requests for certificates are signed.
    `load_balancers` makes what leads to Services of type LoadBalancer; without, they wait for somebody else.
    """
    from kubelib.api.builtin import SCHEME
    from kubelib.controllers.builtin.admissionpolicy import admission_policy_status_controller
    from kubelib.controllers.builtin.bootstrapsigner import bootstrap_signer
    from kubelib.controllers.builtin.clusterroleaggregation import cluster_role_aggregation_controller
    from kubelib.controllers.builtin.cronjob import cron_job_controller
    from kubelib.controllers.builtin.csrapproving import signing_request_approving_controller
    from kubelib.controllers.builtin.csrcleaner import signing_request_cleaner
    from kubelib.controllers.builtin.csrsigning import signing_request_signing_controller
    from kubelib.controllers.builtin.daemonset import daemon_set_controller
    from kubelib.controllers.builtin.deployment import deployment_controller
    from kubelib.controllers.builtin.disruption import disruption_controller
    from kubelib.controllers.builtin.endpoints import endpoints_controller
    from kubelib.controllers.builtin.endpointslice import endpoint_slice_controller
    from kubelib.controllers.builtin.endpointslicemirroring import endpoint_slice_mirroring_controller
    from kubelib.controllers.builtin.ephemeralvolume import ephemeral_volume_controller
    from kubelib.controllers.builtin.garbagecollector import garbage_collector
    from kubelib.controllers.builtin.horizontalpodautoscaler import horizontal_pod_autoscaler_controller
    from kubelib.controllers.builtin.job import job_controller
    from kubelib.controllers.builtin.legacytokencleaner import legacy_token_cleaner
    from kubelib.controllers.builtin.namespace import namespace_controller
    from kubelib.controllers.builtin.nodelifecycle import node_lifecycle_controller
    from kubelib.controllers.builtin.nodettl import node_ttl_controller
    from kubelib.controllers.builtin.persistentvolume import persistent_volume_controller
    from kubelib.controllers.builtin.podgc import pod_garbage_collector
    from kubelib.controllers.builtin.replicaset import replica_set_controller
    from kubelib.controllers.builtin.replicationcontroller import replication_controller
    from kubelib.controllers.builtin.resourceclaim import resource_claim_controller
    from kubelib.controllers.builtin.resourcequota import resource_quota_controller
    from kubelib.controllers.builtin.rootca import root_certificate_publisher
    from kubelib.controllers.builtin.serviceaccount import service_account_controller
    from kubelib.controllers.builtin.serviceaccounttokens import token_secrets_controller
    from kubelib.controllers.builtin.servicecidr import service_cidr_controller
    from kubelib.controllers.builtin.statefulset import stateful_set_controller
    from kubelib.controllers.builtin.storageversionmigrator import storage_version_migrator
    from kubelib.controllers.builtin.tokencleaner import token_cleaner
    from kubelib.controllers.builtin.ttlafterfinished import ttl_after_finished_controller
    from kubelib.controllers.builtin.volumeexpand import volume_expand_controller
    from kubelib.controllers.builtin.volumeprotection import (
        claim_protection_controller,
        class_protection_controller,
        volume_protection_controller,
    )
    from kubelib.controllers.events import EventRecorder
    from kubelib.informers import SharedInformers

    if scheme is None:
        scheme = client.scheme if isinstance(client, SupportsScheme) else SCHEME
    informers = SharedInformers(client, random=random)
    events = EventRecorder(client, clock=clock, random=random)
    controllers: list[Component] = [
        replication_controller(informers, clock=clock, recorder=events),
        replica_set_controller(informers, clock=clock, recorder=events),
        deployment_controller(informers, clock=clock, recorder=events),
        stateful_set_controller(informers, clock=clock, recorder=events),
        daemon_set_controller(informers, clock=clock, recorder=events),
        job_controller(informers, clock=clock, recorder=events),
        cron_job_controller(informers, clock=clock, recorder=events),
        ttl_after_finished_controller(informers, clock=clock, recorder=events),
        horizontal_pod_autoscaler_controller(
            informers, clock=clock, recorder=events, scheme=scheme, metrics=metrics
        ),
        persistent_volume_controller(informers, clock=clock, recorder=events, provisioners=provisioners),
        claim_protection_controller(informers, clock=clock, recorder=events),
        volume_protection_controller(informers, clock=clock, recorder=events),
        class_protection_controller(informers, clock=clock, recorder=events),
        volume_expand_controller(informers, clock=clock, recorder=events),
        ephemeral_volume_controller(informers, clock=clock, recorder=events),
        resource_claim_controller(informers, clock=clock, recorder=events),
        endpoints_controller(informers, clock=clock, recorder=events),
        endpoint_slice_controller(informers, clock=clock, recorder=events),
        endpoint_slice_mirroring_controller(informers, clock=clock, recorder=events),
        service_cidr_controller(informers, clock=clock, recorder=events),
        service_account_controller(informers, clock=clock, recorder=events),
        namespace_controller(informers, clock=clock, recorder=events, scheme=scheme, request=request),
        garbage_collector(informers, clock=clock, recorder=events, scheme=scheme),
        node_lifecycle_controller(informers, clock=clock, recorder=events),
        node_ttl_controller(informers, clock=clock, recorder=events),
        pod_garbage_collector(informers, clock=clock, recorder=events),
        cluster_role_aggregation_controller(informers, clock=clock, recorder=events),
        resource_quota_controller(informers, clock=clock, recorder=events, scheme=scheme),
        disruption_controller(informers, clock=clock, recorder=events, scheme=scheme),
        admission_policy_status_controller(informers, clock=clock, recorder=events, scheme=scheme),
        storage_version_migrator(informers, clock=clock, recorder=events, scheme=scheme),
    ]
    controllers += [
        signing_request_approving_controller(informers, clock=clock, recorder=events),
        signing_request_cleaner(informers, clock=clock, recorder=events),
        token_cleaner(informers, clock=clock, recorder=events),
        legacy_token_cleaner(informers, clock=clock, recorder=events),
        bootstrap_signer(informers, clock=clock, recorder=events),
    ]
    if load_balancers is not None:
        from kubelib.controllers.builtin.service import service_controller

        controllers.append(
            service_controller(informers, clock=clock, recorder=events, balancers=load_balancers)
        )
    if isinstance(client, SupportsTokens):
        controllers.append(
            token_secrets_controller(informers, clock=clock, recorder=events, tokens=client, root_ca=root_ca)
        )
    if authority is not None:
        controllers.append(
            signing_request_signing_controller(informers, clock=clock, recorder=events, authority=authority)
        )
    if root_ca:
        controllers.append(
            root_certificate_publisher(informers, clock=clock, recorder=events, certificate=root_ca)
        )
    if discover:
        from kubelib.controllers.customkinds import CustomKindsDiscovery

        controllers.append(CustomKindsDiscovery(informers, scheme))
    return [events, informers, *controllers]
