"""Rules of where containers mount volumes, and of the devices that they see."""

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

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")


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
        if expression and (volumes.get(name) or {}).get("image") is not None:
            problems.append(invalid(f"{here}.subPathExpr", expression, "not allowed in image volume sources"))
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
        if mount.get("bindMountOptions"):
            _options(mount["bindMountOptions"], f"{here}.bindMountOptions", volumes.get(name), problems)
    if devices:
        _device_problems(container, path, volumes, problems)


_PLAIN_MOUNT = frozenset(("name", "mountPath", "readOnly"))


_OPTIONS = ("nodev", "noexec", "nosuid")


def _options(options: list[str], path: str, volume: Tree | None, problems: list[Problem]) -> None:
    """Check what containers may not do with what is mounted."""
    if (volume or {}).get("image") is not None:
        problems.append(forbidden(path, "may not be set for image volumes"))
    for at, option in enumerate(options):
        if option not in _OPTIONS:
            problems.append(not_supported(f"{path}[{at}]", option, _OPTIONS))
        elif option in options[:at]:
            problems.append(duplicate(f"{path}[{at}]", option))


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
        if name:
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
        else:
            paths.add(target)
        if any(mount.get("name") == name for mount in mounts):
            problems.append(invalid(f"{here}.name", name, "must not already exist in volumeMounts"))
        if any(mount.get("mountPath") == target for mount in mounts):
            problems.append(
                invalid(f"{here}.devicePath", target, "must not already exist as a path in volumeMounts")
            )
