"""Rules of API services, certificate requests, runtime classes, flows, and addresses."""

import base64
import binascii
import ipaddress
import re
from collections.abc import Sequence

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.addresses import canonical_network_messages
from kubelib.api.validation.placement import toleration_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    not_supported,
    required,
)
from kubelib.labels.validation import is_dns1035_label

_PEM = b"-----BEGIN CERTIFICATE REQUEST-----"
_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only",
    "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user",
    "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing",
    "timestamping",
)  # fmt: skip
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_LEAST_EXPIRATION = 600


def api_service_problems(tree: Tree) -> list[Problem]:
    """Check an APIService: its name is ``version.group``."""
    spec = tree.get("spec") or {}
    group, version = spec.get("group") or "", spec.get("version") or ""
    name, wanted = tree["metadata"].get("name") or "", f"{version}.{group}"
    problems: list[Problem] = []
    if name != wanted:
        problems.append(invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{wanted}"'))
    if not group and version != "v1":
        problems.append(
            required("spec.group", "only v1 may have an empty group and it better be legacy kube")
        )
    if group:
        problems += each("spec.group", group, texts.subdomain(group))
    problems += each("spec.version", version, is_dns1035_label(version))
    for field, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        number = spec.get(field) or 0
        if not 0 < number <= most:
            problems.append(invalid(f"spec.{field}", number, f"must be positive and less than {most}"))
    service, bundle, insecure = spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify")
    if service is None:
        if bundle:
            size = f"{len(base64.b64decode(bundle))} bytes"
            problems.append(invalid("spec.caBundle", size, "local APIServices may not have a caBundle"))
        if insecure:
            problems.append(
                invalid(
                    "spec.insecureSkipTLSVerify",
                    insecure,
                    "local APIServices may not have insecureSkipTLSVerify",
                )
            )
        return problems
    problems += [required(f"spec.service.{part}") for part in ("namespace", "name") if not service.get(part)]
    if insecure and bundle:
        problems.append(
            invalid("spec.insecureSkipTLSVerify", insecure, "may not be true if caBundle is present")
        )
    return problems


def signing_request_problems(tree: Tree) -> list[Problem]:
    """Check a CertificateSigningRequest, except for the certificate inside the request."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    request = spec.get("request") or ""
    try:
        pem = base64.b64decode(request)
    except binascii.Error:
        pem = b""
    if _PEM not in pem:
        problems.append(invalid("spec.request", request, "PEM block type must be CERTIFICATE REQUEST"))
    usages = spec.get("usages") or ()
    if not usages:
        problems.append(required("spec.usages"))
    for at, usage in enumerate(usages):
        if usage not in _USAGES:
            problems.append(not_supported(f"spec.usages[{at}]", usage, _USAGES))
        elif usage in usages[:at]:
            problems.append(duplicate(f"spec.usages[{at}]", usage))
    problems += _signer_problems(spec.get("signerName") or "")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _LEAST_EXPIRATION:
        problems.append(
            invalid(
                "spec.expirationSeconds",
                seconds,
                "may not specify a duration less than 600 seconds (10 minutes)",
            )
        )
    return problems


def _signer_problems(name: str) -> list[Problem]:
    path = "spec.signerName"
    if not name:
        return [required(path)]
    domain, slash, way = name.partition("/")
    if not slash or "/" in way:
        return [
            invalid(
                path,
                name,
                "must be a fully qualified domain and path of the form 'example.com/signer-name'",
            )
        ]
    problems: list[Problem] = []
    labels = domain.split(".")
    if len(labels) < 2:
        problems.append(
            invalid(path, domain, "should be a domain with at least two segments separated by dots")
        )
    for label in labels:
        problems += each(path, label, texts.label(label))
    for part in way.split("."):
        problems += each(path, part, texts.label(part))
    return problems


def signing_request_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a CertificateSigningRequest still asks for the same."""
    return immutable("spec", new.get("spec"), old.get("spec"))


def signing_request_decision_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the conditions of a CertificateSigningRequest: decisions are not taken back, and do not contradict."""
    path = "status.conditions"
    conditions = (new.get("status") or {}).get("conditions") or ()
    problems: list[Problem] = []
    types: list[str] = []
    for at, condition in enumerate(conditions):
        kind, status = condition.get("type") or "", condition.get("status") or ""
        if not kind:
            problems.append(required(f"{path}[{at}].type"))
        if kind in types:
            problems.append(duplicate(f"{path}[{at}].type", kind))
        types.append(kind)
        if not status:
            problems.append(required(f"{path}[{at}].status"))
        elif status not in ("True", "False", "Unknown"):
            problems.append(not_supported(f"{path}[{at}].status", status, ("False", "True", "Unknown")))
        elif kind in ("Approved", "Denied", "Failed") and status != "True":
            problems.append(not_supported(f"{path}[{at}].status", status, ("True",)))
    if "Approved" in types and "Denied" in types:
        problems.append(
            invalid(
                f"{path}[{types.index('Denied')}].type",
                "Denied",
                "Approved and Denied conditions are mutually exclusive",
            )
        )
    before = [condition.get("type") for condition in (old.get("status") or {}).get("conditions") or ()]
    problems += [
        forbidden(path, f'updates may not remove a condition of type "{kind}"')
        for kind in ("Approved", "Denied", "Failed")
        if kind in before and kind not in types
    ]
    issued = (new.get("status") or {}).get("certificate")
    certificate = (old.get("status") or {}).get("certificate")
    if issued and issued != certificate and (why := _why_no_certificate(issued)):
        problems.append(invalid("status.certificate", "<certificate data>", why))
    if certificate and (new.get("status") or {}).get("certificate") != certificate:
        problems.append(
            forbidden("status.certificate", "updates may not set certificate content to a different value")
        )
    return problems


_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")


def _why_no_certificate(text: str) -> str:
    """Return why an issued certificate is none; empty if it is one."""
    try:
        blocks = _BLOCK.findall(base64.b64decode(text))
    except ValueError:
        return "illegal base64 data"
    others = [block.decode() for block in blocks if block != b"CERTIFICATE"]
    if others:
        return f'only CERTIFICATE PEM blocks are allowed, found "{others[0]}"'
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"


def runtime_class_problems(tree: Tree) -> list[Problem]:
    """Check a RuntimeClass."""
    handler = tree.get("handler") or ""
    problems = each("handler", handler, texts.label(handler))
    scheduling = tree.get("scheduling") or {}
    toleration_problems(scheduling.get("tolerations") or (), "scheduling.tolerations", problems)
    return problems


def runtime_class_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a RuntimeClass still means the same runtime."""
    return runtime_class_problems(new) + immutable("handler", new.get("handler"), old.get("handler"))


def _one_or_star(path: str, values: Sequence[str], what: str, none: str) -> list[Problem]:
    if not values:
        return [required(path, none)]
    if len(values) > 1 and "*" in values:
        return [invalid(path, list(values), f"if '*' is present, must not specify other {what}")]
    return []


def _verb_problems(path: str, verbs: Sequence[str]) -> list[Problem]:
    problems = _one_or_star(path, verbs, "verbs", "verbs must contain at least one value")
    if verbs and "*" not in verbs and any(verb not in _VERBS for verb in verbs):
        problems.append(not_supported(path, list(verbs), _VERBS))
    return problems


def _resource_rule(rule: Tree, path: str) -> list[Problem]:
    problems = _verb_problems(f"{path}.verbs", rule.get("verbs") or ())
    problems += _one_or_star(
        f"{path}.apiGroups",
        rule.get("apiGroups") or (),
        "api groups",
        "resource rules must supply at least one api group",
    )
    problems += _one_or_star(
        f"{path}.resources",
        rule.get("resources") or (),
        "resources",
        "resource rules must supply at least one resource",
    )
    namespaces = rule.get("namespaces") or ()
    if not namespaces and not rule.get("clusterScope"):
        problems.append(
            required(
                f"{path}.namespaces",
                "resource rules that are not cluster scoped must supply at least one namespace",
            )
        )
    elif "*" in namespaces:
        problems += _one_or_star(f"{path}.namespaces", namespaces, "namespaces", "")
    else:
        for at, name in enumerate(namespaces):
            problems += [
                invalid(
                    f"{path}.namespaces[{at}]",
                    name,
                    f"each member of this list must be '*' or a DNS-1123 label; {message}",
                )
                for message in texts.label(name)
            ]
    return problems


def _url_path(path: str, url: str) -> list[Problem]:
    if not url:
        return [invalid(path, url, "must not be empty")]
    if url == "/":
        return []
    if not url.startswith("/"):
        return [invalid(path, url, "must start with slash")]
    if " " in url:
        return [invalid(path, url, "must not contain white-space")]
    if "//" in url:
        return [invalid(path, url, "must not contain double slash")]
    if "*" in url and (url.count("*") > 1 or not url.endswith("/*")):
        return [invalid(path, url, "wildcard can only do suffix matching")]
    return []


def _non_resource_rule(rule: Tree, path: str) -> list[Problem]:
    problems = _verb_problems(f"{path}.verbs", rule.get("verbs") or ())
    urls = rule.get("nonResourceURLs") or ()
    problems += _one_or_star(
        f"{path}.nonResourceURLs",
        urls,
        "non-resource URLs",
        "nonResourceURLs must contain at least one value",
    )
    if "*" not in urls:
        for at, url in enumerate(urls):
            problems += _url_path(f"{path}.nonResourceURLs[{at}]", url)
    return problems


_SUBJECTS = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}


def _subject(subject: Tree, path: str) -> list[Problem]:
    kind = subject.get("kind") or ""
    if kind not in _SUBJECTS:
        return [not_supported(f"{path}.kind", kind, sorted(_SUBJECTS))]
    problems: list[Problem] = []
    field = _SUBJECTS[kind]
    value = subject.get(field)
    if value is None:
        problems.append(required(f"{path}.{field}", f"{field} is required when subject kind is '{kind}'"))
    else:
        if not value.get("name"):
            problems.append(required(f"{path}.{field}.name"))
        if kind == "ServiceAccount":
            if not value.get("namespace"):
                problems.append(
                    required(f"{path}.{field}.namespace", "must specify namespace for service account")
                )
            else:
                problems += each(
                    f"{path}.{field}.namespace", value["namespace"], texts.label(value["namespace"])
                )
    for other, name in _SUBJECTS.items():
        if other != kind and subject.get(name) is not None:
            problems.append(
                forbidden(f"{path}.{name}", f"{name} is forbidden when subject kind is not '{other}'")
            )
    return problems


def flow_schema_problems(tree: Tree) -> list[Problem]:
    """Check a FlowSchema."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    precedence, path = spec.get("matchingPrecedence") or 0, "spec.matchingPrecedence"
    if precedence <= 0:
        problems.append(invalid(path, precedence, "must be a positive value"))
    if precedence > 10000:
        problems.append(invalid(path, precedence, "must not be greater than 10000"))
    if precedence == 1 and tree["metadata"].get("name") != "exempt":
        problems.append(
            invalid(path, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
        )
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        problems.append(
            not_supported("spec.distinguisherMethod.type", method.get("type"), ("ByNamespace", "ByUser"))
        )
    level = (spec.get("priorityLevelConfiguration") or {}).get("name") or ""
    path = "spec.priorityLevelConfiguration.name"
    problems += (
        each(path, level, texts.subdomain(level))
        if level
        else [required(path, "must reference a priority level")]
    )
    for at, rule in enumerate(spec.get("rules") or ()):
        path = f"spec.rules[{at}]"
        subjects = rule.get("subjects") or ()
        resources, others = rule.get("resourceRules") or (), rule.get("nonResourceRules") or ()
        if not subjects:
            problems.append(required(f"{path}.subjects", "subjects must contain at least one value"))
        for index, subject in enumerate(subjects):
            problems += _subject(subject, f"{path}.subjects[{index}]")
        if not resources and not others:
            problems.append(
                required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
            )
        for index, part in enumerate(resources):
            problems += _resource_rule(part, f"{path}.resourceRules[{index}]")
        for index, part in enumerate(others):
            problems += _non_resource_rule(part, f"{path}.nonResourceRules[{index}]")
    return problems


def priority_level_problems(tree: Tree) -> list[Problem]:
    """Check a PriorityLevelConfiguration."""
    spec = tree.get("spec") or {}
    kind, limited, exempt = spec.get("type") or "", spec.get("limited"), spec.get("exempt")
    problems: list[Problem] = []
    if (tree["metadata"].get("name") == "exempt") != (kind == "Exempt"):
        problems.append(invalid("spec.type", kind, "type must be 'Exempt' if and only if name is 'exempt'"))
    if kind == "Exempt":
        if limited is not None:
            problems.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
    elif kind == "Limited":
        if exempt is not None:
            problems.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            problems.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            problems += _limited(limited)
    else:
        problems.append(not_supported("spec.type", kind, ("Exempt", "Limited")))
    return problems


def _limited(limited: Tree) -> list[Problem]:
    path = "spec.limited"
    problems: list[Problem] = []
    shares, lendable = limited.get("nominalConcurrencyShares") or 0, limited.get("lendablePercent") or 0
    if shares < 0:
        problems.append(invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    if not 0 <= lendable <= 100:
        problems.append(invalid(f"{path}.lendablePercent", lendable, "must be between 0 and 100, inclusive"))
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        problems.append(
            invalid(
                f"{path}.borrowingLimitPercent",
                borrowing,
                "if specified, must be a non-negative integer",
            )
        )
    response = limited.get("limitResponse") or {}
    path, kind, queuing = f"{path}.limitResponse", response.get("type") or "", response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            problems.append(
                forbidden(f"{path}.queuing", "must be nil if limited.limitResponse.type is not Limited")
            )
    elif kind == "Queue":
        problems += (
            _queuing(queuing, f"{path}.queuing")
            if queuing is not None
            else [required(f"{path}.queuing", "must not be empty if limited.limitResponse.type is Limited")]
        )
    else:
        problems.append(not_supported(f"{path}.type", kind, ("Queue", "Reject")))
    return problems


def _queuing(queuing: Tree, path: str) -> list[Problem]:
    limit, queues, hand = (queuing.get(name) or 0 for name in ("queueLengthLimit", "queues", "handSize"))
    problems: list[Problem] = []
    if limit <= 0:
        problems.append(invalid(f"{path}.queueLengthLimit", limit, "must be positive"))
    if queues <= 0:
        problems.append(invalid(f"{path}.queues", queues, "must be positive"))
    elif queues > 10_000_000:
        problems.append(invalid(f"{path}.queues", queues, "must not be greater than 10000000"))
    if hand <= 0:
        problems.append(invalid(f"{path}.handSize", hand, "must be positive"))
    elif hand > queues:
        problems.append(invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})"))
    return problems


def ip_address_problems(tree: Tree) -> list[Problem]:
    """Check an IPAddress: its name is the address in canonical form."""
    name = tree["metadata"].get("name") or ""
    problems: list[Problem] = []
    try:
        canonical = str(ipaddress.ip_address(name))
    except ValueError:
        problems.append(invalid("metadata.name", name, "not a valid IP address"))
    else:
        if name != canonical:
            problems.append(invalid("metadata.name", name, f'must be in canonical form ("{canonical}")'))
    parent = (tree.get("spec") or {}).get("parentRef")
    if parent is None:
        return [*problems, required("spec.parentRef")]
    return problems + [
        required(f"spec.parentRef.{part}") for part in ("resource", "name") if not parent.get(part)
    ]


def ip_address_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that an IPAddress still belongs to the same object."""
    return ip_address_problems(new) + immutable(
        "spec.parentRef", (new.get("spec") or {}).get("parentRef"), (old.get("spec") or {}).get("parentRef")
    )


def service_cidr_problems(tree: Tree) -> list[Problem]:
    """Check a ServiceCIDR: one range, or one of each family."""
    cidrs = (tree.get("spec") or {}).get("cidrs") or ()
    if not cidrs:
        return [required("spec.cidrs", "at least one CIDR required")]
    if len(cidrs) > 2:
        return [invalid("spec", tree["spec"], "may only hold up to 2 values")]
    problems: list[Problem] = []
    for at, text in enumerate(cidrs):
        problems += each(f"spec.cidrs[{at}]", text, canonical_network_messages(text))
    if not problems and len(cidrs) == 2 and len({ipaddress.ip_network(text).version for text in cidrs}) == 1:
        problems.append(
            invalid(
                "spec",
                tree["spec"],
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            )
        )
    return problems


def service_cidr_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a ServiceCIDR: its ranges stay; one of the other family may be added."""
    cidrs, before = (new.get("spec") or {}).get("cidrs") or [], (old.get("spec") or {}).get("cidrs") or []
    if cidrs[: len(before)] == before and len(before) == 1:
        return service_cidr_problems(new)
    return [*service_cidr_problems(new), *immutable("spec.cidrs", cidrs, before)]
