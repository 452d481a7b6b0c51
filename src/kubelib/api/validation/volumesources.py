"""Rules of where the data of a volume comes from: of the sources that Pods and persistent volumes share."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.devicenames import driver_problems
from kubelib.api.validation.problems import each, forbidden, invalid, not_supported, required

Rule = Callable[[Tree, str, list[Problem]], None]

_HOST_PATHS = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_ISCSI_NAMES = {
    "iqn": re.compile(r"iqn\.[0-9]{4}-[0-9]{2}\.([a-zA-Z0-9.-]+)(:[^,;*&$|\s]+)\Z").search,
    "eui": re.compile(r"eui.[a-zA-Z0-9]{16}").fullmatch,
    "naa": re.compile(r"naa.[a-zA-Z0-9]{32}").fullmatch,
}
_LONGEST_PORTAL = 64
_LONGEST_TENANT = 64
_PAIRS = "must be a host:port pair or multiple pairs separated by commas"
_pair = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):[^:\[\]]*").fullmatch

# Kubernetes has these names for the fields that it finds something wrong in, and for those that are one too many.
_SHOWN = {"gcePersistentDisk": "persistentDisk"}
_SHOWN_EXTRA = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}


_NAME_AND_SOURCE = 2


def source_problems(owner: Tree, path: str, rules: Mapping[str, Rule], problems: list[Problem]) -> None:
    """Check the one source that a volume has, by the rules of all sources that it may have."""
    found = False
    # Most have a name and one source: the others need not be asked for.
    given = rules.items() if len(owner) > _NAME_AND_SOURCE else [(f, rules[f]) for f in owner if f in rules]
    for field, rule in given:
        source = owner.get(field)
        if source is None:
            continue
        if found:
            where = f"{path}.{_SHOWN_EXTRA.get(field, field)}"
            problems.append(forbidden(where, "may not specify more than 1 volume type"))
        elif isinstance(source, dict):
            rule(source, f"{path}.{_SHOWN.get(field, field)}", problems)
        found = True
    if not found:
        problems.append(required(path, "must specify a volume type"))


def needs(*fields: str) -> Rule:
    """Return the rule that some fields of a source are given."""

    def rule(source: Tree, path: str, problems: list[Problem]) -> None:
        problems += [required(f"{path}.{field}") for field in fields if not source.get(field)]

    return rule


def secret_name_problems(source: Tree, path: str, problems: list[Problem], *fields: str) -> None:
    """Check that a source's reference to a Secret, if it has one, says these fields."""
    secret = source.get("secretRef")
    if secret is not None:
        needs(*fields)(secret, f"{path}.secretRef", problems)


def host_path(source: Tree, path: str, problems: list[Problem]) -> None:
    """Check a path of the node."""
    if not source.get("path"):
        problems.append(required(f"{path}.path"))
        return
    problems += each(f"{path}.path", source["path"], texts.no_backsteps(source["path"]))
    kind = source.get("type") or ""
    if kind not in _HOST_PATHS:
        problems.append(not_supported(f"{path}.type", kind, _HOST_PATHS))


def disk(name: str) -> Rule:
    """Return the rule of a disk that is known by a name and may have partitions."""

    def rule(source: Tree, path: str, problems: list[Problem]) -> None:
        needs(name)(source, path, problems)
        partition = source.get("partition") or 0
        if not 0 <= partition <= 255:
            problems.append(invalid(f"{path}.partition", partition, "must be between 1 and 255, inclusive"))

    return rule


def _iscsi_name_problems(name: str, path: str, begins: str, problems: list[Problem]) -> None:
    rule = _ISCSI_NAMES.get(name[:3])
    if rule is None:
        problems.append(invalid(path, name, begins))
    elif not rule(name):
        problems.append(invalid(path, name, "must be valid format"))


def iscsi(source: Tree, path: str, problems: list[Problem], *, persistent: bool = False) -> None:
    """Check a target of iSCSI."""
    begins = "must be valid format" if persistent else "must be valid format starting with iqn, eui, or naa"
    needs("targetPortal")(source, path, problems)
    if not source.get("iqn"):
        problems.append(required(f"{path}.iqn"))
    else:
        _iscsi_name_problems(source["iqn"], f"{path}.iqn", begins, problems)
    _lun_problems(source.get("lun") or 0, path, problems)
    secret = source.get("secretRef")
    if secret is None:
        if source.get("chapAuthDiscovery") or source.get("chapAuthSession"):
            problems.append(required(f"{path}.secretRef"))
    elif persistent and not secret.get("name"):
        problems.append(required(f"{path}.secretRef.name"))
    name = source.get("initiatorName")
    if name is not None:
        _iscsi_name_problems(name, f"{path}.initiatorname", begins, problems)


def portal_problems(source: Any, name: str, path: str, shown: str) -> list[Problem]:
    """Check that the name of a volume of iSCSI and its portal fit into one name; `shown` is the value that is named."""
    portal = (source or {}).get("targetPortal") or ""
    if not source or source.get("initiatorName") is None or len(f"{name}:{portal}") <= _LONGEST_PORTAL:
        return []
    why = (
        "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is"
        " specified."
    )
    return [invalid(path, shown, why)]


def _lun_problems(lun: int, path: str, problems: list[Problem]) -> None:
    if not 0 <= lun <= 255:
        problems.append(invalid(f"{path}.lun", lun, "must be between 0 and 255, inclusive"))


def fibre_channel(source: Tree, path: str, problems: list[Problem]) -> None:
    """Check a disk of Fibre Channel."""
    targets, identities = source.get("targetWWNs") or [], source.get("wwids") or []
    where = f"{path}.targetWWNs"
    if not targets and not identities:
        problems.append(required(where, "must specify either targetWWNs or wwids, but not both"))
    if targets and identities:
        problems.append(invalid(where, targets, "targetWWNs and wwids can not be specified simultaneously"))
    if targets:
        if source.get("lun") is None:
            problems.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
        else:
            _lun_problems(source["lun"], path, problems)


def nfs(source: Tree, path: str, problems: list[Problem]) -> None:
    """Check a directory of an NFS server."""
    needs("server", "path")(source, path, problems)
    if not (source.get("path") or "").startswith("/"):
        problems.append(invalid(f"{path}.path", source.get("path") or "", "must be an absolute path"))


def quobyte(source: Tree, path: str, problems: list[Problem]) -> None:
    """Check a volume of Quobyte."""
    registry = source.get("registry") or ""
    if not registry:
        problems.append(required(f"{path}.registry", _PAIRS))
    elif len(source.get("tenant") or "") > _LONGEST_TENANT:
        why = f"must be a UUID and may not exceed a length of {_LONGEST_TENANT} characters"
        problems.append(required(f"{path}.tenant", why))
    else:
        problems += [
            invalid(f"{path}.registry", registry, _PAIRS) for pair in registry.split(",") if not _pair(pair)
        ]
    needs("volume")(source, path, problems)


def flocker(source: Tree, path: str, problems: list[Problem]) -> None:
    """Check a volume of Flocker."""
    name, uid = source.get("datasetName") or "", source.get("datasetUUID") or ""
    if not name and not uid:
        problems.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uid:
        why = "datasetName and datasetUUID can not be specified simultaneously"
        problems.append(invalid(path, "resource", why))
    if "/" in name:
        problems.append(invalid(f"{path}.datasetName", name, "must not contain '/'"))


def flex(source: Tree, path: str, problems: list[Problem]) -> None:
    """Check a volume of a driver on the node."""
    needs("driver")(source, path, problems)
    for key in source.get("options") or {}:
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io")):
            why = "kubernetes.io and k8s.io namespaces are reserved"
            problems.append(invalid(f"{path}.options[{key}]", key, why))


def azure_disk(source: Tree, path: str, problems: list[Problem]) -> None:
    """Check a disk of Azure."""
    needs("diskName", "diskURI")(source, path, problems)
    kind, address = source.get("kind"), source.get("diskURI") or ""
    for field, allowed in (
        ("cachingMode", ("None", "ReadOnly", "ReadWrite")),
        ("kind", ("Dedicated", "Managed", "Shared")),
    ):
        if source.get(field) is not None and source[field] not in allowed:
            problems.append(not_supported(f"{path}.{field}", source[field], allowed))
    begin, form = (
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
        if kind == "Managed"
        else ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    )
    if kind is not None and not address.startswith(begin):
        problems.append(not_supported(f"{path}.diskURI", address, (form,)))


def storage_os(*secret: str) -> Rule:
    """Return the rule of a volume of StorageOS; `secret` are the fields of its reference to a Secret."""

    def rule(source: Tree, path: str, problems: list[Problem]) -> None:
        needs("volumeName")(source, path, problems)
        for field in ("volumeName", "volumeNamespace"):
            if value := source.get(field):
                problems += each(f"{path}.{field}", value, texts.label(value))
        secret_name_problems(source, path, problems, *secret)

    return rule


def cinder(*secret: str) -> Rule:
    """Return the rule of a volume of Cinder; `secret` are the fields of its reference to a Secret."""

    def rule(source: Tree, path: str, problems: list[Problem]) -> None:
        needs("volumeID")(source, path, problems)
        secret_name_problems(source, path, problems, *secret)

    return rule


def csi(source: Tree, path: str, problems: list[Problem]) -> None:
    """Check a volume that a CSI driver makes for a Pod."""
    problems += driver_problems(f"{path}.driver", source.get("driver") or "")
    secret = source.get("nodePublishSecretRef")
    if secret is None:
        return
    if name := secret.get("name"):
        problems += each(f"{path}.name", name, texts.subdomain(name))
    else:
        problems.append(required(f"{path}.nodePublishSecretRef.name"))
