"""The environment of a container: Services first, then whole ConfigMaps and Secrets, then single variables."""

import base64
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from socket import gethostname
from types import MappingProxyType
from typing import Protocol

from kubelib.api.core.config import ConfigMap, Secret
from kubelib.api.core.container import Container
from kubelib.api.core.environment import EnvVarSource, FileKeySelector
from kubelib.api.core.pod import Pod
from kubelib.api.core.service import Service
from kubelib.api.meta import Key
from kubelib.api.quantity import parse_quantity
from kubelib.runtime import envfiles
from kubelib.runtime.hostnames import kernel_name_of

log = logging.getLogger(__name__)


class ConfigMissing(Exception):
    """Something that a container's configuration refers to is not there: becomes CreateContainerConfigError."""


class ConfigSource(Protocol):
    """Looks up configuration. Both raise `ConfigMissing`."""

    async def config_map(self, namespace: str, name: str) -> ConfigMap:
        """Return a ConfigMap."""
        ...

    async def secret(self, namespace: str, name: str) -> Secret:
        """Return a Secret."""
        ...


API_SERVICE = Key("default", "kubernetes")
"""The Service that every container is told of, wherever it is."""

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by the variable; unknown names stay, ``$$`` is a dollar sign.

    >>> expand("$(A)/$(B)/$$(A)", {"A": "1"})
    '1/$(B)/$(A)'
    """

    def value(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(value, text)


def names_in(text: str) -> set[str]:
    """Return which variables `expand` looks for.

    >>> sorted(names_in("$(A)/$(B)/$$(C)"))
    ['A', 'B']
    """
    return {match[2] for match in _REFERENCE.finditer(text) if match[1] != "$"}


def service_variables(services: Iterable[Service]) -> dict[str, str]:
    """Return the variables that tell where Services are, in both of their forms."""
    variables: dict[str, str] = {}
    for service in services:
        address = service.spec.cluster_ip
        if not _has_address(service) or not service.spec.ports:
            continue
        prefix = service.metadata.name.upper().replace("-", "_")
        first = service.spec.ports[0]
        variables[f"{prefix}_SERVICE_HOST"] = address
        variables[f"{prefix}_SERVICE_PORT"] = str(first.port)
        variables[f"{prefix}_PORT"] = f"{(first.protocol or 'TCP').lower()}://{address}:{first.port}"
        for port in service.spec.ports:
            if port.name:
                variables[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
            protocol = port.protocol or "TCP"
            link = f"{prefix}_PORT_{port.port}_{protocol}"
            variables[link] = f"{protocol.lower()}://{address}:{port.port}"
            variables[f"{link}_PROTO"] = protocol.lower()
            variables[f"{link}_PORT"] = str(port.port)
            variables[f"{link}_ADDR"] = address
    return variables


def _has_address(service: Service) -> bool:
    return service.spec.cluster_ip not in ("", "None")


def field_value(pod: Pod, path: str, *, address: str = "", host: str = "") -> str:
    """Return the field of a Pod that a downward API reference names."""
    match = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if match:
        values = pod.metadata.labels if match[1] == "labels" else pod.metadata.annotations
        return values.get(match[2], "")
    simple: dict[str, Callable[[], str]] = {
        "metadata.name": lambda: pod.metadata.name,
        "metadata.namespace": lambda: pod.metadata.namespace,
        "metadata.uid": lambda: pod.metadata.uid,
        "metadata.labels": lambda: _lines(pod.metadata.labels),
        "metadata.annotations": lambda: _lines(pod.metadata.annotations),
        "spec.nodeName": lambda: pod.spec.node_name,
        "spec.serviceAccountName": lambda: pod.spec.service_account_name,
        "status.podIP": lambda: address or pod.status.pod_ip,
        "status.podIPs": lambda: address or pod.status.pod_ip,
        "status.hostIP": lambda: host or pod.status.host_ip,
        "status.hostIPs": lambda: host or pod.status.host_ip,
    }
    if path not in simple:
        raise ConfigMissing(f"unsupported fieldPath: {path}")
    return simple[path]()


def _lines(values: Mapping[str, str]) -> str:
    """Return a map as lines with quoted values, the quotes and line feeds in them escaped."""
    return "\n".join(f"{key}={json.dumps(values[key], ensure_ascii=False)}" for key in sorted(values))


def resource_value(
    pod: Pod, name: str, resource: str, divisor: str, allocatable: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return what a container asks for, in units of `divisor`, rounded up.

    A limit that it does not have is its Pod's as a whole, or what the node has for Pods: `allocatable`.
    """
    every = (*pod.spec.containers, *pod.spec.init_containers, *pod.spec.ephemeral_containers)
    own = next((c.resources for c in every if c.name == name), None)
    if own is None:
        raise ConfigMissing(f"container {name} not found")
    kind, _, what = resource.partition(".")
    amounts: Mapping[str, str] = own.requests
    if kind == "limits":
        whole = pod.spec.resources
        amounts = {**allocatable, **(whole.limits if whole is not None else {}), **own.limits}
    unit = parse_quantity(divisor or "0")
    amount = parse_quantity(amounts.get(what, "0"))
    size = unit.amount or 1
    return str(-(-amount.amount // size))


async def environment(
    pod: Pod,
    container: Container,
    source: ConfigSource,
    services: Sequence[Service],
    *,
    address: str,
    host: str,
    allocatable: Mapping[str, str] = MappingProxyType({}),
    volumes: Mapping[str, Path] = MappingProxyType({}),
    domain: str = "cluster.local",
) -> dict[str, str]:
    """Return a container's environment. Raises `ConfigMissing`.

    `allocatable` is what its node has for Pods, `volumes` where those of the Pod are, `domain` the cluster's.
    """
    # Without a network of its own, a Pod has no host name of its own either: what `hostname` prints is the machine's.
    called = gethostname() if pod.spec.host_network else kernel_name_of(pod, domain)
    variables: dict[str, str] = {"HOSTNAME": called, "POD_IP": address}
    namespace = pod.metadata.namespace
    linked = pod.spec.enable_service_links is not False
    told = {s.metadata.name: s for s in services if s.key == API_SERVICE}
    if linked:  # one of its own namespace that has the name of the API's comes before that
        told |= {
            s.metadata.name: s for s in services if s.metadata.namespace == namespace and _has_address(s)
        }
    variables.update(service_variables(told.values()))
    for every in container.env_from:
        found: Mapping[str, str] = {}
        if every.config_map_ref is not None:
            found = await _optional(
                every.config_map_ref.optional, _config_data(source, namespace, every.config_map_ref.name)
            )
        elif every.secret_ref is not None:
            found = await _optional(
                every.secret_ref.optional, _secret_data(source, namespace, every.secret_ref.name)
            )
        variables.update({every.prefix + key: value for key, value in found.items()})
    for variable in container.env:
        if variable.value_from is None:
            variables[variable.name] = expand(variable.value, variables)
            continue
        if variable.value_from.file_key_ref is not None:
            value = _from_file(variable.value_from.file_key_ref, volumes)
        else:
            value = await _from(pod, container, variable.value_from, source, address, host, allocatable)
        if value is not None:
            variables[variable.name] = value
    return variables


async def _optional(optional: bool | None, lookup: Awaitable[Mapping[str, str]]) -> Mapping[str, str]:
    try:
        return await lookup
    except ConfigMissing:
        if optional:
            return {}
        raise


async def _config_data(source: ConfigSource, namespace: str, name: str) -> Mapping[str, str]:
    return (await source.config_map(namespace, name)).data


async def _secret_data(source: ConfigSource, namespace: str, name: str) -> Mapping[str, str]:
    data = (await source.secret(namespace, name)).data
    return {key: base64.b64decode(value).decode(errors="surrogateescape") for key, value in data.items()}


async def _from(
    pod: Pod,
    container: Container,
    of: EnvVarSource,
    source: ConfigSource,
    address: str,
    host: str,
    allocatable: Mapping[str, str],
) -> str | None:
    if of.field_ref is not None:
        return field_value(pod, of.field_ref.field_path, address=address, host=host)
    if of.resource_field_ref is not None:
        reference = of.resource_field_ref
        name = reference.container_name or container.name
        return resource_value(pod, name, reference.resource, reference.divisor, allocatable)
    namespace = pod.metadata.namespace
    for key_of, lookup, what in (
        (of.config_map_key_ref, _config_data, "ConfigMap"),
        (of.secret_key_ref, _secret_data, "Secret"),
    ):
        if key_of is None:
            continue
        try:
            data = await lookup(source, namespace, key_of.name)
            if key_of.key not in data:
                raise ConfigMissing(f"couldn't find key {key_of.key} in {what} {namespace}/{key_of.name}")
            return data[key_of.key]
        except ConfigMissing:
            if key_of.optional:
                return None
            raise
    return ""


def _from_file(of: FileKeySelector, volumes: Mapping[str, Path]) -> str | None:
    volume = volumes.get(of.volume_name)
    if volume is None:
        raise ConfigMissing(f'cannot find the volume "{of.volume_name}" referenced by FileKeyRef')
    try:
        value = envfiles.value_of(envfiles.read(volume, of.path), of.key)
    except (OSError, ValueError) as error:
        log.warning("variables cannot be read from %s: %s", volume / of.path, error)
        raise ConfigMissing("couldn't parse env file") from None
    if not value and not of.optional:
        raise ConfigMissing(f'environment variable key "{of.key}" not found in file "{volume / of.path}"')
    return value or None
