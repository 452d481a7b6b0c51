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


class Converter(Protocol):
    """Makes documents of one version of those of others."""

    async def convert(self, documents: Sequence[Document], version: str) -> list[Document]:
        """Return documents in the form of a version, each with the resource version that it has. Raises InternalError."""
        ...


class Renaming:
    """Versions that differ in nothing but their name."""

    def __init__(self, group: str, kind: str) -> None:
        self._group, self._kind = group, kind

    async def convert(self, documents: Sequence[Document], version: str) -> list[Document]:
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
        self._group, self._plural, self._kind = resource.group, resource.plural, resource.kind
        self._config: Tree = webhook.get("clientConfig") or {}
        known = [v for v in webhook.get("conversionReviewVersions") or () if v in ("v1", "v1beta1")]
        self._review = f"apiextensions.k8s.io/{known[0] if known else 'v1'}"
        self._caller = caller
        self._random = random
        self._asked = ""
        """The version of what was asked about last, for messages."""
        self._remembered: OrderedDict[tuple[str, str, str], Document] = OrderedDict()

    async def convert(self, documents: Sequence[Document], version: str) -> list[Document]:
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
            made = await self._ask([documents[at] for at in missing], api_version)
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

    def _failed(self, why: str, api_version: str) -> InternalError:
        return InternalError(
            f"conversion webhook for {self._asked or api_version}, Kind={self._kind} failed: {why}"
        )

    async def _ask(self, documents: Sequence[Document], api_version: str) -> list[Document]:
        caller = self._caller()
        if caller is None:
            raise self._failed("this server calls no webhooks", api_version)
        uid = new_uid(self._random)
        trees = [document.tree() for document in documents]
        self._asked = str(trees[0].get("apiVersion"))
        review = {
            "kind": "ConversionReview",
            "apiVersion": self._review,
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": trees},
        }
        try:
            answer = await caller.call(self._config, codec.encode_json(review), timeout=TIMEOUT)
            tree = codec.parse_json(answer)
        except WebhookFailed as error:
            raise self._failed(str(error), api_version) from None
        except codec.DecodeError as error:
            raise self._failed(f"the answer is not JSON: {error}", api_version) from None
        return self._checked(tree, uid, trees, api_version)

    def _checked(self, tree: object, uid: str, asked: list[Tree], api_version: str) -> list[Document]:
        response = tree.get("response") if isinstance(tree, dict) else None
        if not isinstance(tree, dict) or not isinstance(response, dict):
            raise self._failed("no response provided", api_version)
        if tree.get("apiVersion") != self._review or tree.get("kind") != "ConversionReview":
            found = f"{tree.get('apiVersion')}, Kind={tree.get('kind')}"
            raise self._failed(
                f"expected webhook response of {self._review}, Kind=ConversionReview, got {found}",
                api_version,
            )
        if response.get("uid") != uid:
            raise self._failed(
                f'expected response.uid="{uid}", got "{response.get("uid") or ""}"', api_version
            )
        result = response.get("result")
        if not isinstance(result, dict) or result.get("status") != "Success":
            said = result.get("message") if isinstance(result, dict) else ""
            raise self._failed(str(said) if said else "result.status was not 'Success'", api_version)
        converted = response.get("convertedObjects")
        if not isinstance(converted, list) or len(converted) != len(asked):
            count = len(converted) if isinstance(converted, list) else 0
            raise self._failed(f"webhook returned {count} objects, expected {len(asked)}", api_version)
        return [
            self._restored(new, old, api_version, at)
            for at, (new, old) in enumerate(zip(converted, asked, strict=True))
        ]

    def _restored(self, new: object, old: Tree, api_version: str, at: int) -> Document:
        """Return a converted object with the metadata that a webhook may not change."""
        where = f"invalid converted object at index {at}"
        if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
            raise self._failed(f"{where}: invalid metadata of type nil in converted object", api_version)
        if new.get("apiVersion") != api_version:
            raise self._failed(
                f"{where}: invalid groupVersion (expected {api_version}, received {new.get('apiVersion')})",
                api_version,
            )
        if new.get("kind") != old["kind"]:
            raise self._failed(
                f"{where}: invalid kind (expected {old['kind']}, received {new.get('kind')})", api_version
            )
        meta, before = new["metadata"], old["metadata"]
        for part in ("name", "namespace", "uid"):
            if (meta.get(part) or "") != (before.get(part) or ""):
                raise self._failed(
                    f"{where}: invalid metadata: {part} changed from {before.get(part)} to {meta.get(part)}",
                    api_version,
                )
        kept = dict(before)
        for part in ("labels", "annotations"):
            value = meta.get(part)
            if value is None:
                kept.pop(part, None)
                continue
            if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
                raise self._failed(f"{where}: metadata.{part} is not a map of texts", api_version)
            check = label_problems if part == "labels" else annotation_problems
            if problems := check(value, f"metadata.{part}"):
                raise self._failed(f"{where}: {problems[0]}", api_version)
            kept[part] = value
        tree = {"kind": old["kind"], "apiVersion": api_version, "metadata": kept}
        tree.update((name, value) for name, value in new.items() if name not in tree)
        version = kept.pop("resourceVersion", None)
        raw = codec.encode_json(tree)
        return Document(codec.splice_resource_version(raw, int(version)) if version else raw)
