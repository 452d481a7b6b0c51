"""The table of what the API server supports: ``python -m tests.server.supported`` writes it to docs/supported.md."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from kubelib.api.builtin import SCHEME
from kubelib.api.scheme import Resource, Scheme
from kubelib.server.discovery import SUBRESOURCE_VERBS, groups_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "supported.md"

HEAD = """# What is supported

Each API group and version, each kind, each verb and subresource, as discovery says it. This page is generated from the scheme
(`python -m tests.server.supported`), and a test calls every cell of it. Of a verb that a kind does not have, the server says 405;
of a subresource, group or kind that is not there, 404. Every kind below has JSON, YAML and protocol buffers, is printed as a
table, and is explained by `kubectl explain`. CustomResourceDefinitions and aggregated servers add kinds at run time; where there
are nodes, `metrics.k8s.io/v1beta1` says what they and their Pods use (`nodes`, `pods`: get and list). [Authentication](authentication.md),
[admission](admission.md) and [audit](audit.md) have pages of their own.

Verbs are short: **C**reate, **g**et, **l**ist, **w**atch, **u**pdate, **p**atch (JSON, merge, strategic merge and apply),
**d**elete, **D**eletecollection.
"""

LETTERS = (
    ("create", "C"),
    ("get", "g"),
    ("list", "l"),
    ("watch", "w"),
    ("update", "u"),
    ("patch", "p"),
    ("delete", "d"),
    ("deletecollection", "D"),
)


def short(verbs: Sequence[str]) -> str:
    """Return verbs as letters."""
    return "".join(letter for verb, letter in LETTERS if verb in verbs)


def _stored_as(resource: Resource) -> Resource:
    """Return the form of a kind that is stored: selectors of fields look at that."""
    stored = (r for r in SCHEME if (r.plural, r.group) == (resource.plural, resource.storage_group))
    return next(stored, resource)


def _row(resource: Resource) -> str:
    subresources = ", ".join(
        f"{name} ({short(SUBRESOURCE_VERBS[name])})" for name in sorted(resource.subresources)
    )
    cells = (
        resource.kind,
        f"`{resource.plural}`" + "".join(f" `{name}`" for name in resource.short_names),
        "namespace" if resource.namespaced else "cluster",
        short(resource.verbs),
        subresources,
        ", ".join(f"`{name}`" for name in sorted(_stored_as(resource).selectable)),
    )
    return "| " + " | ".join(cells) + " |"


def kinds(scheme: Scheme) -> Iterator[str]:
    """Yield the lines of the tables of kinds."""
    versions = [("", "v1"), *((g, v) for g, found in sorted(groups_of(scheme).items()) if g for v in found)]
    for group, version in versions:
        yield f"\n## {group}/{version}" if group else f"\n## {version}"
        yield ""
        yield "| kind | resource, short names | scope | verbs | subresources | field selectors beyond name and namespace |"
        yield "| --- | --- | --- | --- | --- | --- |"
        here = (r for r in scheme if (r.group, r.version) == (group, version))
        yield from (_row(resource) for resource in sorted(here, key=lambda r: r.kind))


MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MERGE = "application/merge-patch+json"
WATCH = f"GET {MAPS}?watch=1&timeoutSeconds=1"
EMPTY = '{"metadata":{"name":"probe"}}'

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEFINITION = (
    '{"metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","scope":"Namespaced",'
    '"names":{"plural":"widgets","kind":"Widget"},"versions":[{"name":"v1","served":true,"storage":true,'
    '"schema":{"openAPIV3Schema":{"type":"object"}}}]}}'
)
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
RULE = '{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["configmaps"]}'
POLICY = (
    '{"metadata":{"name":"probe"},"spec":{"matchConstraints":{"resourceRules":['
    + RULE
    + """]},"validations":[{"expression":"object.metadata.name != 'x'"}]}}"""
)
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
WEBHOOK = (
    '{"metadata":{"name":"probe"},"webhooks":[{"name":"a.example.com","clientConfig":{"url":"https://localhost"},'
    '"sideEffects":"None","admissionReviewVersions":["v1"],"rules":[' + RULE + "]}]}"
)
UNKNOWN = '{"metadata":{"name":"probe"},"x":1,"x":2}'
OTHER = '{"apiVersion":"v1","kind":"ConfigMap","data":{"owned":"by me"}}'
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
STRICT = "/api/v1/namespaces/strict"
OPEN_POD = '{"metadata":{"name":"probe"},"spec":{"containers":[{"name":"c","image":"i"}]}}'
GREEDY = OPEN_POD.replace(
    '"image":"i"', '"image":"i","resources":{"requests":{"cpu":"9"},"limits":{"cpu":"9"}}'
)
RULED = (
    DEFINITION.replace("widget", "ruled")
    .replace("Widget", "Ruled")
    .replace(
        '"type":"object"',
        '"type":"object","properties":{"spec":{"type":"object","properties":{"size":{"type":"integer"}},'
        '"x-kubernetes-validations":[{"rule":"self.size > 0"}]}}',
    )
)
RULED_OBJECTS = "/apis/example.com/v1/namespaces/default/ruleds"
CONVERTED = DEFINITION.replace(
    '"versions"',
    '"conversion":{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v1"],'
    '"clientConfig":{"url":"https://localhost"}}},"versions"',
)
API_SERVICE = (
    '{"metadata":{"name":"v1.example.org"},"spec":{"group":"example.org","version":"v1","groupPriorityMinimum":100,'
    '"versionPriority":10,"insecureSkipTLSVerify":true,"service":{"namespace":"default","name":"api"}}}'
)

FEATURES: tuple[tuple[str, int, str, dict[str, str], str], ...] = (
    ("one object", 200, f"GET {MAPS}/there", {}, ""),
    ("as a Table", 200, f"GET {MAPS}/there", {"accept": TABLE}, ""),
    ("as bare metadata", 200, f"GET {MAPS}/there", {"accept": METADATA}, ""),
    ("in YAML", 200, f"GET {MAPS}/there", {"accept": "application/yaml"}, ""),
    ("in protocol buffers, for clients that take nothing else", 200, f"GET {MAPS}/there", {"accept": PROTOBUF}, ""),
    ("indented JSON (`pretty`)", 200, f"GET {MAPS}/there?pretty=true", {}, ""),
    ("a list in pages of one revision (`limit`, `continue`)", 200, f"GET {MAPS}?limit=1", {}, ""),
    ("a list not older than a revision", 200, f"GET {MAPS}?resourceVersion=1&resourceVersionMatch=NotOlderThan", {}, ""),
    ("a list by labels and fields", 200, f"GET {MAPS}?labelSelector=a!%3Db&fieldSelector=metadata.name%3Dthere", {}, ""),
    ("a list by a field that cannot be selected", 400, f"GET {MAPS}?fieldSelector=data.a%3Db", {}, ""),
    ("a list that continues with an unknown token", 400, f"GET {MAPS}?continue=x", {}, ""),
    ("options of a list that contradict each other", 422, f"GET {MAPS}?resourceVersionMatch=Exact", {}, ""),
    ("a watch with bookmarks", 200, f"{WATCH}&allowWatchBookmarks=true", {}, ""),
    ("a watch that begins with what there is", 200, f"{WATCH}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", {}, ""),
    ("a watch of one name", 200, f"{WATCH}&fieldSelector=metadata.name%3Dthere", {}, ""),
    ("a watch under the old path", 200, "GET /api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1", {}, ""),
    ("a watch of Tables", 200, WATCH, {"accept": TABLE}, ""),
    ("a watch of bare metadata", 200, WATCH, {"accept": METADATA}, ""),
    ("a watch in protocol buffers", 200, WATCH, {"accept": PROTOBUF}, ""),
    ("a watch in YAML", 406, WATCH, {"accept": "application/yaml"}, ""),
    ("an unknown form (`Accept`)", 406, f"GET {MAPS}", {"accept": "text/html"}, ""),
    ("CBOR", 406, f"GET {MAPS}", {"accept": "application/cbor"}, ""),
    ("create from JSON", 201, f"POST {MAPS}?dryRun=All", {}, EMPTY),
    ("create from YAML", 201, f"POST {MAPS}?dryRun=All", {"content-type": "application/yaml"}, "metadata: {name: probe}"),
    ("create with a generated name", 201, f"POST {MAPS}?dryRun=All", {}, '{"metadata":{"generateName":"probe-"}}'),
    ("unknown and repeated fields, to be ignored", 201, f"POST {MAPS}?dryRun=All&fieldValidation=Ignore", {}, UNKNOWN),
    ("unknown and repeated fields, to be warned of", 201, f"POST {MAPS}?dryRun=All&fieldValidation=Warn", {}, UNKNOWN),
    ("unknown and repeated fields, where validation is strict", 400, f"POST {MAPS}?fieldValidation=Strict", {}, UNKNOWN),
    ("create from CBOR", 415, f"POST {MAPS}", {"content-type": "application/cbor"}, EMPTY),
    ("create from what is no document", 415, f"POST {MAPS}", {"content-type": "text/html"}, EMPTY),
    ("create of a name that is taken", 409, f"POST {MAPS}", {}, '{"metadata":{"name":"there"}}'),
    ("create of what breaks the rules of its kind", 422, f"POST {MAPS}", {}, '{"metadata":{"name":"No"}}'),
    ("create with a body of more than 3 MiB", 413, f"POST {MAPS}", {}, " " * (3 * 1024 * 1024 + 1)),
    ("replace what has changed since it was read", 409, f"PUT {MAPS}/there", {}, '{"metadata":{"name":"there","resourceVersion":"1"}}'),
    ("JSON patch", 200, f"PATCH {MAPS}/there?dryRun=All", {"content-type": "application/json-patch+json"}, "[]"),
    ("merge patch", 200, f"PATCH {MAPS}/there?dryRun=All", {"content-type": MERGE}, "{}"),
    ("strategic merge patch", 200, f"PATCH {MAPS}/there?dryRun=All", {"content-type": "application/strategic-merge-patch+json"}, "{}"),
    ("server-side apply", 200, f"PATCH {MAPS}/there?dryRun=All&fieldManager=me", {"content-type": "application/apply-patch+yaml"}, '{"apiVersion":"v1","kind":"ConfigMap"}'),
    ("server-side apply of what another manager has, by force", 200, f"PATCH {MAPS}/there?dryRun=All&fieldManager=me&force=true", {"content-type": "application/apply-patch+yaml"}, OTHER),
    ("server-side apply of what another manager has", 409, f"PATCH {MAPS}/there?dryRun=All&fieldManager=me", {"content-type": "application/apply-patch+yaml"}, OTHER),
    ("server-side apply without a manager", 422, f"PATCH {MAPS}/there", {"content-type": "application/apply-patch+yaml"}, "{}"),
    ("server-side apply in CBOR", 415, f"PATCH {MAPS}/there?fieldManager=me", {"content-type": "application/apply-patch+cbor"}, "{}"),
    ("delete of what is not as the preconditions say", 409, f"DELETE {MAPS}/there", {}, '{"preconditions":{"uid":"other"}}'),
    ("delete in the foreground", 200, f"DELETE {MAPS}/there?dryRun=All&propagationPolicy=Foreground", {}, ""),
    ("delete in the background", 200, f"DELETE {MAPS}/there?dryRun=All&propagationPolicy=Background", {}, ""),
    ("delete without dependents", 200, f"DELETE {MAPS}/there?dryRun=All&propagationPolicy=Orphan", {}, ""),
    ("delete of many, by selector", 200, f"DELETE {MAPS}?dryRun=All&labelSelector=a%3Db", {}, ""),
    ("scale of a workload", 200, f"GET {DEPLOYMENTS}/there/scale", {}, ""),
    ("change of a scale", 200, f"PATCH {DEPLOYMENTS}/there/scale?dryRun=All", {"content-type": MERGE}, '{"spec":{"replicas":2}}'),
    ("a token of a service account", 201, "POST /api/v1/namespaces/default/serviceaccounts/there/token", {}, "{}"),
    ("review of a token", 201, "POST /apis/authentication.k8s.io/v1/tokenreviews", {}, '{"spec":{"token":"x"}}'),
    ("review of rights", 201, "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {}, '{"spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}'),
    ("impersonation, by those who may", 201, "POST /apis/authentication.k8s.io/v1/selfsubjectreviews", {"impersonate-user": "jane", "impersonate-group": "system:masters"}, "{}"),
    ("what the impersonated may not do", 403, f"GET {MAPS}", {"impersonate-user": "nobody"}, ""),
    ("who one is taken for", 201, "POST /apis/authentication.k8s.io/v1/selfsubjectreviews", {}, "{}"),
    ("a definition of a custom kind", 201, f"POST {DEFINITIONS}?dryRun=All", {}, DEFINITION),
    ("a definition whose schema is not structural", 422, f"POST {DEFINITIONS}?dryRun=All", {}, DEFINITION.replace('"type":"object"', '"nullable":true')),
    ("a definition with rules in CEL", 201, f"POST {DEFINITIONS}?dryRun=All", {}, RULED.replace("uled", "ated")),
    ("a definition whose rule does not compile", 422, f"POST {DEFINITIONS}?dryRun=All", {}, RULED.replace("self.", "nothing.")),
    ("a definition whose versions a webhook converts", 201, f"POST {DEFINITIONS}?dryRun=All", {}, CONVERTED),
    ("an object that a rule in CEL refuses", 422, f"POST {RULED_OBJECTS}?dryRun=All", {}, '{"apiVersion":"example.com/v1","kind":"Ruled","metadata":{"name":"probe"},"spec":{"size":0}}'),
    ("a policy of admission in CEL", 201, f"POST {POLICIES}?dryRun=All", {}, POLICY),
    ("a policy whose expression does not compile", 422, f"POST {POLICIES}?dryRun=All", {}, POLICY.replace("object.", "nothing.")),
    ("an admission webhook", 201, f"POST {WEBHOOKS}?dryRun=All", {}, WEBHOOK),
    ("an API that another server serves", 201, "POST /apis/apiregistration.k8s.io/v1/apiservices?dryRun=All", {}, API_SERVICE),
    ("without credentials: health and version", 200, "GET /livez", {"authorization": ""}, ""),
    ("without credentials: anything else", 403, f"GET {MAPS}", {"authorization": ""}, ""),
    ("with credentials that nobody knows", 401, f"GET {MAPS}", {"authorization": "Bearer x"}, ""),
    ("admission NamespaceLifecycle: in a namespace that is not there", 404, "POST /api/v1/namespaces/missing/configmaps", {}, EMPTY),
    ("admission LimitRanger: more than a limit", 403, f"POST {STRICT}/pods", {}, GREEDY),
    ("admission ResourceQuota: more than a quota", 403, f"POST {STRICT}/configmaps", {}, EMPTY),
    ("admission PodSecurity: less secure than the namespace wants", 403, f"POST {STRICT}/pods", {}, OPEN_POD),
    ("admission Priority: a priority class that is not there", 403, "POST /api/v1/namespaces/default/pods", {}, OPEN_POD.replace('"spec":{', '"spec":{"priorityClassName":"missing",')),
    ("admission RuntimeClass: a runtime class that is not there", 403, "POST /api/v1/namespaces/default/pods", {}, OPEN_POD.replace('"spec":{', '"spec":{"runtimeClassName":"missing",')),
    ("priority and fairness: what waits, in tables", 200, "GET /debug/api_priority_and_fairness/dump_priority_levels", {}, ""),
    ("health, with every check by name", 200, "GET /readyz?verbose", {}, ""),
    ("metrics", 200, "GET /metrics", {}, ""),
    ("metrics of health", 200, "GET /metrics/slis", {}, ""),
    ("the keys of tokens", 200, "GET /openid/v1/jwks", {}, ""),
    ("discovery", 200, "GET /apis", {}, ""),
    ("discovery in one document", 200, "GET /apis", {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}, ""),
    ("OpenAPI v2", 200, "GET /openapi/v2", {}, ""),
    ("OpenAPI v3", 200, "GET /openapi/v3", {}, ""),
    ("a kind, group or path that is not there", 404, "GET /apis/apps/v1/namespaces/default/nothings", {}, ""),
)  # fmt: skip


def features() -> Iterator[str]:
    """Yield the lines of the table of features."""
    yield "\n## Features"
    yield ""
    yield "Commands, attaching, port-forwarding, logs, watches and proxies are served over WebSockets, in all of Kubernetes'"
    yield "channel protocols up to v5. Commands, attaching and port-forwarding are served over SPDY/3.1 too, for clients older than that."
    yield ""
    yield "| what is supported | status |"
    yield "| --- | --- |"
    for what, code, *_ in FEATURES:
        if code < 300:
            yield f"| {what} | {code} |"
    yield ""
    yield "What is asked for wrongly, or is not there, is refused as Kubernetes refuses it:"
    yield ""
    yield "| what is refused | status |"
    yield "| --- | --- |"
    for what, code, *_ in FEATURES:
        if code >= 300:
            yield f"| {what} | {code} |"


def page(scheme: Scheme = SCHEME) -> str:
    """Return the page."""
    return HEAD + "\n".join([*kinds(scheme), *features()]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
