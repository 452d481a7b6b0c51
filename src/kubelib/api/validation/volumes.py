"""Rules of a Pod's volumes and of where containers mount them."""

from collections.abc import Callable
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
)
from kubelib.api.validation.references import field_reference_problems, resource_reference_problems
from kubelib.api.validation.resources import amount_problems

_HOST_PATHS = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_FILE_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_DOWNWARD = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")


def volume_problems(volumes: Any, path: str, problems: list[Problem]) -> dict[str, Tree]:
    """Check volumes; return them by name."""
    named: dict[str, Tree] = {}
    for at, volume in enumerate(volumes or ()):
        here = f"{path}[{at}]"
        name = volume.get("name") or ""
        if not name:
            problems.append(required(f"{here}.name"))
        elif messages := texts.label(name):
            problems += each(f"{here}.name", name, messages)
        elif name in named:
            problems.append(duplicate(f"{here}.name", name))
        named[name] = volume
        sources = [source for source in volume if source != "name" and volume[source] is not None]
        if not sources:
            problems.append(required(here, "must specify a volume type"))
        else:
            source = volume[sources[0]]
            rule = _SOURCES.get(sources[0])
            if rule is not None and isinstance(source, dict):
                rule(source, f"{here}.{sources[0]}", problems)
            for extra in sources[1:]:
                problems.append(forbidden(f"{here}.{extra}", "may not specify more than 1 volume type"))
    return named


def _mode(source: Tree, field: str, path: str, problems: list[Problem]) -> None:
    mode = source.get(field)
    if mode is not None and not 0 <= mode <= 0o777:
        problems.append(invalid(f"{path}.{field}", mode, _FILE_MODE))


def _required(*fields: str) -> Callable[[Tree, str, list[Problem]], None]:
    def rule(source: Tree, path: str, problems: list[Problem]) -> None:
        problems += [required(f"{path}.{field}") for field in fields if not source.get(field)]

    return rule


def _host_path(source: Tree, path: str, problems: list[Problem]) -> None:
    if not source.get("path"):
        problems.append(required(f"{path}.path"))
        return
    problems += each(f"{path}.path", source["path"], texts.no_backsteps(source["path"]))
    kind = source.get("type") or ""
    if kind not in _HOST_PATHS:
        problems.append(not_supported(f"{path}.type", kind, _HOST_PATHS))


def _empty_dir(source: Tree, path: str, problems: list[Problem]) -> None:
    if source.get("sizeLimit") is not None:
        problems += [
            Problem(p.type, p.field, p.message)
            for p in amount_problems("memory", source["sizeLimit"], f"{path}.sizeLimit")
        ]


def _items(source: Tree, path: str, problems: list[Problem]) -> None:
    for at, item in enumerate(source.get("items") or ()):
        here = f"{path}.items[{at}]"
        if not item.get("key"):
            problems.append(required(f"{here}.key"))
        target = item.get("path") or ""
        if not target:
            problems.append(required(f"{here}.path"))
        problems += each(f"{here}.path", target, texts.unreserved(target))
        _mode(item, "mode", here, problems)


def _secret(source: Tree, path: str, problems: list[Problem]) -> None:
    if not source.get("secretName"):
        problems.append(required(f"{path}.secretName"))
    _mode(source, "defaultMode", path, problems)
    _items(source, path, problems)


def _config_map(source: Tree, path: str, problems: list[Problem]) -> None:
    if not source.get("name"):
        problems.append(required(f"{path}.name"))
    _mode(source, "defaultMode", path, problems)
    _items(source, path, problems)


def _downward_files(source: Tree, path: str, problems: list[Problem]) -> None:
    # Kubernetes names the volume here, not the item.
    for item in source.get("items") or ():
        target = item.get("path") or ""
        if not target:
            problems.append(required(f"{path}.path"))
        problems += each(f"{path}.path", target, texts.unreserved(target))
        if item.get("fieldRef") is not None:
            field_reference_problems(item["fieldRef"], f"{path}.fieldRef", _DOWNWARD, problems)
            if item.get("resourceFieldRef") is not None:
                problems.append(
                    invalid(
                        path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"
                    )
                )
        elif item.get("resourceFieldRef") is not None:
            resource_reference_problems(
                item["resourceFieldRef"], f"{path}.resourceFieldRef", problems, volume=True
            )
        else:
            problems.append(required(path, "one of fieldRef and resourceFieldRef is required"))
        _mode(item, "mode", path, problems)


def _downward(source: Tree, path: str, problems: list[Problem]) -> None:
    _mode(source, "defaultMode", path, problems)
    _downward_files(source, path, problems)


def _projected(source: Tree, path: str, problems: list[Problem]) -> None:
    _mode(source, "defaultMode", path, problems)
    taken: set[str] = set()
    for at, projection in enumerate(source.get("sources") or ()):
        here = f"{path}.sources[{at}]"
        for kind in ("secret", "configMap", "downwardAPI"):
            part = projection.get(kind)
            if not isinstance(part, dict):
                continue
            if kind == "downwardAPI":
                _downward_files(part, f"{here}.{kind}", problems)
            else:
                if not part.get("name"):
                    problems.append(required(f"{here}.{kind}.name"))
                _items(part, f"{here}.{kind}", problems)
            for item in part.get("items") or ():
                target = item.get("path")
                if target in taken:
                    problems.append(invalid(path, part.get("name") or target, "conflicting duplicate paths"))
                elif target:
                    taken.add(target)
        token = projection.get("serviceAccountToken")
        if isinstance(token, dict):
            seconds = token.get("expirationSeconds") or 0
            field = f"{here}.serviceAccountToken.expirationSeconds"
            if seconds < 600:
                problems.append(invalid(field, seconds, "may not specify a duration less than 10 minutes"))
            elif seconds > 2**32:
                problems.append(
                    invalid(field, seconds, "may not specify a duration larger than 2^32 seconds")
                )
            target = token.get("path") or ""
            if not target:
                problems.append(required(f"{path}.path"))
            else:
                problems += each(f"{path}.path", target, texts.unreserved(target))
        bundle = projection.get("clusterTrustBundle")
        if isinstance(bundle, dict):
            _trust_bundle(bundle, f"{here}.clusterTrustBundle", problems)
        if sum(value is not None for value in projection.values()) > 1:
            problems.append(forbidden(here, "may not specify more than 1 volume type per source"))


def _trust_bundle(bundle: Tree, path: str, problems: list[Problem]) -> None:
    named, signed = bundle.get("name") is not None, bundle.get("signerName") is not None
    if named and signed:
        problems.append(invalid(path, bundle, "only one of name and signerName may be used"))
    elif named and not bundle["name"]:
        problems.append(required(f"{path}.name", "must be a valid object name"))
    elif signed and not bundle["signerName"]:
        problems.append(required(f"{path}.signerName", "must be a valid signer name"))
    elif not named and not signed:
        problems.append(required(path, "either name or signerName must be specified"))
    if named and bundle.get("labelSelector") is not None:
        problems.append(
            invalid(
                f"{path}.labelSelector",
                bundle["labelSelector"],
                "labelSelector must be unset if name is specified",
            )
        )
    target = bundle.get("path") or ""
    if not target:
        problems.append(required(f"{path}.path"))
    problems += each(f"{path}.path", target, texts.unreserved(target))


def _nfs(source: Tree, path: str, problems: list[Problem]) -> None:
    _required("server", "path")(source, path, problems)
    if not (source.get("path") or "").startswith("/"):
        problems.append(invalid(f"{path}.path", source.get("path") or "", "must be an absolute path"))


def _image(source: Tree, path: str, problems: list[Problem]) -> None:
    if not source.get("reference"):
        problems.append(required(f"{path}.reference"))
    policy = source.get("pullPolicy")
    if policy and policy not in _PULL_POLICIES:
        problems.append(not_supported(f"{path}.pullPolicy", policy, _PULL_POLICIES))


def _ephemeral(source: Tree, path: str, problems: list[Problem]) -> None:
    template = source.get("volumeClaimTemplate")
    if not isinstance(template, dict):
        problems.append(required(f"{path}.volumeClaimTemplate"))
        return
    from kubelib.api.validation.storage import claim_spec_problems

    problems += claim_spec_problems(template.get("spec") or {}, f"{path}.volumeClaimTemplate.spec")


_SOURCES: dict[str, Callable[[Tree, str, list[Problem]], None]] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "secret": _secret,
    "configMap": _config_map,
    "downwardAPI": _downward,
    "projected": _projected,
    "nfs": _nfs,
    "image": _image,
    "ephemeral": _ephemeral,
    "persistentVolumeClaim": _required("claimName"),
    "gitRepo": _required("repository"),
    "csi": _required("driver"),
    "iscsi": _required("targetPortal", "iqn"),
    "gcePersistentDisk": _required("pdName"),
    "awsElasticBlockStore": _required("volumeID"),
    "glusterfs": _required("endpoints", "path"),
    "rbd": _required("monitors", "image"),
    "cinder": _required("volumeID"),
    "cephfs": _required("monitors"),
    "flexVolume": _required("driver"),
    "azureFile": _required("secretName", "shareName"),
    "azureDisk": _required("diskName", "diskURI"),
    "vsphereVolume": _required("volumePath"),
    "portworxVolume": _required("volumeID"),
    "quobyte": _required("registry", "volume"),
    "scaleIO": _required("gateway", "system", "volumeName"),
}


def mount_problems(container: Tree, path: str, volumes: dict[str, Tree], problems: list[Problem]) -> None:
    """Check where a container mounts volumes."""
    devices = container.get("volumeDevices") or ()
    device_names = {device.get("name") for device in devices}
    device_paths = {device.get("devicePath") for device in devices}
    targets: set[str] = set()
    for at, mount in enumerate(container.get("volumeMounts") or ()):
        name, target = mount.get("name") or "", mount.get("mountPath") or ""
        if name in volumes and name and target and target not in targets and len(mount) <= 3 and not devices:
            targets.add(target)
            if mount.keys() <= _PLAIN_MOUNT:
                continue
            targets.discard(target)
        here = f"{path}.volumeMounts[{at}]"
        if not name:
            problems.append(required(f"{here}.name"))
        if name not in volumes:
            problems.append(not_found(f"{here}.name", name))
        if not target:
            problems.append(required(f"{here}.mountPath"))
        if target in targets:
            problems.append(invalid(f"{here}.mountPath", target, "must be unique"))
        targets.add(target)
        if name in device_names:
            problems.append(invalid(f"{here}.name", name, "must not already exist in volumeDevices"))
        if target in device_paths:
            problems.append(
                invalid(f"{here}.mountPath", target, "must not already exist as a path in volumeDevices")
            )
        sub, expression = mount.get("subPath") or "", mount.get("subPathExpr") or ""
        problems += each(f"{path}.volumeMounts.subPath", sub, texts.descending(sub))
        if expression and sub:
            problems.append(
                invalid(f"{here}.subPathExpr", expression, "subPathExpr and subPath are mutually exclusive")
            )
        problems += each(f"{path}.volumeMounts.subPathExpr", expression, texts.descending(expression))
        propagation = mount.get("mountPropagation")
        if propagation is not None:
            _propagation(propagation, container, f"{path}.volumeMounts.mountPropagation", problems)
        if mount.get("recursiveReadOnly") is not None:
            _read_only(mount, f"{path}.volumeMounts.recursiveReadOnly", problems)
    if devices:
        _device_problems(container, path, volumes, problems)


_PLAIN_MOUNT = frozenset(("name", "mountPath", "readOnly"))


def _propagation(mode: str, container: Tree, path: str, problems: list[Problem]) -> None:
    if mode not in _PROPAGATIONS:
        problems.append(not_supported(path, mode, _PROPAGATIONS))
    if mode == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        problems.append(
            forbidden(path, "Bidirectional mount propagation is available only to privileged containers")
        )


def _read_only(mount: Tree, path: str, problems: list[Problem]) -> None:
    mode = mount["recursiveReadOnly"]
    modes = ("Disabled", "Enabled", "IfPossible")
    if mode not in modes:
        problems.append(not_supported(path, mode, modes))
    elif mode != "Disabled":
        if not mount.get("readOnly"):
            problems.append(forbidden(path, "may only be specified when readOnly is true"))
        if mount.get("mountPropagation") not in (None, "None"):
            problems.append(
                forbidden(path, "may only be specified when mountPropagation is None or not specified")
            )


def _device_problems(container: Tree, path: str, volumes: dict[str, Tree], problems: list[Problem]) -> None:
    mounts = container.get("volumeMounts") or ()
    names: set[str] = set()
    paths: set[str] = set()
    for at, device in enumerate(container["volumeDevices"]):
        here = f"{path}.volumeDevices[{at}]"
        name, target = device.get("name") or "", device.get("devicePath") or ""
        if not name:
            problems.append(required(f"{here}.name"))
        if name in names:
            problems.append(invalid(f"{here}.name", name, "must be unique"))
        names.add(name)
        if name not in volumes:
            problems.append(not_found(f"{here}.name", name))
        elif not volumes[name].keys() & {"persistentVolumeClaim", "ephemeral"}:
            problems.append(
                invalid(
                    f"{here}.name",
                    name,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                )
            )
        if not target:
            problems.append(required(f"{here}.devicePath"))
        if target in paths:
            problems.append(invalid(f"{here}.devicePath", target, "must be unique"))
        if texts.no_backsteps(target):
            problems.append(invalid(f"{here}.devicePath", target, "can not contain backsteps ('..')"))
        paths.add(target)
        if any(mount.get("name") == name for mount in mounts):
            problems.append(invalid(f"{here}.name", name, "must not already exist in volumeMounts"))
        if any(mount.get("mountPath") == target for mount in mounts):
            problems.append(
                invalid(f"{here}.devicePath", target, "must not already exist as a path in volumeMounts")
            )
