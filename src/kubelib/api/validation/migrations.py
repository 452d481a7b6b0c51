"""Rules of StorageVersionMigrations."""

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation.devicenames import condition_problems
from kubelib.api.validation.problems import immutable, invalid, non_negative, required

_BOTH = "Both success and failed conditions cannot be true at the same time"


def migration_problems(tree: Tree) -> list[Problem]:
    """Check a StorageVersionMigration."""
    resource = (tree.get("spec") or {}).get("resource") or {}
    return [] if resource.get("resource") else [required("spec.resource.resource", "resource is required")]


def migration_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the change of a StorageVersionMigration: what is migrated stays."""
    now, before = ((tree.get("spec") or {}).get("resource") or {} for tree in (new, old))
    problems = migration_problems(new)
    for part in ("group", "resource"):
        problems += immutable(part, now.get(part) or "", before.get(part) or "")
    return problems


def migration_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check how far a migration is: it succeeds or fails, once, and does not run then."""
    path, status, before = "status.conditions", new.get("status") or {}, old.get("status") or {}
    version, old_version = status.get("resourceVersion") or "", before.get("resourceVersion") or ""
    problems: list[Problem] = []
    if version:
        try:
            problems += non_negative("status.resourceVersion", int(version))
        except ValueError:
            detail = f'failed to parse resource version "{version}": strconv.ParseInt: parsing "{version}": invalid syntax'
            problems.append(invalid("status.resourceVersion", version, detail))
    conditions = status.get("conditions") or []
    problems += condition_problems(path, conditions)
    if old_version and version != old_version:
        problems.append(invalid("status.resourceVersion", version, "cannot be updated"))
    true, once = _true(status), _true(before)
    if {"Succeeded", "Failed"} <= true:
        problems.append(invalid(path, conditions, _BOTH))
    for kind, said in (("Succeeded", "success"), ("Failed", "failed")):
        if {kind, "Running"} <= true:
            detail = f"Running condition cannot be true when {said} condition is true"
            problems.append(invalid(path, conditions, detail))
        if kind in once and kind not in true:
            detail = f"{said.capitalize()} condition cannot be set to false once it is true"
            problems.append(invalid(path, conditions, detail))
    return problems


def _true(status: Tree) -> set[str]:
    return {c.get("type") or "" for c in status.get("conditions") or () if c.get("status") == "True"}
