"""Rules of CustomResourceDefinitions.

What all versions have in common Kubernetes checks once, under the names that it had when there was only one version: problems of a
schema that is the same in all versions are found at ``spec.validation.openAPIV3Schema``, as they are by kube-apiserver.
"""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.structural.fieldpaths import plain_steps
from kubelib.api.validation.bundles import bundle_problem, shown_bundle
from kubelib.api.validation.problems import (
    duplicate,
    faulty,
    forbidden,
    immutable,
    invalid,
    one_of,
    required,
    too_many,
)
from kubelib.api.validation.rules import expression_problems
from kubelib.api.validation.texts import subdomain
from kubelib.api.validation.webhooks import client_config_problems
from kubelib.labels.validation import is_dns1035_label

APPROVED = "api-approved.kubernetes.io"
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"
_SCOPES = ("Cluster", "Namespaced")
_STRATEGIES = ("None", "Webhook")
_REVIEWS = ("v1", "v1beta1")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_MOST_SELECTABLE = 8


def definition_problems(tree: Tree) -> list[Problem]:
    """Check a new definition."""
    problems = _name_problems(tree)
    problems += _spec_problems(tree.get("spec") or {}, None)
    problems += definition_status_problems(tree, tree)
    problems += _stored_problems(tree)
    problems += _approval_problems(tree, None)
    if (tree.get("spec") or {}).get("preserveUnknownFields"):
        problems.append(invalid("spec.preserveUnknownFields", True, "must be false"))
    return problems


def definition_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change of a definition."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    problems = _spec_problems(spec, before)
    problems += _bundle_problems(new, old)
    names, names_before = spec.get("names") or {}, before.get("names") or {}
    if is_true(old, "Established"):
        problems += immutable("spec.scope", spec.get("scope"), before.get("scope"))
        problems += immutable("spec.names.kind", names.get("kind"), names_before.get("kind"))
    problems += immutable("spec.group", spec.get("group"), before.get("group"))
    problems += immutable("spec.names.plural", names.get("plural"), names_before.get("plural"))
    problems += definition_status_problems(new, old)
    problems += _stored_problems(new)
    problems += _approval_problems(new, old)
    if spec.get("preserveUnknownFields") and not before.get("preserveUnknownFields"):
        problems.append(invalid("spec.preserveUnknownFields", True, "must be false"))
    return problems


def definition_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the status of a definition."""
    names = (new.get("status") or {}).get("acceptedNames") or {}
    return _names_problems(names, "status.acceptedNames")


def is_true(tree: Tree, condition: str) -> bool:
    """Return whether a condition of a definition is true."""
    return any(
        c.get("type") == condition and c.get("status") == "True"
        for c in (tree.get("status") or {}).get("conditions") or ()
    )


def _joined(path: str, value: str, messages: Sequence[str], before: str = "") -> list[Problem]:
    return [invalid(path, value, before + ",".join(messages))] if messages else []


def _name_problems(tree: Tree) -> list[Problem]:
    spec = tree.get("spec") or {}
    name = tree["metadata"].get("name") or ""
    wanted = f"{(spec.get('names') or {}).get('plural') or ''}.{spec.get('group') or ''}"
    if name and name != wanted:
        return [invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')]
    return []


def _spec_problems(spec: Tree, before: Tree | None) -> list[Problem]:
    problems: list[Problem] = []
    group = spec.get("group") or ""
    if not group:
        problems.append(required("spec.group"))
    elif messages := subdomain(group):
        problems += _joined("spec.group", group, messages)
    elif "." not in group:
        problems.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    problems += one_of("spec.scope", spec.get("scope"), _SCOPES)
    versions: list[Tree] = spec.get("versions") or []
    if before is None or all(_schema(v) is not None for v in before.get("versions") or ()):
        for at, version in enumerate(versions):
            if _schema(version) is None:
                where = f"spec.versions[{at}].schema.openAPIV3Schema"
                problems.append(required(where))
    own, shared = _versions_problems(versions, before)
    problems += own
    if len({version.get("name") for version in versions}) < len(versions):
        problems.append(invalid("spec.versions", versions, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        problems.append(invalid("spec.versions", versions, detail))
    names = spec.get("names") or {}
    problems += [
        required(f"spec.names.{part}")
        for part in ("plural", "singular", "kind", "listKind")
        if not names.get(part)
    ]
    problems += _names_problems(names, "spec.names")
    return problems + shared + _conversion_problems(spec, before)


def _names_problems(names: Tree, path: str) -> list[Problem]:
    problems: list[Problem] = []
    for part in ("plural", "singular"):
        if names.get(part):
            problems += _joined(f"{path}.{part}", names[part], is_dns1035_label(names[part]))
    for part in ("kind", "listKind"):
        if names.get(part):
            messages = is_dns1035_label(names[part].lower())
            problems += _joined(
                f"{path}.{part}",
                names[part],
                messages,
                "may have mixed case, but should otherwise match: ",
            )
    for at, name in enumerate(names.get("shortNames") or ()):
        problems += _joined(f"{path}.shortNames[{at}]", name, is_dns1035_label(name))
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        detail = "kind and listKind may not be the same"
        problems.append(invalid(f"{path}.listKind", names["listKind"], detail))
    for at, name in enumerate(names.get("categories") or ()):
        problems += _joined(f"{path}.categories[{at}]", name, is_dns1035_label(name))
    return problems


# Versions


def _schema(version: Tree) -> Tree | None:
    schema: Tree | None = (version.get("schema") or {}).get("openAPIV3Schema")
    return schema


def _shared(versions: Sequence[Tree], part: str) -> bool:
    """Return whether a part is there and the same in all versions: then it is checked once, at its old place."""
    return bool(versions) and all(
        version.get(part) and version.get(part) == versions[0].get(part) for version in versions
    )


def _versions_problems(versions: list[Tree], before: Tree | None) -> tuple[list[Problem], list[Problem]]:
    """Return what is wrong with single versions, and what is wrong with all of them alike."""
    problems: list[Problem] = []
    unchanged = {version.get("name"): _schema(version) for version in (before or {}).get("versions") or ()}

    def schema(version: Tree, path: str, *, has_status: bool) -> list[Problem]:
        found = _schema(version)
        if found is None:
            return []
        where = f"{path}.openAPIV3Schema"
        # Structural schemas know what problems look like: here they are not there yet when this is loaded.
        from kubelib.api.validation.schemas import schema_problems

        problems = schema_problems(found, where, has_status=has_status)
        same = unchanged.get(version.get("name")) == found
        return problems or expression_problems(found, where, unchanged=same)

    def subresources(version: Tree, path: str) -> list[Problem]:
        return _scale_problems((version.get("subresources") or {}).get("scale"), path)

    def columns(version: Tree, path: str) -> list[Problem]:
        return [
            problem
            for at, column in enumerate(version.get("additionalPrinterColumns") or ())
            for problem in _column_problems(column, f"{path}[{at}]")
        ]

    def selectable(version: Tree, path: str) -> list[Problem]:
        return _selectable_problems(version, path)

    any_status = any(_has_status(version) for version in versions)
    shared: list[Problem] = []
    parts: tuple[tuple[str, str, Callable[[Tree, str], list[Problem]]], ...] = (
        ("subresources", "subresources", subresources),
        ("additionalPrinterColumns", "additionalPrinterColumns", columns),
        ("selectableFields", "selectableFields", selectable),
    )
    schema_is_shared = _shared(versions, "schema")
    if schema_is_shared:
        shared += schema(versions[0], "spec.validation", has_status=any_status)
    for name, path, check in parts:
        if _shared(versions, name):
            shared += check(versions[0], f"spec.{path}")
    for at, version in enumerate(versions):
        path = f"spec.versions[{at}]"
        name = version.get("name") or ""
        problems += _joined(f"{path}.name", name, is_dns1035_label(name))
        problems += _warning_problems(version, path)
        if not schema_is_shared:
            problems += schema(version, f"{path}.schema", has_status=_has_status(version))
        for part, place, check in parts:
            if not _shared(versions, part):
                problems += check(version, f"{path}.{place}")
    return problems, shared


def _has_status(version: Tree) -> bool:
    return (version.get("subresources") or {}).get("status") is not None


def _warning_problems(version: Tree, path: str) -> list[Problem]:
    text, where = version.get("deprecationWarning"), f"{path}.deprecationWarning"
    if text is None:
        return []
    if not version.get("deprecated"):
        return [invalid(where, text, "can only be set for deprecated versions")]
    problems: list[Problem] = []
    if len(text.encode()) > 256:
        problems.append(invalid(where, text, "must be <= 256 characters long"))
    if not text:
        problems.append(invalid(where, text, "must not be an empty string"))
    at = 0
    for sign in text:
        if not sign.isprintable():
            detail = (
                f"must only contain printable UTF-8 characters; non-printable character found at index {at}"
            )
            problems.append(invalid(where, text, detail))
            break
        at += len(sign.encode())
    return problems


def _simple_path_problems(path: str, where: str) -> list[Problem]:
    if not path:
        return [invalid(where, path, "must not be empty")]
    return (
        [] if path.startswith(".") else [invalid(where, path, "must be a simple json path starting with .")]
    )


def _scale_problems(scale: Tree | None, path: str) -> list[Problem]:
    if scale is None:
        return []
    problems: list[Problem] = []
    for name, under in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        where, value = f"{path}.scale.{name}", scale.get(name) or ""
        if not value:
            problems.append(required(where))
        elif found := _simple_path_problems(value, where):
            problems += found
        elif not value.startswith(under):
            problems.append(invalid(where, value, f"should be a json path under {under[:-1]}"))
    selector, where = scale.get("labelSelectorPath"), f"{path}.scale.labelSelectorPath"
    if selector:
        if found := _simple_path_problems(selector, where):
            problems += found
        elif not selector.startswith((".spec.", ".status.")):
            detail = "should be a json path under either .spec or .status"
            problems.append(invalid(where, selector, detail))
    return problems


def _column_problems(column: Tree, path: str) -> list[Problem]:
    problems: list[Problem] = [] if column.get("name") else [required(f"{path}.name")]
    kind, format = column.get("type") or "", column.get("format") or ""
    known = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not kind:
        problems.append(required(f"{path}.type", known))
    elif kind not in _COLUMN_TYPES:
        problems.append(invalid(f"{path}.type", kind, known))
    if format and format not in _COLUMN_FORMATS:
        problems.append(invalid(f"{path}.format", format, f"must be one of {','.join(_COLUMN_FORMATS)}"))
    where, json_path = f"{path}.JSONPath", column.get("jsonPath") or ""
    return problems + (_simple_path_problems(json_path, where) if json_path else [required(where)])


def _selectable_problems(version: Tree, path: str) -> list[Problem]:
    fields = version.get("selectableFields") or ()
    schema = _schema(version)
    if not fields:
        return []
    if schema is None:
        single = path.startswith("spec.versions[")
        which = "`version.schema.openAPIV3Schema` is not" if single else "validations.schema is"
        detail = f"may only be set when {which} included"
        return [invalid(path, "", detail)]
    problems: list[Problem] = []
    seen: set[tuple[str, ...]] = set()
    for at, field in enumerate(fields):
        where, json_path = f"{path}[{at}].jsonPath", field.get("jsonPath") or ""
        if not json_path:
            problems.append(required(where))
            continue
        steps = plain_steps(json_path)
        from kubelib.api.validation.schemas import schema_at

        found = schema_at(schema, json_path)
        if steps[:1] == ("metadata",):
            problems.append(invalid(where, json_path, "must not point to fields in metadata"))
            found = found or {}
        if found is None:
            problems.append(invalid(where, json_path, f"is an invalid path: {_why(schema, json_path)}"))
            continue
        if found.get("type") not in ("string", "boolean", "integer"):
            detail = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats"
                " are allowed."
            )
            problems.append(invalid(where, json_path, detail))
        if steps in seen:
            problems.append(duplicate(where, json_path))
        seen.add(steps)
    if len(seen) > _MOST_SELECTABLE:
        problems.append(too_many(path, len(seen), _MOST_SELECTABLE))
    return problems


def _why(schema: Tree, path: str) -> str:
    if not path.startswith((".", "[")):
        return f"expected [ or . but got: {path}"
    found: Any = schema
    for name in plain_steps(path):
        inner = (found.get("properties") or {}).get(name)
        if inner is None:
            return f"does not refer to a valid field: {path}"
        found = inner
    return f"does not refer to a valid field: {path}"


# The rest


def _conversion_problems(spec: Tree, before: Tree | None) -> list[Problem]:
    conversion, path = spec.get("conversion"), "spec.conversion"
    if conversion is None:
        return []
    strategy, webhook = conversion.get("strategy") or "", conversion.get("webhook")
    problems: list[Problem] = []
    if strategy != "None" and spec.get("preserveUnknownFields"):
        why = "must be None if spec.preserveUnknownFields is true"
        problems.append(invalid(f"{path}.strategy", strategy, why))
    problems += one_of(f"{path}.strategy", strategy, _STRATEGIES)
    config = (webhook or {}).get("clientConfig")
    versions = (webhook or {}).get("conversionReviewVersions") or []
    where = f"{path}.webhookClientConfig"
    if strategy != "Webhook":
        detail = "should not be set when strategy is not set to Webhook"
        if config is not None:
            problems.append(forbidden(where, detail))
        if versions:
            problems.append(forbidden(f"{path}.conversionReviewVersions", detail))
        return problems
    if config is None:
        problems.append(required(where, "required when strategy is set to Webhook"))
    else:
        problems += client_config_problems(where, config)
    recognized = before is None or _recognizes(before)
    return problems + _review_problems(versions, f"{path}.conversionReviewVersions", recognized=recognized)


def _bundle_problems(new: Tree, old: Tree) -> list[Problem]:
    """Keep a definition that is served from getting certificates for its webhook that are none."""
    bundle = conversion_bundle(new)
    if not is_true(old, "Established") or bundle_problem(conversion_bundle(old)):
        return []
    why = bundle_problem(bundle)
    if not why:
        return []
    path = "spec.conversion.webhookClientConfig.caBundle"
    return [faulty(path, f"{shown_bundle(bundle)}: {why}")]


def conversion_bundle(tree: Tree) -> str:
    """Return the certificates that the conversion webhook of a definition is known by, as they stand there."""
    webhook = ((tree.get("spec") or {}).get("conversion") or {}).get("webhook") or {}
    return (webhook.get("clientConfig") or {}).get("caBundle") or ""


def _recognizes(spec: Tree) -> bool:
    versions = ((spec.get("conversion") or {}).get("webhook") or {}).get("conversionReviewVersions") or ()
    return not versions or any(version in _REVIEWS for version in versions)


def _review_problems(versions: list[str], path: str, *, recognized: bool) -> list[Problem]:
    if not versions:
        return [required(path)]
    problems: list[Problem] = []
    for at, version in enumerate(versions):
        if version in versions[:at]:
            problems.append(invalid(f"{path}[{at}]", version, "duplicate version"))
        else:
            problems += [invalid(f"{path}[{at}]", version, message) for message in is_dns1035_label(version)]
    if recognized and not any(version in _REVIEWS for version in versions):
        problems.append(invalid(path, versions, f"must include at least one of {', '.join(_REVIEWS)}"))
    return problems


def _stored_problems(tree: Tree) -> list[Problem]:
    path, stored = "status.storedVersions", (tree.get("status") or {}).get("storedVersions") or []
    if not stored:
        return [invalid(path, stored, "must have at least one stored version")]
    versions = (tree.get("spec") or {}).get("versions") or []
    problems: list[Problem] = [
        invalid(path, stored, f"must have the storage version {version.get('name')}")
        for version in versions
        if version.get("storage") and version.get("name") not in stored
    ]
    named = {version.get("name") for version in versions}
    for at, name in enumerate(stored):
        if name not in named:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions"
                f" until a storage migration ensures no data remains persisted in {name} and removes {name} from"
                " status.storedVersions"
            )
            problems.append(invalid(f"{path}[{at}]", name, detail))
    return problems


def is_protected(group: str) -> bool:
    """Return whether a group belongs to the Kubernetes project."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def approval(tree: Tree) -> tuple[str, str]:
    """Return how a definition in a protected group stands, as a condition's reason and message."""
    value = (tree["metadata"].get("annotations") or {}).get(APPROVED)
    if value is None:
        return (
            "MissingAnnotation",
            f'protected groups must have approval annotation "{APPROVED}", {_SEE}',
        )
    if value.startswith("unapproved"):
        return "UnapprovedAnnotation", f'not approved: "{value}"'
    parts = urlsplit(value)
    if parts.scheme and parts.netloc:
        return "ApprovedAnnotation", f"approved in {value}"
    return (
        "InvalidAnnotation",
        (
            f'protected groups must have approval annotation "{APPROVED}" with either a URL or a reason starting with'
            f' "unapproved", {_SEE}'
        ),
    )


def _approval_problems(new: Tree, old: Tree | None) -> list[Problem]:
    if not is_protected((new.get("spec") or {}).get("group") or ""):
        return []
    reason, message = approval(new)
    if old is not None and approval(old)[0] == reason:
        return []
    path = f"metadata.annotations[{APPROVED}]"
    if reason == "MissingAnnotation":
        return [required(path, message)]
    if reason == "InvalidAnnotation":
        return [invalid(path, new["metadata"]["annotations"][APPROVED], message)]
    return []
