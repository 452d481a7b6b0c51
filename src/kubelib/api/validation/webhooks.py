"""Rules of admission webhooks and admission policies; `kubelib.api.validation.policies` looks into their expressions."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.autoscalers import path_segment
from kubelib.api.validation.devicenames import condition_problems
from kubelib.api.validation.placement import label_selector_problems
from kubelib.api.validation.policies import (
    condition_expression_problems,
    mutation_expression_problems,
    policy_expression_problems,
)
from kubelib.api.validation.problems import duplicate, each, forbidden, invalid, not_supported, required
from kubelib.labels.validation import is_dns1035_label

_FAILURE_POLICIES = ("Fail", "Ignore")
_MATCH_POLICIES = ("Equivalent", "Exact")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_REINVOCATION_POLICIES = ("IfNeeded", "Never")
_REVIEW_VERSIONS = ("v1", "v1beta1")
_SCOPES = ("*", "Cluster", "Namespaced")
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
_MOST_CONDITIONS, _MOST_ANNOTATIONS = 64, 20


def _choice(path: str, value: Any, allowed: Sequence[str]) -> list[Problem]:
    return [] if value is None or value in allowed else [not_supported(path, value, allowed)]


def _qualified_name(path: str, name: str) -> list[Problem]:
    if not name:
        return [required(path)]
    if messages := texts.subdomain(name):
        return each(path, name, messages)
    if len(name.split(".")) < 3:
        return [invalid(path, name, "should be a domain with at least three segments separated by dots")]
    return []


def _no_company(path: str, values: Sequence[str], others: str) -> list[Problem]:
    """Check that ``*`` stands alone."""
    if len(values) > 1 and "*" in values:
        return [invalid(path, list(values), f"if '*' is present, must not specify other {others}")]
    return []


def _resources(path: str, names: Sequence[str]) -> list[Problem]:
    if not names:
        return [required(path)]
    problems: list[Problem] = []
    with_all_parts: list[str] = []
    parts_of_all: list[str] = []
    plain = False
    for at, name in enumerate(names):
        if not name:
            problems.append(required(f"{path}[{at}]"))
            continue
        resource, slash, part = name.partition("/")
        if not slash:
            plain = plain or name != "*"
            continue
        if resource in with_all_parts:
            problems.append(
                invalid(f"{path}[{at}]", name, f"if '{resource}/*' is present, must not specify {name}")
            )
        if part in parts_of_all:
            problems.append(
                invalid(f"{path}[{at}]", name, f"if '*/{part}' is present, must not specify {name}")
            )
        if part == "*":
            with_all_parts.append(resource)
        if resource == "*":
            parts_of_all.append(part)
    if len(names) > 1 and "*/*" in names:
        problems.append(invalid(path, list(names), "if '*/*' is present, must not specify other resources"))
    if "*" in names and plain:
        problems.append(
            invalid(
                path, list(names), "if '*' is present, must not specify other resources without subresources"
            )
        )
    return problems


def _rule(rule: Tree, path: str) -> list[Problem]:
    operations, groups = rule.get("operations") or (), rule.get("apiGroups") or ()
    versions = rule.get("apiVersions") or ()
    problems = [] if operations else [required(f"{path}.operations")]
    problems += _no_company(f"{path}.operations", operations, "operations")
    for at, operation in enumerate(operations):
        problems += _choice(f"{path}.operations[{at}]", operation, _OPERATIONS)
    problems += [] if groups else [required(f"{path}.apiGroups")]
    problems += _no_company(f"{path}.apiGroups", groups, "API groups")
    problems += [] if versions else [required(f"{path}.apiVersions")]
    problems += _no_company(f"{path}.apiVersions", versions, "API versions")
    problems += [required(f"{path}.apiVersions[{at}]") for at, version in enumerate(versions) if not version]
    problems += _resources(f"{path}.resources", rule.get("resources") or ())
    return problems + _choice(f"{path}.scope", rule.get("scope"), _SCOPES)


def _url(path: str, url: str) -> list[Problem]:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return [required(path, f"url must be a valid URL: {error}{form}")]
    problems: list[Problem] = []
    if parts.scheme != "https":
        problems.append(invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{form}"))
    if not parts.netloc:
        problems.append(invalid(path, "", f"host must be specified{form}"))
    if parts.username is not None:
        problems.append(invalid(path, parts.username, "user information is not permitted in the URL"))
    if parts.fragment:
        problems.append(invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        problems.append(invalid(path, parts.query, "query parameters are not permitted in the URL"))
    return problems


def _service(path: str, service: Tree) -> list[Problem]:
    problems: list[Problem] = []
    if not service.get("name"):
        problems.append(required(f"{path}.name", "service name is required"))
    if not service.get("namespace"):
        problems.append(required(f"{path}.namespace", "service namespace is required"))
    port = service.get("port")
    if port is not None and not 1 <= port <= 65535:
        problems.append(
            invalid(f"{path}.port", port, "port is not valid: must be between 1 and 65535, inclusive")
        )
    way = service.get("path")
    if way is None or way in ("", "/"):
        return problems
    if not way.startswith("/"):
        return [*problems, invalid(f"{path}.path", way, "must start with a '/'")]
    for at, segment in enumerate(way[1:].removesuffix("/").split("/")):
        if not segment:
            problems.append(invalid(f"{path}.path", way, f"segment[{at}] may not be empty"))
        else:
            problems += each(
                f"{path}.path", way, [f"segment[{at}]: {message}" for message in texts.subdomain(segment)]
            )
    return problems


def client_config_problems(path: str, config: Tree) -> list[Problem]:
    """Check how a webhook is reached: exactly one of URL and Service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [required(path, "exactly one of url or service is required")]
    return _url(f"{path}.url", url) if url is not None else _service(f"{path}.service", service or {})


def match_condition_problems(path: str, conditions: Sequence[Tree]) -> list[Problem]:
    """Check the names of match conditions, and that each has an expression."""
    problems: list[Problem] = []
    if len(conditions) > _MOST_CONDITIONS:
        problems.append(
            Problem(
                "FieldValueTooMany",
                path,
                f"Too many: {len(conditions)}: must have at most {_MOST_CONDITIONS} items",
            )
        )
    seen: list[str] = []
    for at, condition in enumerate(conditions):
        name = condition.get("name") or ""
        if not str(condition.get("expression") or "").strip():
            problems.append(required(f"{path}[{at}].expression"))
        if not name:
            problems.append(required(f"{path}[{at}].name"))
        else:
            problems += each(f"{path}[{at}].name", name, texts.qualified(name))
            if name in seen:
                problems.append(duplicate(f"{path}[{at}].name", name))
            seen.append(name)
    return problems


def _review_versions(path: str, versions: Sequence[str]) -> list[Problem]:
    known = ", ".join(_REVIEW_VERSIONS)
    if not versions:
        return [required(path, f"must specify one of {known}")]
    problems: list[Problem] = []
    for at, version in enumerate(versions):
        if version in versions[:at]:
            problems.append(invalid(f"{path}[{at}]", version, "duplicate version"))
        else:
            problems += each(f"{path}[{at}]", version, is_dns1035_label(version))
    if not any(version in _REVIEW_VERSIONS for version in versions):
        problems.append(invalid(path, list(versions), f"must include at least one of {known}"))
    return problems


def _webhook(hook: Tree, path: str) -> list[Problem]:
    problems = _qualified_name(f"{path}.name", hook.get("name") or "")
    for at, rule in enumerate(hook.get("rules") or ()):
        problems += _rule(rule, f"{path}.rules[{at}]")
    problems += _choice(f"{path}.failurePolicy", hook.get("failurePolicy"), _FAILURE_POLICIES)
    problems += _choice(f"{path}.matchPolicy", hook.get("matchPolicy"), _MATCH_POLICIES)
    if hook.get("sideEffects") is None:
        problems.append(required(f"{path}.sideEffects", f"must specify one of {', '.join(_SIDE_EFFECTS)}"))
    problems += _choice(f"{path}.sideEffects", hook.get("sideEffects"), _SIDE_EFFECTS)
    timeout = hook.get("timeoutSeconds")
    if timeout is not None and not 1 <= timeout <= 30:
        problems.append(
            invalid(f"{path}.timeoutSeconds", timeout, "the timeout value must be between 1 and 30 seconds")
        )
    for name in ("namespaceSelector", "objectSelector"):
        if hook.get(name) is not None:
            problems += label_selector_problems(hook[name], f"{path}.{name}")
    problems += _choice(f"{path}.reinvocationPolicy", hook.get("reinvocationPolicy"), _REINVOCATION_POLICIES)
    problems += client_config_problems(f"{path}.clientConfig", hook.get("clientConfig") or {})
    conditions = hook.get("matchConditions") or ()
    if conditions:
        problems += match_condition_problems(f"{path}.matchConditions", conditions)
        problems += condition_expression_problems(f"{path}.matchConditions", conditions)
    return problems + _review_versions(
        f"{path}.admissionReviewVersions", hook.get("admissionReviewVersions") or ()
    )


def webhook_configuration_problems(tree: Tree) -> list[Problem]:
    """Check a ValidatingWebhookConfiguration or a MutatingWebhookConfiguration."""
    problems: list[Problem] = []
    seen: list[str] = []
    for at, hook in enumerate(tree.get("webhooks") or ()):
        problems += _webhook(hook, f"webhooks[{at}]")
        name = hook.get("name")
        if name and name in seen:
            problems.append(duplicate(f"webhooks[{at}].name", name))
        seen.append(name)
    return problems


def _match_resources(match: Tree, path: str) -> list[Problem]:
    problems: list[Problem] = []
    for name in ("namespaceSelector", "objectSelector"):
        if match.get(name) is None:
            problems.append(required(f"{path}.{name}"))
        else:
            problems += label_selector_problems(match[name], f"{path}.{name}")
    for name in ("resourceRules", "excludeResourceRules"):
        for at, rule in enumerate(match.get(name) or ()):
            names = rule.get("resourceNames") or ()
            for number, resource in enumerate(names):
                here = f"{path}.{name}[{at}].resourceNames[{number}]"
                problems += each(here, resource, path_segment(resource))
                if resource in names[:number]:
                    problems.append(duplicate(here, resource))
            problems += _rule(rule, f"{path}.{name}[{at}]")
    policy = match.get("matchPolicy")
    return problems + (
        [required(f"{path}.matchPolicy")]
        if policy is None
        else _choice(f"{path}.matchPolicy", policy, _MATCH_POLICIES)
    )


def _param_kind(kind: Tree, path: str) -> list[Problem]:
    api_version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    here, (group, _slash, version) = f"{path}.apiVersion", api_version.rpartition("/")
    problems: list[Problem] = []
    if not api_version:
        problems.append(required(here))
    elif api_version.count("/") > 1:
        problems.append(invalid(here, api_version, f"unexpected GroupVersion string: {api_version}"))
    else:
        if group and (messages := texts.subdomain(group)):
            problems.append(invalid(here, group, ",".join(messages)))
        if not version:
            problems.append(invalid(here, api_version, "version must be specified"))
        elif messages := is_dns1035_label(version):
            problems.append(invalid(here, version, ",".join(messages)))
    if not name:
        problems.append(required(f"{path}.kind"))
    elif messages := is_dns1035_label(name.lower()):
        why = f"may have mixed case, but should otherwise match: {','.join(messages)}"
        problems.append(invalid(f"{path}.kind", name, why))
    return problems


def _policy(spec: Tree) -> list[Problem]:
    """Check what policies of both kinds have."""
    problems = _choice("spec.failurePolicy", spec.get("failurePolicy"), _FAILURE_POLICIES)
    kind = spec.get("paramKind")
    if kind is not None:
        problems += _param_kind(kind, "spec.paramKind")
    match = spec.get("matchConstraints")
    if match is None:
        problems.append(required("spec.matchConstraints"))
    else:
        problems += _match_resources(match, "spec.matchConstraints")
        if not match.get("resourceRules"):
            problems.append(required("spec.matchConstraints.resourceRules"))
    return problems + match_condition_problems("spec.matchConditions", spec.get("matchConditions") or ())


def admission_policy_problems(tree: Tree) -> list[Problem]:
    """Check a ValidatingAdmissionPolicy."""
    spec = tree.get("spec") or {}
    problems = _policy(spec)
    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        text = "validations or auditAnnotations must contain at least one item"
        problems += [required("spec.validations", text), required("spec.auditAnnotations", text)]
    for at, validation in enumerate(validations):
        expression, message = str(validation.get("expression") or "").strip(), validation.get("message") or ""
        trimmed = message.strip()
        path = f"spec.validations[{at}]"
        if not expression:
            problems.append(required(f"{path}.expression", "expression is not specified"))
        if message and not trimmed:
            problems.append(invalid(f"{path}.message", message, "message must be non-empty if specified"))
        elif "\n" in trimmed or "\r" in trimmed:
            problems.append(invalid(f"{path}.message", message, "message must not contain line breaks"))
        problems += _choice(f"{path}.reason", validation.get("reason"), _REASONS)
    if len(annotations) > _MOST_ANNOTATIONS:
        why = f"must not have more than {_MOST_ANNOTATIONS} auditAnnotations"
        problems.append(invalid("spec.auditAnnotations", annotations, why))
    keys: set[str] = set()
    for at, annotation in enumerate(annotations):
        if (key := annotation.get("key") or "") in keys:
            problems.append(duplicate(f"spec.auditAnnotations[{at}].key", key))
        keys.add(key)
        if not str(annotation.get("valueExpression") or "").strip():
            problems.append(
                required(f"spec.auditAnnotations[{at}].valueExpression", "valueExpression is not specified")
            )
    name = (tree.get("metadata") or {}).get("name") or ""
    return problems + policy_expression_problems(name, spec)


def mutating_policy_problems(tree: Tree) -> list[Problem]:
    """Check a MutatingAdmissionPolicy."""
    spec = tree.get("spec") or {}
    problems = _policy(spec)
    again = spec.get("reinvocationPolicy")
    if not again:
        problems.append(required("spec.reinvocationPolicy"))
    else:
        problems += _choice("spec.reinvocationPolicy", again, _REINVOCATION_POLICIES)
    mutations = spec.get("mutations") or ()
    if not mutations:
        problems.append(required("spec.mutations", "mutations must contain at least one item"))
    for at, mutation in enumerate(mutations):
        problems += _mutation(mutation, f"spec.mutations[{at}]")
    return problems + mutation_expression_problems(spec)


def _mutation(mutation: Tree, path: str) -> list[Problem]:
    kind = mutation.get("patchType")
    if not kind:
        return [required(f"{path}.patchType")]
    if kind not in _PATCHES:
        return [not_supported(f"{path}.patchType", kind, sorted(_PATCHES))]
    problems: list[Problem] = []
    for name, field in _PATCHES.items():
        change = mutation.get(field)
        if name != kind and change is not None:
            problems.append(
                invalid(f"{path}.{field}", change, f"{field} must not be specified when patchType is {kind}")
            )
        elif name == kind and change is None:
            problems.append(required(f"{path}.{field}", f"must be specified when patchType is {kind}"))
        elif name == kind and not str((change or {}).get("expression") or "").strip():
            problems.append(required(f"{path}.{field}.expression", "expression is not specified"))
    return problems


def mutating_policy_binding_problems(tree: Tree) -> list[Problem]:
    """Check a MutatingAdmissionPolicyBinding."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    name = spec.get("policyName") or ""
    problems += (
        each("spec.policyName", name, texts.subdomain(name)) if name else [required("spec.policyName")]
    )
    reference = spec.get("paramRef")
    if reference is not None:
        named, selector = reference.get("name") or "", reference.get("selector")
        if named:
            problems += each("spec.paramRef.name", named, path_segment(named))
        if selector is not None:
            problems += label_selector_problems(selector, "spec.paramRef.selector")
        if named and selector is not None:
            why = "name and selector are mutually exclusive"
            problems += [forbidden(f"spec.paramRef.{part}", why) for part in ("name", "selector")]
        elif not named and selector is None:
            problems.append(required("spec.paramRef", "one of name or selector must be specified"))
        action = reference.get("parameterNotFoundAction")
        if action is None:
            problems.append(required("spec.paramRef.parameterNotFoundAction"))
        else:
            problems += _choice("spec.paramRef.parameterNotFoundAction", action, ("Deny", "Allow"))
    if spec.get("matchResources") is not None:
        problems += _match_resources(spec["matchResources"], "spec.matchResources")
    return problems


def admission_policy_binding_problems(tree: Tree) -> list[Problem]:
    """Check a ValidatingAdmissionPolicyBinding."""
    spec = tree.get("spec") or {}
    problems = mutating_policy_binding_problems(tree)
    actions = spec.get("validationActions") or ()
    for at, action in enumerate(actions):
        if action not in _ACTIONS:
            problems.append(not_supported(f"spec.validationActions[{at}]", action, _ACTIONS))
        if action in actions[:at]:
            problems.append(duplicate(f"spec.validationActions[{at}]", action))
    if "Deny" in actions and "Warn" in actions:
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and"
            " headers serves no purpose)"
        )
        problems.append(invalid("spec.validationActions", list(actions), why))
    if not actions:
        problems.append(required("spec.validationActions", "at least one validation action is required"))
    return problems


def admission_policy_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check what type checking says of a ValidatingAdmissionPolicy, and its conditions."""
    status, path = new.get("status") or {}, "status.typeChecking.expressionWarnings"
    warnings = (status.get("typeChecking") or {}).get("expressionWarnings") or ()
    problems = [
        required(f"{path}[{at}].{part}")
        for at, warning in enumerate(warnings)
        for part in ("warning", "fieldRef")
        if not (warning.get(part) or "").strip()
    ]
    return problems + condition_problems("status.conditions", status.get("conditions") or ())
