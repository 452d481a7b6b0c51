"""Defaults of what extends and guards the API, and of storage drivers."""

from typing import Any

from kubelib.api.defaults.pods import canonical_quantities
from kubelib.api.scheme import Tree

_WEBHOOK_PORT = 443


def _spec(tree: Tree) -> Tree:
    spec = tree.setdefault("spec", {})
    return spec if isinstance(spec, dict) else {}


def _rules(rules: Any) -> None:
    for rule in rules or ():
        rule.setdefault("scope", "*")


def _webhook(hook: Tree) -> None:
    hook.setdefault("failurePolicy", "Fail")
    hook.setdefault("matchPolicy", "Equivalent")
    hook.setdefault("namespaceSelector", {})
    hook.setdefault("objectSelector", {})
    hook.setdefault("timeoutSeconds", 10)
    _rules(hook.get("rules"))
    service = (hook.get("clientConfig") or {}).get("service")
    if isinstance(service, dict):
        service.setdefault("port", _WEBHOOK_PORT)


def default_validating_webhooks(tree: Tree) -> None:
    """Fill in a ValidatingWebhookConfiguration."""
    for hook in tree.get("webhooks") or ():
        _webhook(hook)


def default_mutating_webhooks(tree: Tree) -> None:
    """Fill in a MutatingWebhookConfiguration."""
    for hook in tree.get("webhooks") or ():
        _webhook(hook)
        hook.setdefault("reinvocationPolicy", "Never")


def _match_resources(match: Any) -> None:
    if not isinstance(match, dict):
        return
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    _rules(match.get("resourceRules"))
    _rules(match.get("excludeResourceRules"))


def default_admission_policy(tree: Tree) -> None:
    """Fill in a ValidatingAdmissionPolicy."""
    spec = _spec(tree)
    spec.setdefault("failurePolicy", "Fail")
    _match_resources(spec.get("matchConstraints"))


def default_admission_policy_binding(tree: Tree) -> None:
    """Fill in a ValidatingAdmissionPolicyBinding."""
    _match_resources(_spec(tree).get("matchResources"))


def default_api_service(tree: Tree) -> None:
    """Fill in an APIService."""
    service = _spec(tree).get("service")
    if isinstance(service, dict):
        service.setdefault("port", _WEBHOOK_PORT)


def default_flow_schema(tree: Tree) -> None:
    """Fill in a FlowSchema."""
    spec = _spec(tree)
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def default_priority_level(tree: Tree) -> None:
    """Fill in a PriorityLevelConfiguration."""
    spec = _spec(tree)
    limited, exempt = spec.get("limited"), spec.get("exempt")
    if isinstance(limited, dict):
        limited.setdefault("nominalConcurrencyShares", 30)
        limited.setdefault("lendablePercent", 0)
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        if isinstance(queuing, dict):
            for name, number in (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)):
                queuing[name] = queuing.get(name) or number
    if isinstance(exempt, dict):
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)


def default_definition(tree: Tree) -> None:
    """Fill in a CustomResourceDefinition."""
    spec = _spec(tree)
    names = spec.get("names")
    if isinstance(names, dict) and isinstance(names.get("kind"), str) and names["kind"]:
        names["singular"] = names.get("singular") or names["kind"].lower()
        names["listKind"] = names.get("listKind") or names["kind"] + "List"
    conversion = spec.get("conversion")
    if conversion is None:
        spec["conversion"] = {"strategy": "None"}
        return
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if isinstance(service, dict):
        service.setdefault("port", 443)


def default_storage_driver(tree: Tree) -> None:
    """Fill in a CSIDriver."""
    spec = _spec(tree)
    spec.setdefault("attachRequired", True)
    for name in ("podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"):
        spec.setdefault(name, False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    spec["volumeLifecycleModes"] = spec.get("volumeLifecycleModes") or ["Persistent"]


def default_runtime_class(tree: Tree) -> None:
    """Fill in a RuntimeClass."""
    overhead = tree.get("overhead")
    if isinstance(overhead, dict):
        canonical_quantities(overhead.get("podFixed"))


def default_pod_certificate_request(tree: Tree) -> None:
    """Fill in a PodCertificateRequest: it is for a day."""
    _spec(tree).setdefault("maxExpirationSeconds", 86400)
