"""What a Pod uses beside itself: the Secrets, ConfigMaps and claims in its namespace, and its service account."""

from collections.abc import Mapping
from typing import Any

import attrs

from kubelib.api.scheme import Tree

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


@attrs.frozen
class References:
    """The names of what a Pod uses in its namespace."""

    secrets: frozenset[str] = frozenset()
    config_maps: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()
    resource_claims: frozenset[str] = frozenset()
    account: str = ""


NO_REFERENCES = References()


def references_of(pod: Tree) -> References:
    """Return what a Pod refers to: in its containers' environment, in its volumes, and for pulling images."""
    spec: Tree = pod.get("spec") or {}
    secrets = {reference.get("name") or "" for reference in spec.get("imagePullSecrets") or ()}
    maps: set[str] = set()
    claims: set[str] = set()
    for part in _CONTAINERS:
        for container in spec.get(part) or ():
            sources = [v.get("valueFrom") or {} for v in container.get("env") or ()]
            sources += container.get("envFrom") or ()
            for source in sources:
                secrets |= _names(source, "secretKeyRef", "secretRef")
                maps |= _names(source, "configMapKeyRef", "configMapRef")
    for volume in spec.get("volumes") or ():
        secrets |= {(volume.get("secret") or {}).get("secretName") or ""}
        secrets |= {name for _, name in secrets_of(volume)}
        maps |= _names(volume, "configMap")
        claims |= {(volume.get("persistentVolumeClaim") or {}).get("claimName") or ""}
        if volume.get("ephemeral"):
            claims.add(f"{pod['metadata']['name']}-{volume.get('name')}")
        for source in (volume.get("projected") or {}).get("sources") or ():
            secrets |= _names(source, "secret")
            maps |= _names(source, "configMap")
    empty = {""}
    return References(
        frozenset(secrets - empty),
        frozenset(maps - empty),
        frozenset(claims - empty),
        frozenset(_resource_claims(pod) - empty),
        spec.get("serviceAccountName") or "",
    )


def _resource_claims(pod: Tree) -> set[str]:
    """Return the claims to devices: those named in the spec, and those that were made for the Pod, in its status."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    extended = status.get("extendedResourceClaimStatus") or {}
    found = [*(spec.get("resourceClaims") or ()), *(status.get("resourceClaimStatuses") or ()), extended]
    return {str(one.get("resourceClaimName") or "") for one in found}


def _names(source: Mapping[str, Any], *parts: str) -> set[str]:
    return {str((source.get(part) or {}).get("name") or "") for part in parts}


def secrets_of(part: Any) -> set[tuple[str, str]]:
    """Return namespace and name of the Secrets that a volume refers to, whatever its driver calls them."""
    found: set[tuple[str, str]] = set()
    if isinstance(part, dict):
        for name, value in part.items():
            if name.lower().endswith("secretref") and isinstance(value, dict):
                found.add((str(value.get("namespace") or ""), str(value.get("name") or "")))
            elif name == "azureFile" and isinstance(value, dict):
                found.add((str(value.get("secretNamespace") or ""), str(value.get("secretName") or "")))
            else:
                found |= secrets_of(value)
    return found
