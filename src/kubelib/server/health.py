"""Whether the server is alive, and ready: single checks, all of them, and all but some, in kube-apiserver's words."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from kubelib.server.responses import PLAIN, UNSNIFFED, Response, page_not_found

if TYPE_CHECKING:
    from kubelib.server.app import ApiServer

KINDS = ("healthz", "livez", "readyz")
_HOOK = "poststarthook/"
_FLOW = "priority-and-fairness-"
_REASONS = {"shutdown": "process is shutting down"}
"""What a single check says when it fails."""


async def checks(server: "ApiServer", which: str) -> dict[str, bool]:
    """Return what is healthy, by the name of the check, for ``healthz``, ``livez`` or ``readyz``."""
    try:
        await server.registries.store.revision()
    except Exception:
        reached = False
    else:
        reached = True
    found = {"ping": True, "log": True, "etcd": reached}
    if which == "readyz":
        found |= {
            "etcd-readiness": reached,
            "informer-sync": server.ready is None or await server.ready(),
        }
    found |= dict.fromkeys(_started(server), True)
    if which == "readyz":
        found["shutdown"] = not server.stopping
    return found


def _started(server: "ApiServer") -> Iterator[str]:
    """Yield what kube-apiserver does once it has started, and this server before it listens: hence none of it ever fails.

    What kube-apiserver has and this server has not, such as the repair of addresses, is not among it.
    """
    yield _HOOK + "start-apiserver-admission-initializer"
    yield _HOOK + "generic-apiserver-start-informers"
    if server.flow is not None:
        yield f"{_HOOK}{_FLOW}config-consumer"
        yield f"{_HOOK}{_FLOW}filter"
    yield _HOOK + "storage-object-count-tracker-hook"
    yield _HOOK + "start-apiextensions-informers"
    yield _HOOK + "start-apiextensions-controllers"
    yield _HOOK + "crd-informer-synced"
    yield _HOOK + "start-system-namespaces-controller"
    if server.request_headers is not None:
        yield _HOOK + "start-cluster-authentication-info-controller"
    yield _HOOK + "storage-readiness"
    if server.rbac is not None:
        yield _HOOK + "rbac/bootstrap-roles"
    yield _HOOK + "scheduling/bootstrap-system-priority-classes"
    if server.flow is not None:
        yield f"{_HOOK}{_FLOW}config-producer"
    yield _HOOK + "bootstrap-controller"
    yield _HOOK + "start-kubernetes-service-cidr-controller"
    yield _HOOK + "start-kube-aggregator-informers"
    yield _HOOK + "apiservice-status-local-available-controller"
    yield _HOOK + "apiservice-status-remote-available-controller"
    yield _HOOK + "apiservice-registration-controller"
    yield _HOOK + "apiservice-discovery-controller"
    yield _HOOK + "kube-apiserver-autoregistration"
    yield "autoregister-completion"
    yield _HOOK + "apiservice-openapi-controller"
    yield _HOOK + "apiservice-openapiv3-controller"


def answer(which: str, check: str, checks: Mapping[str, bool], query: bytes) -> Response:
    """Answer ``/livez``, ``/livez/etcd`` and their like: 200 if what is asked for is well, 500 if not, 404 for no such check.

    ``exclude`` leaves a check out, ``verbose`` names each; a failure names them in any case, and why is for the server's log.
    """
    if check:
        if check not in checks:
            return page_not_found()
        if checks[check]:
            return Response(b"ok", content_type=PLAIN, headers=list(UNSNIFFED))
        text = f"internal server error: {_REASONS.get(check) or f'{check} check failed'}\n"
        return Response(text.encode(), 500, PLAIN, headers=list(UNSNIFFED))
    asked = parse_qs(query.decode("latin1"), keep_blank_values=True)
    excluded = set(asked.get("exclude") or ())
    lines = []
    for name, healthy in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif healthy:
            lines.append(f"[+]{name} ok")
        else:
            lines.append(f"[-]{name} failed: reason withheld")
    if unknown := sorted(excluded - checks.keys()):
        names = ",".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
    well = all(healthy or name in excluded for name, healthy in checks.items())
    if well and "verbose" not in asked:
        return Response(b"ok", content_type=PLAIN, headers=list(UNSNIFFED))
    lines.append(f"{which} check {'passed' if well else 'failed'}\n")
    return Response("\n".join(lines).encode(), 200 if well else 500, PLAIN, headers=list(UNSNIFFED))
