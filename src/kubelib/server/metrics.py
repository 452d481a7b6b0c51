"""``/metrics``: the figures of a server in Prometheus' text form, under the names that Kubernetes uses."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubelib.server.app import ApiServer


def render(server: "ApiServer") -> bytes:
    """Return the current figures."""
    lines = [
        "# HELP apiserver_storage_objects Number of stored objects.",
        "# TYPE apiserver_storage_objects gauge",
    ]
    registries = server.registries
    for resource in registries.scheme:
        if "list" in resource.verbs:
            count = len(registries.of(resource).cache)
            lines.append(f'apiserver_storage_objects{{resource="{resource.group_resource}"}} {count}')
    lines += [
        "# HELP apiserver_longrunning_requests Number of open watches.",
        "# TYPE apiserver_longrunning_requests gauge",
        f'apiserver_longrunning_requests{{verb="WATCH"}} {server.watches.running}',
        "# HELP apiserver_request_total Number of requests answered.",
        "# TYPE apiserver_request_total counter",
    ]
    for (verb, code), count in sorted(server.answered.items()):
        lines.append(f'apiserver_request_total{{verb="{verb}",code="{code}"}} {count}')
    return ("\n".join(lines) + "\n").encode()
