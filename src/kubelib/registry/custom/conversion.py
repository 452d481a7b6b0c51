"""How documents of one version become those of another: only by name, or by a webhook of the definition's author."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

from kubelib.api import codec
from kubelib.api.document import Document
from kubelib.api.errors import InternalError
from kubelib.api.scheme import Resource, Tree
from kubelib.api.validation.meta import annotation_problems, label_problems
from kubelib.clock import new_uid
from kubelib.registry.webhooks import WebhookCaller, WebhookFailed

TIMEOUT = 30.0
REMEMBERED = 4096
"""How many converted documents of a kind are remembered."""
_GO_TYPES = {
    dict: "map[string]interface {}",
    list: "[]interface {}",
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
}


class Converter(Protocol):
    """Makes documents of one version of those of others."""

    async def convert(
        self, documents: Sequence[Document], version: str, *, listed: bool = False
    ) -> list[Document]:
        """Return documents in the form of a version, each with the resource version that it has. Raises InternalError.

        `listed`: they belong to one list, which errors are about then.
        """
        ...


class Renaming:
    """Versions that differ in nothing but their name."""

    def __init__(self, group: str, kind: str) -> None:
        self._group, self._kind = group, kind

    async def convert(
        self, documents: Sequence[Document], version: str, *, listed: bool = False
    ) -> list[Document]:
        """Return documents with another version's name."""
        head = codec.encode_json({"kind": self._kind, "apiVersion": f"{self._group}/{version}"})[:-1]
        converted = []
        for document in documents:
            _, found, rest = document.raw.partition(b',"metadata":')
            converted.append(Document(head + found + rest, document.meta))
        return converted


class WebhookConverter:
    """A webhook that is asked for all that it has not been asked for already."""

    def __init__(
        self,
        resource: Resource,
        webhook: Tree,
        caller: Callable[[], WebhookCaller | None],
        random: Random,
    ) -> None:
        self._group, self._kind, self._list_kind = resource.group, resource.kind, resource.list_kind
        self._config: Tree = webhook.get("clientConfig") or {}
        known = [v for v in webhook.get("conversionReviewVersions") or () if v in ("v1", "v1beta1")]
        self._review = f"apiextensions.k8s.io/{known[0] if known else 'v1'}"
        self._caller = caller
        self._random = random
        self._remembered: OrderedDict[tuple[str, str, str], Document] = OrderedDict()

    async def convert(
        self, documents: Sequence[Document], version: str, *, listed: bool = False
    ) -> list[Document]:
        """Return documents as the webhook makes them."""
        api_version = f"{self._group}/{version}"
        head = codec.encode_json({"kind": self._kind, "apiVersion": api_version})[:-1] + b","
        result: list[Document | None] = []
        for document in documents:
            if document.begins_with(head):
                result.append(document)
            else:
                result.append(self._known(document, version))
        missing = [at for at, document in enumerate(result) if document is None]
        if missing:
            made = await self._ask([documents[at] for at in missing], api_version, listed=listed)
            for at, document in zip(missing, made, strict=True):
                result[at] = document
                self._remember(documents[at], version, document)
        return [document for document in result if document is not None]

    def _known(self, document: Document, version: str) -> Document | None:
        meta = document.meta
        return (
            self._remembered.get((meta.uid, meta.resource_version, version))
            if meta.resource_version
            else None
        )

    def _remember(self, document: Document, version: str, converted: Document) -> None:
        meta = document.meta
        if meta.resource_version:
            self._remembered[meta.uid, meta.resource_version, version] = converted
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)

    async def _ask(self, documents: Sequence[Document], api_version: str, *, listed: bool) -> list[Document]:
        uid = new_uid(self._random)
        trees = [document.tree() for document in documents]
        whole = f"{trees[0].get('apiVersion')}, Kind={self._list_kind if listed else self._kind}"
        about = f"conversion webhook for {whole}"
        review = {
            "kind": "ConversionReview",
            "apiVersion": self._review,
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": trees},
        }
        caller = self._caller()
        try:
            if caller is None:
                raise WebhookFailed("this server calls no webhooks")
            answer = await caller.call(self._config, codec.encode_json(review), timeout=TIMEOUT)
            converted = self._made(codec.parse_json(answer), uid)
        except WebhookFailed as error:
            raise InternalError(f"{about} failed: {error}") from None
        except codec.DecodeError as error:
            raise InternalError(f"{about} failed: the answer is not JSON: {error}") from None
        if len(converted) != len(trees):
            raise InternalError(f"{about} returned {len(converted)} objects, expected {len(trees)}")
        result = []
        for at, (new, old) in enumerate(zip(converted, trees, strict=True), start=1):
            try:
                result.append(_restored(new, old, api_version))
            except _Wrong as wrong:
                raise InternalError(f"{about} returned {wrong.told(at, listed=listed)}") from None
        return result

    def _made(self, tree: object, uid: str) -> list[object]:
        """Return what a webhook's answer holds. Raises WebhookFailed for one that makes no sense, or tells of a failure."""
        response = tree.get("response") if isinstance(tree, dict) else None
        if not isinstance(tree, dict) or not isinstance(response, dict):
            raise WebhookFailed("no response provided")
        if tree.get("apiVersion") != self._review or tree.get("kind") != "ConversionReview":
            found = f"{tree.get('apiVersion')}, Kind={tree.get('kind')}"
            raise WebhookFailed(
                f"expected webhook response of {self._review}, Kind=ConversionReview, got {found}"
            )
        if response.get("uid") != uid and not self._review.endswith("/v1beta1"):
            raise WebhookFailed(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
        result = response.get("result")
        status, said = (result.get("status"), result.get("message")) if isinstance(result, dict) else ("", "")
        if status != "Success":
            raise WebhookFailed(
                str(said) if said else f"response.result.status was '{status or ''}', not 'Success'"
            )
        converted = response.get("convertedObjects")
        return converted if isinstance(converted, list) else []


def _go_type(value: object) -> str:
    return _GO_TYPES.get(type(value), "<nil>")


class _Wrong(Exception):
    """A converted object is not what was asked for: what Kubernetes says of one, and of an object of a list."""

    def __init__(
        self, why: str, what: str = "invalid object", of_list: str = "invalid converted object"
    ) -> None:
        super().__init__(why)
        self._what, self._of_list = what, of_list

    def told(self, at: int, *, listed: bool) -> str:
        return f"{f'{self._of_list} at index {at}' if listed else self._what}: {self}"


def _restored(new: object, old: Tree, api_version: str) -> Document:
    """Return a converted object with the metadata that a webhook may not change. Raises _Wrong."""
    if not isinstance(new, dict) or not new.get("kind"):
        raise _Wrong(f"Object 'Kind' is missing in '{codec.encode_json(new).decode()}'")
    for name, said, wanted in (("apiVersion", "groupVersion", api_version), ("kind", "kind", old["kind"])):
        if new.get(name) != wanted:
            why = f"invalid {said} (expected {wanted}, received {new.get(name) or ''})"
            raise _Wrong(why, "invalid object at index 0")
    before, meta = old["metadata"], new.get("metadata")
    given = meta if isinstance(meta, dict) else {}
    for part, said in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        if (given.get(part) or "") != (before.get(part) or ""):
            raise _Wrong(f"must have the same {said}: {before.get(part) or ''} != {given.get(part) or ''}")
    kept = dict(before)
    for part in ("labels", "annotations"):
        if given.get(part) is None:
            kept.pop(part, None)
        else:
            kept[part] = _checked_texts(given[part], before.get(part), part)
    tree = {"kind": old["kind"], "apiVersion": api_version, "metadata": kept}
    tree.update((name, value) for name, value in new.items() if name not in tree)
    version = kept.pop("resourceVersion", None)
    raw = codec.encode_json(tree)
    return Document(codec.splice_resource_version(raw, int(version)) if version else raw)


def _checked_texts(value: object, before: object, part: str) -> Tree:
    """Return labels or annotations that a webhook gave. Those that were there are not judged. Raises _Wrong."""
    in_metadata = ("invalid metadata", "invalid metadata in object")
    if not isinstance(value, dict):
        raise _Wrong(f"invalid metadata.{part} of type {_go_type(value)} in converted object", *in_metadata)
    for name, text in value.items():
        if not isinstance(text, str):
            why = f"metadata.{part}[{name}] must be a string, but is {_go_type(text)} in converted object"
            raise _Wrong(why, *in_metadata)
    if value != before:
        check = label_problems if part == "labels" else annotation_problems
        # Kubernetes has the path of annotations without the s.
        path = "metadata.labels" if part == "labels" else "metadata.annotation"
        found = [str(problem) for problem in check(value, path)]
        if found:
            raise _Wrong(found[0] if len(found) == 1 else f"[{', '.join(found)}]", *in_metadata)
    return value
