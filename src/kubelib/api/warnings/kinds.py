"""What is told of each kind."""

from collections.abc import Callable, Iterator
from typing import Any

from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.addresses import address_warnings, network_warnings
from kubelib.api.validation.problems import quote
from kubelib.api.warnings.common import at, fractions, label_message, of_claim, of_term, of_volume
from kubelib.api.warnings.pods import of_pod

_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
_MOUNTABLE_SECRETS = "kubernetes.io/enforce-mountable-secrets"
_TEMPLATES = {
    "Deployment": "spec.template", "ReplicaSet": "spec.template", "StatefulSet": "spec.template", "DaemonSet": "spec.template",
    "ReplicationController": "spec.template", "Job": "spec.template", "CronJob": "spec.jobTemplate.spec.template",
    "PodTemplate": "template",
}  # fmt: skip
_NAMING_PODS = {"Deployment", "ReplicaSet", "StatefulSet", "ReplicationController", "Job", "CronJob"}


def warnings_of(kind: str, tree: Tree, old: Tree | None) -> list[str]:
    """Return what is to be told of a built-in object that is created, or takes the place of an old one."""
    if kind == "Pod":
        # Nobody changes Pods by hand.
        return [] if old is not None else [*_hostname(kind, tree.get("metadata") or {}), *of_pod("", tree)]
    if (path := _TEMPLATES.get(kind)) is not None:
        return list(_of_workload(kind, path, tree, old))
    rule = _RULES.get(kind)
    return list(rule(tree, old)) if rule is not None else []


def status_warnings(kind: str, tree: Tree) -> list[str]:
    """Return what is to be told of the status that a built-in object gets: of addresses that not all programs read alike."""
    status = tree.get("status") or {}
    if kind == "Pod":
        return [
            told
            for part in ("podIPs", "hostIPs")
            for number, entry in enumerate(status.get(part) or ())
            for told in address_warnings(f"status.{part}[{number}].ip", entry.get("ip") or "")
        ]
    if kind == "Service":
        # Kubernetes names the entry and not its address.
        return [
            told
            for number, entry in enumerate(at(status, "loadBalancer.ingress") or ())
            for told in address_warnings(f"status.loadBalancer.ingress[{number}]", entry.get("ip") or "")
        ]
    return []


def finalizer_warnings(tree: Tree, old: Tree | None) -> list[str]:
    """Return what is to be told of the finalizers that a custom resource gets."""

    def those_of(tree: Tree | None) -> list[str]:
        return list(((tree or {}).get("metadata") or {}).get("finalizers") or ())

    added = sorted(set(those_of(tree)) - set(those_of(old)))
    return [
        f"metadata.finalizers: {quote(name)}: prefer a domain-qualified finalizer name including a path (/) to avoid accidental"
        " conflicts with other finalizer writers"
        for name in added
        if "/" not in name and name not in ("orphan", "foregroundDeletion", "kubernetes")
    ]


def _hostname(kind: str, meta: Tree) -> Iterator[str]:
    name = meta.get("name") or ""
    if not name or not (messages := texts.label(name)):
        return
    if kind == "Pod":
        use = "the Pod's hostname"
    elif kind in _NAMING_PODS:
        use = "Pod names and hostnames"
    else:
        return
    told = " ".join(messages)
    yield (
        f"metadata.name: this is used in {use}, which can result in surprising behavior; a DNS label is recommended: [{told}]"
    )


def _of_workload(kind: str, path: str, tree: Tree, old: Tree | None) -> Iterator[str]:
    if old is None:
        yield from _hostname(kind, tree.get("metadata") or {})
    spec = path.split(".")[0]
    changed = old is None or tree.get(spec) != old.get(spec)
    template = at(tree, path)
    if changed and kind in ("Job", "CronJob"):
        yield from _of_job(at(tree, path.removesuffix(".template")) or {}, path.removesuffix(".template"))
    if changed and isinstance(template, dict):
        yield from of_pod(f"{path}.", template)
    if kind == "StatefulSet":
        yield from _of_stateful_set(tree.get("spec") or {}, is_new=old is None)
    if kind == "CronJob" and old is not None and "TZ" in (at(tree, "spec.schedule") or ""):
        yield (
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see"
            " https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )


def _of_job(spec: Tree, path: str) -> Iterator[str]:
    if spec.get("completionMode") != "Indexed":
        return
    if (spec.get("completions") or 0) > 100_000 and (spec.get("parallelism") or 0) > 10_000:
        yield (
            f"{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4,"
            " Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )


def _of_stateful_set(spec: Tree, *, is_new: bool) -> Iterator[str]:
    for number, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        # So is the path in Kubernetes' own words, depending on the verb.
        here = f"spec.volumeClaimTemplates[{number}]{'' if is_new else '.Spec'}"
        yield from of_claim(claim.get("spec"), here)
    if (spec.get("revisionHistoryLimit") or 0) < 0:
        yield (
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
        )


def _of_service(tree: Tree, old: Tree | None) -> Iterator[str]:
    spec, annotations = tree.get("spec") or {}, at(tree, "metadata.annotations") or {}
    kind, external = spec.get("type") or "ClusterIP", spec.get("externalIPs") or ()
    headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    if (name := "service.kubernetes.io/topology-aware-hints") in annotations:
        yield f"annotation {name} is deprecated, please use service.kubernetes.io/topology-mode instead"
    for number, address in enumerate(spec.get("clusterIPs") or ()):
        if address != "None" and kind != "ExternalName":
            yield from address_warnings(f"spec.clusterIPs[{number}]", address)
    if headless:
        if spec.get("loadBalancerIP"):
            yield "spec.loadBalancerIP is ignored for headless services"
        if external:
            yield "spec.externalIPs is ignored for headless services"
        if (spec.get("sessionAffinity") or "None") != "None":
            yield "spec.SessionAffinity is ignored for headless services"
    for number, address in enumerate(external):
        yield from address_warnings(f"spec.externalIPs[{number}]", address)
    if external and not headless and kind != "ExternalName":
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if spec.get("loadBalancerIP"):
        yield from address_warnings("spec.loadBalancerIP", spec["loadBalancerIP"])
    for number, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        yield from network_warnings(f"spec.loadBalancerSourceRanges[{number}]", cidr)
    if kind == "ExternalName" and external:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if kind != "ExternalName" and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _managed_by(tree: Tree, label: str) -> str:
    return (at(tree, "metadata.labels") or {}).get(label) or ""


def _of_endpoints(tree: Tree, old: Tree | None) -> Iterator[str]:
    if _managed_by(tree, "endpoints.kubernetes.io/managed-by") == "endpoint-controller":
        return
    for number, subset in enumerate(tree.get("subsets") or ()):
        for part in ("addresses", "notReadyAddresses"):
            for which, address in enumerate(subset.get(part) or ()):
                yield from address_warnings(f"subsets[{number}].{part}[{which}].ip", address.get("ip") or "")


_SLICE_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")


def _of_endpoint_slice(tree: Tree, old: Tree | None) -> Iterator[str]:
    if old is None and tree.get("addressType") == "FQDN":
        yield "spec.addressType: FQDN endpoints are deprecated"
    if _managed_by(tree, "endpointslice.kubernetes.io/managed-by") in _SLICE_CONTROLLERS:
        return
    for number, endpoint in enumerate(tree.get("endpoints") or ()):
        for which, address in enumerate(endpoint.get("addresses") or ()):
            yield from address_warnings(f"endpoints[{number}].addresses[{which}]", address)


def _of_network_policy(tree: Tree, old: Tree | None) -> Iterator[str]:
    spec = tree.get("spec") or {}
    for direction, part in (("ingress", "from"), ("egress", "to")):
        for number, rule in enumerate(spec.get(direction) or ()):
            for which, peer in enumerate(rule.get(part) or ()):
                block = peer.get("ipBlock") or {}
                here = f"spec.{direction}[{number}].{part}[{which}].ipBlock"
                yield from network_warnings(f"{here}.cidr", block.get("cidr") or "")
                for last, cidr in enumerate(block.get("except") or ()):
                    yield from network_warnings(f"{here}.except[{last}]", cidr)


def _of_ingress(tree: Tree, old: Tree | None) -> Iterator[str]:
    annotations = at(tree, "metadata.annotations") or {}
    if old is None and (name := "kubernetes.io/ingress.class") in annotations:
        yield f"annotation {quote(name)} is deprecated, please use 'spec.ingressClassName' instead"


def _of_class_annotation(tree: Tree) -> Iterator[str]:
    if _STORAGE_CLASS in (at(tree, "metadata.annotations") or {}):
        yield (
            f'metadata.annotations[{_STORAGE_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead'
        )


def _of_persistent_claim(tree: Tree, old: Tree | None) -> Iterator[str]:
    yield from _of_class_annotation(tree)
    yield from of_claim(tree.get("spec"), "spec")


def _of_persistent_volume(tree: Tree, old: Tree | None) -> Iterator[str]:
    spec = tree.get("spec") or {}
    yield from _of_class_annotation(tree)
    if (name := "volume.beta.kubernetes.io/mount-options") in (at(tree, "metadata.annotations") or {}):
        yield f'metadata.annotations[{name}]: deprecated since v1.31; use "mountOptions" attribute instead'
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        yield (
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to"
            " use dynamic provisioning."
        )
    for number, term in enumerate(at(spec, "nodeAffinity.required.nodeSelectorTerms") or ()):
        yield from of_term(term, f"spec.nodeAffinity.required.nodeSelectorTerms[{number}]")
    yield from fractions(spec.get("capacity"), "spec.capacity", "storage")
    yield from of_volume(spec, "spec")


def _of_storage_class(tree: Tree, old: Tree | None) -> Iterator[str]:
    for number, topology in enumerate(tree.get("allowedTopologies") or ()):
        for which, expression in enumerate(topology.get("matchLabelExpressions") or ()):
            if message := label_message(expression.get("key") or ""):
                yield f"allowedTopologies[{number}].matchLabelExpressions[{which}].key: {message}"


def _of_storage_capacity(tree: Tree, old: Tree | None) -> Iterator[str]:
    selector = tree.get("nodeTopology") or {}
    yield from of_term(selector, "nodeTopology")
    for label in selector.get("matchLabels") or ():
        if message := label_message(label):
            yield f"nodeTopology.matchLabels.{label}: {message}"


def _of_runtime_class(tree: Tree, old: Tree | None) -> Iterator[str]:
    for label in at(tree, "scheduling.nodeSelector") or ():
        if message := label_message(label):
            yield f"scheduling.nodeSelector: {message}"


def _of_node(tree: Tree, old: Tree | None) -> Iterator[str]:
    spec = tree.get("spec") or {}
    if spec.get("configSource") is not None:
        yield (
            "spec.configSource: the feature is no longer supported; see https://git.k8s.io/enhancements/keps/sig-node/"
            "281-dynamic-kubelet-configuration"
        )
    if spec.get("externalID"):
        yield "spec.externalID: this field is deprecated, and is unused by Kubernetes"
    for number, cidr in enumerate(spec.get("podCIDRs") or ()):
        yield from network_warnings(f"spec.podCIDRs[{number}]", cidr)


def _of_service_account(tree: Tree, old: Tree | None) -> Iterator[str]:
    before = at(old, "metadata.annotations") or {}
    if _MOUNTABLE_SECRETS in (at(tree, "metadata.annotations") or {}) and _MOUNTABLE_SECRETS not in before:
        yield (
            f"metadata.annotations[{_MOUNTABLE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces to isolate access to"
            " mounted secrets"
        )


def _of_definition(tree: Tree, old: Tree | None) -> Iterator[str]:
    known = set(_unknown_formats(old))
    yield from (f"unrecognized format {quote(name)}" for name in _unknown_formats(tree) if name not in known)


def _unknown_formats(tree: Any) -> Iterator[str]:
    """Yield the formats of texts in a definition's schemas that nobody checks."""
    from kubelib.api.structural.formats import FORMATS

    for version in at(tree, "spec.versions") or ():
        for schema in _schemas(at(version, "schema.openAPIV3Schema")):
            name = schema.get("format")
            if (
                schema.get("type") == "string"
                and name
                and FORMATS.keys().isdisjoint((name, name.replace("-", "")))
            ):
                yield name


def _schemas(schema: Any) -> Iterator[Tree]:
    if not isinstance(schema, dict):
        return
    yield schema
    for part in ("items", "additionalProperties", "not"):
        yield from _schemas(schema.get(part))
    for part in ("properties", "patternProperties", "definitions"):
        for inner in (schema.get(part) or {}).values():
            yield from _schemas(inner)
    for part in ("allOf", "anyOf", "oneOf"):
        for inner in schema.get(part) or ():
            yield from _schemas(inner)


_UNSEEN = {
    ("authentication.k8s.io", "tokenreviews"), ("authentication.k8s.io", "selfsubjectreviews"),
    *(("authorization.k8s.io", f"{name}reviews") for name in (
        "subjectaccess", "selfsubjectaccess", "selfsubjectrules", "localsubjectaccess",
    )),
}  # fmt: skip
"""What no webhook is asked about: questions that are answered and not stored."""


def _of_webhooks(tree: Tree, old: Tree | None) -> Iterator[str]:
    for number, webhook in enumerate(tree.get("webhooks") or ()):
        for position, rule in enumerate(webhook.get("rules") or ()):
            groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
            if "*" in groups or "*" in resources:
                continue
            named = dict.fromkeys((group, name) for group in groups for name in resources)
            for group, name in named:
                if (group, name) in _UNSEEN:
                    where = f"webhooks[{number}].rules[{position}]"
                    yield f"{where}: {name}.{group} is excluded from admission webhooks; this rule will have no effect"


_RULES: dict[str, Callable[[Tree, Tree | None], Iterator[str]]] = {
    "Service": _of_service,
    "Endpoints": _of_endpoints,
    "EndpointSlice": _of_endpoint_slice,
    "NetworkPolicy": _of_network_policy,
    "Ingress": _of_ingress,
    "PersistentVolumeClaim": _of_persistent_claim,
    "PersistentVolume": _of_persistent_volume,
    "StorageClass": _of_storage_class,
    "CSIStorageCapacity": _of_storage_capacity,
    "RuntimeClass": _of_runtime_class,
    "Node": _of_node,
    "ServiceAccount": _of_service_account,
    "CustomResourceDefinition": _of_definition,
    "MutatingWebhookConfiguration": _of_webhooks,
    "ValidatingWebhookConfiguration": _of_webhooks,
}
TOLD = {"Pod", *_TEMPLATES, *_RULES}
"""The built-in kinds of which there is something to tell."""
