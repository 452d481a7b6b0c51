"""Rules of a Pod's volumes."""

from collections.abc import Mapping
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation import volumesources as sources
from kubelib.api.validation.problems import duplicate, each, forbidden, invalid, not_supported, required
from kubelib.api.validation.projections import (
    downward_file_problems,
    item_problems,
    mode_problems,
    projected,
    user_problems,
)
from kubelib.api.validation.resources import amount

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def volume_problems(volumes: Any, path: str, problems: list[Problem]) -> dict[str, Tree]:
    """Check volumes; return those that are sound, by name."""
    named: dict[str, Tree] = {}
    for at, volume in enumerate(volumes or ()):
        here, name = f"{path}[{at}]", volume.get("name") or ""
        before = len(problems)
        sources.source_problems(volume, here, _SOURCES, problems)
        if volume.get("iscsi"):
            problems += sources.portal_problems(volume["iscsi"], name, f"{here}.name", name)
        if not name:
            problems.append(required(f"{here}.name"))
        elif messages := texts.label(name):
            problems += each(f"{here}.name", name, messages)
        if name in named:
            problems.append(duplicate(f"{here}.name", name))
        if len(problems) == before:
            named[name] = volume
    return named


def claimed_volume_problems(volumes: Any, pod: str, path: str) -> list[Problem]:
    """Check the names of the claims that are made for a Pod, and that no volume refers to one of them as if it were another's."""
    made = {f"{pod}-{volume.get('name') or ''}" for volume in volumes if volume.get("ephemeral") is not None}
    problems: list[Problem] = []
    for at, volume in enumerate(volumes if made else ()):
        name = volume.get("name") or ""
        if name and volume.get("ephemeral") is not None:
            claim = f"{pod}-{name}"
            problems += [
                invalid(f"{path}[{at}].name", name, f'PVC name "{claim}": {message}')
                for message in texts.subdomain(claim)
            ]
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
        if claim in made:
            why = "must not reference a PVC that gets created for an ephemeral volume"
            problems.append(invalid(f"{path}[{at}].persistentVolumeClaim.claimName", claim, why))
    return problems


def _empty_dir(source: Tree, path: str, problems: list[Problem]) -> None:
    mode = source.get("mode")
    if mode is not None and not 0 <= mode <= 0o1777:
        why = "must be a number between 0 and 01777 (octal), both inclusive"
        problems.append(invalid(f"{path}.mode", mode, why))
    if source.get("sizeLimit") is None:
        return
    limit = amount(source["sizeLimit"], f"{path}.sizeLimit", problems)
    if limit is not None and limit.nano < 0:
        problems.append(forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity"))


def _git_repo(source: Tree, path: str, problems: list[Problem]) -> None:
    sources.needs("repository")(source, path, problems)
    directory = source.get("directory") or ""
    problems += each(f"{path}.directory", directory, texts.descending(directory))


def _files_of(name: str) -> sources.Rule:
    def rule(source: Tree, path: str, problems: list[Problem]) -> None:
        sources.needs(name)(source, path, problems)
        mode_problems(source, "defaultMode", path, problems)
        user_problems(source, "defaultUser", path, problems)
        for at, item in enumerate(source.get("items") or ()):
            item_problems(item, f"{path}.items[{at}]", problems)

    return rule


def _downward(source: Tree, path: str, problems: list[Problem]) -> None:
    mode_problems(source, "defaultMode", path, problems)
    user_problems(source, "defaultUser", path, problems)
    for item in source.get("items") or ():
        downward_file_problems(item, path, problems)


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
    from kubelib.api.validation.claims import claim_template_problems

    problems += claim_template_problems(template, f"{path}.volumeClaimTemplate")


_SOURCES: Mapping[str, sources.Rule] = {
    "emptyDir": _empty_dir,
    "hostPath": sources.host_path,
    "gitRepo": _git_repo,
    "gcePersistentDisk": sources.disk("pdName"),
    "awsElasticBlockStore": sources.disk("volumeID"),
    "secret": _files_of("secretName"),
    "nfs": sources.nfs,
    "iscsi": sources.iscsi,
    "glusterfs": sources.needs("endpoints", "path"),
    "flocker": sources.flocker,
    "persistentVolumeClaim": sources.needs("claimName"),
    "rbd": sources.needs("monitors", "image"),
    "cinder": sources.cinder("name"),
    "cephfs": sources.needs("monitors"),
    "quobyte": sources.quobyte,
    "downwardAPI": _downward,
    "fc": sources.fibre_channel,
    "flexVolume": sources.flex,
    "configMap": _files_of("name"),
    "azureFile": sources.needs("secretName", "shareName"),
    "vsphereVolume": sources.needs("volumePath"),
    "photonPersistentDisk": sources.needs("pdID"),
    "portworxVolume": sources.needs("volumeID"),
    "azureDisk": sources.azure_disk,
    "storageos": sources.storage_os("name"),
    "projected": projected,
    "scaleIO": sources.needs("gateway", "system", "volumeName"),
    "csi": sources.csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
