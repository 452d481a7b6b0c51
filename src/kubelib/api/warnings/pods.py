"""What is told of Pods and of templates for them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kubelib.api.alike import TOKEN_VOLUME, Known, comparable
from kubelib.api.scheme import Tree
from kubelib.api.validation.addresses import address_warnings
from kubelib.api.validation.problems import quote
from kubelib.api.warnings.common import VOLUMES, fractions, label_message, of_claim, of_term, of_volume
from kubelib.api.warnings.paths import overlapping_paths

_Placed = tuple[Tree, str]
"""A container, and where it is."""

_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_REPLACED = ("seccomp.", "container.")
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_APPARMOR = 'deprecated since v1.30; use the "appArmorProfile" field instead'
_NO_SELECTOR = "a null labelSelector results in matching no pod"
_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
_UNUSUAL = {
    "affinity", "dnsConfig", "hostAliases", "imagePullSecrets", "nodeSelector", "overhead", "topologySpreadConstraints",
}  # fmt: skip
"""The parts of a spec beside containers and volumes of which there may be something to tell."""
_OF_VOLUMES = {"ephemeral", *VOLUMES}


_told: Known[tuple[str, ...]] = Known()
"""What is told of specs, seen at a path, unless annotations speak of them."""


def of_pod(path: str, pod: Tree) -> Sequence[str]:
    """Tell of a Pod, or of a template at a path. What there is to tell of a spec is not looked for again in one that is like it."""
    spec, annotations = pod.get("spec") or {}, (pod.get("metadata") or {}).get("annotations") or {}
    if annotations and any(name in _ANNOTATIONS or name.startswith(_REPLACED) for name in annotations):
        return list(_of_pod(path, spec, annotations))
    key = comparable(spec)
    told = _told.get(key, path)
    if told is None:
        told = tuple(_of_pod(path, spec, annotations))
        if not any(
            TOKEN_VOLUME in message for message in told
        ):  # that is another in a spec that is like this one
            _told.note(key, told, path)
    return told


def _of_pod(path: str, spec: Tree, annotations: Tree) -> Iterator[str]:
    """Tell of a spec and of annotations: they are looked at only for what there may be to tell of."""
    where = f"{path}spec"
    is_plain = _UNUSUAL.isdisjoint(spec)
    if not is_plain:
        yield from _of_placement(where, spec)
    for name, message in _ANNOTATIONS.items() if annotations else ():
        if name in annotations:
            yield f"{path}metadata.annotations[{name}]: {message}"
    volumes = spec.get("volumes") or ()
    for number, volume in enumerate(volumes):
        if _OF_VOLUMES.isdisjoint(volume):
            continue
        here = f"{where}.volumes[{number}]"
        yield from of_volume(volume, here)
        if claim := (volume.get("ephemeral") or {}).get("volumeClaimTemplate"):
            yield from of_claim(claim.get("spec"), f"{here}.ephemeral.volumeClaimTemplate.spec")
    yield from overlapping_paths(volumes)
    if not is_plain:
        yield from _repeated(spec.get("hostAliases"), f"{where}.hostAliases", "ip")
        yield from _repeated(spec.get("imagePullSecrets"), f"{where}.imagePullSecrets", "name")
        for number, secret in enumerate(spec.get("imagePullSecrets") or ()):
            if not secret.get("name"):
                yield f'{where}.imagePullSecrets[{number}].name: invalid empty name ""'
        yield from fractions(spec.get("overhead"), f"{where}.overhead", "memory", "ephemeral-storage")
    if any(name.startswith(_REPLACED) for name in annotations):
        yield from _of_annotations(path, spec, annotations)
    containers = list(_containers(where, spec))
    for container, place in containers:
        yield from _of_container(container, place)
    if any(container.get("ports") for container, _ in containers):
        yield from _of_ports(containers)
        yield from _of_port_names(containers)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        yield (
            f"{where}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        )
    if is_plain:
        return
    yield from _of_other_pods(where, spec)
    for number, server in enumerate((spec.get("dnsConfig") or {}).get("nameservers") or ()):
        yield from address_warnings(f"{where}.dnsConfig.nameservers[{number}]", server)
    for number, alias in enumerate(spec.get("hostAliases") or ()):
        yield from address_warnings(f"{where}.hostAliases[{number}].ip", alias.get("ip") or "")


def _containers(where: str, spec: Tree) -> Iterator[_Placed]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for number, container in enumerate(spec.get(field) or ()):
            yield container, f"{where}.{field}[{number}]"


def _of_annotations(path: str, spec: Tree, annotations: Tree) -> Iterator[str]:
    """Tell of annotations whose place fields have taken."""
    context = spec.get("securityContext") or {}
    name = "seccomp.security.alpha.kubernetes.io/pod"
    if context.get("seccompProfile") is None and name in annotations:
        yield f"{path}metadata.annotations[{name}]: {_SECCOMP}"
    for container, _ in _containers("", spec):
        own = container.get("securityContext") or {}
        name = f"container.seccomp.security.alpha.kubernetes.io/{container.get('name')}"
        if own.get("seccompProfile") is None and name in annotations:
            yield f"{path}metadata.annotations[{name}]: {_SECCOMP}"
        name = f"container.apparmor.security.beta.kubernetes.io/{container.get('name')}"
        if name in annotations and own.get("appArmorProfile") is context.get("appArmorProfile") is None:
            yield f"{path}metadata.annotations[{name}]: {_APPARMOR}"


def _of_placement(where: str, spec: Tree) -> Iterator[str]:
    for label in spec.get("nodeSelector") or ():
        if message := label_message(label):
            yield f"{where}.nodeSelector[{label}]: {message}"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    here = f"{where}.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
    for number, term in enumerate((affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        yield from of_term(term, f"{here}[{number}]")
    here = f"{where}.affinity.nodeAffinity.{_PREFERRED}"
    for number, item in enumerate(affinity.get(_PREFERRED) or ()):
        yield from of_term(item.get("preference") or {}, f"{here}[{number}].preference", values=True)
    for number, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        here = f"{where}.topologySpreadConstraints[{number}]"
        if message := label_message(key := constraint.get("topologyKey") or ""):
            yield f"{here}.topologyKey: {key} is {message}"
        if constraint.get("labelSelector") is None:
            yield f"{here}.labelSelector: {_NO_SELECTOR}"


def _of_other_pods(where: str, spec: Tree) -> Iterator[str]:
    for part in ("podAffinity", "podAntiAffinity"):
        affinity = (spec.get("affinity") or {}).get(part) or {}
        for number, term in enumerate(affinity.get(_REQUIRED) or ()):
            if term.get("labelSelector") is None:
                yield f"{where}.affinity.{part}.{_REQUIRED}[{number}].labelSelector: {_NO_SELECTOR}"
        for number, item in enumerate(affinity.get(_PREFERRED) or ()):
            if (item.get("podAffinityTerm") or {}).get("labelSelector") is None:
                here = f"{where}.affinity.{part}.{_PREFERRED}[{number}].podAffinityTerm"
                yield f"{here}.labelSelector: {_NO_SELECTOR}"


def _repeated(items: Iterable[Tree] | None, path: str, part: str) -> Iterator[str]:
    seen: set[str] = set()
    for number, item in enumerate(items or ()):
        value = item.get(part) or ""
        if value in seen:
            yield f"{path}[{number}].{part}: duplicate {part} {quote(value)}"
        seen.add(value)


def _of_container(container: Tree, path: str) -> Iterator[str]:
    resources = container.get("resources") or {}
    for part in ("limits", "requests"):
        if part in resources:
            yield from fractions(resources[part], f"{path}.resources.{part}", "memory", "ephemeral-storage")
    environment = container.get("env") or ()
    if len({variable.get("name") or "" for variable in environment}) == len(environment):
        return
    seen: set[str] = set()
    for number, variable in enumerate(environment):
        name = variable.get("name") or ""
        if name in seen:
            reference, value = f"$({name})", variable.get("value") or ""
            if variable.get("valueFrom") is not None or value == reference or reference not in value:
                yield f"{path}.env[{number}]: hides previous definition of {quote(name)}, which may be dropped when using apply"
        seen.add(name)


def _of_ports(containers: Sequence[_Placed]) -> Iterator[str]:
    known: dict[tuple[Any, Any], list[tuple[str, Any, Any]]] = {}
    for container, path in containers:
        for number, port in enumerate(container.get("ports") or ()):
            here, protocol = f"{path}.ports[{number}]", port.get("protocol") or "TCP"
            address, host = port.get("hostIP") or "", port.get("hostPort") or 0
            if address and not host:
                yield (
                    f"{here}: hostIP set without hostPort: {{Name:{port.get('name') or ''} HostPort:0"
                    f" ContainerPort:{port.get('containerPort')} Protocol:{protocol} HostIP:{address}}}"
                )
            others = known.setdefault((port.get("containerPort"), protocol), [])
            for there, other_address, other_host in others:
                if (address, host) == (other_address, other_host):
                    yield f"{here}: duplicate port definition with {there}"
                elif not host or not other_host:
                    yield f"{here}: overlapping port definition with {there}"
                elif host == other_host and (not address or not other_address):
                    yield f"{here}: dangerously ambiguous port definition with {there}"
            others.append((here, address, host))


def _of_port_names(containers: Sequence[_Placed]) -> Iterator[str]:
    known: dict[str, str] = {}
    for container, path in containers:
        for number, port in enumerate(container.get("ports") or ()):
            here, name = f"{path}.ports[{number}]", port.get("name") or ""
            if name and (there := known.setdefault(name, here)) != here:
                yield (
                    f"{here}: duplicate port name {quote(name)} with {there}, services and probes that select ports by name will"
                    f" use {there}"
                )
