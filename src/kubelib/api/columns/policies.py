"""The columns of configuration, identities, roles, quotas, priorities, leases and events."""

from datetime import datetime
from typing import Any

from kubelib.api.columns.cells import AGE, NAME, Cell, age_of, at, count, field
from kubelib.api.scheme import Column, Tree

CONFIG_MAP = (
    NAME,
    Column("Data", lambda t, n: len(t.get("data") or ()) + len(t.get("binaryData") or ())),
    AGE,
)
SECRET = (NAME, Column("Type", field("type")), Column("Data", lambda t, n: len(t.get("data") or ())), AGE)
SERVICE_ACCOUNT = (NAME, Column("Secrets", lambda t, n: len(t.get("secrets") or ())), AGE)
LEASE = (NAME, Column("Holder", field("spec", "holderIdentity")), AGE)
PRIORITY_CLASS = (
    NAME,
    Column("Value", field("value", default=0), "integer"),
    Column("Global-Default", lambda t, n: bool(t.get("globalDefault")), "boolean"),
    AGE,
    Column("PreemptionPolicy", field("preemptionPolicy")),
)

# Roles

_CREATED = Column("Created At", field("metadata", "creationTimestamp"), "date")
ROLE = (NAME, _CREATED)
LIMIT_RANGE = (NAME, _CREATED)


def _role(tree: Tree, now: datetime) -> str:
    return f"{at(tree, 'roleRef', 'kind')}/{at(tree, 'roleRef', 'name')}"


def _subjects(kind: str) -> Cell:
    def cell(tree: Tree, now: datetime) -> str:
        found = []
        for subject in tree.get("subjects") or ():
            if subject.get("kind") == kind:
                name = str(subject.get("name"))
                found.append(f"{subject.get('namespace')}/{name}" if kind == "ServiceAccount" else name)
        return ", ".join(found)

    return cell


ROLE_BINDING = (
    NAME,
    Column("Role", _role),
    AGE,
    Column("Users", _subjects("User"), wide=True),
    Column("Groups", _subjects("Group"), wide=True),
    Column("ServiceAccounts", _subjects("ServiceAccount"), wide=True),
)

# Quotas and budgets


def _quota(*, limits: bool) -> Cell:
    def cell(tree: Tree, now: datetime) -> str:
        used = at(tree, "status", "used") or {}
        hard = at(tree, "status", "hard") or {}
        return ", ".join(
            f"{name}: {used.get(name, '0')}/{hard[name]}"
            for name in sorted(hard)
            if name.startswith("limits.") == limits
        )

    return cell


RESOURCE_QUOTA = (NAME, Column("Request", _quota(limits=False)), Column("Limit", _quota(limits=True)), AGE)


def _or_not_available(name: str) -> Cell:
    def cell(tree: Tree, now: datetime) -> str:
        value = at(tree, "spec", name)
        return "N/A" if value is None else str(value)

    return cell


PDB = (
    NAME,
    Column("Min Available", _or_not_available("minAvailable")),
    Column("Max Unavailable", _or_not_available("maxUnavailable")),
    Column("Allowed Disruptions", count("status", "disruptionsAllowed"), "integer"),
    AGE,
)

# Events, in either of their two forms


def _first_seen(tree: Tree, now: datetime) -> str:
    first = tree.get("firstTimestamp") or tree.get("deprecatedFirstTimestamp")
    return age_of(first or tree.get("eventTime"), now)


def _last_seen(tree: Tree, now: datetime) -> str:
    if series := tree.get("series"):
        return age_of(series.get("lastObservedTime"), now)
    last = tree.get("lastTimestamp") or tree.get("deprecatedLastTimestamp")
    return age_of(last, now) if last else _first_seen(tree, now)


def _involved(tree: Tree) -> Tree:
    involved: Tree = tree.get("involvedObject") or tree.get("regarding") or {}
    return involved


def _object(tree: Tree, now: datetime) -> str:
    involved = _involved(tree)
    kind = str(involved.get("kind") or "").lower()
    return f"{kind}/{involved['name']}" if involved.get("name") else kind


def _source(tree: Tree, now: datetime) -> str:
    source = tree.get("source") or tree.get("deprecatedSource") or {}
    reporter = tree.get("reportingComponent") or tree.get("reportingController")
    component = source.get("component") or reporter or ""
    host = source.get("host") or tree.get("reportingInstance")
    return f"{component}, {host}" if host else component


def _repeated(tree: Tree, now: datetime) -> Any:
    if series := tree.get("series"):
        return series.get("count") or 0
    return tree.get("count") or tree.get("deprecatedCount") or 1


EVENT = (
    Column("Last Seen", _last_seen),
    Column("Type", field("type")),
    Column("Reason", field("reason")),
    Column("Object", _object),
    Column("Subobject", lambda t, n: _involved(t).get("fieldPath") or "", wide=True),
    Column("Source", _source, wide=True),
    Column("Message", lambda t, n: str(t.get("message") or t.get("note") or "").strip()),
    Column("First Seen", _first_seen, wide=True),
    Column("Count", _repeated, wide=True),
    Column("Name", field("metadata", "name"), format="name", wide=True),
)


def _healthy(part: str) -> Cell:
    def cell(tree: Tree, now: datetime) -> str:
        condition: Tree = next((c for c in tree.get("conditions") or () if c.get("type") == "Healthy"), {})
        value: str = condition.get(part) or ""
        return {"True": "Healthy", "False": "Unhealthy"}.get(value, "Unknown") if part == "status" else value

    return cell


COMPONENT_STATUS = (
    NAME,
    Column("Status", _healthy("status")),
    Column("Message", _healthy("message")),
    Column("Error", _healthy("error")),
)
