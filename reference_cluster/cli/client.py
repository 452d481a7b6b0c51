"""A small kubectl for those without one: the same flags, the same output."""

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import click

from kubelib.client.http import HttpClient
from reference_cluster.cli.resources import find_resource, parse_targets, path_of, run, table_text

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

namespace_option = click.option(
    "--namespace", "-n", metavar="NAME", help="The namespace (default: the context's)."
)


def _namespace(client: HttpClient, chosen: str | None) -> str:
    return chosen or client.connection.namespace


@click.command(epilog="Example: kubelib get pods,rc -o wide")
@click.argument("what", nargs=-1, required=True)
@namespace_option
@click.option("--all-namespaces", "-A", is_flag=True, help="Of every namespace.")
@click.option("--selector", "-l", default="", metavar="LABELS", help="Only objects with these labels.")
@click.option(
    "--output", "-o", type=click.Choice(["", "wide", "json", "yaml", "name"]), default="", help="The form."
)
@click.option("--no-headers", is_flag=True, help="Without the line of column names.")
@click.pass_context
def get(
    ctx: click.Context,
    what: tuple[str, ...],
    namespace: str | None,
    all_namespaces: bool,
    selector: str,
    output: str,
    no_headers: bool,
) -> None:
    """Show objects as a table, YAML, JSON or names."""
    targets = parse_targets(what)

    async def main(client: HttpClient) -> None:
        where = "" if all_namespaces else _namespace(client, namespace)
        query = {"labelSelector": selector} if selector else {}
        answers = [
            await client.request(
                "GET",
                path_of(resource, where, name),
                query=None if name else query,
                accept=TABLE if output in ("", "wide") else "application/json",
            )
            for resource, name in targets
        ]
        trees = [answer.tree() for answer in answers]
        if output in ("", "wide"):
            filled = [tree for tree in trees if tree["rows"]]
            if not filled:
                click.echo("No resources found" + (f" in {where} namespace." if where else ""), err=True)
                return
            if len(targets) > 1:
                for (resource, _), tree in zip(targets, trees, strict=True):
                    for row in tree["rows"]:
                        row["cells"][0] = (
                            f"{resource.singular}{'.' + resource.group if resource.group else ''}/{row['cells'][0]}"
                        )
            text = table_text(
                filled, wide=output == "wide", headers=not no_headers, namespaces=all_namespaces
            )
            click.echo(text)
            return
        items = [item for tree in trees for item in tree.get("items", [tree])]
        if output == "name":
            for item in items:
                resource = find_resource(item["kind"])
                group = f".{resource.group}" if resource.group else ""
                click.echo(f"{resource.singular}{group}/{item['metadata']['name']}")
            return
        one = len(targets) == 1 and bool(targets[0][1])
        listed = {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}
        print_tree(items[0] if one else listed, output)

    run(ctx, main)


def print_tree(tree: dict[str, Any], output: str) -> None:
    """Print a tree as ``json`` or ``yaml``."""
    if output == "json":
        click.echo(json.dumps(tree, indent=4))
    else:
        from kubelib.server.responses import to_yaml

        click.echo(to_yaml(json.dumps(tree, sort_keys=True).encode()), nl=False)


def documents_of(files: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the objects in files, those of lists one by one; - is standard input. Raises ClickException with a sentence."""
    import yaml

    documents: list[dict[str, Any]] = []
    for file in files:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text()
            loaded = [tree for tree in yaml.safe_load_all(text) if tree is not None]
        except OSError as error:
            raise click.ClickException(f"cannot read {file}: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{file} is not YAML: {' '.join(str(error).split())}") from None
        for tree in loaded:
            listed = isinstance(tree, dict) and str(tree.get("kind")).endswith("List") and "items" in tree
            objects = (tree["items"] or []) if listed else [tree]
            if not isinstance(objects, list) or not all(map(_has_kind, objects)):
                raise click.ClickException(f"{file} holds something that is not an object with a kind")
            documents += objects
    return documents


def _has_kind(tree: object) -> bool:
    return isinstance(tree, dict) and isinstance(tree.get("kind"), str) and bool(tree["kind"])


@click.command(epilog="Example: kubelib apply -f guestbook.yaml")
@click.option(
    "--filename",
    "-f",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="What to apply; - is standard input.",
)
@namespace_option
@click.option("--force-conflicts", is_flag=True, help="Take over fields that others have set.")
@click.pass_context
def apply(ctx: click.Context, files: tuple[str, ...], namespace: str | None, force_conflicts: bool) -> None:
    """Create or change objects from files, by server-side apply."""
    documents = documents_of(files)

    async def main(client: HttpClient) -> None:
        for document in documents:
            resource = find_resource(document["kind"])
            meta = document.setdefault("metadata", {})
            where = meta.get("namespace") or _namespace(client, namespace)
            await client.request(
                "PATCH",
                path_of(resource, where, meta.get("name", "")),
                query={
                    "fieldManager": "kubelib",
                    "fieldValidation": "Strict",
                    "force": str(force_conflicts).lower(),
                },
                body=json.dumps(document).encode(),
                content_type="application/apply-patch+yaml",
            )
            group = f".{resource.group}" if resource.group else ""
            click.echo(f"{resource.singular}{group}/{meta.get('name')} serverside-applied")

    run(ctx, main)


@click.command(epilog="Example: kubelib delete pod/web --grace-period 5")
@click.argument("what", nargs=-1)
@click.option("--filename", "-f", "files", multiple=True, metavar="FILE", help="Delete what is in a file.")
@namespace_option
@click.option("--grace-period", type=int, help="Seconds that Pods have to end.")
@click.option("--wait/--no-wait", default=True, help="Until the objects are gone.")
@click.pass_context
def delete(
    ctx: click.Context,
    what: tuple[str, ...],
    files: tuple[str, ...],
    namespace: str | None,
    grace_period: int | None,
    wait: bool,
) -> None:
    """Delete objects."""
    named = [(find_resource(d["kind"]), d["metadata"]["name"]) for d in documents_of(files)]
    targets = [*named, *(parse_targets(what) if what else ())]
    if not targets or any(not name for _, name in targets):
        raise click.UsageError("say which: for example pod/web, or -f FILE")

    async def main(client: HttpClient) -> None:
        from kubelib.api.errors import NotFound

        where = _namespace(client, namespace)
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        for resource, name in targets:
            path = path_of(resource, where, name)
            await client.request("DELETE", path, body=json.dumps(options).encode())
            click.echo(f'{resource.singular} "{name}" deleted')
        for resource, name in targets if wait else ():
            try:
                while True:
                    await client.request("GET", path_of(resource, where, name))
                    await anyio.sleep(0.1)
            except NotFound:
                continue

    run(ctx, main)


@click.command(epilog="Example: kubelib scale rc/web --replicas 3")
@click.argument("what", nargs=-1, required=True)
@click.option("--replicas", type=click.IntRange(0), required=True, help="How many.")
@namespace_option
@click.pass_context
def scale(ctx: click.Context, what: tuple[str, ...], replicas: int, namespace: str | None) -> None:
    """Set the number of replicas."""

    async def main(client: HttpClient) -> None:
        for resource, name in parse_targets(what):
            await client.request(
                "PATCH",
                path_of(resource, _namespace(client, namespace), name, "scale"),
                body=json.dumps({"spec": {"replicas": replicas}}).encode(),
                content_type="application/merge-patch+json",
            )
            click.echo(f"{resource.singular}/{name} scaled")

    run(ctx, main)


@click.command(epilog="Example: kubelib logs web -f")
@click.argument("pod")
@click.option("--container", "-c", default="", metavar="NAME", help="Which container, if there are several.")
@click.option("--follow", "-f", is_flag=True, help="Until the container ends.")
@click.option("--previous", "-p", is_flag=True, help="Of the run before this one.")
@click.option("--tail", type=int, help="Only so many lines from the end.")
@click.option("--timestamps", is_flag=True, help="With the time of each line.")
@namespace_option
@click.pass_context
def logs(
    ctx: click.Context,
    pod: str,
    container: str,
    follow: bool,
    previous: bool,
    tail: int | None,
    timestamps: bool,
    namespace: str | None,
) -> None:
    """Print the logs of a container."""
    query = {"container": container, "tailLines": str(tail) if tail is not None else ""}
    query |= {
        "follow": str(follow).lower(),
        "previous": str(previous).lower(),
        "timestamps": str(timestamps).lower(),
    }
    query = {name: value for name, value in query.items() if value not in ("", "false")}

    async def main(client: HttpClient) -> None:
        path = path_of(find_resource("pods"), _namespace(client, namespace), pod.removeprefix("pod/"), "log")
        async with client.stream("GET", path, query=query, accept="text/plain, application/json") as chunks:
            async for chunk in chunks:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()

    run(ctx, main)


@click.command(epilog="Example: kubelib wait pod/web --for condition=Ready --timeout 30")
@click.argument("what", nargs=-1, required=True)
@click.option("--for", "goal", required=True, metavar="GOAL", help="delete, or condition=NAME[=VALUE].")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds.")
@namespace_option
@click.pass_context
def wait(ctx: click.Context, what: tuple[str, ...], goal: str, timeout: float, namespace: str | None) -> None:
    """Wait for a condition of objects."""
    kind, _, wanted = goal.partition("=")
    condition, _, value = wanted.partition("=")
    if kind not in ("delete", "condition") or (kind == "condition" and not condition):
        raise click.UsageError("--for takes delete, or condition=NAME")

    async def met(client: HttpClient, path: str) -> bool:
        from kubelib.api.errors import NotFound

        try:
            tree = (await client.request("GET", path)).tree()
        except NotFound:
            if kind == "delete":
                return True
            raise
        conditions = (tree.get("status") or {}).get("conditions") or ()
        return any(
            c["type"].lower() == condition.lower() and c["status"].lower() == (value or "true").lower()
            for c in conditions
        )

    async def main(client: HttpClient) -> None:
        for resource, name in parse_targets(what):
            path = path_of(resource, _namespace(client, namespace), name)
            with anyio.move_on_after(timeout) as scope:
                while not await met(client, path):
                    await anyio.sleep(0.1)
            if scope.cancelled_caught:
                raise click.ClickException(f"timed out waiting for the condition on {resource.plural}/{name}")
            click.echo(f"{resource.singular}/{name} {'deleted' if kind == 'delete' else 'condition met'}")

    run(ctx, main)
