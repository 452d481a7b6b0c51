"""Rules of references from environment variables and files to the Pod's own fields."""

from collections.abc import Sequence

from kubelib.api.errors import Problem
from kubelib.api.quantity import QuantityError, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import each, invalid, not_supported, required

_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage",
    "requests.memory",
)  # fmt: skip
_HUGE = ("limits.hugepages-", "requests.hugepages-")
_KNOWN = frozenset(
    (
        "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
        "spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "spec.schedulerName", "status.phase",
        "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs", "spec.host",
    )
)  # fmt: skip
_CPU_UNITS = ("1m", "1")
_BYTE_UNITS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")


def field_reference_problems(
    reference: Tree, path: str, allowed: Sequence[str], problems: list[Problem]
) -> None:
    """Check a reference to a field of the Pod."""
    target = reference.get("fieldPath") or ""
    if target in allowed and reference.get("apiVersion") == "v1":
        return
    if not reference.get("apiVersion"):
        problems.append(required(f"{path}.apiVersion"))
        return
    if not target:
        problems.append(required(f"{path}.fieldPath"))
        return
    field, bracket, subscript = target.partition("['")
    subscripted = bool(bracket) and target.endswith("']")
    if reference["apiVersion"] != "v1":
        why = f"unsupported pod version: {reference['apiVersion']}"
        problems.append(invalid(f"{path}.fieldPath", target, f"error converting fieldPath: {why}"))
    elif field not in _KNOWN or (bracket and not subscripted):
        why = f"field label not supported: {target}"
        problems.append(invalid(f"{path}.fieldPath", target, f"error converting fieldPath: {why}"))
    elif subscripted:
        key = subscript[:-2]
        if field == "metadata.annotations":
            problems += each(path, key, texts.qualified(key.lower()))
        elif field == "metadata.labels":
            problems += each(path, key, texts.qualified(key))
        else:
            problems.append(invalid(path, field, "does not support subscript"))
    else:
        problems.append(not_supported(f"{path}.fieldPath", target, allowed))


def resource_reference_problems(
    reference: Tree, path: str, problems: list[Problem], *, volume: bool = False
) -> None:
    """Check a reference to what a container asks for."""
    resource = reference.get("resource") or ""
    if volume and not reference.get("containerName"):
        problems.append(required(f"{path}.containerName"))
    elif not resource:
        problems.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE):
        problems.append(not_supported(f"{path}.resource", resource, _RESOURCES))
    divisor = reference.get("divisor") or "0"
    try:
        unit = str(parse_quantity(divisor))
    except (QuantityError, TypeError, AttributeError) as error:
        problems.append(invalid(f"{path}.divisor", divisor, str(error)))
        return
    what = resource.partition(".")[2]
    kind = (
        "hugepages" if what.startswith("hugepages-") else "local ephemeral storage" if "eph" in what else what
    )
    units = _CPU_UNITS if kind == "cpu" else _BYTE_UNITS
    if unit != "0" and unit not in units and resource:
        names = "1m and 1" if kind == "cpu" else ", ".join(_BYTE_UNITS)
        problems.append(
            invalid(
                f"{path}.divisor",
                resource,
                f"only divisor's values {names} are supported with the {kind} resource",
            )
        )


def key_reference_problems(reference: Tree, path: str, problems: list[Problem]) -> None:
    """Check a reference to a key of a ConfigMap or Secret."""
    name, key = reference.get("name") or "", reference.get("key") or ""
    if messages := texts.subdomain(name):
        problems += each(f"{path}.name", name, messages)
    if not key:
        problems.append(required(f"{path}.key"))
    elif messages := texts.config_key(key):
        problems += each(f"{path}.key", key, messages)


def file_reference_problems(reference: Tree, path: str, problems: list[Problem]) -> None:
    """Check a reference to a variable in a file of a volume."""
    checks = (("key", texts.env_name), ("volumeName", texts.label), ("path", texts.unreserved))
    for field, check in checks:
        value = reference.get(field) or ""
        if not value:
            problems.append(required(f"{path}.{field}"))
        elif messages := check(value):
            problems += each(f"{path}.{field}", value, messages)
