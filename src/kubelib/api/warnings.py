"""What is allowed and yet most likely not meant: Kubernetes tells it in ``Warning`` headers, and kubectl shows it.

The cases and words are those of Kubernetes' strategies: https://kubernetes.io/blog/2020/09/03/warnings/
"""

from collections.abc import Iterable, Iterator
from typing import Any

from kubelib.api.quantity import parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import quote

_NODE_LABELS = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
}
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
_TEMPLATES = {
    "Deployment": "spec.template", "ReplicaSet": "spec.template", "StatefulSet": "spec.template", "DaemonSet": "spec.template",
    "ReplicationController": "spec.template", "Job": "spec.template", "CronJob": "spec.jobTemplate.spec.template",
    "PodTemplate": "template",
}  # fmt: skip
_NAMING_PODS = {"Deployment", "ReplicaSet", "StatefulSet", "ReplicationController", "Job", "CronJob"}
TOLD = {*_TEMPLATES, "Pod", "Service", "Ingress", "PersistentVolume", "PersistentVolumeClaim", "Node"}
"""The built-in kinds of which there is something to tell."""


def warnings_of(kind: str, tree: Tree, old: Tree | None) -> list[str]:
    """Return what is to be told of a built-in object that is created, or takes the place of an old one."""
    meta, spec = tree.get("metadata") or {}, tree.get("spec") or {}
    if kind == "Pod":
        # Nobody changes Pods by hand.
        return [] if old is not None else [*_hostname(kind, meta), *_of_pod("", tree)]
    if (path := _TEMPLATES.get(kind)) is not None:
        template = _at(tree, path)
        if not isinstance(template, dict) or (old is not None and template == _at(old, path)):
            return []
        return [*(_hostname(kind, meta) if old is None else ()), *_of_pod(f"{path}.", template)]
    match kind:
        case "Service":
            return list(_of_service(spec))
        case "Ingress":
            return list(_of_ingress(meta)) if old is None else []
        case "PersistentVolume" | "PersistentVolumeClaim":
            return list(_of_storage(kind, meta, spec))
        case "Node":
            return list(_of_node(spec))
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


def _at(tree: Tree, path: str) -> Any:
    found: Any = tree
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


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


# Pods


def _of_pod(path: str, pod: Tree) -> Iterator[str]:
    meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    where = f"{path}spec"
    yield from _of_placement(where, spec)
    annotations = meta.get("annotations") or {}
    for name, message in _ANNOTATIONS.items():
        if name in annotations:
            yield f"{path}metadata.annotations[{name}]: {message}"
    for at, volume in enumerate(spec.get("volumes") or ()):
        for plugin in _VOLUMES.keys() & volume.keys():
            yield f"{where}.volumes[{at}].{plugin}: {_VOLUMES[plugin]}"
    yield from _repeated(spec.get("hostAliases"), f"{where}.hostAliases", "ip")
    yield from _repeated(spec.get("imagePullSecrets"), f"{where}.imagePullSecrets", "name")
    for at, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            yield f'{where}.imagePullSecrets[{at}].name: invalid empty name ""'
    yield from _fractions(spec.get("overhead"), f"{where}.overhead")
    secure = (spec.get("securityContext") or {}).get("seccompProfile")
    if secure is None and (name := "seccomp.security.alpha.kubernetes.io/pod") in annotations:
        yield f"{path}metadata.annotations[{name}]: {_SECCOMP}"
    for container, place in _containers(where, spec):
        yield from _of_container(container, place)
        context = container.get("securityContext") or {}
        name = f"container.seccomp.security.alpha.kubernetes.io/{container.get('name')}"
        if context.get("seccompProfile") is None and name in annotations:
            yield f"{path}metadata.annotations[{name}]: {_SECCOMP}"
    yield from _of_ports(where, spec)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        yield (
            f"{where}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        )


def _containers(where: str, spec: Tree) -> Iterator[tuple[Tree, str]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for at, container in enumerate(spec.get(field) or ()):
            yield container, f"{where}.{field}[{at}]"


def _of_placement(where: str, spec: Tree) -> Iterator[str]:
    for label in spec.get("nodeSelector") or ():
        if message := _label_message(label):
            yield f"{where}.nodeSelector[{label}]: {message}"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    at = f"{where}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    for number, term in enumerate(required.get("nodeSelectorTerms") or ()):
        yield from _of_term(term, f"{at}[{number}]")
    at = f"{where}.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    for number, item in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        yield from _of_term(item.get("preference") or {}, f"{at}[{number}].preference")
    for number, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        at = f"{where}.topologySpreadConstraints[{number}]"
        if message := _label_message(key := constraint.get("topologyKey") or ""):
            yield f"{at}.topologyKey: {key} is {message}"
        if constraint.get("labelSelector") is None:
            yield f"{at}.labelSelector: a null labelSelector results in matching no pod"


def _of_term(term: Tree, path: str) -> Iterator[str]:
    for at, expression in enumerate(term.get("matchExpressions") or ()):
        if message := _label_message(key := expression.get("key") or ""):
            yield f"{path}.matchExpressions[{at}].key: {key} is {message}"


def _label_message(label: str) -> str:
    since, instead = _NODE_LABELS.get(label, ("", ""))
    return f'deprecated since {since}; use "{instead}" instead' if since else ""


def _repeated(items: Iterable[Tree] | None, path: str, part: str) -> Iterator[str]:
    seen: set[str] = set()
    for at, item in enumerate(items or ()):
        value = item.get(part) or ""
        if value in seen:
            yield f"{path}[{at}].{part}: duplicate {part} {quote(value)}"
        seen.add(value)


def _fractions(amounts: Tree | None, path: str) -> Iterator[str]:
    for resource in ("memory", "ephemeral-storage", "storage"):
        text = (amounts or {}).get(resource)
        if text is not None and parse_quantity(str(text)).nano % 10**9:
            yield f"{path}[{resource}]: fractional byte value {quote(str(text))} is invalid, must be an integer"


def _of_container(container: Tree, path: str) -> Iterator[str]:
    resources = container.get("resources") or {}
    for part in ("limits", "requests"):
        yield from _fractions(resources.get(part), f"{path}.resources.{part}")
    seen: set[str] = set()
    for at, variable in enumerate(container.get("env") or ()):
        name = variable.get("name") or ""
        reference, value = f"$({name})", variable.get("value") or ""
        extends = variable.get("valueFrom") is None and value != reference and reference in value
        if name in seen and not extends:
            yield f"{path}.env[{at}]: hides previous definition of {quote(name)}, which may be dropped when using apply"
        seen.add(name)


def _of_ports(where: str, spec: Tree) -> Iterator[str]:
    known: dict[tuple[Any, Any], list[tuple[str, Tree]]] = {}
    for container, path in _containers(where, spec):
        for at, port in enumerate(container.get("ports") or ()):
            here, protocol = f"{path}.ports[{at}]", port.get("protocol") or "TCP"
            others = known.setdefault((port.get("containerPort"), protocol), [])
            for there, other in others:
                if all(port.get(part) == other.get(part) for part in ("hostIP", "hostPort")):
                    yield f"{here}: duplicate port definition with {there}"
                elif not port.get("hostPort") or not other.get("hostPort"):
                    yield f"{here}: overlapping port definition with {there}"
            others.append((here, port))


# Others


def _of_service(spec: Tree) -> Iterator[str]:
    kind = spec.get("type") or "ClusterIP"
    if kind == "ExternalName" and spec.get("externalIPs"):
        yield 'spec.externalIPs is ignored when type is "ExternalName"'
    if kind != "ExternalName" and spec.get("externalName"):
        yield 'spec.externalName is ignored when type is not "ExternalName"'
    if spec.get("clusterIP") == "None":
        if spec.get("loadBalancerIP"):
            yield "spec.loadBalancerIP is ignored for headless services"
        if spec.get("externalIPs"):
            yield "spec.externalIPs is ignored for headless services"
        if (spec.get("sessionAffinity") or "None") != "None":
            yield "spec.SessionAffinity is ignored for headless services"


def _of_ingress(meta: Tree) -> Iterator[str]:
    if (name := "kubernetes.io/ingress.class") in (meta.get("annotations") or {}):
        yield f"annotation {quote(name)} is deprecated, please use 'spec.ingressClassName' instead"


def _of_storage(kind: str, meta: Tree, spec: Tree) -> Iterator[str]:
    annotations = meta.get("annotations") or {}
    if _STORAGE_CLASS in annotations:
        yield (
            f'metadata.annotations[{_STORAGE_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead'
        )
    if kind == "PersistentVolumeClaim":
        yield from _fractions((spec.get("resources") or {}).get("requests"), "spec.resources.requests")
        return
    if (name := "volume.beta.kubernetes.io/mount-options") in annotations:
        yield f'metadata.annotations[{name}]: deprecated since v1.31; use "mountOptions" attribute instead'
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        yield (
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to"
            " use dynamic provisioning."
        )
    yield from _fractions(spec.get("capacity"), "spec.capacity")
    for plugin in _VOLUMES.keys() & spec.keys():
        yield f"spec.{plugin}: {_VOLUMES[plugin]}"


def _of_node(spec: Tree) -> Iterator[str]:
    if spec.get("configSource") is not None:
        yield (
            "spec.configSource: the feature is no longer supported; see https://git.k8s.io/enhancements/keps/sig-node/"
            "281-dynamic-kubelet-configuration"
        )
    if spec.get("externalID"):
        yield "spec.externalID: this field is deprecated, and is unused by Kubernetes"
