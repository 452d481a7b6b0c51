"""Which names a definition may have, and what its conditions say of that: first come, first served within a group.

Pure, after ``k8s.io/apiextensions-apiserver/pkg/controller/status``.
"""

from collections.abc import Iterable

from kubelib.api.scheme import Tree
from kubelib.api.validation.bundles import bundle_problem
from kubelib.api.validation.definitions import approval, conversion_bundle, is_protected, is_true


def find_condition(tree: Tree, kind: str) -> Tree | None:
    """Return a condition of a definition, or None."""
    conditions = (tree.get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == kind), None)


def set_condition(tree: Tree, kind: str, status: bool, reason: str, message: str, now: str) -> None:
    """Set a condition, in place; its date moves only when its status does."""
    state = "True" if status else "False"
    conditions = tree.setdefault("status", {}).setdefault("conditions", [])
    new = {
        "type": kind,
        "status": state,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
    for at, condition in enumerate(conditions):
        if condition.get("type") == kind:
            if condition.get("status") == state:
                new["lastTransitionTime"] = condition.get("lastTransitionTime") or now
            conditions[at] = new
            return
    conditions.append(new)


def _taken(others: Iterable[Tree]) -> tuple[set[str], set[str]]:
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {
            names.get("plural") or "",
            names.get("singular") or "",
            *(names.get("shortNames") or ()),
        }
        kinds |= {names.get("kind") or "", names.get("listKind") or ""}
    return resources - {""}, kinds - {""}


def accept_names(tree: Tree, others: Iterable[Tree], now: str) -> None:
    """Give a definition the names that are free in its group, and say so in its conditions, in place.

    `others` are the other definitions of the group.
    """
    wanted = tree["spec"]["names"]
    status = tree.setdefault("status", {})
    accepted = {name: value for name, value in (status.get("acceptedNames") or {}).items() if value}
    named = {name: value for name, value in wanted.items() if value}
    if accepted == named and (known := find_condition(tree, "NamesAccepted")) is not None:
        if known.get("status") == "True":
            _establish(tree, now)
        return
    resources, kinds = _taken(others)
    reason = message = ""

    def in_use(name: str) -> str:
        return f'"{name}" is already in use'

    for part, taken, why in (
        ("plural", resources, "PluralConflict"),
        ("singular", resources, "SingularConflict"),
        ("shortNames", resources, "ShortNamesConflict"),
        ("kind", kinds, "KindConflict"),
        ("listKind", kinds, "ListKindConflict"),
    ):
        value, before = wanted.get(part), accepted.get(part)
        if part == "shortNames":
            conflicts = [name for name in value or () if name not in (before or ()) and name in taken]
            if conflicts:
                texts = [in_use(name) for name in conflicts]
                reason, message = why, texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
                continue
        elif value != before and value in taken:
            reason, message = why, in_use(str(value))
            continue
        if value:
            accepted[part] = value
        else:
            accepted.pop(part, None)
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    else:
        accepted.pop("categories", None)
    status["acceptedNames"] = {"kind": "", "plural": "", **accepted}
    good = not reason
    set_condition(tree, "NamesAccepted", good, reason or "NoConflicts", message or "no conflicts found", now)
    if good:
        _establish(tree, now)
    elif not is_true(tree, "Established"):
        set_condition(tree, "Established", False, "NotAccepted", "not all names are accepted", now)


def _establish(tree: Tree, now: str) -> None:
    """Say that a definition whose names are accepted is served from now on, unless its webhook could not be trusted."""
    if is_true(tree, "Established"):
        return
    reason, message = "InitialNamesAccepted", "the initial names have been accepted"
    if bundle_problem(conversion_bundle(tree)):
        reason, message = "InvalidCABundle", "The conversion webhook CABundle is invalid"
    set_condition(tree, "Established", reason != "InvalidCABundle", reason, message, now)


def judge_approval(tree: Tree, now: str) -> None:
    """Say in a condition whether a definition in a group of the Kubernetes project has been approved, in place."""
    if not is_protected(tree["spec"].get("group") or ""):
        return
    reason, message = approval(tree)
    kind = "KubernetesAPIApprovalPolicyConformant"
    set_condition(tree, kind, reason == "ApprovedAnnotation", reason, message, now)
