"""The columns of what extends and guards the API: webhooks, policies, API services, certificates, flows."""

from datetime import datetime, timedelta

from kubelib.api.columns.cells import AGE, NAME, NONE, PLAIN_NAME, Cell, at, field, go_selector_text
from kubelib.api.scheme import Column, Tree
from kubelib.api.times import human_duration

_UNSET = "<unset>"


def _count(*path: str) -> Cell:
    return lambda tree, now: len(at(tree, *path) or ())


def _param_kind(tree: Tree, now: datetime) -> str:
    kind = at(tree, "spec", "paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else _UNSET


def _param_ref(tree: Tree, now: datetime) -> str:
    reference = at(tree, "spec", "paramRef") or {}
    if reference.get("name"):
        return f"{reference.get('namespace') or '*'}/{reference['name']}"
    return go_selector_text(reference["selector"]) if reference.get("selector") is not None else _UNSET


WEBHOOK_CONFIGURATION = (NAME, Column("Webhooks", _count("webhooks"), "integer"), AGE)
ADMISSION_POLICY = (
    NAME,
    Column("Validations", _count("spec", "validations"), "integer"),
    Column("ParamKind", _param_kind),
    AGE,
)
MUTATING_POLICY = (
    NAME,
    Column("Mutations", _count("spec", "mutations"), "integer"),
    Column("ParamKind", _param_kind),
    AGE,
)
ADMISSION_POLICY_BINDING = (
    NAME,
    Column("PolicyName", field("spec", "policyName")),
    Column("ParamRef", _param_ref),
    AGE,
)


def _served_by(tree: Tree, now: datetime) -> str:
    service = at(tree, "spec", "service")
    return f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"


def _available(tree: Tree, now: datetime) -> str:
    for condition in at(tree, "status", "conditions") or ():
        if condition.get("type") == "Available":
            status = str(condition.get("status"))
            return status if status == "True" else f"{status} ({condition.get('reason', '')})"
    return "Unknown"


API_SERVICE = (NAME, Column("Service", _served_by), Column("Available", _available), AGE)


def _requested_duration(tree: Tree, now: datetime) -> str:
    seconds = at(tree, "spec", "expirationSeconds")
    return NONE if seconds is None else human_duration(timedelta(seconds=seconds))


def _decision(tree: Tree, now: datetime) -> str:
    types = {condition.get("type") for condition in at(tree, "status", "conditions") or ()}
    parts = ["Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"]
    if "Failed" in types:
        parts.append("Failed")
    if at(tree, "status", "certificate"):
        parts.append("Issued")
    return ",".join(parts)


CERTIFICATE_SIGNING_REQUEST = (
    NAME,
    AGE,
    Column("SignerName", field("spec", "signerName", default=NONE)),
    Column("Requestor", field("spec", "username")),
    Column("RequestedDuration", _requested_duration),
    Column("Condition", _decision),
)

CLUSTER_TRUST_BUNDLE = (NAME, Column("SignerName", field("spec", "signerName", default=NONE)))


def _outcome(tree: Tree, now: datetime) -> str:
    types = {condition.get("type") for condition in at(tree, "status", "conditions") or ()}
    return next((kind for kind in ("Issued", "Denied", "Failed") if kind in types), "Pending")


POD_CERTIFICATE_REQUEST = (
    NAME,
    Column("PodName", field("spec", "podName")),
    Column("ServiceAccountName", field("spec", "serviceAccountName")),
    Column("NodeName", field("spec", "nodeName")),
    Column("SignerName", field("spec", "signerName")),
    Column("State", _outcome),
    AGE,
)


def _migrated(tree: Tree, now: datetime) -> str:
    resource = at(tree, "spec", "resource") or {}
    return ".".join(part for part in (resource.get("resource"), resource.get("group")) if part)


STORAGE_VERSION_MIGRATION = (PLAIN_NAME, Column("Resource", _migrated))

CUSTOM_RESOURCE_DEFINITION = (
    NAME,
    Column(
        "Created At",
        field("metadata", "creationTimestamp", default=NONE),
        "date",
        description="When the definition was created.",
    ),
)

RUNTIME_CLASS = (NAME, Column("Handler", field("handler")), AGE)


def _dangling(tree: Tree, now: datetime) -> str:
    for condition in at(tree, "status", "conditions") or ():
        if condition.get("type") == "Dangling":
            return str(condition.get("status"))
    return "?"


_QUEUING = ("spec", "limited", "limitResponse", "queuing")

FLOW_SCHEMA = (
    NAME,
    Column("PriorityLevel", field("spec", "priorityLevelConfiguration", "name")),
    Column("MatchingPrecedence", field("spec", "matchingPrecedence", default=0)),
    Column("DistinguisherMethod", field("spec", "distinguisherMethod", "type", default=NONE)),
    AGE,
    Column("MissingPL", _dangling),
)
PRIORITY_LEVEL = (
    NAME,
    Column("Type", field("spec", "type")),
    Column("NominalConcurrencyShares", field("spec", "limited", "nominalConcurrencyShares", default=NONE)),
    Column("Queues", field(*_QUEUING, "queues", default=NONE)),
    Column("HandSize", field(*_QUEUING, "handSize", default=NONE)),
    Column("QueueLengthLimit", field(*_QUEUING, "queueLengthLimit", default=NONE)),
    AGE,
)
