"""`kubelib describe`: objects, with what belongs to them, for people to read, as kubectl shows them."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import click

from kubelib.api.errors import ApiError
from kubelib.api.scheme import Resource
from kubelib.client.http import HttpClient
from kubelib.clock import SYSTEM_CLOCK
from reference_cluster.cli.client import namespace_option
from reference_cluster.cli.describe import cluster, plain, pods, services, workloads
from reference_cluster.cli.resources import find_resource, parse_targets, path_of, run

Tree = dict[str, Any]


class _Reader:
    """Reads what belongs to the objects that are described."""

    def __init__(self, client: HttpClient, *, show_events: bool) -> None:
        self._client = client
        self._show_events = show_events

    async def find(self, word: str, namespace: str, *, labels: str = "", fields: str = "") -> list[Tree]:
        query = {name: text for name, text in (("labelSelector", labels), ("fieldSelector", fields)) if text}
        answer = await self._client.request("GET", path_of(find_resource(word), namespace), query=query)
        items: list[Tree] = answer.tree()["items"]
        return items

    async def look(self, word: str, namespace: str, name: str) -> Tree | None:
        try:
            return (await self._client.request("GET", path_of(find_resource(word), namespace, name))).tree()
        except ApiError:
            return None

    async def events(self, tree: Tree) -> list[Tree] | None:
        if not self._show_events:
            return None
        meta = tree["metadata"]
        fields = f"involvedObject.name={meta['name']},involvedObject.kind={tree['kind']}"
        if tree["kind"] != "Node":  # a node's events name it, not its uid
            fields += f",involvedObject.uid={meta['uid']}"
        return await self.find("events", meta.get("namespace", ""), fields=fields)

    async def owned(self, word: str, tree: Tree, selector: str) -> list[Tree]:
        meta = tree["metadata"]
        found = await self.find(word, meta["namespace"], labels=selector)
        return [
            item
            for item in found
            if any(o.get("uid") == meta["uid"] for o in item["metadata"].get("ownerReferences") or ())
        ]


Describe = Callable[[_Reader, Tree, datetime], Awaitable[str]]


async def _pod(reader: _Reader, tree: Tree, now: datetime) -> str:
    return pods.describe_pod(tree, await reader.events(tree), now)


async def _replication_controller(reader: _Reader, tree: Tree, now: datetime) -> str:
    selector = ",".join(f"{k}={v}" for k, v in (tree["spec"].get("selector") or {}).items())
    owned = await reader.owned("pods", tree, selector)
    return workloads.describe_replication_controller(tree, owned, await reader.events(tree), now)


async def _replica_set(reader: _Reader, tree: Tree, now: datetime) -> str:
    selector = workloads.label_selector_text(tree["spec"].get("selector"))
    owned = await reader.owned("pods", tree, selector)
    return workloads.describe_replica_set(tree, owned, await reader.events(tree), now)


async def _deployment(reader: _Reader, tree: Tree, now: datetime) -> str:
    selector = workloads.label_selector_text(tree["spec"].get("selector"))
    owned = await reader.owned("replicasets", tree, selector)
    return workloads.describe_deployment(tree, owned, await reader.events(tree), now)


async def _service(reader: _Reader, tree: Tree, now: datetime) -> str:
    meta = tree["metadata"]
    labels = f"kubernetes.io/service-name={meta['name']}"
    slices = await reader.find("endpointslices", meta["namespace"], labels=labels)
    return services.describe_service(tree, slices, await reader.events(tree), now)


async def _endpoints(reader: _Reader, tree: Tree, now: datetime) -> str:
    return services.describe_endpoints(tree, await reader.events(tree), now)


async def _endpoint_slice(reader: _Reader, tree: Tree, now: datetime) -> str:
    return services.describe_endpoint_slice(tree, await reader.events(tree), now)


async def _node(reader: _Reader, tree: Tree, now: datetime) -> str:
    name = tree["metadata"]["name"]
    lease = await reader.look("leases", "kube-node-lease", name)
    on_it = await reader.find("pods", "", fields=f"spec.nodeName={name}")
    return cluster.describe_node(tree, lease, on_it, await reader.events(tree), now)


async def _namespace(reader: _Reader, tree: Tree, now: datetime) -> str:
    name = tree["metadata"]["name"]
    quotas, limits = await reader.find("quota", name), await reader.find("limits", name)
    return cluster.describe_namespace(tree, quotas, limits, [], now)


async def _config_map(reader: _Reader, tree: Tree, now: datetime) -> str:
    return plain.describe_config_map(tree, await reader.events(tree), now)


async def _service_account(reader: _Reader, tree: Tree, now: datetime) -> str:
    return plain.describe_service_account(tree, await reader.events(tree), now)


async def _anything(reader: _Reader, tree: Tree, now: datetime) -> str:
    events = await reader.events(tree)
    return plain.describe_anything(tree, events, now)


def _alone(describe: Callable[[Tree], str]) -> Describe:
    async def described(reader: _Reader, tree: Tree, now: datetime) -> str:
        return describe(tree)

    return described


_KINDS: dict[str, Describe] = {
    "Pod": _pod,
    "ReplicationController": _replication_controller,
    "ReplicaSet": _replica_set,
    "Deployment": _deployment,
    "Service": _service,
    "Endpoints": _endpoints,
    "EndpointSlice": _endpoint_slice,
    "Node": _node,
    "Namespace": _namespace,
    "ConfigMap": _config_map,
    "ServiceAccount": _service_account,
    "Secret": _alone(plain.describe_secret),
    "ResourceQuota": _alone(cluster.describe_quota),
    "LimitRange": _alone(cluster.describe_limits),
    "Role": _alone(plain.describe_role),
    "ClusterRole": _alone(plain.describe_role),
    "RoleBinding": _alone(plain.describe_role_binding),
    "ClusterRoleBinding": _alone(plain.describe_role_binding),
}


@click.command(epilog="Example: kubelib describe pod web")
@click.argument("what", nargs=-1, required=True)
@namespace_option
@click.option("--all-namespaces", "-A", is_flag=True, help="Of every namespace.")
@click.option("--selector", "-l", default="", metavar="LABELS", help="Only objects with these labels.")
@click.option(
    "--show-events", type=bool, default=True, show_default=True, metavar="BOOL", help="With what happened."
)
@click.pass_context
def describe(
    ctx: click.Context,
    what: tuple[str, ...],
    namespace: str | None,
    all_namespaces: bool,
    selector: str,
    show_events: bool,
) -> None:
    """Show objects with what belongs to them, and what happened to them."""
    targets = parse_targets(what)

    async def main(client: HttpClient) -> None:
        where = "" if all_namespaces else namespace or client.connection.namespace
        found = [
            tree
            for resource, name in targets
            for tree in await _objects(client, resource, where, name, selector)
        ]
        # As kubectl does: of several objects, what they are, and not also what happened to each.
        reader = _Reader(client, show_events=show_events and len(found) == 1)
        now = SYSTEM_CLOCK.now()
        texts = [await _KINDS.get(tree["kind"], _anything)(reader, tree, now) for tree in found]
        if not texts:
            click.echo("No resources found" + (f" in {where} namespace." if where else ""), err=True)
        click.echo("\n\n".join(texts), nl=False)

    run(ctx, main)


async def _objects(
    client: HttpClient, resource: Resource, namespace: str, name: str, selector: str
) -> list[Tree]:
    query = {"labelSelector": selector} if selector and not name else None
    tree = (await client.request("GET", path_of(resource, namespace, name), query=query)).tree()
    if name:
        return [tree]
    return [{**item, "kind": resource.kind, "apiVersion": resource.api_version} for item in tree["items"]]
