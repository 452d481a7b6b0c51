"""`kubelib label`: set, change and remove labels."""

import json
from typing import Any

import click

from kubelib.api.scheme import Resource
from kubelib.client.http import HttpClient
from kubelib.labels.validation import is_label_value, is_qualified_name
from reference_cluster.cli import shapes
from reference_cluster.cli.client import namespace_option
from reference_cluster.cli.resources import parse_targets, path_of, run


def parse_changes(words: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str | None]]:
    """Take objects and changes apart: ``pods web tier=x old-`` is about ``pods web``. Raises UsageError.

    >>> parse_changes(("pod", "web", "tier=x", "old-"))
    (('pod', 'web'), {'tier': 'x', 'old': None})
    """
    objects: list[str] = []
    changes: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            if messages := is_qualified_name(key):
                raise click.UsageError(f'invalid label key: "{word}": {messages[0]}')
            if messages := is_label_value(value):
                raise click.UsageError(f'invalid label value: "{word}": {messages[0]}')
            changes[key] = value
        elif word.endswith("-") and len(word) > 1:
            changes[word[:-1]] = None
        elif changes:
            raise click.UsageError(f"{word!r} is neither KEY=VALUE nor KEY-")
        else:
            objects.append(word)
    return tuple(objects), changes


@click.command(epilog="Example: kubelib label pod web tier=front old-")
@click.argument("words", nargs=-1, required=True, metavar="KIND NAME... KEY=VALUE|KEY-...")
@namespace_option
@click.option("--all", "every", is_flag=True, help="All objects of the kind.")
@click.option("--selector", "-l", default="", metavar="LABELS", help="The objects with these labels.")
@click.option("--overwrite", is_flag=True, help="Also labels that are there with another value.")
@click.option("--list", "listed", is_flag=True, help="Show the labels.")
@shapes.text("--resource-version", "VERSION", "Only if the object is still of this version.")
@shapes.choice("--dry-run", ["none", "client", "server"], "Change nothing.")
@click.pass_context
def label(
    ctx: click.Context,
    words: tuple[str, ...],
    namespace: str | None,
    every: bool,
    selector: str,
    overwrite: bool,
    listed: bool,
    resource_version: str,
    dry_run: str,
) -> None:
    """Set, change and remove labels."""
    objects, changes = parse_changes(words)
    targets = parse_targets(objects)
    if not changes and not listed:
        raise click.UsageError("at least one label update is required")
    if any(not name for _, name in targets) and not every and not selector:
        raise click.UsageError(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>"
        )

    async def main(client: HttpClient) -> bool:
        where = namespace or client.connection.namespace
        good = True
        for resource, name in targets:
            for tree in await _objects(client, resource, where, name, selector):
                good = await _label(client, resource, tree, changes) and good
        return good

    async def _label(
        client: HttpClient, resource: Resource, tree: dict[str, Any], changes: dict[str, str | None]
    ) -> bool:
        meta = tree["metadata"]
        labels: dict[str, str] = meta.get("labels") or {}
        shown = f"{resource.singular}{'.' + resource.group if resource.group else ''}/{meta['name']}"
        taken = [k for k, v in changes.items() if v is not None and labels.get(k, v) != v]
        if taken and not overwrite:
            for key in taken:
                text = f"error: '{key}' already has a value ({labels[key]}), and --overwrite is false"
                click.echo(text, err=True)
            return False
        for key, value in changes.items():
            if value is None and key not in labels:
                click.echo(f'label "{key}" not found.')
        wanted = {k: v for k, v in changes.items() if labels.get(k) != v}
        if wanted and dry_run != "client":
            patch: dict[str, Any] = {"metadata": {"labels": wanted}}
            if resource_version:
                patch["metadata"]["resourceVersion"] = resource_version
            await client.request(
                "PATCH",
                path_of(resource, meta.get("namespace", ""), meta["name"]),
                query={"dryRun": "All"} if dry_run == "server" else None,
                body=json.dumps(patch).encode(),
                content_type="application/merge-patch+json",
            )
        after = {k: v for k, v in {**labels, **changes}.items() if v is not None}
        if changes:
            done = (
                "not labeled" if not wanted else "unlabeled" if set(wanted.values()) == {None} else "labeled"
            )
            suffix = {"client": " (dry run)", "server": " (server dry run)"}.get(dry_run, "")
            click.echo(f"{shown} {done}{suffix}")
        if listed:
            for key, value in sorted(after.items()):
                click.echo(f"{key}={value}")
        return True

    if not run(ctx, main):
        ctx.exit(1)


async def _objects(
    client: HttpClient, resource: Resource, namespace: str, name: str, selector: str
) -> list[dict[str, Any]]:
    query = {"labelSelector": selector} if selector and not name else None
    tree = (await client.request("GET", path_of(resource, namespace, name), query=query)).tree()
    return tree["items"] if not name else [tree]
