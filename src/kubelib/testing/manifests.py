"""Objects in YAML: read from text, files and folders, and put into a cluster."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kubelib.api.meta import Key
from kubelib.registry.base import Patch, WriteOptions
from kubelib.registry.registries import ResourceRegistries

Tree = dict[str, Any]
Source = str | Path | Tree | Iterable[Tree]
"""Where objects come from: the path of a file or folder, YAML or JSON text, or objects as they are."""

SUFFIXES = {".yaml", ".yml", ".json"}
MANAGER = "kubelib-testing"


class ManifestError(ValueError):
    """A manifest cannot be used; the message says which and why."""


def read_manifests(source: Source) -> list[Tree]:
    """Return the objects of a source, lists taken apart, in order; of a folder all files, sorted by path."""
    if isinstance(source, dict):
        return _taken_apart(source, "the object")
    if isinstance(source, str):
        if "\n" in source or source.lstrip().startswith("{"):
            return _parsed(source, "the text")
        source = Path(source)
    if isinstance(source, Path):
        return [tree for path in _files(source) for tree in _parsed(path.read_text(), str(path))]
    return [tree for one in source for tree in _taken_apart(one, "the object")]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    if not path.exists():
        raise ManifestError(f"there is no file {path}")
    return [path]


def _parsed(text: str, where: str) -> list[Tree]:
    import yaml

    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise ManifestError(f"{where} is not YAML: {error}") from error
    return [tree for document in documents if document is not None for tree in _taken_apart(document, where)]


def _taken_apart(document: Any, where: str) -> list[Tree]:
    if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
        raise ManifestError(f"{where} holds something that is not an object with kind and apiVersion")
    if document["kind"] == "List":
        return [tree for item in document.get("items") or () for tree in _taken_apart(item, where)]
    return [document]


async def apply_tree(registries: ResourceRegistries, tree: Tree, *, namespace: str = "default") -> Tree:
    """Apply an object as ``kubectl apply --server-side --force-conflicts`` does; return it as it is stored.

    Raises ApiError, and `kubelib.api.scheme.UnknownKind` for a kind that the cluster does not have.
    """
    resource = registries.scheme.kind(tree["apiVersion"], tree["kind"])
    metadata = tree.get("metadata") or {}
    where = (metadata.get("namespace") or namespace) if resource.namespaced else ""
    patch = Patch("apply", tree, manager=MANAGER, force=True)
    options = WriteOptions(manager=MANAGER, field_validation="Strict")
    document, _ = await registries.of(resource).patch(
        Key(where, metadata.get("name") or ""), patch, options=options
    )
    stored: Tree = document.tree()
    return stored
