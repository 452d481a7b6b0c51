"""How the client commands find and name things: resources by any of their names, objects by ``kind/name``."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from kubelib.api.builtin import SCHEME
from kubelib.api.scheme import Resource
from kubelib.client.http import HttpClient

T = TypeVar("T")


def run(ctx: click.Context, main: Callable[[HttpClient], Awaitable[T]]) -> T:
    """Run a command with a client of the chosen cluster; end with kubectl's words for what the server refuses."""
    import anyio

    from kubelib.api.errors import ApiError
    from kubelib.client.kubeconfig import KubeconfigError, kubeconfig_paths, load_connection

    try:
        connection = load_connection(kubeconfig_paths(ctx.obj["kubeconfig"]), ctx.obj["context"])

        async def connected() -> T:
            async with HttpClient(connection, manager="kubelib-client") as client:
                return await main(client)

        return anyio.run(connected)
    except KubeconfigError as error:
        raise click.ClickException(str(error)) from None
    except ApiError as error:
        click.echo(f"Error from server ({error.reason}): {error}", err=True)
        ctx.exit(1)


def find_resource(name: str) -> Resource:
    """Return the resource that a word means: plural, singular, kind or short name. Raises UsageError."""
    wanted, _, group = name.lower().partition(".")
    for resource in SCHEME:
        if group and resource.group != group:
            continue
        if wanted in (resource.plural, resource.singular, resource.kind.lower(), *resource.short_names):
            return resource
    raise click.UsageError(f'the server doesn\'t have a resource type "{name}"')


def parse_targets(words: tuple[str, ...]) -> list[tuple[Resource, str]]:
    """Return what words such as ``pods``, ``pod web``, ``pod/web rc/web`` name; an empty name means all."""
    if not words:
        raise click.UsageError("say what: for example pods, pod web, or rc/web")
    if "/" in words[0]:
        targets = []
        for word in words:
            kind, slash, name = word.partition("/")
            if not slash or not name:
                raise click.UsageError(f"{word!r} is not KIND/NAME")
            targets.append((find_resource(kind), name))
        return targets
    resources = [find_resource(kind) for kind in words[0].split(",")]
    return [(resource, name) for resource in resources for name in (words[1:] or ("",))]


def path_of(resource: Resource, namespace: str, name: str = "", subresource: str = "") -> str:
    """Return the path of a resource or object."""
    base = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    middle = f"/namespaces/{namespace}" if resource.namespaced and namespace else ""
    return "/".join(part for part in (f"{base}{middle}/{resource.plural}", name, subresource) if part)


def table_text(
    tables: list[dict[str, Any]], *, wide: bool, headers: bool = True, namespaces: bool = False
) -> str:
    """Return tables as kubectl prints them: columns as wide as their widest cell, three spaces between."""
    blocks = []
    for table in tables:
        shown = [n for n, c in enumerate(table["columnDefinitions"]) if wide or not c["priority"]]
        rows = [[table["columnDefinitions"][n]["name"].upper() for n in shown]] if headers else []
        if namespaces and rows:
            rows[0].insert(0, "NAMESPACE")
        for row in table["rows"]:
            cells = [str(row["cells"][n]) for n in shown]
            if namespaces:
                cells.insert(0, row["object"]["metadata"].get("namespace", ""))
            rows.append(cells)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
        lines = ["   ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
