"""Defaults of Pods and of everything inside of them."""

from typing import Any

from kubelib.api.podresources import is_for_pods, pod_requests
from kubelib.api.quantity import QuantityError, canonical
from kubelib.api.scheme import Tree


def canonical_quantities(amounts: Any) -> None:
    """Rewrite the quantities of a resource list in canonical form; what is no quantity is left for validation."""
    if not isinstance(amounts, dict):
        return
    for name, amount in amounts.items():
        text = amount if isinstance(amount, str) else str(amount)
        try:
            amounts[name] = canonical(text)
        except QuantityError:
            amounts[name] = text


def default_pod(tree: Tree) -> None:
    """Complete a Pod."""
    spec = tree.get("spec")
    if isinstance(spec, dict):
        default_pod_spec(spec)
        # A Pod (not a template) also asks for what it is limited to.
        for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
            resources = container.get("resources")
            limits = resources.get("limits") if resources else None
            if limits:
                requests = resources.setdefault("requests", {})
                for name, amount in limits.items():
                    requests.setdefault(name, amount)
        if spec.get("resources"):
            _default_whole(spec)
        if spec.get("hostNetwork"):
            for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
                for port in container.get("ports") or ():
                    port.setdefault("hostPort", port.get("containerPort"))
        spec.setdefault("enableServiceLinks", True)


def _default_whole(spec: Tree) -> None:
    """Let a Pod that asks for something as a whole ask for what its containers ask for, and for what it is limited to."""
    resources = spec["resources"]
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    if not limits and not requests:
        return
    try:
        together = pod_requests({**spec, "resources": None}, overhead=False)
    except (QuantityError, TypeError, AttributeError):
        return  # validation says what is wrong
    wanted = {name: str(amount) for name, amount in together.items() if name in _OVERCOMMITTED}
    wanted.update(
        {name: amount for name, amount in limits.items() if name not in wanted and is_for_pods(name)}
    )
    resources["requests"] = {**wanted, **requests}


_OVERCOMMITTED = ("cpu", "memory")


def default_pod_template(template: Any) -> None:
    """Complete the Pod template of a workload."""
    if isinstance(template, dict):
        template.setdefault("metadata", {})
        if isinstance(template.get("spec"), dict):
            default_pod_spec(template["spec"])


def default_pod_spec(spec: Tree) -> None:
    """Complete a Pod's spec."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)
    if "overhead" in spec:
        canonical_quantities(spec["overhead"])
    if spec.get("resources"):
        canonical_quantities(spec["resources"].get("limits"))
        canonical_quantities(spec["resources"].get("requests"))


def _default_container(container: Tree) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = (
            "Always" if _tag(container.get("image") or "") == "latest" else "IfNotPresent"
        )
    resources = container.setdefault("resources", {})
    if resources:
        canonical_quantities(resources.get("limits"))
        canonical_quantities(resources.get("requests"))
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if isinstance(probe, dict):
            probe.setdefault("timeoutSeconds", 1)
            probe.setdefault("periodSeconds", 10)
            probe.setdefault("successThreshold", 1)
            probe.setdefault("failureThreshold", 3)
            _default_handler(probe)
    lifecycle = container.get("lifecycle")
    if isinstance(lifecycle, dict):
        for hook in lifecycle.values():
            if isinstance(hook, dict):
                _default_handler(hook)
    for variable in container.get("env") or ():
        source = variable.get("valueFrom")
        if isinstance(source, dict) and isinstance(source.get("fieldRef"), dict):
            source["fieldRef"].setdefault("apiVersion", "v1")
        if isinstance(source, dict) and isinstance(source.get("fileKeyRef"), dict):
            source["fileKeyRef"].setdefault("optional", False)
        if isinstance(source, dict) and isinstance(source.get("resourceFieldRef"), dict):
            source["resourceFieldRef"].setdefault("divisor", "0")


def _tag(image: str) -> str:
    if "@" in image:
        return ""
    name, colon, tag = image.rpartition(":")
    return tag if colon and "/" not in tag and name else "latest"


def _default_handler(handler: Tree) -> None:
    action = handler.get("httpGet")
    if isinstance(action, dict):
        action.setdefault("path", "/")
        action.setdefault("scheme", "HTTP")
    if isinstance(handler.get("grpc"), dict):
        handler["grpc"].setdefault("service", "")


SOURCES: dict[str, dict[str, Any]] = {
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}
"""What the sources of volumes say unless told otherwise."""
_MODES = {"secret", "configMap", "downwardAPI", "projected"}


def _default_volume(volume: Tree) -> None:
    sources = [name for name in volume if name != "name"]
    if not sources:
        volume["emptyDir"] = {}
    for name in sources:
        source = volume[name]
        if not isinstance(source, dict):
            continue
        if name in _MODES:
            source.setdefault("defaultMode", 0o644)
        if name in SOURCES:
            for field, value in SOURCES[name].items():
                source.setdefault(field, value)
        if name == "ephemeral" and isinstance(source.get("volumeClaimTemplate"), dict):
            source["volumeClaimTemplate"].setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        if name == "emptyDir" and "sizeLimit" in source:
            canonical_quantities(source)
        for projection in source.get("sources") or () if name == "projected" else (source,):
            for item in (projection.get("downwardAPI") or projection).get("items") or ():
                if isinstance(item.get("fieldRef"), dict):
                    item["fieldRef"].setdefault("apiVersion", "v1")
            token = projection.get("serviceAccountToken")
            if isinstance(token, dict):
                token.setdefault("expirationSeconds", 3600)
