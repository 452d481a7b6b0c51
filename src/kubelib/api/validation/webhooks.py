"""Rules of admission webhooks and admission policies; what has expressions is in `kubelib.api.validation.policies`."""

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
    match_condition_problems,
    mutation_problems,
    policy_item_problems,
)
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    invalid,
    not_supported,
    one_of,
    required,
)
from kubelib.labels.validation import is_dns1035_label

_FAILURE_POLICIES = ("Fail", "Ignore")
_MATCH_POLICIES = ("Equivalent", "Exact")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_MUTABLE = ("*", "CONNECT", "CREATE", "UPDATE")
_REINVOCATION_POLICIES = ("IfNeeded", "Never")
_REVIEW_VERSIONS = ("v1", "v1beta1")
_SCOPES = ("*", "Cluster", "Namespaced")
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_ACTIONS = ("Audit", "Deny", "Warn")


def _choice(path: str, value: Any, allowed: Sequence[str]) -> list[Problem]:
    return [] if value is None or value in allowed else [not_supported(path, value, allowed)]


def _qualified_name(path: str, name: str) -> list[Problem]:
    if not name:
        return [required(path)]
    if messages := texts.subdomain(name):
        return [invalid(path, name, ",".join(messages))]
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
            plain = name != "*"  # as in Kubernetes, the last one decides
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
    problems += match_condition_problems(f"{path}.matchConditions", hook.get("matchConditions") or ())
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
    policy = match.get("matchPolicy")
    problems = [required(f"{path}.matchPolicy")] if policy is None else []
    problems += _choice(f"{path}.matchPolicy", policy, _MATCH_POLICIES)
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
    return problems


def _mutable_problems(match: Tree, path: str) -> list[Problem]:
    """Check that what is changed is there afterwards: nothing is left of what is deleted."""
    return [
        not_supported(f"{path}.resourceRules.operations", operation, _MUTABLE)
        for rule in match.get("resourceRules") or ()
        for operation in rule.get("operations") or ()
        if operation not in _MUTABLE
    ]


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


def _policy(spec: Tree, *, mutates: bool = False) -> list[Problem]:
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
        if mutates:
            problems += _mutable_problems(match, "spec.matchConstraints")
    conditions = spec.get("matchConditions") or ()
    return problems + match_condition_problems(
        "spec.matchConditions", conditions, has_params=kind is not None
    )


def admission_policy_problems(tree: Tree) -> list[Problem]:
    """Check a ValidatingAdmissionPolicy."""
    spec = tree.get("spec") or {}
    problems = _policy(spec)
    return problems + policy_item_problems(tree, has_params=spec.get("paramKind") is not None)


def mutating_policy_problems(tree: Tree) -> list[Problem]:
    """Check a MutatingAdmissionPolicy."""
    spec = tree.get("spec") or {}
    problems = _policy(spec, mutates=True)
    problems += mutation_problems(spec, has_params=spec.get("paramKind") is not None)
    return problems + one_of(
        "spec.reinvocationPolicy", spec.get("reinvocationPolicy"), _REINVOCATION_POLICIES
    )


def mutating_policy_binding_problems(tree: Tree) -> list[Problem]:
    """Check a MutatingAdmissionPolicyBinding."""
    match = (tree.get("spec") or {}).get("matchResources") or {}
    return _binding(tree) + _mutable_problems(match, "spec.matchResources")


def _binding(tree: Tree) -> list[Problem]:
    """Check what bindings of both kinds have."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    name = spec.get("policyName") or ""
    problems += (
        each("spec.policyName", name, texts.subdomain(name)) if name else [required("spec.policyName")]
    )
    reference = spec.get("paramRef")
    if reference is not None:
        named, selector = reference.get("name") or "", reference.get("selector")
        exclusive, both = "name and selector are mutually exclusive", bool(named) and selector is not None
        problems += each("spec.paramRef.name", named, path_segment(named))
        if both:
            problems.append(forbidden("spec.paramRef.name", exclusive))
        if selector is not None:
            problems += label_selector_problems(selector, "spec.paramRef.selector")
        if both:
            problems.append(forbidden("spec.paramRef.selector", exclusive))
        if not named and selector is None:
            problems.append(required("spec.paramRef", "one of name or selector must be specified"))
        action = reference.get("parameterNotFoundAction")
        problems += one_of("spec.paramRef.parameterNotFoundAction", action, ("Deny", "Allow"))
    if spec.get("matchResources") is not None:
        problems += _match_resources(spec["matchResources"], "spec.matchResources")
    return problems


def admission_policy_binding_problems(tree: Tree) -> list[Problem]:
    """Check a ValidatingAdmissionPolicyBinding."""
    spec = tree.get("spec") or {}
    problems = _binding(tree)
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
    problems: list[Problem] = []
    for at, warning in enumerate(warnings):
        if not warning.get("warning"):
            problems.append(required(f"{path}[{at}].warning"))
        if not (warning.get("fieldRef") or "").strip():
            problems.append(required(f"{path}[{at}].fieldRef"))
    return problems + condition_problems("status.conditions", status.get("conditions") or ())
