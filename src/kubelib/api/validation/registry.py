"""Which rules belong to which kind."""

import re
from collections.abc import Callable

from kubelib.api.errors import Problem
from kubelib.api.scheme import Resource, Tree
from kubelib.api.validation import pods, services, workloads
from kubelib.api.validation.meta import metadata_problems, metadata_update_problems
from kubelib.api.validation.problems import forbidden, immutable, invalid, not_supported, required

MAX_SECRET = 1024 * 1024
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+").fullmatch


def _data_problems(tree: Tree) -> list[Problem]:
    problems: list[Problem] = []
    size = 0
    for part in ("data", "binaryData"):
        for key, value in (tree.get(part) or {}).items():
            if not _CONFIG_KEY(key) or len(key) > 253:
                problems.append(
                    invalid(
                        f"{part}[{key}]",
                        key,
                        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',"
                        "  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                    )
                )
            if part == "binaryData" and key in (tree.get("data") or {}):
                problems.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
            size += len(str(value))
    if size > MAX_SECRET:
        problems.append(
            Problem("FieldValueTooLong", "", f"Too long: may not be more than {MAX_SECRET} bytes")
        )
    return problems


_SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def _secret_problems(tree: Tree) -> list[Problem]:
    import base64

    problems = _data_problems(tree)
    for key, value in (tree.get("data") or {}).items():
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            problems.append(invalid(f"data[{key}]", "<secret>", "must be base64"))
    for key in _SECRET_KEYS.get(tree.get("type") or "", ()):
        if key not in (tree.get("data") or {}):
            problems.append(required(f"data[{key}]"))
    return problems


def _config_update(new: Tree, old: Tree) -> list[Problem]:
    problems = _data_problems(new)
    if old.get("immutable"):
        if not new.get("immutable"):
            problems.append(forbidden("immutable", "field is immutable when `immutable` is set"))
        for part in ("data", "binaryData"):
            if new.get(part) != old.get(part):
                problems.append(forbidden(part, "field is immutable when `immutable` is set"))
    return problems


def _secret_update(new: Tree, old: Tree) -> list[Problem]:
    return [
        *_config_update(new, old),
        *_secret_problems(new),
        *immutable("type", new.get("type"), old.get("type")),
    ]


def _binding_problems(tree: Tree) -> list[Problem]:
    role = tree.get("roleRef") or {}
    problems = []
    if not role.get("name"):
        problems.append(required("roleRef.name"))
    if role.get("kind") not in ("Role", "ClusterRole"):
        problems.append(not_supported("roleRef.kind", role.get("kind") or "", ("Role", "ClusterRole")))
    for at, subject in enumerate(tree.get("subjects") or ()):
        if not subject.get("name"):
            problems.append(required(f"subjects[{at}].name"))
        if subject.get("kind") not in ("ServiceAccount", "User", "Group"):
            problems.append(
                not_supported(
                    f"subjects[{at}].kind", subject.get("kind") or "", ("ServiceAccount", "User", "Group")
                )
            )
    return problems


def _binding_update(new: Tree, old: Tree) -> list[Problem]:
    problems = _binding_problems(new)
    if new.get("roleRef") != old.get("roleRef"):
        problems.append(invalid("roleRef", new.get("roleRef"), "cannot change roleRef"))
    return problems


def _role_problems(tree: Tree) -> list[Problem]:
    return [
        required(f"rules[{at}].verbs", "verbs must contain at least one value")
        for at, rule in enumerate(tree.get("rules") or ())
        if not rule.get("verbs")
    ]


def _lease_problems(tree: Tree) -> list[Problem]:
    duration = (tree.get("spec") or {}).get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        return [invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")]
    return []


_CREATE: dict[str, Callable[[Tree], list[Problem]]] = {
    "Pod": pods.pod_problems,
    "ReplicationController": workloads.replication_controller_problems,
    "ReplicaSet": workloads.replica_set_problems,
    "Deployment": workloads.deployment_problems,
    "DaemonSet": workloads.daemon_set_problems,
    "StatefulSet": workloads.daemon_set_problems,
    "Job": workloads.job_problems,
    "Service": services.service_problems,
    "Endpoints": services.endpoints_problems,
    "EndpointSlice": services.endpoint_slice_problems,
    "ConfigMap": _data_problems,
    "Secret": _secret_problems,
    "RoleBinding": _binding_problems,
    "ClusterRoleBinding": _binding_problems,
    "Role": _role_problems,
    "ClusterRole": _role_problems,
    "Lease": _lease_problems,
    "PodTemplate": lambda tree: pods.template_problems(tree.get("template"), "template", always=False),
}


def _same_as_create_with_selector(kind: str) -> Callable[[Tree, Tree], list[Problem]]:
    return lambda new, old: [*workloads.selector_update_problems(new, old), *_CREATE[kind](new)]


_UPDATE: dict[str, Callable[[Tree, Tree], list[Problem]]] = {
    "Pod": pods.pod_update_problems,
    "Service": services.service_update_problems,
    "ConfigMap": _config_update,
    "Secret": _secret_update,
    "RoleBinding": _binding_update,
    "ClusterRoleBinding": _binding_update,
    "EndpointSlice": lambda new, old: [
        *immutable("addressType", new.get("addressType"), old.get("addressType")),
        *services.endpoint_slice_problems(new),
    ],
    **{
        kind: _same_as_create_with_selector(kind)
        for kind in ("ReplicaSet", "Deployment", "DaemonSet", "StatefulSet")
    },
}


def validate_create(resource: Resource, tree: Tree) -> list[Problem]:
    """Return what is wrong with a new object whose types are right and whose defaults are filled in."""
    problems = metadata_problems(tree, resource)
    rule = _CREATE.get(resource.kind)
    return problems + rule(tree) if rule is not None else problems


def validate_update(resource: Resource, new: Tree, old: Tree, *, subresource: str = "") -> list[Problem]:
    """Return what is wrong with a change. For a status, only the metadata is looked at."""
    problems = metadata_update_problems(new, old, resource)
    if subresource:
        return problems
    update = _UPDATE.get(resource.kind)
    if update is not None:
        return problems + update(new, old)
    rule = _CREATE.get(resource.kind)
    return problems + rule(new) if rule is not None else problems
